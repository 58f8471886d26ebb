"""Weeks and months beside those of last year, with the financial year to date, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pytest

from xero_pipeline.periods import Month, Period
from xero_pipeline.warehouse.figures.queries import Row, read_comparison
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.warehouse.figures.figures_given import NOW, account, cash, cell, land, profit, revenue

JUNE = Month(date(2026, 6, 30))


def set_year_end(warehouse: Warehouse, month: str, day: str, tenant_id: str = "org-1") -> None:
    answer = {"Organisations": [{"FinancialYearEndMonth": month, "FinancialYearEndDay": day}]}
    warehouse.facts.save(tenant_id, "Organisation", answer, NOW)


def land_income(warehouse: Warehouse, periods: Sequence[Period], tenant_id: str = "org-1") -> None:
    """Land 0.01 for the first period, 0.02 for the second, and so on."""
    kind = "profit_and_loss_monthly" if isinstance(periods[0], Month) else "profit_and_loss"
    for number, period in enumerate(periods, start=1):
        income = str(Decimal(number).scaleb(-2))
        land(warehouse, profit(income), kind, week=period, tenant_id=tenant_id)


def read(warehouse: Warehouse, period: Period, tenant_id: str = "org-1") -> Row:
    (row,) = read_comparison(warehouse.engine, tenant_id, period, period).values()
    return row


def test_a_month_stands_beside_last_year_with_its_year_to_date(warehouse: Warehouse) -> None:
    set_year_end(warehouse, "6", "30")
    land_income(warehouse, [JUNE.shift(-24 + number) for number in range(28)])
    june, july, september = (read(warehouse, JUNE.shift(number)) for number in (0, 1, 3))
    # The year ends with June: its months are the 14th to the 25th.
    assert (june["financial_year"], july["financial_year"]) == (2026, 2027)
    assert june["total_trading_income_to_date"] == Decimal(sum(range(14, 26))).scaleb(-2)
    assert july["total_trading_income_to_date"] == july["total_trading_income"] == Decimal("0.26")
    assert september["total_trading_income_to_date"] == Decimal("0.26") + Decimal("0.27") + Decimal("0.28")
    assert june["total_trading_income_last_year"] == Decimal("0.13")
    assert june["total_trading_income_to_date_last_year"] == Decimal(sum(range(2, 14))).scaleb(-2)
    first = read(warehouse, JUNE.shift(-24))
    # The year of the first month has begun before it.
    assert first["total_trading_income_to_date"] is None
    assert first["total_trading_income_last_year"] is None
    assert first["net_revenue"] is None


def test_a_year_with_a_gap_has_no_sum_after_it(warehouse: Warehouse) -> None:
    set_year_end(warehouse, "12", "31")
    land_income(warehouse, [JUNE.shift(number) for number in (-5, -4, -2)])
    sums = [read(warehouse, JUNE.shift(number))["total_trading_income_to_date"] for number in (-5, -4, -2)]
    assert sums == [Decimal("0.01"), Decimal("0.03"), None]


def test_weeks_count_in_the_year_in_which_they_end(warehouse: Warehouse) -> None:
    set_year_end(warehouse, "6", "30")
    # This week ends on 4 July 2026: the first of its year, although it has days in June.
    first = Week(date(2026, 7, 4))
    land_income(warehouse, [first.shift(number) for number in range(-53, 3)])
    assert read(warehouse, first)["total_trading_income_to_date"] == Decimal("0.54")
    assert read(warehouse, first.previous)["financial_year"] == 2026
    row = read(warehouse, first.shift(2))
    assert row["total_trading_income_to_date"] == Decimal("0.54") + Decimal("0.55") + Decimal("0.56")
    assert row["total_trading_income_last_year"] == Decimal("0.04")
    assert row["total_trading_income_to_date_last_year"] == Decimal("0.02") + Decimal("0.03") + Decimal("0.04")


@pytest.mark.parametrize("answer", [{"Organisations": [{}]}, {"Organisations": [{"FinancialYearEndMonth": "soon"}]}])
def test_nothing_is_known_to_date_where_xero_does_not_say_when_the_year_ends(
    warehouse: Warehouse, answer: dict[str, list[dict[str, str]]]
) -> None:
    land_income(warehouse, [JUNE.previous, JUNE], "org-2")
    warehouse.facts.save("org-2", "Organisation", answer, NOW)
    row = read(warehouse, JUNE, "org-2")
    assert (row["financial_year"], row["total_trading_income_to_date"]) == (None, None)
    assert row["total_trading_income"] == Decimal("0.02")


def test_a_leap_day_belongs_to_the_year_that_ends_in_february(warehouse: Warehouse) -> None:
    set_year_end(warehouse, "2", "28")
    february = Month(date(2028, 2, 29))
    land_income(warehouse, [february, february.shift(1)])
    years = [read(warehouse, month)["financial_year"] for month in (february, february.shift(1))]
    assert years == [2028, 2029]


def test_cash_below_zero_and_months_without_a_bank_account_are_exact(warehouse: Warehouse) -> None:
    kind = "bank_summary_monthly"
    land(warehouse, cash(account("b", "-0.05")), kind, week=JUNE)
    land_income(warehouse, [JUNE, JUNE.shift(1)])
    land(warehouse, cash(), kind, week=JUNE.shift(12))
    land_income(warehouse, [JUNE.shift(12)])
    assert read(warehouse, JUNE)["closing_cash"] == Decimal("-0.05")
    assert read(warehouse, JUNE.shift(1))["closing_cash"] is None
    next_year = read(warehouse, JUNE.shift(12))
    assert (next_year["closing_cash"], next_year["closing_cash_last_year"]) == (Decimal("0.00"), Decimal("-0.05"))


def test_a_week_whose_revenue_alone_has_landed_is_one_too(warehouse: Warehouse) -> None:
    week = Week(date(2026, 11, 21))
    land(warehouse, revenue(cell("residential", "north", "12.30", "2.00")), "invoices", week=week)
    row = read(warehouse, week)
    assert (row["net_revenue"], row["net_profit"], row["closing_cash"]) == (Decimal("10.30"), None, None)
