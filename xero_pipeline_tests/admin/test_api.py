"""The HTTP API: its paths, field names and figures are those of the contract, and bad input is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic.alias_generators import to_camel
from sqlalchemy import text

from xero_pipeline.admin.dagster_api import NoCodeLocation, RunStatus
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.periods import Month, Period
from xero_pipeline.warehouse.logs.reconciliations import (
    Reconciliation,
    ReconciliationKind,
    ReconciliationLog,
    ReconciliationStatus,
)
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.errors import DayLimitReached
from xero_pipeline_tests.admin.deployed import API, Page, open_client, point_settings_at, serve_page
from xero_pipeline_tests.plain_xero import PlainXero
from xero_pipeline_tests.servers import Answer, ScriptedServer
from xero_pipeline_tests.warehouse.figures.figures_given import (
    Write,
    account,
    cash,
    cell,
    document,
    documented_revenue,
    line,
    profit,
    revenue,
)

LATEST = Week(date(2026, 11, 21))
ALPHA, BETA = ("t-1", "Alpha"), ("t-2", "Beta")


def land_figures(
    page: Page, write: Write, kind: str, *, tenant: str = "t-1", week: Period = LATEST, currency: str = "AUD"
) -> None:
    """Land one organisation's week, as a run in Dagster does."""
    warehouse = page.deployment.warehouse
    log_id = warehouse.log.start(tenant, kind, week, "a-run")
    warehouse.land(
        write,
        tenant_id=tenant,
        week=week,
        currency=currency,
        data_source="xero_api",
        run_id="a-run",
        log_id=log_id,
        status="success",
        api_calls=2,
    )


def land_week(page: Page, income: str, **where: Any) -> None:
    land_figures(page, profit(income, line("a-1", income)), "profit_and_loss", **where)
    land_figures(page, revenue(cell("residential", "north", income)), "invoices", **where)
    land_figures(page, cash(account("b-1", income)), "bank_summary", **where)


