"""The sync log: each attempt has its row, the row of a dead process is closed, and no secret is stored."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.exc import IntegrityError

from xero_pipeline.warehouse.errors import Superseded
from xero_pipeline.warehouse.logs.sync_log import INTERRUPTED, SyncLog, hide_secrets
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.warehouse.figures.figures_given import (
    WEEK,
    cash,
    cell,
    land_cash,
    land_profit,
    land_revenue,
    profit,
    revenue,
)


@pytest.fixture
def log(warehouse: Warehouse) -> SyncLog:
    return warehouse.log


def test_a_sync_begins_as_running_and_ends_with_its_figures(
    warehouse: Warehouse, log: SyncLog, clock: FakeClock
) -> None:
    log_id = log.start("org-1", "invoices", WEEK, "run-1")
    begun = log.get_last("org-1", "invoices", WEEK)
    assert begun is not None
    assert (begun.id, begun.status, begun.completed_at) == (log_id, "running", None)
    clock.advance(seconds=5)
    with warehouse.engine.begin() as connection:
        log.finish(
            connection,
            log_id,
            status="partial",
            record_count=3,
            api_calls=7,
            error_log={"differences": ["ä"]},
        )
    ended = log.get_last("org-1", "invoices", WEEK)
    assert ended is not None
    assert ended.as_dict() == {
        "id": log_id,
        "tenantId": "org-1",
        "syncType": "invoices",
        "weekEnding": "2026-11-21",
        "status": "partial",
        "recordCount": 3,
        "apiCalls": 7,
        "errorLog": {"differences": ["ä"]},
        "dagsterRunId": "run-1",
        "startedAt": "2026-11-24T01:00:00+00:00",
        "completedAt": "2026-11-24T01:00:05+00:00",
        "accepted": None,
    }
    json.dumps(ended.as_dict())


def test_a_failed_sync_stores_the_reason(log: SyncLog) -> None:
    log_id = log.start("org-1", "invoices", WEEK, "run-1")
    log.fail(log_id, api_calls=2, error_log={"error": "xero_unavailable", "message": "Xero is down."})
    entry = log.list_newest(1)[0]
    assert (entry.status, entry.record_count, entry.api_calls) == ("failed", 0, 2)
    assert entry.error_log == {"error": "xero_unavailable", "message": "Xero is down."}


def test_the_running_row_of_a_dead_process_is_closed_when_the_week_is_synced_again(
    log: SyncLog, clock: FakeClock
) -> None:
    dead = log.start("org-1", "invoices", WEEK, "run-1")
    others = [
        log.start("org-2", "invoices", WEEK, "run-1"),
        log.start("org-1", "bank_summary", WEEK, "run-1"),
        log.start("org-1", "invoices", WEEK.previous, "run-1"),
    ]
    clock.advance(hours=2)
    again = log.start("org-1", "invoices", WEEK, "run-2")
    by_id = {entry.id: entry for entry in log.list_newest(10)}
    assert (by_id[dead].status, by_id[dead].error_log, by_id[dead].completed_at) == (
        "failed",
        dict(INTERRUPTED),
        clock.now(),
    )
    assert {by_id[number].status for number in [*others, again]} == {"running"}


def test_a_process_that_was_taken_for_dead_still_records_its_end(warehouse: Warehouse, log: SyncLog) -> None:
    slow = log.start("org-1", "invoices", WEEK, "run-1")
    log.start("org-1", "invoices", WEEK, "run-2")
    with warehouse.engine.begin() as connection:
        log.finish(connection, slow, status="success", record_count=0, api_calls=1)
    entry = next(entry for entry in log.list_newest(5) if entry.id == slow)
    assert (entry.status, entry.error_log) == ("success", None)


def test_the_running_rows_of_an_ended_run_can_be_closed(log: SyncLog) -> None:
    log.start("org-1", "invoices", WEEK, "run-1")
    log.start("org-1", "bank_summary", WEEK, "run-1")
    log.start("org-2", "invoices", WEEK, "run-2")
    assert log.close_interrupted(run_id="run-1") == 2
    assert [entry.tenant_id for entry in log.list_newest(10, status="running")] == ["org-2"]


def test_the_newest_rows_come_first_and_can_be_filtered(log: SyncLog, clock: FakeClock) -> None:
    for tenant, kind, run in (
        ("org-1", "invoices", "run-1"),
        ("org-2", "invoices", "run-1"),
        ("org-1", "bank_summary", "run-2"),
    ):
        log.start(tenant, kind, WEEK, run)
        clock.advance(seconds=1)
    assert [(entry.tenant_id, entry.sync_type) for entry in log.list_newest(2)] == [
        ("org-1", "bank_summary"),
        ("org-2", "invoices"),
    ]
    assert [entry.sync_type for entry in log.list_newest(9, tenant_id="org-1")] == ["bank_summary", "invoices"]
    assert [entry.tenant_id for entry in log.list_newest(9, sync_type="invoices")] == ["org-2", "org-1"]
    assert log.list_newest(9, week=WEEK.previous) == []
    assert [entry.tenant_id for entry in log.list_for_run("run-1")] == ["org-2", "org-1"]
    assert log.get_last("org-2", "bank_summary", WEEK) is None


def test_landed_weeks_are_listed_for_each_kind_with_their_last_landing(warehouse: Warehouse, log: SyncLog) -> None:
    land_revenue(warehouse, revenue(cell("a", "b", "1.00")), week=WEEK.shift(-2))
    land_revenue(warehouse, revenue(), week=WEEK.previous)
    land_revenue(warehouse, revenue(), week=WEEK.previous, status="partial")
    land_cash(warehouse, cash(), week=WEEK, tenant_id="org-2")
    land_profit(warehouse, profit("0.00"), week=WEEK)
    log.fail(log.start("org-1", "bank_summary", WEEK, None), api_calls=0, error_log=None)
    log.start("org-1", "bank_summary", WEEK, None)
    last = {
        kind: log.list_newest(1, tenant_id="org-1", sync_type=kind)[0].id for kind in ("profit_and_loss", "invoices")
    }
    assert log.list_landed_weeks("org-1", WEEK.previous.ending) == {
        "profit_and_loss": {WEEK: last["profit_and_loss"]},
        "invoices": {WEEK.previous: last["invoices"]},
        "bank_summary": {},
    }
    assert list(log.list_landed_weeks("org-1", date(2020, 1, 1))["invoices"]) == [WEEK.shift(-2), WEEK.previous]


def test_the_newest_row_is_the_one_that_began_last_whatever_the_clocks_say(log: SyncLog, clock: FakeClock) -> None:
    log.start("org-1", "invoices", WEEK, "ahead")
    clock.advance(hours=-1)
    log.start("org-1", "invoices", WEEK, "right")
    last = log.get_last("org-1", "invoices", WEEK)
    assert last is not None
    assert last.dagster_run_id == "right"
    assert [entry.dagster_run_id for entry in log.list_newest(2)] == ["right", "ahead"]


@pytest.mark.parametrize("shift", [timedelta(hours=-1), timedelta(0), timedelta(days=365)])
def test_an_overtaken_sync_has_landed_and_its_row_names_the_run_that_overtook_it(
    warehouse: Warehouse, log: SyncLog, clock: FakeClock, shift: timedelta
) -> None:
    old = log.start("org-1", "invoices", WEEK, "run-old")
    clock.moment += shift
    land_revenue(warehouse, revenue(cell("a", "b", "2.00")), run_id="run-new", status="partial")
    clock.moment -= shift
    with pytest.raises(Superseded) as caught:
        warehouse.land(
            revenue(cell("a", "b", "1.00")),
            tenant_id="org-1",
            week=WEEK,
            currency="AUD",
            data_source="xero_mock",
            run_id="run-old",
            log_id=old,
            status="success",
            api_calls=4,
        )
    newer = caught.value.newer
    note = log.finish_overtaken(old, newer, api_calls=4)
    assert "run run-new landed the newer figures" in note
    entry = next(entry for entry in log.list_newest(5) if entry.id == old)
    assert (entry.status, entry.record_count, entry.api_calls) == ("partial", 1, 4)
    assert entry.error_log["notes"] == [note]
    assert [row["net_revenue"] for row in warehouse.read_week_figures("org-1", WEEK).revenue] == [Decimal("2.00")]
    # The week stands as the newer sync left it.
    assert log.list_landed_weeks("org-1", WEEK.ending)["invoices"] == {WEEK: newer.id}


@pytest.mark.parametrize("shift", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_later_sync_replaces_the_figures_of_one_whose_clock_was_ahead_or_behind(
    warehouse: Warehouse, clock: FakeClock, shift: timedelta
) -> None:
    clock.moment += shift
    land_revenue(warehouse, revenue(cell("a", "b", "1.00")))
    clock.moment -= shift
    land_revenue(warehouse, revenue(cell("a", "b", "2.00")))
    assert [row["net_revenue"] for row in warehouse.read_week_figures("org-1", WEEK).revenue] == [Decimal("2.00")]


def test_an_unknown_status_is_refused(log: SyncLog, warehouse: Warehouse) -> None:
    log_id = log.start("org-1", "invoices", WEEK, None)
    with pytest.raises(ValueError, match="splendid"), warehouse.engine.begin() as connection:
        log.finish(connection, log_id, status="splendid", record_count=0, api_calls=0)
    with pytest.raises(IntegrityError), warehouse.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE xero_sync_logs SET status = 'splendid'")


def test_a_missing_row_cannot_be_finished(log: SyncLog) -> None:
    with pytest.raises(LookupError, match="no row 77"):
        log.fail(77, api_calls=0, error_log=None)


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "value",
    [
        {"refresh_token": "abcd"},
        {"inner": [{"clientSecret": "abcd"}]},
        f"Xero answered to {JWT}: no",
        "Authorization: Bearer abcd0123456789",
        ["postgresql+psycopg://someone:abcd@host/db"],
    ],
)
def test_values_that_look_like_secrets_are_hidden(log: SyncLog, value: object) -> None:
    log.fail(log.start("org-1", "invoices", WEEK, None), api_calls=0, error_log={"answer": value})
    stored = json.dumps(log.list_newest(1)[0].error_log)
    assert "[hidden]" in stored
    assert "abcd" not in stored
    assert JWT not in stored


def test_other_values_stay_unchanged() -> None:
    error_log = {
        "differences": [{"what": "gross profit", "by": "0.01"}],
        "tokens_left": 3,
        "at": None,
        "token bearer": 1,
    }
    assert hide_secrets(error_log) == error_log
