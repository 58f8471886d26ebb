"""Answers of Xero that lack pieces: figures held before stay, and no week is `success` against them or its revenue."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from xero_pipeline.mock_xero import MockLine
from xero_pipeline.warehouse.figures.weekly import replace_cash
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.bank_summary import read_bank_summary
from xero_pipeline_tests.deployment import (
    TENANT,
    RunningDeployment,
    describe_failing_checks,
    run_deployment,
)

Json = dict[str, Any]
Change = Callable[[Json], None]


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[RunningDeployment]:
    """Two weeks that landed."""
    with run_deployment(tmp_path) as deployed:
        assert deployed.sync(deployed.latest.shift(-1), deployed.latest).success
        deployed.clock.advance(hours=1)
        yield deployed


def change_answer(monkeypatch: pytest.MonkeyPatch, fetch: str, change: Change) -> None:
    """Change a report on its way from Xero."""
    original = getattr(OrganisationClient, fetch)

    def changed(self: OrganisationClient, *args: Any, **options: Any) -> Json:
        payload: Json = original(self, *args, **options)
        change(payload["Reports"][0])
        return payload

    monkeypatch.setattr(OrganisationClient, fetch, changed)


def keep_header(report: Json) -> None:
    report["Rows"] = [row for row in report["Rows"] if row["RowType"] == "Header"]


def drop_rows(report: Json) -> None:
    del report["Rows"]


def drop_header(report: Json) -> None:
    report["Rows"] = [row for row in report["Rows"] if row["RowType"] != "Header"]


def read_statuses(deployed: RunningDeployment, week: Week) -> dict[str, tuple[str, Any]]:
    """The status and the error log of the week's newest sync, by kind."""
    entries = deployed.warehouse.log.list_newest(100, week=week)
    return {entry.sync_type: (entry.status, entry.error_log) for entry in reversed(entries)}


def read_figures(deployed: RunningDeployment, week: Week) -> list[Any]:
    figures = deployed.warehouse.read_week_figures(TENANT, week)
    return [figures.profit_and_loss, figures.lines, figures.revenue, figures.cash]


@pytest.mark.parametrize("fetch", ["fetch_profit_and_loss", "fetch_bank_summary"])
@pytest.mark.parametrize("change", [keep_header, drop_rows, drop_header])
def test_a_report_without_its_rows_changes_no_figure(
    deployed: RunningDeployment, monkeypatch: pytest.MonkeyPatch, fetch: str, change: Change
) -> None:
    held = read_figures(deployed, deployed.latest)
    change_answer(monkeypatch, fetch, change)
    result = deployed.sync()
    kind = "profit_and_loss" if fetch == "fetch_profit_and_loss" else "bank_summary"
    status, error_log = read_statuses(deployed, deployed.latest)[kind]
    assert status == ("partial" if change is keep_header else "failed"), error_log
    assert result.success is (status == "partial")
    assert read_figures(deployed, deployed.latest) == held
    assert deployed.warehouse.list_restatements() == []
    monkeypatch.undo()
    assert deployed.sync().success
    assert read_statuses(deployed, deployed.latest)[kind][0] == "success"