def read_error(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["code", "message"]
    assert body["error"]["message"]
    return answer.status_code, body["error"]["code"]


def test_a_month_has_its_figures_beside_the_month_before_last_year_and_the_year_to_date(page: Page) -> None:
    page.connect(ALPHA)
    october = Month(date(2026, 10, 31))
    answer = {"Organisations": [{"FinancialYearEndMonth": "9", "FinancialYearEndDay": "30"}]}
    page.deployment.warehouse.facts.save("t-1", "Organisation", answer, page.clock.now())
    for number, month in enumerate((october.shift(-12), october.previous, october), start=1):
        income = f"{number}.00"
        land_figures(page, profit(income, line("a-1", income)), "profit_and_loss_monthly", week=month)
        land_figures(page, cash(account("b-1", income)), "bank_summary_monthly", week=month)
    land_figures(page, profit("4.00", line("a-1", "4.00")), "profit_and_loss_monthly", week=october)
    body = page.api(f"/months/{october}").json()
    assert body["monthEnding"] == "2026-10-31"
    (figures,) = body["organisations"]
    assert figures["profitAndLoss"]["totalTradingIncome"] == "4.00"
    assert [(one["accountName"], one["amount"]) for one in figures["lines"]] == [("Sales", "4.00")]
    assert {(one["table"], one["column"], one["old"], one["new"]) for one in figures["restatements"]} == {
        ("financial_monthly", "total_trading_income", "3.00", "4.00"),
        ("financial_monthly_lines", "amount", "3.00", "4.00"),
    }
    compared = figures["comparison"]
    assert compared.pop("financialYear") == 2027
    assert {name: amounts["totalTradingIncome"] for name, amounts in compared.items()} == {
        "month": "4.00",
        "monthBefore": "2.00",
        "lastYear": "1.00",
        "yearToDate": "4.00",
        # October is the first month of its year.
        "yearToDateLastYear": "1.00",
    }
    assert (compared["month"]["closingCash"], compared["month"]["netRevenue"]) == ("3.00", None)
    for wrong in ("2026-10-30", "2026-11-30", "1999-01-31"):
        assert read_error(page.api(f"/months/{wrong}")) == (404, "no_such_month")


# ---- status -----------------------------------------------------------------------------------------------


def test_the_status_without_any_organisation(page: Page) -> None:
    assert page.api("/status").json() == {
        "connected": False,
        "tenantName": None,
        "lastSyncAt": None,
        "mockMode": False,
        "schedulerRunning": False,
        "organisations": [],
    }


def test_the_status_of_a_connected_organisation(page: Page) -> None:
    page.connect(ALPHA)
    page.clock.advance(days=10)
    page.deployment.warehouse.tokens.touch_synced("t-1", page.clock.now())
    body = page.api("/status").json()
    assert body["connected"] is True
    assert body["tenantName"] == "Alpha"
    assert body["lastSyncAt"] == "2026-12-04T01:00:00Z"
    assert body["organisations"] == [
        {
            "tenantId": "t-1",
            "tenantName": "Alpha",
            "status": "connected",
            "connectedAt": "2026-11-24T01:00:00Z",
            "lastSyncAt": "2026-12-04T01:00:00Z",
            "refreshTokenExpiresAt": "2027-01-23T01:00:00Z",
            "callsToday": 0,
            "callsPerDay": 4800,
        }
    ]
    details = page.api("/standing").json()
    assert (details["alertError"], details["alerts"]) == (None, [])
    extra = {
        "displayName": "Alpha",
        "refreshTokenDaysLeft": 50,
        "callsLeftToday": 4800,
        "tokenError": None,
        "reconciliation": None,
    }
    assert details["organisations"] == [body["organisations"][0] | extra]
    assert body.keys() == details.keys() - {"alertError", "alerts"}


def test_comparisons_with_xeros_totals_are_listed_and_summed_up(page: Page) -> None:
    page.connect(ALPHA)
    first, last = Week(date(2025, 11, 29)), Week(date(2026, 11, 21))
    figure = {
        "account_id": "a-1",
        "account_name": "Rent",
        "figure": "contribution",
        "stated": "-10.00",
        "held": "-10.07",
        "difference": "0.07",
    }
    amounts = {"stated": "90.00", "held": "89.93", "difference": "0.07"}
    rows = [
        Reconciliation(
            tenant_id="t-1",
            kind=kind,
            weeks=WeekRange(first, last),
            status=ReconciliationStatus.DIFFERS if kind == "profit_and_loss" else ReconciliationStatus.EQUAL,
            difference=amounts | {"figures": [figure] if kind == "profit_and_loss" else [], "left_over": True},
            weeks_read_again=1,
            api_calls=9,
            dagster_run_id=None,
            checked_at=page.deployment.clock.now(),
        )
        for kind in ReconciliationKind
    ]
    log = ReconciliationLog(page.deployment.warehouse.engine)
    log.record(rows)
    listed = page.api("/reconciliations").json()
    assert [row["kind"] for row in listed] == ["documents", "bank_summary", "profit_and_loss"]
    assert listed[-1] == {
        "tenantId": "t-1",
        "tenantName": "Alpha",
        "kind": "profit_and_loss",
        "firstWeek": "2025-11-29",
        "lastWeek": "2026-11-21",
        "status": "differs",
        **amounts,
        "figures": [{to_camel(name): value for name, value in figure.items()}],
        "weeksReadAgain": 1,
        "apiCalls": 9,
        "dagsterRunId": None,
        "checkedAt": "2026-11-24T01:00:00Z",
    }
    proof = page.api("/standing").json()["organisations"][0]["reconciliation"]
    assert (proof["provenUpTo"], proof["differingBlocks"]) == (None, 1)
    log.record([replace(rows[0], status=ReconciliationStatus.MENDED)])
    proof = page.api("/standing").json()["organisations"][0]["reconciliation"]
    assert (proof["provenUpTo"], proof["differingBlocks"]) == ("2026-11-21", 0)
    assert len(page.api("/reconciliations?limit=2").json()) == 2


def test_open_alerts_are_listed_even_without_alert_urls(page: Page) -> None:
    page.connect(ALPHA)
    alerter = open_alerter(page.deployment)
    for cause in ("one", "two"):
        alerter.report_problem(cause, f"{cause} is wrong", "What to do: mend it.", kind="run_failure", occurrence=cause)
    alerter.report_recovery("one", "The problem is resolved.")
    (alert,) = page.api("/standing").json()["alerts"]
    assert alert.pop("openedAt")
    assert alert == {"kind": "run_failure", "title": "two is wrong", "text": "What to do: mend it."}


def test_tokens_that_the_keys_cannot_decrypt_are_reported(page: Page) -> None:
    page.connect(ALPHA)
    with page.deployment.warehouse.engine.begin() as connection:
        connection.execute(text("UPDATE xero_tokens SET access_token = refresh_token"))
    assert page.api("/status").status_code == 200
    [organisation] = page.api("/standing").json()["organisations"]
    assert organisation["tokenError"].startswith("The tokens of Alpha cannot be read.")


def test_a_lost_connection_is_reported(page: Page) -> None:
    page.connect(ALPHA)
    page.deployment.warehouse.tokens.set_status("t-1", ConnectionStatus.RECONNECT_NEEDED)
    assert page.api("/standing").json()["organisations"][0]["refreshTokenDaysLeft"] == 0
    body = page.api("/status").json()
    assert body["connected"] is False
    assert body["organisations"][0]["status"] == "reconnect_needed"


def test_without_dagster_the_scheduler_is_unknown_and_the_rest_is_answered(page: Page) -> None:
    page.connect(ALPHA)
    page.dagster.down = True
    body = page.api("/status").json()
    assert body["schedulerRunning"] is None
    assert body["connected"] is True
    assert page.get("/").status_code == 200


# ---- sync -------------------------------------------------------------------------------------------------


def test_a_sync_waits_for_its_run(page: Page) -> None:
    page.connect(ALPHA)
    answer = page.post(f"{API}/sync")
    assert answer.status_code == 200
    assert answer.json() == {
        "runId": "run-1",
        "status": "success",
        "logs": [],
        "url": "http://localhost:3000/runs/run-1",
    }
    assert page.dagster.launched == [LATEST]
    assert page.slept == [1.0, 1.0]


def test_a_sync_without_waiting_answers_202_at_once(page: Page) -> None:
    page.connect(ALPHA)
    for body in (None, {"wait": False}):
        answer = page.post(f"{API}/sync", params={} if body else {"wait": "false"}, json=body)
        assert (answer.status_code, answer.json()["status"]) == (202, "queued" if body is None else "running")
    assert page.slept == []


def test_a_sync_waits_ten_minutes_at_most(page: Page) -> None:
    page.connect(ALPHA)
    page.dagster.statuses = [RunStatus.RUNNING]
    answer = page.post(f"{API}/sync", timeout=30)
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert sum(page.slept) == 600


def test_a_failed_run_is_an_answer_and_not_an_error(page: Page) -> None:
    page.connect(ALPHA)
    page.dagster.statuses = [RunStatus.FAILED]
    answer = page.post(f"{API}/sync")
    assert (answer.status_code, answer.json()["status"]) == (200, "failed")


def test_the_query_or_the_body_names_the_week(page: Page) -> None:
    page.connect(ALPHA)
    page.post(f"{API}/sync", params={"weekEnding": "2026-11-14"})
    page.post(f"{API}/sync", json={"weekEnding": "2026-11-07"})
    page.post(f"{API}/sync", params={"weekEnding": "2026-11-07"}, json={"weekEnding": "2026-11-07"})
    assert [str(week) for week in page.dagster.launched] == ["2026-11-14", "2026-11-07", "2026-11-07"]


def test_a_sync_joins_an_unfinished_run_of_the_same_week(page: Page) -> None:
    page.connect(ALPHA)
    page.dagster.statuses = [RunStatus.RUNNING]
    ids = [page.post(f"{API}/sync", params={"wait": "false"}).json()["runId"] for _ in range(2)]
    ids.append(page.post(f"{API}/sync", params={"wait": "false", "weekEnding": "2026-11-14"}).json()["runId"])
    assert ids == ["run-1", "run-1", "run-2"]


@pytest.mark.parametrize(
    ("query", "body", "status", "code"),
    [
        ({"weekEnding": "2026-11-20"}, None, 422, "no_such_week"),
        ({"weekEnding": "2026-11-28"}, None, 422, "no_such_week"),
        ({"weekEnding": "2022-12-31"}, None, 422, "no_such_week"),
        ({"weekEnding": "1700000000"}, None, 422, "invalid_request"),
        ({"weekEnding": "2026-11-21T00:00"}, None, 422, "invalid_request"),
        ({"weekEnding": "9999-12-31"}, None, 422, "no_such_week"),
        ({"weekEnding": "0001-01-01"}, None, 422, "no_such_week"),
        ({"weekEnding": "\0"}, None, 422, "invalid_request"),
        ({"wait": "perhaps"}, None, 422, "invalid_request"),
        ({"weekEnding": "2026-11-21"}, b'{"weekEnding": "2026-11-14"}', 422, "invalid_request"),
        ({}, b'{"weekEnding": "2026-11-20"}', 422, "no_such_week"),
        ({}, b'{"weekEnding": "yesterday"}', 422, "invalid_request"),
        ({}, b'{"weekEnding": 20261121}', 422, "invalid_request"),
        ({}, b'{"week_ending": "2026-11-21"}', 422, "invalid_request"),
        ({}, b"[]", 422, "invalid_request"),
        ({}, b"null", 422, "invalid_request"),
        ({}, b"{", 400, "malformed_json"),
        ({}, b"weekEnding=2026-11-21", 400, "malformed_json"),
        ({}, b"\xff\xfe", 400, "malformed_json"),
    ],
)
def test_a_week_that_cannot_be_synced_launches_nothing(
    page: Page, query: dict[str, str], body: bytes | None, status: int, code: str
) -> None:
    page.connect(ALPHA)
    assert read_error(page.post(f"{API}/sync", params=query, content=body)) == (status, code)
    assert page.dagster.launched == []


def test_a_refused_value_is_named_once_with_what_is_expected(page: Page) -> None:
    page.connect(ALPHA)
    message = page.post(f"{API}/sync", json={"weekEnding": 5}).json()["error"]["message"]
    assert message == "weekEnding: must be a date as YYYY-MM-DD"
    message = page.post(f"{API}/disconnect", json={"tenantId": 5}).json()["error"]["message"]
    assert message == "tenantId: Input should be a valid string"


def test_a_sync_without_a_connection_is_refused(page: Page) -> None:
    assert read_error(page.post(f"{API}/sync")) == (409, "not_connected")
    page.connect(ALPHA)
    page.deployment.warehouse.tokens.set_status("t-1", ConnectionStatus.RECONNECT_NEEDED)
    assert read_error(page.post(f"{API}/sync")) == (409, "reconnect_needed")
    page.connect(BETA)
    assert page.post(f"{API}/sync").status_code == 200, "the other one can be synced"
    assert page.dagster.launched_for == [["t-2"]], "and the run leaves out the lost one"


def test_requests_that_need_dagster_report_when_it_is_down(page: Page) -> None:
    page.connect(ALPHA)
    page.dagster.down = True
    for path in ("/sync", "/scheduler/start", "/scheduler/stop"):
        assert read_error(page.post(API + path)) == (503, "dagster_down")
    assert read_error(page.api("/runs/run-1")) == (503, "dagster_down")


def test_a_run_is_read_with_its_log_rows(page: Page) -> None:
    page.connect(ALPHA)
    run_id = page.post(f"{API}/sync", params={"wait": "false"}).json()["runId"]
    page.deployment.warehouse.log.start("t-1", "invoices", LATEST, run_id)
    body = page.api(f"/runs/{run_id}").json()
    assert body["status"] == "running"
    assert [(log["syncType"], log["status"], log["tenantName"]) for log in body["logs"]] == [
        ("invoices", "running", "Alpha")
    ]
    assert read_error(page.api("/runs/run-99")) == (404, "unknown_run")
    assert read_error(page.api("/runs/" + "x" * 65)) == (422, "invalid_request")
    assert read_error(page.api("/runs/%00")) == (422, "invalid_request")


def test_the_scheduler_is_started_and_stopped(page: Page) -> None:
    assert page.post(f"{API}/scheduler/start").json() == {"running": True}
    assert page.api("/status").json()["schedulerRunning"] is True
    assert page.post(f"{API}/scheduler/stop").json() == {"running": False}
    assert page.api("/status").json()["schedulerRunning"] is False


# ---- the log ----------------------------------------------------------------------------------------------


def test_the_sync_log_is_newest_first_with_the_contracts_fields(page: Page) -> None:
    page.connect(ALPHA)
    log = page.deployment.warehouse.log
    first = log.start("t-1", "invoices", LATEST, "run-7")
    log.fail(first, api_calls=3, error_log={"error": "day_limit", "message": "The day is spent.", "advice": "Wait."})
    page.clock.advance(minutes=1)
    log.start("gone", "bank_summary", LATEST, None)
    newest, oldest = page.api("/sync-logs").json()
    assert oldest == {
        "id": first,
        "tenantId": "t-1",
        "tenantName": "Alpha",
        "syncType": "invoices",
        "weekEnding": "2026-11-21",
        "status": "failed",
        "recordCount": 0,
        "apiCalls": 3,
        "errorLog": {"error": "day_limit", "message": "The day is spent.", "advice": "Wait."},
        "dagsterRunId": "run-7",
        "runUrl": "http://localhost:3000/runs/run-7",
        "startedAt": "2026-11-24T01:00:00Z",
        "completedAt": "2026-11-24T01:00:00Z",
        "accepted": None,
    }
    assert (newest["tenantName"], newest["runUrl"], newest["completedAt"]) == (None, None, None)
    assert [log["id"] for log in page.api("/sync-logs", params={"limit": 1}).json()] == [newest["id"]]
    assert [log["id"] for log in page.api("/sync-logs", params={"tenantId": "t-1"}).json()] == [first]


@pytest.mark.parametrize("limit", ["0", "-1", "501", "1.5", "ten", "9" * 5000, "\0", ""])
def test_a_limit_out_of_range_is_refused(page: Page, limit: str) -> None:
    for path in ("/sync-logs", "/restatements"):
        assert read_error(page.api(path, params={"limit": limit})) == (422, "invalid_request")


@pytest.mark.parametrize("tenant", ["nobody", "\0", "t-1\0", "'; DROP TABLE xero_tokens; --", "é" * 200])
def test_an_unknown_organisation_is_refused(page: Page, tenant: str) -> None:
    for path in ("/sync-logs", "/restatements", "/summary", "/weeks/2026-11-21"):
        assert read_error(page.api(path, params={"tenantId": tenant})) == (404, "unknown_organisation")
    assert read_error(page.post(f"{API}/disconnect", json={"tenantId": tenant})) == (404, "unknown_organisation")


# ---- figures ----------------------------------------------------------------------------------------------


def test_without_figures_the_answers_are_empty(page: Page) -> None:
    assert page.api("/summary").json() == {"currency": None, "currencies": [], "weeks": []}
    assert page.api("/weeks/2026-11-21").json() == {"weekEnding": "2026-11-21", "organisations": []}
    assert page.api("/restatements").json() == []


def test_the_summary_sums_exactly_over_the_organisations_of_one_currency(page: Page) -> None:
    page.connect(ALPHA, BETA)
    land_week(page, "0.10")
    land_week(page, "9007199254740993.20", tenant="t-2")
    land_week(page, "5.00", tenant="t-3", currency="NZD")
    assert page.api("/summary").json() == {
        "currency": "AUD",
        "currencies": ["AUD", "NZD"],
        "weeks": [
            {
                "weekEnding": "2026-11-21",
                "totalTradingIncome": "9007199254740993.30",
                "grossProfit": "0.00",
                "netProfit": "0.00",
                "netRevenue": "9007199254740993.30",
                "closingCash": "9007199254740993.30",
                "revenueByType": {"residential": "9007199254740993.30"},
                "organisations": 2,
            }
        ],
    }
    other = page.api("/summary", params={"currency": "nzd"}).json()
    assert (other["currency"], other["weeks"][0]["totalTradingIncome"]) == ("NZD", "5.00")
    alone = page.api("/summary", params={"tenantId": "t-3"}).json()
    assert (alone["currency"], alone["weeks"][0]["closingCash"]) == ("NZD", "5.00")
    assert page.api("/summary", params={"currency": "USD"}).json()["weeks"] == []


def test_unknown_figures_are_null_and_a_missing_week_is_listed(page: Page) -> None:
    land_figures(page, profit("1.00", line("a-1", "1.00")), "profit_and_loss", week=LATEST.shift(-2))
    land_figures(page, revenue(), "invoices")
    weeks = page.api("/summary").json()["weeks"]
    assert [week["weekEnding"] for week in weeks] == ["2026-11-07", "2026-11-14", "2026-11-21"]
    assert (weeks[0]["totalTradingIncome"], weeks[0]["closingCash"], weeks[0]["revenueByType"]) == ("1.00", None, None)
    assert weeks[1]["organisations"] == 0
    assert weeks[1]["totalTradingIncome"] is None


def test_the_summary_is_limited_to_the_requested_number_of_weeks(page: Page) -> None:
    for back in range(4):
        land_week(page, "1.00", week=LATEST.shift(-back))
    weeks = page.api("/summary", params={"weeks": 2}).json()["weeks"]
    assert [week["weekEnding"] for week in weeks] == ["2026-11-14", "2026-11-21"]
    for out_of_range in ("0", "521", "x"):
        assert read_error(page.api("/summary", params={"weeks": out_of_range})) == (422, "invalid_request")


def test_a_week_is_answered_with_all_its_figures(page: Page) -> None:
    page.connect(ALPHA)
    land_week(page, "12.50")
    land_week(page, "1.00", tenant="t-2")
    body = page.api("/weeks/2026-11-21").json()
    assert body["weekEnding"] == "2026-11-21"
    assert [organisation["tenantId"] for organisation in body["organisations"]] == ["t-1", "t-2"]
    alpha = body["organisations"][0]
    assert alpha == {
        "tenantId": "t-1",
        "tenantName": "Alpha",
        "currency": "AUD",
        "dataSource": "xero_api",
        "updatedAt": "2026-11-24T01:00:00Z",
        "profitAndLoss": {
            "basis": "accrual",
            "totalTradingIncome": "12.50",
            "costOfSales": "0.00",
            "grossProfit": "0.00",
            "otherIncome": "0.00",
            "operatingExpenses": "0.00",
            "netProfit": "0.00",
        },
        "lines": [
            {
                "accountId": "a-1",
                "accountCode": "200",
                "accountName": "Sales",
                "accountType": "REVENUE",
                "category": "trading_income",
                "amount": "12.50",
            }
        ],
        "revenue": [
            {
                "revenueType": "residential",
                "region": "north",
                "invoiced": "12.50",
                "credited": "0.00",
                "netRevenue": "12.50",
                "tax": "0.10",
                "invoiceCount": 1,
                "creditNoteCount": 0,
            }
        ],
        "cash": [
            {
                "bankAccountId": "b-1",
                "bankAccountName": "Cheque",
                "openingBalance": "0.00",
                "cashReceived": "12.50",
                "cashSpent": "0.00",
                "currencyGain": "0.00",
                "closingBalance": "12.50",
            }
        ],
        "restatements": [],
    }
    organisations = page.api("/weeks/2026-11-21", params={"tenantId": "t-2"}).json()["organisations"]
    assert [organisation["tenantId"] for organisation in organisations] == ["t-2"]


def test_a_restated_figure_is_listed_in_its_week_and_among_the_restatements(page: Page) -> None:
    page.connect(ALPHA)
    for week in (LATEST, LATEST.previous):
        land_figures(page, cash(account("b-1", "1.00")), "bank_summary", week=week)
        page.clock.advance(hours=1)
        land_figures(page, cash(account("b-1", "2.00")), "bank_summary", week=week)
    listed = page.api("/restatements").json()
    closing = [row for row in listed if row["column"] == "closing_balance" and row["weekEnding"] == "2026-11-21"]
    assert closing == [
        {
            "tenantId": "t-1",
            "tenantName": "Alpha",
            "weekEnding": "2026-11-21",
            "table": "cash_position_weekly",
            "key": "b-1",
            "name": "Cheque",
            "column": "closing_balance",
            "old": "1.00",
            "new": "2.00",
            "restatedAt": "2026-11-24T02:00:00Z",
            "dagsterRunId": "a-run",
            "runUrl": "http://localhost:3000/runs/a-run",
        }
    ]
    assert len(page.api("/restatements", params={"limit": 1}).json()) == 1
    (organisation,) = page.api("/weeks/2026-11-21").json()["organisations"]
    assert {row["weekEnding"] for row in organisation["restatements"]} == {"2026-11-21"}
    assert closing[0] in organisation["restatements"]


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ("2026-11-20", (404, "no_such_week")),
        ("2026-11-28", (404, "no_such_week")),
        ("9999-12-31", (404, "no_such_week")),
        ("0001-01-01", (404, "no_such_week")),
        ("0", (422, "invalid_request")),
        ("x", (422, "invalid_request")),
    ],
)
def test_the_figures_of_a_date_that_is_no_week_are_refused(page: Page, ending: str, error: tuple[int, str]) -> None:
    assert read_error(page.api(f"/weeks/{ending}")) == error


