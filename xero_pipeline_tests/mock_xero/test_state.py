"""The mock's file: its connections are kept open, and still nothing crosses a fork or outlives the file."""

from __future__ import annotations

import os
import sqlite3
import warnings
from pathlib import Path

import pytest

from xero_pipeline.mock_xero.request_log import count
from xero_pipeline.mock_xero.state import State


def counted(state: State) -> int:
    with state.reading() as connection:
        row = connection.execute("SELECT value FROM counters WHERE name = 'calls'").fetchone()
    return row["value"] if row else 0


def add_one(state: State) -> sqlite3.Connection:
    with state.writing() as connection:
        count(connection, "calls")
        return connection


def test_one_transaction_after_the_other_has_the_same_connection_and_one_within_the_other_its_own(
    tmp_path: Path,
) -> None:
    state = State(tmp_path / "mock.db")
    first = add_one(state)
    with state.writing() as connection:
        assert connection is first
        count(connection, "calls")
        with state.reading() as other:
            assert other is not first
            assert other.execute("SELECT value FROM counters").fetchone()["value"] == 1
    assert counted(state) == 2
    state.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        first.execute("SELECT 1")
    assert counted(state) == 2


def test_what_failed_is_rolled_back_and_its_connection_not_used_again(tmp_path: Path) -> None:
    state = State(tmp_path / "mock.db")
    failed = add_one(state)

    def fail() -> None:
        with state.writing() as connection:
            count(connection, "calls")
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - ours, from above
        fail()
    assert counted(state) == 1
    assert add_one(state) is not failed
    state.close()


def test_a_fork_opens_its_own_and_leaves_its_parents_as_they_are(tmp_path: Path) -> None:
    state = State(tmp_path / "mock.db")
    parents = add_one(state)
    with warnings.catch_warnings():
        # Python warns of forking where there are threads; the child only writes and ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if add_one(state) is not parents else 2
        finally:
            # No exception of the child's may run on into pytest.
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert counted(state) == 2
    assert add_one(state) is parents
    state.close()


def test_a_file_in_the_place_of_the_old_one_is_the_one_that_counts(tmp_path: Path) -> None:
    old, new = State(tmp_path / "mock.db"), State(tmp_path / "new.db")
    add_one(old)
    for _ in range(3):
        add_one(new)
    new.close()
    # Replaced while a transaction is under way: what it used must not rest as if it were the new file's.
    with old.reading():
        (tmp_path / "mock.db-wal").unlink()
        (tmp_path / "mock.db-shm").unlink()
        (tmp_path / "new.db").replace(tmp_path / "mock.db")
    assert counted(old) == 3
    old.close()
