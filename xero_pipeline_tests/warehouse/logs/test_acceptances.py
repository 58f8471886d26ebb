"""A person accepts the differences of a partial week: who, why, and that only the same amounts stay accepted."""

from __future__ import annotations

from typing import Any

import pytest

from xero_pipeline.warehouse.logs.acceptances import NoSuchLogRow, NothingToAccept, normalise_difference
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.warehouse.figures.figures_given import WEEK

TAX = {"where": "the tax of INV-1", "stated": "10.05", "found": "10.00", "difference": "0.05"}
TOTAL = {"where": "Net Profit", "stated": "-5.00", "found": "7.5", "difference": "-12.50"}


def land(warehouse: Warehouse, *differences: Any, kind: str = "invoices", tenant: str = "org-1", **week: Any) -> int:
    """Land a week with these differences, a second later."""
    assert isinstance(warehouse.clock, FakeClock)
    warehouse.clock.advance(seconds=1)
    log_id = warehouse.log.start(tenant, kind, week.get("week", WEEK), "run-1")
    with warehouse.engine.begin() as connection:
        status, error_log = ("partial", {"differences": list(differences)}) if differences else ("success", None)
        warehouse.log.finish(connection, log_id, status=status, record_count=1, api_calls=1, error_log=error_log)
    return log_id


def read_accepted(warehouse: Warehouse, log_id: int) -> str | None:
    [entry] = [entry for entry in warehouse.log.list_newest(20) if entry.id == log_id]
    return str(entry.accepted) if entry.accepted else None


def test_an_accepted_row_says_who_accepted_it_why_and_when_and_stays_partial(warehouse: Warehouse) -> None:
    log_id = land(warehouse, TAX, TOTAL)
    entry = warehouse.log.accept(log_id, who="alice", note="  Xero rounds\nthe tax ")
    assert str(entry.accepted) == "accepted by alice (Xero rounds the tax)"
    assert entry.as_dict()["accepted"] == {
        "by": "alice",
        "note": "Xero rounds the tax",
        "at": "2026-11-24T01:00:01+00:00",
    }
    assert entry.status == "partial"
    assert entry.error_log == {"differences": [TAX, TOTAL]}
    assert warehouse.log.get_last("org-1", "invoices", WEEK) == entry
    # Accepting it again changes nothing.
    assert warehouse.log.accept(log_id, who="bob", note="me too") == entry


def test_the_same_differences_stay_accepted_and_others_do_not(warehouse: Warehouse) -> None:
    warehouse.log.accept(land(warehouse, TAX, TOTAL), who="alice")
    assert read_accepted(warehouse, land(warehouse, TAX, TOTAL)) == "accepted by alice"
    # The same amounts in another order and spelling, or one difference less.
    written = {"where": "the  tax of INV-1", "stated": "10.0500", "found": 10, "difference": "x", "doubt": "y"}
    assert read_accepted(warehouse, land(warehouse, TOTAL, written)) == "accepted by alice"
    assert read_accepted(warehouse, land(warehouse, TOTAL)) == "accepted by alice"
    for other in (
        [TAX | {"stated": "10.06"}],
        [TAX | {"stated": "110.05", "found": "110.00"}],
        [TAX | {"where": "the tax of INV-2"}],
        [TAX, TOTAL, TAX | {"stated": "10.06"}],
    ):
        assert read_accepted(warehouse, land(warehouse, *other)) is None
    for elsewhere in ({"kind": "bank_summary"}, {"tenant": "org-2"}, {"week": WEEK.previous}):
        assert read_accepted(warehouse, land(warehouse, TAX, **elsewhere)) is None


def test_two_people_can_accept_two_differences(warehouse: Warehouse) -> None:
    warehouse.log.accept(land(warehouse, TAX), who="alice", note="rounding")
    both = land(warehouse, TAX, TOTAL)
    assert read_accepted(warehouse, both) is None
    assert str(warehouse.log.accept(both, who="bob", note="a journal").accepted) == (
        "accepted by alice, bob (rounding; a journal)"
    )


def test_a_row_without_an_open_difference_cannot_be_accepted(warehouse: Warehouse) -> None:
    with pytest.raises(NoSuchLogRow, match="has no row 99"):
        warehouse.log.accept(99, who="alice")
    older = land(warehouse, TAX)
    newer = land(warehouse, TOTAL)
    with pytest.raises(NothingToAccept, match=f"read again since, with other figures: row {newer} is partial"):
        warehouse.log.accept(older, who="alice")
    landed = land(warehouse)
    for log_id, reason in ((landed, "is success, not partial"), (newer, f"row {landed} is success")):
        with pytest.raises(NothingToAccept, match=reason):
            warehouse.log.accept(log_id, who="alice")


def test_an_older_row_with_the_present_differences_can_be_accepted(warehouse: Warehouse) -> None:
    older, newer = land(warehouse, TAX), land(warehouse, TAX)
    warehouse.log.accept(older, who="alice")
    assert read_accepted(warehouse, newer) == "accepted by alice"


def test_many_partial_rows_are_read_with_who_accepted_them(warehouse: Warehouse) -> None:
    rows = [land(warehouse, TAX, week=WEEK.shift(-number)) for number in range(120)]
    warehouse.log.accept(rows[-1], who="alice")
    entries = warehouse.log.list_newest(200, status="partial")
    assert [entry.id for entry in entries if entry.accepted] == [rows[-1]]


@pytest.mark.parametrize("difference", [{"by": "1.0"}, "some words", {"where": "x", "stated": None}, 3])
def test_a_difference_of_any_form_is_comparable(difference: object) -> None:
    assert normalise_difference(difference) == normalise_difference(difference)
    assert normalise_difference({"by": "1.0"}) == {"by": "1.00"}
    assert normalise_difference({"where": "x", "stated": "0.125", "found": "-0.00"}) == {
        "where": "x",
        "stated": "0.125",
        "found": "0.00",
    }