def test_before_the_first_week_has_ended_there_are_no_figures_and_no_sync(tmp_path: Path, migrated: Path) -> None:
    with serve_page(tmp_path, template=migrated, PIPELINE_START_DATE="2026-11-22") as page:
        assert page.api("/summary").json()["weeks"] == []
        assert page.get("/").status_code == 200
        page.connect(ALPHA)
        assert read_error(page.post(f"{API}/sync")) == (422, "no_such_week")


def test_a_week_gives_the_documents_behind_its_revenue_and_explains_each_figure(page: Page) -> None:
    page.connect(ALPHA)
    land_week(page, "100.00")
    path = "/weeks/2026-11-21/documents"
    before = page.api(path).json()
    assert (before["count"], before["complete"]) == (0, False)
    documents = [document("d-1", "60.00", "20.00"), document("d-2", "10.00"), document("d-3", "5.50", credit=True)]
    land_figures(page, documented_revenue(*documents, document("d-4", "7.00", cell=("other", "south"))), "invoices")

    answer = page.api(path, params={"tenantId": "t-1", "type": "Residential", "region": "north", "limit": 2}).json()
    assert {name: value for name, value in answer.items() if name != "documents"} == {
        "weekEnding": "2026-11-21",
        "currency": "AUD",
        "currencies": ["AUD"],
        "count": 3,
        "invoiceCount": 2,
        "creditNoteCount": 1,
        "invoiced": "90.00",
        "credited": "5.50",
        "netRevenue": "84.50",
        "tax": "8.45",
        "complete": True,
    }
    assert [(row["documentId"], row["net"], row["contactName"]) for row in answer["documents"]] == [
        ("d-1", "80.00", "Ann"),
        ("d-2", "10.00", "Ann"),
    ]
    assert len(page.api(path).json()["documents"]) == 4
    (explained,) = page.api("/weeks/2026-11-21/explain", params={"type": "residential", "region": "north"}).json()
    assert (explained["amount"], explained["tenantName"]) == ("84.50", "Alpha")
    assert [row["adds"] for row in explained["documents"]] == ["80.00", "10.00", "-5.50"]
    assert len(page.api("/weeks/2026-11-21/explain").json()) == 7
    (net,) = page.api("/weeks/2026-11-21/explain", params={"total": "net_revenue"}).json()
    assert net["amount"] == "91.50"
    assert page.api("/weeks/2026-11-21/explain", params={"account": "none"}).json() == []
    assert read_error(page.api("/weeks/2026-11-21/explain", params={"total": "none"})) == (422, "invalid_request")
    two = page.api("/weeks/2026-11-21/explain", params={"account": "a", "bank": "b"})
    assert read_error(two) == (422, "invalid_request")
    assert read_error(page.api("/weeks/2026-11-22/documents")) == (404, "no_such_week")