def test_a_profit_and_loss_without_lines_says_which_income_it_lacks(
    deployed: RunningDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_answer(monkeypatch, "fetch_profit_and_loss", keep_header)
    deployed.sync()
    _, error_log = read_statuses(deployed, deployed.latest)["profit_and_loss"]
    [difference] = error_log["differences"]
    revenue = sum(cell.net_revenue for cell in deployed.mock.books(TENANT).revenue(deployed.latest).values())
    assert Decimal(difference["found"]) == revenue
    assert "no line at all" in difference["doubt"]


def test_a_week_that_was_never_held_lands_with_zeros_and_is_partial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_deployment(tmp_path) as deployed:
        change_answer(monkeypatch, "fetch_profit_and_loss", keep_header)
        assert deployed.sync().success
        assert read_statuses(deployed, deployed.latest)["profit_and_loss"][0] == "partial"
        assert deployed.warehouse.read_week_figures(TENANT, deployed.latest).profit_and_loss is not None


def test_a_quiet_week_is_a_success_with_zeros(tmp_path: Path) -> None:
    quiet = Week(date(2014, 12, 6))
    with run_deployment(tmp_path, PIPELINE_START_DATE="2014-11-30") as deployed:
        assert deployed.sync(quiet, quiet).success
        assert {status for status, _ in read_statuses(deployed, quiet).values()} == {"success"}
        figures = deployed.warehouse.read_week_figures(TENANT, quiet)
        assert figures.profit_and_loss is not None
        assert figures.profit_and_loss["net_profit"] == 0


@pytest.mark.parametrize("with_total", [True, False])
def test_a_bank_account_that_vanishes_with_money_in_it_keeps_its_row(
    deployed: RunningDeployment, monkeypatch: pytest.MonkeyPatch, with_total: bool
) -> None:
    held = read_figures(deployed, deployed.latest)
    lost = max(held[3], key=lambda row: abs(row["opening_balance"]))

    def drop_account(report: Json) -> None:
        for section in report["Rows"]:
            section["Rows"] = [
                row
                for row in section.get("Rows", [])
                if row["Cells"][0]["Value"] != lost["bank_account_name"]
                and (with_total or row["RowType"] != "SummaryRow")
            ]

    change_answer(monkeypatch, "fetch_bank_summary", drop_account)
    assert deployed.sync().success
    status, error_log = read_statuses(deployed, deployed.latest)["bank_summary"]
    assert status == "partial"
    name = lost["bank_account_name"]
    assert f"opening balance of {name}" in [difference["where"] for difference in error_log["differences"]]
    assert read_figures(deployed, deployed.latest) == held
    failing = describe_failing_checks(deployed.sync(checks=True))
    assert name in failing["cash_position_weekly.adds_up_in_xero"]
    assert "bank summary does not list this account" in failing["cash_position_weekly.adds_up_in_xero"]


def test_a_revenue_account_without_a_line_in_the_profit_and_loss_is_warned_of(
    deployed: RunningDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal of the opposite amount on another account keeps every total of the report as it was."""
    deployed.mock.add_invoice(
        TENANT,
        date=deployed.latest.start,
        lines=[MockLine(amount=Decimal("70.00"), account_code="260", revenue_type="Residential", region="North")],
    )
    assert deployed.sync().success
    lines = deployed.warehouse.read_week_figures(TENANT, deployed.latest).lines
    lost, kept = [line for line in lines if line["category"] == "trading_income"][:2]

    def merge_rows(report: Json) -> None:
        """Move what one account has to another one."""
        for section in report["Rows"]:
            rows = section.get("Rows", [])
            for row in rows:
                ids = {attribute["Value"] for attribute in row["Cells"][0].get("Attributes", [])}
                if kept["account_id"] in ids:
                    row["Cells"][1]["Value"] = str(kept["amount"] + lost["amount"])
            section["Rows"] = [
                row
                for row in rows
                if lost["account_id"] not in {a["Value"] for a in row["Cells"][0].get("Attributes", [])}
            ]

    change_answer(monkeypatch, "fetch_profit_and_loss", merge_rows)
    result = deployed.sync(checks=True)
    assert read_statuses(deployed, deployed.latest)["profit_and_loss"][0] == "success"
    description = describe_failing_checks(result)["revenue_weekly.revenue_accounts_have_income"]
    assert lost["account_name"] in description
    assert kept["account_name"] not in description


def test_no_damaged_bank_summary_deletes_a_balance_with_success(
    deployed: RunningDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of a bank summary are taken away in every combination that chance finds."""
    client = deployed.deployment.xero.list_organisations()[0]
    week, warehouse = deployed.latest, deployed.warehouse
    payload = client.fetch_bank_summary(week)
    held = read_figures(deployed, week)[3]
    refused = partial = 0
    for number in range(300):
        damaged = copy.deepcopy(payload)
        take_away(random.Random(number), damaged["Reports"][0]["Rows"])
        status = land_bank_summary(warehouse, damaged, week)
        refused += status == "refused"
        partial += status == "partial"
        if {row["bank_account_id"] for row in read_figures(deployed, week)[3]} != {
            row["bank_account_id"] for row in held
        }:
            pytest.fail(f"the damaged report {number} deleted a row")
        if status == "success":
            assert read_figures(deployed, week)[3] == held
    assert refused > 20
    assert partial > 20


def take_away(chance: random.Random, rows: list[Json]) -> None:
    places = [(rows, row) for row in rows] + [(row["Rows"], inner) for row in rows for inner in row.get("Rows", [])]
    for container, piece in chance.sample(places, chance.randint(1, len(places))):
        container[:] = [row for row in container if row is not piece]


def land_bank_summary(warehouse: Warehouse, payload: Json, week: Week) -> str:
    log_id = warehouse.log.start(TENANT, "bank_summary", week, None)
    try:
        summary = read_bank_summary(payload, week=week)
    except PayloadNotUnderstood:
        return "refused"
    warehouse.land(
        lambda connection, provenance: replace_cash(connection, provenance, summary.accounts),
        tenant_id=TENANT,
        week=week,
        currency="AUD",
        data_source="xero_mock",
        run_id=None,
        log_id=log_id,
        status="partial" if summary.differences else "success",
        api_calls=1,
    )
    entry = warehouse.log.get_last(TENANT, "bank_summary", week)
    assert entry is not None
    return entry.status
