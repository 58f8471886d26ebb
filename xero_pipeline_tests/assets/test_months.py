"""Months: materialised, restated, and held beside the books of a server that is not the mock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select, update

from xero_pipeline.assets.progress import NoProgress
from xero_pipeline.automation.missing_months import MonthGapFinder
from xero_pipeline.automation.planning import UnderWay, WeeksUnderWay
from xero_pipeline.cli.materialize import materialize_weeks
from xero_pipeline.periods import Month, iterate_periods
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.figures.queries import read_comparison
from xero_pipeline.warehouse.schema import revenue_document_lines, revenue_monthly, xero_sync_logs
from xero_pipeline.weeks import Week
from xero_pipeline_tests.assets.test_fewest_calls import open_ledger
from xero_pipeline_tests.ledger_xero import RENT, LedgerXero, Posting
from xero_pipeline_tests.plain_xero import TENANT, PlainXero, open_connected_deployment, sync
from xero_pipeline_tests.servers import Answer, SeenRequest

LATEST = Week(date(2026, 11, 21))
OCTOBER = Month(date(2026, 10, 31))
MONTHS = list(iterate_periods(OCTOBER.shift(-15), OCTOBER))


def assert_equal_to_books(xero: LedgerXero, deployment: Deployment) -> None:
    rows = read_comparison(deployment.warehouse.engine, TENANT, MONTHS[0], OCTOBER)
    assert list(rows) == MONTHS
    for month, row in rows.items():
        assert row["net_profit"] == sum(xero.sum_profit(month.start, month.ending).values())
        assert row["closing_cash"] == xero.sum_bank(month.start, month.ending)[-1]


def test_months_are_what_the_books_say_and_later_edits_are_restated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(LATEST.shift(-number) for number in reversed(range(80)))
        xero.year_end = (6, 30)
        assert materialize_weeks(deployment, MONTHS, [], progress=NoProgress()).success
        assert Counter(xero.calls) == {"ProfitAndLoss": 16, "BankSummary": 16, "Organisation": 1, "Accounts": 1}
        assert_equal_to_books(xero, deployment)
        rows = read_comparison(deployment.warehouse.engine, TENANT, MONTHS[0], OCTOBER)
        so_far = iterate_periods(OCTOBER.shift(-3), OCTOBER)
        assert rows[OCTOBER]["financial_year"] == 2027
        assert rows[OCTOBER]["net_profit_to_date"] == sum(rows[month]["net_profit"] for month in so_far)
        assert rows[OCTOBER]["net_profit_last_year"] == rows[OCTOBER.shift(-12)]["net_profit"]
        assert rows[OCTOBER]["net_profit_to_date_last_year"] == rows[OCTOBER.shift(-12)]["net_profit_to_date"]

        # Nobody announces this edit: money spent on the last day of a month.
        xero.postings.append(Posting(OCTOBER.previous.ending, RENT, Decimal("-7.77"), Decimal("-7.77")))
        result = materialize_weeks(deployment, MONTHS[-3:], [TENANT], progress=NoProgress())
        assert result.success
        assert_equal_to_books(xero, deployment)
        restated = deployment.warehouse.list_restatements(week=OCTOBER.previous)
        assert {(one.table_name, one.column_name, str(one.week)) for one in restated} == {
            ("financial_monthly", "operating_expenses", "2026-09-30"),
            ("financial_monthly", "net_profit", "2026-09-30"),
            ("financial_monthly_lines", "amount", "2026-09-30"),
            ("cash_position_monthly", "cash_spent", "2026-09-30"),
            ("cash_position_monthly", "closing_balance", "2026-09-30"),
        }
        assert materialize_weeks(deployment, MONTHS[-3:], [TENANT], progress=NoProgress()).success
        assert len(deployment.warehouse.list_restatements()) == len(restated) + 2  # October's opening and closing


def test_the_log_of_a_month_is_never_taken_for_that_of_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    # A Saturday is the last day of a week and of a month.
    saturday = date(2026, 10, 31)
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books([Week(saturday)])
        assert materialize_weeks(deployment, [Month(saturday)], [], progress=NoProgress()).success
        log = deployment.warehouse.log
        assert not any(log.list_landed_weeks(TENANT, date(2026, 1, 1)).values())
        assert log.get_last(TENANT, "profit_and_loss", Week(saturday)) is None
        assert set(log.list_landed(TENANT, saturday, Month)) == {"profit_and_loss_monthly", "bank_summary_monthly"}
        assert sync(deployment, Week(saturday)).success
        assert {type(entry.week) for entry in log.list_newest(3)} == {Week}
        assert {entry.sync_type for entry in log.list_newest(9, period=Month)} == {
            "profit_and_loss_monthly",
            "bank_summary_monthly",
        }
        assert deployment.warehouse.list_restatements(week=Week(saturday)) == []


def test_a_months_revenue_is_that_of_its_documents_also_after_late_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    weeks = [LATEST.shift(-number) for number in reversed(range(8))]
    with open_ledger(tmp_path) as (xero, deployment):
        xero.keep_books(weeks)
        xero.year_end = (9, 30)

        def read_revenue() -> list[tuple[date, Decimal, int]]:
            with deployment.warehouse.engine.connect() as connection:
                rows = connection.execute(select(revenue_monthly).order_by(revenue_monthly.c.month_ending)).all()
            return [(row.month_ending, row.net_revenue, row.invoice_count) for row in rows]

        def count(month: Month) -> int:
            return sum(day in month for day in xero.invoices.values())

        assert sync(deployment, weeks[0], weeks[-2]).success
        assert materialize_weeks(deployment, [OCTOBER], [], progress=NoProgress()).success
        # The weeks begin on 27 September and end on 14 November: only October is whole.
        assert read_revenue() == [(OCTOBER.ending, Decimal(10 * count(OCTOBER)), count(OCTOBER))]
        row = read_comparison(deployment.warehouse.engine, TENANT, OCTOBER, OCTOBER)[OCTOBER]
        assert row["net_revenue"] == row["net_revenue_to_date"] == Decimal(10 * count(OCTOBER))

        # A document of November turns out to be of October, and one comes late.
        moved = next(key for key, day in xero.invoices.items() if day == date(2026, 11, 14))
        before = count(OCTOBER)
        xero.move(moved, date(2026, 10, 31))
        xero.move("10000000-0000-4000-8000-0000000000ff", date(2026, 10, 5))
        assert count(OCTOBER) == before + 2
        assert sync(deployment, weeks[0], weeks[-1]).success
        assert read_revenue() == [(OCTOBER.ending, Decimal(10 * count(OCTOBER)), count(OCTOBER))]
        with deployment.warehouse.engine.begin() as connection:
            # As a version before the documents left it: the week's documents are not known.
            connection.execute(
                update(xero_sync_logs).where(xero_sync_logs.c.week_ending == weeks[2].ending).values(documents=None)
            )
        assert read_revenue() == []
        row = read_comparison(deployment.warehouse.engine, TENANT, OCTOBER, OCTOBER)[OCTOBER]
        assert row["net_revenue"] is None


OTHER = "0c5b1b53-6d9f-4a0e-8f1c-5f4f7a3f9a11"
EIGHT = [LATEST.shift(-number) for number in reversed(range(8))]


@dataclass
class TwoLedgers(PlainXero):
    """A server with the books of two organisations."""

    ledgers: dict[str, LedgerXero] = field(default_factory=lambda: {TENANT: LedgerXero(), OTHER: LedgerXero()})

    def __post_init__(self) -> None:
        PlainXero.__init__(
            self,
            connections=[
                {"id": f"c-{tenant}", "tenantId": tenant, "tenantName": name, "tenantType": "ORGANISATION"}
                for name, tenant in zip(("First", "Second"), self.ledgers, strict=True)
            ],
        )

    def __call__(self, request: SeenRequest) -> Answer:
        ledger = self.ledgers.get(request.headers.get("xero-tenant-id", ""))
        return super().__call__(request) if ledger is None else ledger(request)


def test_eight_weeks_of_two_organisations_and_their_months_equal_both_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    server = TwoLedgers()
    for number, ledger in enumerate(server.ledgers.values()):
        # Other amounts and one document more a week in the second one.
        ledger.keep_books([LATEST.shift(-60)] * number + EIGHT)
        for week in EIGHT[: 8 * number]:
            ledger.invoices[f"20000000-0000-4000-8000-{week.ending:%Y%m%d}0000"] = week.start
    with open_connected_deployment(tmp_path, server) as (deployment, _):
        assert sync(deployment, EIGHT[0], LATEST).success
        read_due_months(deployment)
        assert_months_and_revenue_equal(server, deployment)

        # Nobody announces the money spent; a document comes late, another one moves to October.
        ledger = server.ledgers[OTHER]
        ledger.postings.append(Posting(date(2026, 10, 31), RENT, Decimal("-7.77"), Decimal("-7.77")))
        ledger.move("10000000-0000-4000-8000-0000000000ff", date(2026, 10, 5))
        ledger.move(f"20000000-0000-4000-8000-{EIGHT[-1].ending:%Y%m%d}0000", date(2026, 10, 20))
        assert sync(deployment, EIGHT[0], LATEST).success
        read_due_months(deployment)
        assert_months_and_revenue_equal(server, deployment)
        restated = deployment.warehouse.list_restatements(week=OCTOBER)
        assert {one.tenant_id for one in restated} == {OTHER}
        assert {"net_profit", "cash_spent"} <= {one.column_name for one in restated}


def read_due_months(deployment: Deployment) -> None:
    """Read the months that the sensor `missing_months` asks for."""
    plan = MonthGapFinder(deployment, WeeksUnderWay()).plan_month_runs(UnderWay())
    assert {tenant for run in plan.runs for tenant in run.organisations} <= {TENANT, OTHER}
    assert plan.runs
    for run in plan.runs:
        months = list(iterate_periods(run.first, run.last))
        assert materialize_weeks(deployment, months, run.organisations, progress=NoProgress()).success


def assert_months_and_revenue_equal(server: TwoLedgers, deployment: Deployment) -> None:
    engine = deployment.warehouse.engine
    for tenant, ledger in server.ledgers.items():
        row = read_comparison(engine, tenant, OCTOBER, OCTOBER)[OCTOBER]
        assert row["net_profit"] == sum(ledger.sum_profit(OCTOBER.start, OCTOBER.ending).values())
        assert row["closing_cash"] == ledger.sum_bank(OCTOBER.start, OCTOBER.ending)[-1]
        assert row["net_revenue"] == 10 * sum(day in OCTOBER for day in ledger.invoices.values())
        for week in EIGHT:
            count = sum(day in week for day in ledger.invoices.values())
            figures = deployment.warehouse.read_week_figures(tenant, week)
            assert [(cell["net_revenue"], cell["invoice_count"]) for cell in figures.revenue] == [(10 * count, count)]
            with engine.connect() as connection:
                lines = connection.execute(
                    select(revenue_document_lines.c.net).where(
                        revenue_document_lines.c.tenant_id == tenant,
                        revenue_document_lines.c.week_ending == week.ending,
                    )
                ).scalars()
                assert sum(lines) == 10 * count