def test_the_documents_of_organisations_are_summed_in_one_currency(page: Page) -> None:
    page.connect(ALPHA, BETA, ("t-3", "Gamma"))
    for tenant, currency, net in (("t-1", "AUD", "5.00"), ("t-2", "GBP", "40.00"), ("t-3", "AUD", "2.00")):
        figures = documented_revenue(document(f"of-{tenant}", net))
        land_figures(page, figures, "invoices", tenant=tenant, currency=currency)
    path = "/weeks/2026-11-21/documents"

    def read(**params: str) -> tuple[str | None, str, list[str]]:
        answer = page.api(path, params=params).json()
        assert answer["complete"] is True
        return answer["currency"], answer["netRevenue"], [row["documentId"] for row in answer["documents"]]

    assert read() == ("AUD", "7.00", ["of-t-1", "of-t-3"])
    assert read(currency="gbp") == ("GBP", "40.00", ["of-t-2"])
    assert read(tenantId="t-2") == ("GBP", "40.00", ["of-t-2"])
    assert read(currency="USD") == (None, "0.00", [])
    assert page.api(path).json()["currencies"] == ["AUD", "GBP"]
    assert read_error(page.api(path, params={"currency": "pounds"})) == (422, "invalid_request")


def test_the_documents_of_a_week_are_complete_once_every_organisation_has_landed_it(page: Page) -> None:
    path = "/weeks/2026-11-21/documents"
    assert page.api(path).json()["complete"] is False, "no organisation is there"
    page.connect(ALPHA, BETA)
    land_figures(page, documented_revenue(document("a", "5.00")), "invoices")
    # A disconnected organisation keeps its older weeks, and will never land this one.
    land_figures(page, documented_revenue(document("b", "1.00")), "invoices", tenant="t-9", week=LATEST.previous)
    assert page.api(path).json()["complete"] is False, "Beta has not landed anything yet"
    assert page.api(path, params={"tenantId": "t-1"}).json()["complete"] is True
    assert page.api(path, params={"tenantId": "t-9"}).json()["complete"] is False
    land_figures(page, documented_revenue(), "invoices", tenant="t-2")
    assert page.api(path).json()["complete"] is True


