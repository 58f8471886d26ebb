"""A deterministic simulator: years of a deployment's life with every disaster that a seed draws.

`make simulate SEED=7 YEARS=1` simulates one year. `docs/reliability.md` says what is simulated, what holds, and what
was found. The simulator calls the package's own code and replaces only what the package gets passed in or what would
make a run depend on anything but its seed:

    time                    `time.py`: a clock that moves when somebody waits; one thread at a time
    the network             `network.py`: the mock Xero, whose answers are lost, late and wrong
    the database's edge     `database.py`: real SQLite and PostgreSQL, whose statements fail
    processes and locks     `processes.py`: a kill ends a thread at a step and lets it do nothing more
    Dagster                 `dagster_layer.py`: runs, events and cursors in memory
    people and mail         `plan.py`, `events.py`, `mailbox.py`

`world.py` puts them together, `truth.py` and `laws.py` hold the tables against the books, `years.py` runs years and
shortens what fails, `mutants.py` puts bugs in.
"""
