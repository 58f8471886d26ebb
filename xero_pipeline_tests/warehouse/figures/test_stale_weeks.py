"""Weeks that were found edited are kept until a reading that began late enough has landed."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import insert

from xero_pipeline.warehouse.figures.stale_weeks import StaleWeeks
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import xero_sync_logs
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.warehouse.figures.figures_given import NOW, WEEK


def test_of_two_edits_the_later_one_says_after_when_the_week_is_read(warehouse: Warehouse) -> None:
    kept = StaleWeeks(warehouse.engine)
    early, late = NOW + timedelta(minutes=5), NOW + timedelta(minutes=10)
    for found in (late, early):
        kept.found("org-1", {WEEK: found}, seen=[], cursor="late_edits", asked_at=NOW)
    assert kept.open("org-1") == {WEEK: late}


def test_a_week_is_forgotten_once_every_kind_was_read_after_the_edit(warehouse: Warehouse) -> None:
    kept = StaleWeeks(warehouse.engine)
    kept.found("org-1", {WEEK: NOW - timedelta(minutes=1)}, seen=[], cursor="late_edits", asked_at=NOW)
    for kind in ("profit_and_loss", "invoices", "bank_summary"):
        assert WEEK in kept.open("org-1")
        log_id = warehouse.log.start("org-1", kind, WEEK, None)
        with warehouse.engine.begin() as connection:
            warehouse.log.finish(connection, log_id, status="success", record_count=0, api_calls=1)
    assert kept.open("org-1") == {}


def test_twenty_years_of_weeks_can_be_found_edited_and_read_again(warehouse: Warehouse) -> None:
    kept = StaleWeeks(warehouse.engine)
    weeks = [WEEK.shift(-number) for number in range(1100)]
    kept.found("org-1", dict.fromkeys(weeks, NOW - timedelta(minutes=1)), seen=[], cursor="late_edits", asked_at=NOW)
    entry = {
        "tenant_id": "org-1",
        "status": "success",
        "started_at": NOW,
        "completed_at": NOW,
        "api_calls": 1,
        "record_count": 0,
    }
    with warehouse.engine.begin() as connection:
        rows = [entry | {"sync_type": kind, "week_ending": week.ending} for week in weeks[1:] for kind in SyncType]
        connection.execute(insert(xero_sync_logs), rows)
    assert kept.open("org-1") == {WEEK: NOW - timedelta(minutes=1)}
    assert kept.open("org-1") == {WEEK: NOW - timedelta(minutes=1)}
