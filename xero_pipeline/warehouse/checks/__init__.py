"""The rules that the stored figures must satisfy: pure functions that return the violations of each rule.

`snapshot.py` reads the tables at one moment, and the other modules check the snapshot. A broken rule yields a
`Violation`, never an exception. One wrong figure should be reported once: where it breaks two rules, each module's
docstring says which of them reports it. `assets/checks.py` presents the violations in Dagster.
"""
