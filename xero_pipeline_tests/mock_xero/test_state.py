"""The state file: connections stay open for reuse, but are never shared across a fork or used for a replaced file."""

from __future__ import annotations

import os
import sqlite3
import warnings
from pathlib import Path

import pytest

from xero_pipeline.mock_xero.request_log import increment_counter
from xero_pipeline.mock_xero.state import State


def read_count(state: State) -> int:
    with state.begin_read() as connection:
        row = connection.execute("SELECT value FROM counters WHERE name = 'calls'").fetchone()
    return row["value"] if row else 0


def increment(state: State) -> sqlite3.Connection:
    with state.begin_write() as connection:
        increment_counter(connection, "calls")
        return connection


def test_consecutive_transactions_share_a_connection_and_a_nested_one_has_its_own(
    tmp_path: Path,
) -> None:
    state = State(tmp_path / "mock.db")
    first = increment(state)
    with state.begin_write() as connection:
        assert connection is first
        increment_counter(connection, "calls")
        with state.begin_read() as nested:
            assert nested is not first
            assert nested.execute("SELECT value FROM counters").fetchone()["value"] == 1
    assert read_count(state) == 2
    state.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        first.execute("SELECT 1")
    assert read_count(state) == 2


def test_a_failed_transaction_is_rolled_back_and_its_connection_is_not_used_again(tmp_path: Path) -> None:
    state = State(tmp_path / "mock.db")
    failed = increment(state)

    def fail() -> None:
        with state.begin_write() as connection:
            increment_counter(connection, "calls")
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - raised above
        fail()
    assert read_count(state) == 1
    assert increment(state) is not failed
    state.close()


def test_a_forked_process_opens_its_own_connection_and_leaves_its_parents_open(tmp_path: Path) -> None:
    state = State(tmp_path / "mock.db")
    parents = increment(state)
    with warnings.catch_warnings():
        # Python warns about a fork in a process with threads; the child only writes and exits.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if increment(state) is not parents else 2
        finally:
            # An exception in the child must not reach pytest.
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert read_count(state) == 2
    assert increment(state) is parents
    state.close()


def test_a_file_that_replaces_the_old_one_is_used_from_then_on(tmp_path: Path) -> None:
    old, new = State(tmp_path / "mock.db"), State(tmp_path / "new.db")
    increment(old)
    for _ in range(3):
        increment(new)
    new.close()
    # Replaced during a transaction, whose connection must not be kept as one to the new file.
    with old.begin_read():
        (tmp_path / "mock.db-wal").unlink()
        (tmp_path / "mock.db-shm").unlink()
        (tmp_path / "new.db").replace(tmp_path / "mock.db")
    assert read_count(old) == 3
    old.close()
