"""Edited weeks stay stale until a sync that began after the edit has landed."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import insert

from xero_pipeline.warehouse.figures.stale_weeks import StaleWeeks
from xero_pipeline.warehouse.logs.sync_log import WEEKLY_TYPES
from xero_pipeline.warehouse.schema import xero_sync_logs
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.warehouse.figures.figures_given import NOW, WEEK


def test_the_later_of_two_edits_decides_after_when_the_week_must_be_read(warehouse: Warehouse) -> None:
    stored = StaleWeeks(warehouse.engine)
    early, late = NOW + timedelta(minutes=5), NOW + timedelta(minutes=10)
    for read_after in (late, early):
        stored.record("org-1", {WEEK: read_after}, seen=[], cursor="late_edits", asked_at=NOW)
    assert stored.list_stale("org-1") == {WEEK: late}


def test_a_week_is_no_longer_stale_when_every_kind_was_read_after_the_edit(warehouse: Warehouse) -> None:
    stored = StaleWeeks(warehouse.engine)
    stored.record("org-1", {WEEK: NOW - timedelta(minutes=1)}, seen=[], cursor="late_edits", asked_at=NOW)
    for kind in ("profit_and_loss", "invoices", "bank_summary"):
        assert WEEK in stored.list_stale("org-1")
        log_id = warehouse.log.start("org-1", kind, WEEK, None)
        with warehouse.engine.begin() as connection:
            warehouse.log.finish(connection, log_id, status="success", record_count=0, api_calls=1)
    assert stored.list_stale("org-1") == {}


def test_twenty_years_of_weeks_can_be_stale_and_read_again(warehouse: Warehouse) -> None:
    stored = StaleWeeks(warehouse.engine)
    weeks = [WEEK.shift(-number) for number in range(1100)]
    stored.record("org-1", dict.fromkeys(weeks, NOW - timedelta(minutes=1)), seen=[], cursor="late_edits", asked_at=NOW)
    entry = {
        "tenant_id": "org-1",
        "status": "success",
        "started_at": NOW,
        "completed_at": NOW,
        "api_calls": 1,
        "record_count": 0,
    }
    with warehouse.engine.begin() as connection:
        rows = [entry | {"sync_type": kind, "week_ending": week.ending} for week in weeks[1:] for kind in WEEKLY_TYPES]
        connection.execute(insert(xero_sync_logs), rows)
    assert stored.list_stale("org-1") == {WEEK: NOW - timedelta(minutes=1)}
    assert stored.list_stale("org-1") == {WEEK: NOW - timedelta(minutes=1)}
