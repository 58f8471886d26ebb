"""What must hold in the tables, and where it does not: pure functions, each answering its findings.

`held.py` reads the tables as they are at one moment; the other modules judge what was read, and a rule that
is broken is a `Finding`, never an exception. One wrong figure is meant to be told once: where it breaks two
rules, each module says which of them speaks. Not here: what Dagster shows of it (`assets/checks.py`).
"""
