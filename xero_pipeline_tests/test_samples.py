"""Real payloads from a plain HTTP server reach the tables through the real client and Dagster."""

from __future__ import annotations

import copy
import json
from datetime import date
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from xero_pipeline.weeks import Week
from xero_pipeline_tests.plain_xero import (
    TENANT,
    PlainXero,
    open_connected_deployment,
    read_sync_results,
    report_route,
    set_report_week,
    sync,
)
from xero_pipeline_tests.servers import SeenRequest

SAMPLES = Path(__file__).parent / "samples"
WEEK = Week(date(2026, 11, 21))


def load_sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text())


def documents_route(container: str, payload: dict[str, Any]) -> Any:
    """Return a route that answers with the documents whose date is in the requested period, as Xero does."""

    def route(request: SeenRequest) -> dict[str, Any]:
        first, last = (
            "-".join(part.strip().zfill(2) for part in text.split(")")[0].split(","))
            for text in request.query["where"].split("DateTime(")[1:]
        )
        rows = [row for row in payload[container] if first <= row["DateString"][:10] < last]
        return payload | {container: rows}

    return route


def test_the_australian_profit_and_loss_lands_with_its_stated_figures(tmp_path: Path) -> None:
    xero = PlainXero(
        ProfitAndLoss=report_route(load_sample("profit_and_loss_au")),
        Accounts=load_sample("accounts"),
        Organisation=load_sample("organisation"),
        connections=[{**load_sample("connections")[0]}],
    )
    with open_connected_deployment(tmp_path, xero) as (deployment, _):
        assert sync(deployment, WEEK).success
        figures = deployment.warehouse.read_week_figures(TENANT, WEEK)
    assert figures.profit_and_loss is not None
    assert {name: figures.profit_and_loss[name] for name in TOTALS} == dict(
        zip(TOTALS, map(D, ("230450.05", "69348.22", "161101.83", "312.07", "92591.60", "68822.30")), strict=True)
    )
    amounts = {line["account_name"]: line["amount"] for line in figures.lines}
    assert amounts["Discounts allowed"] == D("-1210.35")
    assert amounts["Foreign currency gains and losses"] == D("-18.40")
    assert figures.profit_and_loss["currency"] == "NZD"
    assert figures.profit_and_loss["data_source"] == "xero_api"


TOTALS = (
    "total_trading_income",
    "cost_of_sales",
    "gross_profit",
    "other_income",
    "operating_expenses",
    "net_profit",
)


def test_the_bank_summary_lands_with_every_column(tmp_path: Path) -> None:
    with open_connected_deployment(tmp_path, PlainXero(BankSummary=report_route(load_sample("bank_summary")))) as (
        deployment,
        _,
    ):
        assert sync(deployment, WEEK).success
        (account,) = deployment.warehouse.read_week_figures(TENANT, WEEK).cash
    assert account["bank_account_id"] == "03f9cf1e-2deb-4bf1-b0a8-b57f08672eb8"
    assert [account[name] for name in ("opening_balance", "cash_received", "cash_spent", "currency_gain")] == [
        D("0.00"),
        D("110.00"),
        D("100.00"),
        D("0.00"),
    ]
    assert account["closing_balance"] == D("10.00")


@pytest.mark.parametrize(
    ("ending", "invoiced", "tax"), [(date(2018, 10, 20), "40.00", "6.00"), (date(2018, 11, 3), "100.00", "15.00")]
)
def test_invoices_without_lines_count_with_their_totals_and_are_partial(
    tmp_path: Path, ending: date, invoiced: str, tax: str
) -> None:
    xero = PlainXero(Invoices=documents_route("Invoices", load_sample("invoices")))
    with open_connected_deployment(tmp_path, xero) as (deployment, _):
        assert sync(deployment, Week(ending)).success
        (cell,) = deployment.warehouse.read_week_figures(TENANT, Week(ending)).revenue
        status, log = read_sync_results(deployment)["invoices"]
    assert (cell["revenue_type"], cell["region"]) == ("unallocated", "unallocated")
    assert (cell["invoiced"], cell["net_revenue"], cell["tax"]) == (D(invoiced), D(invoiced), D(tax))
    assert cell["invoice_count"] == 1
    assert status == "partial"
    assert "without its lines" in log