# ---- disconnect -------------------------------------------------------------------------------------------


@contextmanager
def serve_with_xero(tmp_path: Path, template: Path, **routes: Any) -> Iterator[tuple[Page, ScriptedServer]]:
    plain = PlainXero(**routes)
    with ScriptedServer(plain) as xero, serve_page(tmp_path, template=template, **point_settings_at(xero.url)) as page:
        page.connect(ALPHA, BETA)
        yield page, xero


def test_one_organisation_is_disconnected_by_the_id_of_its_connection(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, **{"connection-t-1": Answer(204)}) as (page, xero):
        page.dagster.running = True
        answer = page.post(f"{API}/disconnect", json={"tenantId": "t-1"})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
        assert [(request.method, request.path) for request in xero.requests] == [
            ("DELETE", "/connections/connection-t-1")
        ]
        assert [left.tenant_id for left in page.deployment.warehouse.tokens.list_organisations()] == ["t-2"]
        assert page.dagster.running is True, "another one is still there"


def test_all_are_disconnected_by_revoking_and_the_scheduler_stops(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, revocation=Answer(200)) as (page, xero):
        page.dagster.running = True
        land_figures(page, cash(account("b-1", "1.00")), "bank_summary")
        assert page.post(f"{API}/disconnect").json() == {"success": True}
        (revoked,) = xero.requests
        assert (revoked.path, revoked.form) == ("/connect/revocation", {"token": "refresh-"})
        assert page.deployment.warehouse.tokens.list_organisations() == []
        assert page.dagster.running is False
        assert len(page.api("/sync-logs").json()) == 1, "the log stays"
        assert page.api("/summary").json()["weeks"][0]["closingCash"] == "1.00", "the figures stay"


