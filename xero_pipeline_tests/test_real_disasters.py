"""Real processes that are killed or run short of something: everything ends equal to the books without a hand.

With `LONG=full` one process syncs with 64 open files. `SHORTAGES=full` tries every shortage on both databases (six
minutes, as root), `KILLS=40` kills so many processes on each (a quarter of a minute for each kill).
"""

import os

import pytest

from simulator.kills import kill
from simulator.shortages import SHORTAGES, meet
from xero_pipeline_tests.on_request import IS_FULL

_KILLS = int(os.environ.get("KILLS", "0"))
_IS_FULL = os.environ.get("SHORTAGES") == "full"
_ALL = [
    (name, database)
    for database in ("sqlite", "postgresql")
    for name in SHORTAGES
    if (name, database) != ("away", "sqlite")
]


@pytest.mark.skipif(not (_IS_FULL or IS_FULL), reason="LONG=full runs it")
@pytest.mark.parametrize(("name", "database"), _ALL if _IS_FULL else [("files", "sqlite")])
def test_after_a_shortage_the_next_sync_puts_everything_right(name: str, database: str) -> None:
    assert meet(name, database) == []


@pytest.mark.skipif(_KILLS == 0, reason="KILLS=40 runs it")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_after_kills_of_every_process_the_sensors_put_everything_right(database: str) -> None:
    killed, problems, _ = kill(1, _KILLS, database)
    assert problems == []
    assert killed.total() >= _KILLS
