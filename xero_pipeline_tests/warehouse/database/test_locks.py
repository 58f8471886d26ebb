"""Named locks: one holder at a time across threads and processes, and a dead holder frees its lock."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sqlalchemy import text

from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.locks import Locks
from xero_pipeline.warehouse.errors import DatabaseUnavailable, LockTimeout
from xero_pipeline_tests.migrated import cut_sessions
from xero_pipeline_tests.processes import get_fork_context


@pytest.fixture
def locks(database_url: str) -> Iterator[Locks]:
    engine = open_engine(database_url)
    locks = Locks(engine)
    yield locks
    locks.close()
    engine.dispose()


def test_a_lock_timeout_names_the_lock(locks: Locks) -> None:
    with (
        locks.hold("refresh-1", timeout=5),
        pytest.raises(LockTimeout, match="'refresh-1'"),
        locks.hold("refresh-1", timeout=0.05),
    ):
        pass


def test_a_released_lock_can_be_held_again_even_after_an_error(locks: Locks) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locks.hold("refresh-1", timeout=0.05):
            _ = 1 / 0


def test_locks_of_other_names_do_not_wait(locks: Locks) -> None:
    with (
        locks.hold("refresh-1", timeout=0.05),
        locks.hold("refresh/1", timeout=0.05),
        locks.hold("refresh 1", timeout=0.05),
        locks.hold("x" * 500, timeout=0.05),
        locks.hold("x" * 501, timeout=0.05),
    ):
        pass


def test_of_several_locks_those_are_held_that_are_free(locks: Locks) -> None:
    with locks.hold("taken", timeout=5):
        with locks.hold_free(["free", "taken", "also free"]) as held:
            assert held == {"free", "also free"}
            with locks.hold_free(["free", "a third"]) as held_meanwhile:
                assert held_meanwhile == {"a third"}
        with locks.hold_free(["free", "taken"]) as held:
            assert held == {"free"}


def test_threads_exclude_each_other(locks: Locks) -> None:
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(3):
            with locks.hold("one", timeout=30):
                inside += 1
                most = max(most, inside)
                threading.Event().wait(0.002)
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def hold_until_killed(url: str, pipe: Connection) -> None:
    with Locks(open_engine(url)).hold("one", timeout=30):
        pipe.send("held")
        signal.pause()


def test_another_process_waits_until_a_killed_holder_frees_the_lock(database_url: str, locks: Locks) -> None:
    here, there = get_fork_context().Pipe()
    child = get_fork_context().Process(target=hold_until_killed, args=(database_url, there))
    child.start()
    assert here.poll(60)
    assert here.recv() == "held"
    with pytest.raises(LockTimeout), locks.hold("one", timeout=0.05):
        pass
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(timeout=60)
    with locks.hold("one", timeout=30):
        pass


def test_waiting_for_a_lock_uses_up_no_connection_of_the_pool(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    locks = Locks(engine)
    threads = []
    entered: list[int] = []

    def wait_and_note(number: int) -> None:
        with locks.hold("one", timeout=60):
            entered.append(number)

    with locks.hold("one"):
        for number in range(20):
            threads.append(threading.Thread(target=wait_and_note, args=(number,)))
            threads[-1].start()
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        assert entered == []
    for thread in threads:
        thread.join()
    assert sorted(entered) == list(range(20))
    locks.close()
    engine.dispose()


def test_a_holder_whose_connection_died_ends_without_an_error(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    locks = Locks(engine)
    with locks.hold("one"):
        cut_sessions(engine)
    with locks.hold("one", timeout=30):
        pass
    locks.close()
    engine.dispose()


def test_other_processes_see_a_liveness_lock_until_the_block_ends(database_url: str, locks: Locks) -> None:
    others = Locks(open_engine(database_url))
    with locks.hold_liveness("run-1"):
        assert others.is_held("run-1")
        assert not others.is_held("run-2")
    assert not others.is_held("run-1")
    others.close()


def test_a_liveness_lock_is_taken_again_after_the_server_cut_the_session(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xero_pipeline.warehouse.database.locks._CHECK_INTERVAL", 0.05)
    monkeypatch.setattr("xero_pipeline.warehouse.database.locks._RETRY_INTERVAL", 0.05)
    engine = open_engine(postgres_url)
    locks, others = Locks(engine), Locks(engine)
    with locks.hold_liveness("run-1"):
        for _ in range(2):
            assert cut_sessions(engine) > 0
            wait_until(lambda: others.is_held("run-1"))
        cut_sessions(engine)
    assert not others.is_held("run-1")
    assert "keeps run-1" not in [thread.name for thread in threading.enumerate()]
    locks.close()
    others.close()
    engine.dispose()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lock_file_that_cannot_be_created_gives_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "xero.db.locks").write_text("in the way")
    locks = Locks(open_engine(f"sqlite:///{tmp_path}/xero.db"))
    with pytest.raises(DatabaseUnavailable, match="cannot be used"), locks.hold("one"):
        pass


def test_a_servers_limits_for_long_statements_and_idle_sessions_end_no_lock(postgres_url: str) -> None:
    strict = "options=-c%20statement_timeout%3D100%20-c%20idle_session_timeout%3D100"
    engine = open_engine(f"{postgres_url}?{strict}")
    locks = Locks(engine)
    entered = threading.Event()

    def wait_and_note() -> None:
        with locks.hold("one", timeout=60):
            entered.set()

    waiting = threading.Thread(target=wait_and_note)
    with locks.hold("one"):
        waiting.start()
        assert not entered.wait(0.5), "the lock is held for longer than a session may be idle"
        with pytest.raises(LockTimeout), locks.hold("one", timeout=0.3):
            pass
    assert entered.wait(30), "the thread waited for longer than a statement may take"
    waiting.join()
    locks.close()
    engine.dispose()


def test_a_process_has_a_liveness_lock_from_the_first_time_it_is_asked_until_it_closes(
    locks: Locks, database_url: str
) -> None:
    engine = open_engine(database_url)
    other = Locks(engine)
    name = other.get_liveness_name()
    assert other.get_liveness_name() == name
    assert locks.is_held(name)
    other.close()
    assert not locks.is_held(name)
    engine.dispose()


def test_the_liveness_lock_of_a_run_serves_its_process_too(locks: Locks) -> None:
    with locks.hold_liveness("run-1"):
        assert locks.get_liveness_name() == "run-1"
    assert locks.get_liveness_name() != "run-1"
