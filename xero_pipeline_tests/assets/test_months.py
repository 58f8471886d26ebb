"""Months: materialised, restated, and held beside the books of a server that is not the mock."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select, update

from xero_pipeline.assets.progress import NoProgress
from xero_pipeline.cli.materialize import materialize_weeks
from xero_pipeline.periods import Month, iterate_periods
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.figures.queries import read_comparison
from xero_pipeline.warehouse.schema import revenue_monthly, xero_sync_logs
from xero_pipeline.weeks import Week
from xero_pipeline_tests.assets.test_fewest_calls import open_ledger
from xero_pipeline_tests.ledger_xero import RENT, LedgerXero, Posting
from xero_pipeline_tests.plain_xero import TENANT, sync

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
