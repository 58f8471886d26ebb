"""How many calls a run spends, counted by a server that is not the mock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from xero_pipeline.resources import Deployment
from xero_pipeline.weeks import Week
from xero_pipeline_tests.ledger_xero import COSTS, LedgerXero, Posting
from xero_pipeline_tests.plain_xero import TENANT, open_connected_deployment, sync
from xero_pipeline_tests.servers import SeenRequest

LATEST = Week(date(2026, 11, 21))
WEEKS = [LATEST.shift(-number) for number in reversed(range(26))]
NEW = "00000000-0000-4000-8000-000000000077"


@contextmanager
def open_ledger(folder: Path, **settings: Any) -> Iterator[tuple[LedgerXero, Deployment]]:
    xero = LedgerXero()
    with open_connected_deployment(folder, xero, **settings) as (deployment, _server):
        xero.calls.clear()
        yield xero, deployment


def forget_clients(deployment: Deployment) -> None:
    """A new run is a new process, which makes new clients."""
    deployment.xero._clients.clear()


def test_26_weeks_take_two_reports_each_and_one_list_of_documents(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(WEEKS)
        assert sync(deployment, WEEKS[0], LATEST).success
        assert Counter(xero.calls) == {
            "ProfitAndLoss": 26,
            "BankSummary": 26,
            "Organisation": 1,
            "Accounts": 1,
            "Invoices": 1,
            "CreditNotes": 1,
        }
        entries = deployment.warehouse.log.list_newest(100)
        assert sum(entry.api_calls for entry in entries) == len(xero.calls)
        assert {entry.status for entry in entries} == {"success"}
        for week in WEEKS:
            figures = deployment.warehouse.read_week_figures(TENANT, week)
            (cell,) = figures.revenue
            assert (cell["net_revenue"], cell["invoice_count"]) == (Decimal("20.00"), 2)
            assert figures.profit_and_loss is not None
            expected = sum(xero.sum_profit(week.start, week.ending).values())
            assert figures.profit_and_loss["net_profit"] == expected


def test_the_organisation_and_its_accounts_are_asked_for_once_a_day(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(WEEKS[-2:])
        sync(deployment, LATEST)
        xero.calls.clear()
        forget_clients(deployment)
        assert sync(deployment, LATEST).success
        assert sorted(xero.calls) == ["BankSummary", "CreditNotes", "Invoices", "ProfitAndLoss"]


def test_an_account_that_the_kept_chart_lacks_is_looked_up(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(WEEKS)
        sync(deployment, LATEST)
        forget_clients(deployment)
        xero.types[NEW] = "EXPENSE"
        xero.names[NEW] = "Fuel"
        xero.postings += [Posting(week.start, NEW, Decimal("-12.34")) for week in WEEKS]
        xero.calls.clear()
        assert sync(deployment, WEEKS[0], LATEST).success
        assert xero.calls.count("Accounts") == 1
        figures = deployment.warehouse.read_week_figures(TENANT, LATEST)
        assert {line["account_name"]: line["account_type"] for line in figures.lines}["Fuel"] == "EXPENSE"


def test_an_account_that_no_chart_has_is_looked_up_once_in_a_run(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(WEEKS)
        xero.hidden.add(COSTS)
        assert sync(deployment, WEEKS[0], LATEST).success
        assert xero.calls.count("Accounts") == 1


@pytest.mark.parametrize(("unreadable", "lists"), [("SubTotal", 1), ("DateString", 1 + 26)])
def test_one_unreadable_document_fails_its_own_week_alone(tmp_path: Path, unreadable: str, lists: int) -> None:
    broken = WEEKS[3]

    def break_one(request: SeenRequest) -> dict[str, Any]:
        payload = xero._answer_invoices(request)
        for row in payload["Invoices"]:
            if row["DateString"].startswith(str(broken.start)):
                # Without its date, its week is only known when each week is asked for by itself.
                row[unreadable] = "not readable"
        return payload

    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(WEEKS)
        xero.routes["Invoices"] = break_one
        assert not sync(deployment, WEEKS[0], LATEST).success
        entries = deployment.warehouse.log.list_newest(100, sync_type="invoices")
        assert {entry.week: entry.status for entry in entries if entry.status == "failed"} == {broken: "failed"}
        assert len(entries) == 26
        (failed,) = (entry for entry in entries if entry.status == "failed")
        assert failed.error_log["error"] == "payload_not_understood"
        assert xero.calls.count("Invoices") == lists


def test_a_document_that_moves_between_two_pages_is_counted_once_in_its_new_week(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(WEEKS)
        xero.page_size = 10
        moved = sorted(xero.invoices)[4]
        old_week = Week.containing(xero.invoices[moved])
        xero.before_page[2] = lambda: xero.move(moved, LATEST.start)
        assert sync(deployment, WEEKS[0], LATEST).success
        counts = {
            week: deployment.warehouse.read_week_figures(TENANT, week).revenue[0]["invoice_count"] for week in WEEKS
        }
        assert counts == dict.fromkeys(WEEKS, 2) | {old_week: 1, LATEST: 3}
        assert xero.calls.count("Invoices") > -(-52 // 10) + 1, "the list was read again"


def test_a_list_of_several_pages_costs_one_more_call_if_nothing_changes(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(WEEKS)
        xero.page_size = 10
        assert sync(deployment, WEEKS[0], LATEST).success
        assert xero.calls.count("Invoices") == -(-52 // 10) + 1
        assert {entry.status for entry in deployment.warehouse.log.list_newest(100)} == {"success"}


def test_weeks_that_had_no_business_cost_no_further_call(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(WEEKS[:13])
        assert sync(deployment, WEEKS[0], LATEST).success
        assert len(xero.calls) == 2 * 26 + 4
