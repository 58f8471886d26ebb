"""The audit log: one row for each success, and a count for what fails again and again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from xero_pipeline.warehouse.access.audit_log import Actor, AuditAction, AuditEntry
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock

ANN = Actor("ann", "owner", "203.0.113.7")
STRANGER = Actor("unknown", "none", "198.51.100.1")


def record(warehouse: Warehouse, actor: Actor, outcome: str = "success", subject: str = "") -> None:
    warehouse.audit.record(AuditEntry.of(actor, AuditAction.SYNC, subject, outcome), warehouse.clock.now())


def test_every_success_is_a_row_newest_first(warehouse: Warehouse, clock: FakeClock) -> None:
    for subject in ("one", "two", "two"):
        record(warehouse, ANN, subject=subject)
        clock.advance(seconds=1)
    rows = warehouse.audit.list_newest(10)
    assert [(row.subject, row.count) for row in rows] == [("two", 1), ("two", 1), ("one", 1)]
    assert [row.subject for row in warehouse.audit.list_newest(1)] == ["two"]


def test_a_failure_is_counted_for_an_hour_and_then_has_a_new_row(warehouse: Warehouse, clock: FakeClock) -> None:
    began = clock.now()
    for _ in range(3):
        last = clock.now()
        record(warehouse, ANN, "refused")
        clock.advance(minutes=29)
    record(warehouse, ANN, "refused", subject="another")
    [another, counted] = warehouse.audit.list_newest(10)
    assert (another.subject, another.count) == ("another", 1)
    assert (counted.subject, counted.count, counted.at, counted.last_at) == ("", 3, began, last)
    record(warehouse, ANN, "refused")
    assert [row.count for row in warehouse.audit.list_newest(10)] == [1, 1, 3]


def test_strangers_from_many_addresses_share_a_row(warehouse: Warehouse) -> None:
    for number in range(60):
        record(warehouse, Actor("unknown", "none", f"198.51.100.{number}"), "wrong_token")
    rows = warehouse.audit.list_newest(100)
    assert len(rows) == 21
    assert {row.origin: row.count for row in rows}["other addresses"] == 40


def test_guesses_of_two_processes_at_once_are_one_row(warehouse: Warehouse) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: record(warehouse, STRANGER, "wrong_token"), range(40)))
    [row] = warehouse.audit.list_newest(10)
    assert row.count == 40


def test_a_text_is_one_printable_line_of_bounded_length_without_what_looks_like_a_secret(warehouse: Warehouse) -> None:
    record(warehouse, ANN, subject="a\x00\n\x1b[31mb eyJhbGci.eyJzdWIi.c2ln " + "x" * 500)
    [row] = warehouse.audit.list_newest(1)
    assert row.subject.startswith("a [31mb [hidden] xxx")
    assert len(row.subject) == 200
    assert row.subject.isprintable()


def test_failures_are_summed_up_since_a_moment(warehouse: Warehouse, clock: FakeClock) -> None:
    record(warehouse, STRANGER, "wrong_token")
    record(warehouse, STRANGER, "throttled")
    record(warehouse, STRANGER, "throttled")
    before = clock.now()
    clock.advance(hours=2)
    assert warehouse.audit.count_failures("sync", ["wrong_token", "throttled"], before) == 0
    record(warehouse, STRANGER, "throttled")
    assert warehouse.audit.count_failures("sync", ["wrong_token", "throttled"], before) == 1