def test_an_invoice_with_lines_and_a_credit_note_land_in_their_week(tmp_path: Path) -> None:
    xero = PlainXero(
        Invoices=documents_route("Invoices", load_sample("invoice")),
        CreditNotes=documents_route("CreditNotes", load_sample("credit_notes")),
    )
    with open_connected_deployment(tmp_path, xero) as (deployment, _):
        assert sync(deployment, Week(date(2019, 3, 9))).success
        (cell,) = deployment.warehouse.read_week_figures(TENANT, Week(date(2019, 3, 9))).revenue
    assert (cell["invoiced"], cell["credited"], cell["net_revenue"]) == (D("148062.76"), D("30.00"), D("148032.76"))
    assert (cell["tax"], cell["invoice_count"], cell["credit_note_count"]) == (D("-4.50"), 1, 1)


@pytest.mark.parametrize("route", ["ProfitAndLoss", "BankSummary", "Invoices", "CreditNotes"])
def test_a_server_that_ignores_the_dates_is_an_error_and_nothing_is_written(tmp_path: Path, route: str) -> None:
    other_week: dict[str, Any] = {
        "ProfitAndLoss": set_report_week(load_sample("profit_and_loss_au"), Week(date(2026, 11, 14))),
        "BankSummary": load_sample("bank_summary"),
        "Invoices": load_sample("invoice"),
        "CreditNotes": load_sample("credit_notes"),
    }
    kind = {"ProfitAndLoss": "profit_and_loss", "BankSummary": "bank_summary"}.get(route, "invoices")
    with open_connected_deployment(tmp_path, PlainXero(**{route: other_week[route]})) as (deployment, _):
        assert not sync(deployment, WEEK).success
        status, log = read_sync_results(deployment)[kind]
        figures = deployment.warehouse.read_week_figures(TENANT, WEEK)
    assert status == "failed"
    assert "wrong_period" in log
    assert {"profit_and_loss": figures.profit_and_loss, "bank_summary": figures.cash, "invoices": figures.revenue}[
        kind
    ] in (
        None,
        [],
    )


def test_a_report_that_does_not_add_up_lands_as_partial_with_the_difference(tmp_path: Path) -> None:
    report = copy.deepcopy(load_sample("profit_and_loss_au"))
    report["Reports"][0]["Rows"][-1]["Rows"][0]["Cells"][1]["Value"] = "68822.31"
    with open_connected_deployment(tmp_path, PlainXero(ProfitAndLoss=report_route(report))) as (deployment, _):
        assert sync(deployment, WEEK).success
        status, log = read_sync_results(deployment)["profit_and_loss"]
    assert status == "partial"
    assert json.loads(log)["differences"] == [
        {"where": "Net Profit", "stated": "68822.31", "found": "68822.30", "difference": "0.01"}
    ]


def test_a_payload_that_is_not_understood_keeps_the_earlier_figures(tmp_path: Path) -> None:
    good, bad = load_sample("profit_and_loss_au"), copy.deepcopy(load_sample("profit_and_loss_au"))
    bad["Reports"][0]["Rows"][1]["Rows"][0]["Cells"][1]["Value"] = "(148,250.40)"
    xero = PlainXero(ProfitAndLoss=report_route(good))
    with open_connected_deployment(tmp_path, xero) as (deployment, _):
        assert sync(deployment, WEEK).success
        before = deployment.warehouse.read_week_figures(TENANT, WEEK)
        xero.routes["ProfitAndLoss"] = report_route(bad)
        assert not sync(deployment, WEEK).success
        assert read_sync_results(deployment)["profit_and_loss"][0] == "failed"
        assert deployment.warehouse.read_week_figures(TENANT, WEEK) == before