@pytest.mark.parametrize("gone", [Answer(404, body="The resource cannot be found"), Answer(204)])
def test_a_connection_that_is_already_gone_at_xero_counts_as_disconnected(
    tmp_path: Path, migrated: Path, gone: Answer
) -> None:
    with serve_with_xero(tmp_path, migrated, **{"connection-t-1": gone}) as (page, _):
        assert page.post(f"{API}/disconnect", json={"tenantId": "t-1"}).json() == {"success": True}
        assert len(page.deployment.warehouse.tokens.list_organisations()) == 1


def test_an_invalid_grant_is_disconnected_even_so(tmp_path: Path, migrated: Path) -> None:
    refusal = Answer(400, json={"error": "invalid_grant"})
    with serve_with_xero(tmp_path, migrated, revocation=refusal) as (page, _):
        assert page.post(f"{API}/disconnect").json() == {"success": True}
        assert page.deployment.warehouse.tokens.list_organisations() == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(Answer(503), "503"), (Answer(401, json={"error": "invalid_client"}), "Xero refuses the client id or secret")],
)
def test_a_disconnect_ends_without_tokens_and_says_what_xero_did_not_confirm(
    tmp_path: Path, migrated: Path, answer: Answer, reason: str
) -> None:
    broken = {"revocation": answer, "connection-t-1": answer, "connection-t-2": answer}
    with serve_with_xero(tmp_path, migrated, **broken) as (page, _):
        body = page.post(f"{API}/disconnect", json={"tenantId": "t-1"}).json()
        assert body["success"] is True
        assert body["warning"].startswith("disconnected Alpha (t-1) here: its tokens are deleted. Xero did not confirm")
        assert [one.tenant_id for one in page.deployment.warehouse.tokens.list_organisations()] == ["t-2"]
        body = page.post(f"{API}/disconnect").json()
        assert "disconnected Beta (t-2) here" in body["warning"]
        assert reason in body["warning"]
        assert page.deployment.warehouse.tokens.list_organisations() == []


