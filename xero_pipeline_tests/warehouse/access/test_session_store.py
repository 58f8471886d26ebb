"""The table of sessions, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from xero_pipeline.warehouse.access.sessions import SESSION_IDLE_LIMIT, SESSION_LIFE, UnknownSession
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock


def begin(warehouse: Warehouse, mark: str, credential: str = "admin:1") -> None:
    warehouse.sessions.begin(mark, who="ann", credential=credential, origin="::1", now=warehouse.clock.now())


def list_marks(warehouse: Warehouse) -> list[str]:
    return [session.session_hash for session in warehouse.sessions.list_open(warehouse.clock.now())]


def test_sessions_are_listed_the_last_used_first_and_end_one_or_all(warehouse: Warehouse, clock: FakeClock) -> None:
    for mark in ("a", "b", "c"):
        begin(warehouse, mark)
        clock.advance(minutes=2)
    first = warehouse.sessions.find("a", clock.now())
    assert first is not None
    warehouse.sessions.touch(first, clock.now())
    assert list_marks(warehouse) == ["a", "c", "b"]
    assert warehouse.sessions.end(first.id).session_hash == "a"
    with pytest.raises(UnknownSession):
        warehouse.sessions.end(first.id)
    assert warehouse.sessions.find("a", clock.now()) is None
    assert warehouse.sessions.end_all() == 2
    assert list_marks(warehouse) == []


def test_the_id_of_an_ended_session_is_not_used_again(warehouse: Warehouse) -> None:
    """Otherwise somebody who ends a listed session could end another one that has begun in the meantime."""
    begin(warehouse, "a")
    [old] = warehouse.sessions.list_open(warehouse.clock.now())
    warehouse.sessions.end(old.id)
    begin(warehouse, "b")
    [new] = warehouse.sessions.list_open(warehouse.clock.now())
    assert new.id != old.id


def test_a_session_expires_by_age_and_by_idleness_and_is_forgotten(warehouse: Warehouse, clock: FakeClock) -> None:
    begin(warehouse, "a")
    began = clock.now()
    while (found := warehouse.sessions.find("a", clock.now())) is not None:
        warehouse.sessions.touch(found, clock.now())
        clock.advance(minutes=30)
    assert clock.now() == began + SESSION_LIFE
    begin(warehouse, "b")
    [session] = warehouse.sessions.list_open(clock.now())
    assert session.ends_at == clock.now() + SESSION_IDLE_LIMIT
    clock.advance(minutes=59, seconds=59)
    assert list_marks(warehouse) == ["b"]
    clock.advance(seconds=1)
    assert list_marks(warehouse) == []


def test_the_use_of_a_session_is_written_once_a_minute(warehouse: Warehouse, clock: FakeClock) -> None:
    begin(warehouse, "a")
    began = clock.now()
    for seconds in (30, 59):
        clock.moment = began + timedelta(seconds=seconds)
        [session] = warehouse.sessions.list_open(clock.now())
        warehouse.sessions.touch(session, clock.now())
        assert warehouse.sessions.list_open(clock.now())[0].last_seen_at == began
    clock.moment = began + timedelta(seconds=60)
    warehouse.sessions.touch(session, clock.now())
    assert warehouse.sessions.list_open(clock.now())[0].last_seen_at == clock.now()


def test_the_sessions_of_one_credential_end_together(warehouse: Warehouse) -> None:
    for mark, credential in (("a", "token:1"), ("b", "token:2"), ("c", "token:1")):
        begin(warehouse, mark, credential)
    assert warehouse.sessions.end_of_credential("token:1") == 2
    assert list_marks(warehouse) == ["b"]