def test_a_difference_can_be_accepted_with_a_note(page: Page) -> None:
    page.connect(ALPHA)
    log = page.deployment.warehouse.log
    log_id = log.start("t-1", "invoices", LATEST, "a-run")
    error_log = {"differences": [{"where": "tax", "stated": "1.05", "found": "1.00", "difference": "0.05"}]}
    with page.deployment.warehouse.engine.begin() as connection:
        log.finish(connection, log_id, status="partial", record_count=1, api_calls=1, error_log=error_log)
    alerter = open_alerter(page.deployment)
    details = {"tenant_id": "t-1", "weeks": {"invoices": [str(LATEST)]}}
    alerter.report_problem("partial:t-1", "Alpha: figures do not add up", "…", details, kind="partial")
    body = page.post(f"{API}/sync-logs/{log_id}/accept", json={"note": "rounding"}).json()
    assert (body["id"], body["status"], body["errorLog"]) == (log_id, "partial", error_log)
    assert (body["accepted"]["by"], body["accepted"]["note"]) == ("local", "rounding")
    assert page.api("/sync-logs").json() == [body]
    assert alerter.log.list_open() == []
    assert read_error(page.post(f"{API}/sync-logs/99/accept")) == (404, "no_such_log_row")
    land_week(page, "10.00")
    assert read_error(page.post(f"{API}/sync-logs/{log_id}/accept")) == (409, "nothing_to_accept")
    assert read_error(page.post(f"{API}/sync-logs/{log_id}/accept", json={"note": "x" * 501}))[0] == 422
    assert read_error(page.post(f"{API}/sync-logs/0/accept"))[0] == 422


def test_two_organisations_of_one_name_are_told_apart_by_their_ids(page: Page) -> None:
    page.connect(("t-1", "Demo"), ("t-2", "Demo"))
    land_week(page, "100.00", tenant="t-1")
    standing = page.api("/standing").json()
    assert standing["tenantName"] == "Demo (t-1), Demo (t-2)"
    assert [one["tenantName"] for one in standing["organisations"]] == ["Demo", "Demo"]
    assert [one["displayName"] for one in standing["organisations"]] == ["Demo (t-1)", "Demo (t-2)"]
    assert {row["tenantName"] for row in page.api("/sync-logs").json()} == {"Demo (t-1)"}


def test_the_last_disconnect_succeeds_without_dagster_and_warns(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, revocation=Answer(200)) as (page, _):
        page.dagster.down = True
        body = page.post(f"{API}/disconnect").json()
        assert body["success"] is True
        assert "scheduler could not be stopped" in body["warning"]


@pytest.mark.parametrize(
    "body",
    [b'{"tenantId": null}', b'{"tenant_id": "t-1"}', b'{"tenantId": ""}', b'{"tenantId": ["t-1"]}', b'"t-1"', b"null"],
)
def test_a_malformed_body_disconnects_nothing(page: Page, body: bytes) -> None:
    page.connect(ALPHA, BETA)
    assert read_error(page.post(f"{API}/disconnect", content=body)) == (422, "invalid_request")
    assert read_error(page.post(f"{API}/disconnect", content=b"tenantId=t-1")) == (400, "malformed_json")
    assert len(page.deployment.warehouse.tokens.list_organisations()) == 2


def test_disconnecting_without_a_connection_succeeds(page: Page) -> None:
    assert page.post(f"{API}/disconnect").json() == {"success": True}


# ---- health and the rest ----------------------------------------------------------------------------------


def test_health_names_the_part_that_does_not_answer(page: Page) -> None:
    assert page.get("/healthz").json() == {"database": "ok", "dagster": "ok"}
    page.dagster.down = True
    answer = page.get("/healthz")
    assert answer.status_code == 503
    assert (answer.json()["database"], answer.json()["dagster"]) == ("ok", "dagster_down")
    assert answer.json()["error"]["code"] == "dagster_down"


def test_health_says_when_dagster_has_not_loaded_the_code(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_no_code() -> None:
        raise NoCodeLocation("Dagster answers, but has no code location with the job weekly_sync (ours).")

    monkeypatch.setattr(page.dagster, "check", find_no_code)
    answer = page.get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {
        "database": "ok",
        "dagster": "no_code_location",
        "error": {"code": "dagster_down", "message": "Dagster answers, but has not loaded the pipeline's code."},
    }


def test_a_missing_database_is_reported_everywhere(tmp_path: Path, migrated: Path) -> None:
    with serve_page(tmp_path, template=migrated) as page:
        file = Path(str(page.settings.database_url.database))
        for leftover in file.parent.glob("xero.db*"):
            if leftover.is_file():
                leftover.unlink()
        answer = page.get("/healthz")
        assert (answer.status_code, answer.json()["database"]) == (503, "not_migrated")
        assert read_error(page.api("/status")) == (503, "database_unavailable")
        assert page.get("/").status_code == 200


def test_a_postgres_that_does_not_answer_is_a_503_with_a_message(tmp_path: Path, migrated: Path) -> None:
    address = "postgresql+psycopg://nobody:a-password@127.0.0.1:1/none"
    with serve_page(tmp_path, template=None, migrate=False, DATABASE_URL=address) as page:
        answer = page.get("/healthz")
        assert (answer.status_code, answer.json()["database"]) == (503, "database_unavailable")
        for path in ("/status", "/sync-logs", "/summary", "/weeks/2026-11-21", "/restatements"):
            assert read_error(page.api(path)) == (503, "database_unavailable")
            assert "a-password" not in page.api(path).text
        assert read_error(page.post(f"{API}/sync")) == (503, "database_unavailable")
        assert page.get("/").status_code == 200
        back = page.api("/callback", params={"state": "x", "code": "y"}).headers["location"]
        assert back == "/?xero=error&reason=database_unavailable"


def test_a_reached_day_limit_says_when_to_try_again(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    page.connect(ALPHA)

    def refuse(_week: Week, _organisations: Sequence[str]) -> str:
        raise DayLimitReached("Today's calls are spent.", retry_at=page.clock.now().replace(hour=3))

    page.dagster.launch_run = refuse
    with caplog.at_level(logging.INFO):
        answer = page.post(f"{API}/sync")
    assert read_error(answer) == (429, "day_limit")
    assert answer.headers["retry-after"] == "7200"
    assert "day" in caplog.text


def test_unknown_addresses_and_methods_are_refused(page: Page) -> None:
    for path in ("/nothing", f"{API}/nothing", f"{API}/status/", "/static/nothing.js", "/static/../app.py", "/docs"):
        assert read_error(page.get(path)) == (404, "not_found")
    assert read_error(page.post(f"{API}/status")) == (405, "method_not_allowed")
    assert read_error(page.client.request("DELETE", f"{API}/sync")) == (405, "method_not_allowed")


def test_another_name_of_this_machine_redirects_to_server_url(page: Page) -> None:
    """A consent that begins at 127.0.0.1 could not finish at localhost, which does not receive the cookie."""
    other = page.url.replace("localhost", "127.0.0.1")
    with open_client(other) as client:
        answer = client.get("/?xero=connected")
        assert (answer.status_code, answer.headers["location"]) == (307, f"{page.url}/?xero=connected")
        assert client.get(f"{API}/status").status_code == 200
    assert page.get("/").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "127.0.0.1:x", "[::1"])
def test_a_host_header_with_an_invalid_port_is_no_defect(page: Page, host: str) -> None:
    assert page.get("/", headers={"Host": host}).status_code in (200, 403)


def test_amounts_are_decimals_to_the_cent(page: Page) -> None:
    land_week(page, "0.00")
    assert page.api("/summary").json()["weeks"][0]["totalTradingIncome"] == "0.00"
    assert Decimal(page.api("/weeks/2026-11-21").json()["organisations"][0]["revenue"][0]["tax"]) == Decimal("0.10")
