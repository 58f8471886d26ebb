"""What is far outside a history, and what only looks like it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.warehouse.checks.history import WEEKS_NEEDED, financial_within_history, is_far
from xero_pipeline.warehouse.checks.snapshot import read_snapshot
from xero_pipeline.warehouse.schema import financial_weekly, financial_weekly_lines
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.warehouse.checks.books_given import LATEST, WEEKS, by_hand, land_books


def amounts(*values: int) -> list[Decimal]:
    return [Decimal(value) for value in values]


STEADY = amounts(100, 104, 97, 101, 99, 103, 98, 102, 100, 96, 104, 101)


@pytest.mark.parametrize("value", [250, -40, 0, 160])
def test_what_is_far_from_steady_weeks_is_seen(value: int) -> None:
    assert is_far(Decimal(value), STEADY)


@pytest.mark.parametrize("value", [100, 90, 111, 80, 120])
def test_what_is_near_steady_weeks_is_not(value: int) -> None:
    assert not is_far(Decimal(value), STEADY)


def test_weeks_that_never_vary_allow_a_quarter() -> None:
    rent = amounts(*[3000] * 26)
    assert not is_far(Decimal("3700.00"), rent)
    assert is_far(Decimal("3800.00"), rent)
    assert is_far(Decimal("0.00"), rent)


def test_one_odd_week_in_a_long_history_hides_no_other() -> None:
    odd = [*STEADY, *STEADY, Decimal(9000)]
    assert is_far(Decimal(9000), odd)


def test_what_comes_every_month_is_no_surprise() -> None:
    monthly = amounts(*[100, 98, 103, 900] * 6)
    assert not is_far(Decimal(950), monthly)
    assert is_far(Decimal(5000), monthly)


def test_an_account_in_which_nothing_ever_moved_moves() -> None:
    assert is_far(Decimal("0.01"), amounts(*[0] * 26))
    assert not is_far(Decimal(0), amounts(*[0] * 26))


@given(
    st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=WEEKS_NEEDED, max_size=26),
    st.decimals(-(10**9), 10**9, places=2),
    st.decimals(-(10**6), 10**6, places=2),
)
def test_what_the_history_has_seen_twice_is_never_far(history: list[Decimal], value: Decimal, by: Decimal) -> None:
    assert not is_far(value, [*history, value, value])
    # Only distances count between weeks that vary: turned upside down, a history judges the same.
    assert is_far(value, history) == is_far(-value, [-one for one in history])


def test_a_history_of_less_than_eight_weeks_judges_nothing(sqlite_warehouse: Warehouse) -> None:
    tables = (financial_weekly, financial_weekly_lines)
    late = WEEKS[-WEEKS_NEEDED:]
    land_books(sqlite_warehouse, late)
    engine = sqlite_warehouse.engine
    by_hand(
        engine,
        "UPDATE financial_weekly_lines SET amount = '0.00' WHERE week_ending = :latest",
        "UPDATE financial_weekly SET total_trading_income = '0.00', cost_of_sales = '0.00', gross_profit = '0.00', "
        "other_income = '0.00', operating_expenses = '0.00', net_profit = '0.00' WHERE week_ending = :latest",
    )
    assert financial_within_history(read_snapshot(engine, *tables)) == []

    land_books(sqlite_warehouse, [late[0].previous])
    found = financial_within_history(read_snapshot(engine, *tables))
    assert {finding.week for finding in found} == {LATEST}
    assert {next(iter(finding.amounts)) for finding in found} == {
        "total_trading_income",
        "cost_of_sales",
        "operating_expenses",
        "net_profit",
    }


def test_only_the_weeks_that_are_asked_about_are_judged(sqlite_warehouse: Warehouse) -> None:
    land_books(sqlite_warehouse)
    by_hand(
        sqlite_warehouse.engine,
        "UPDATE financial_weekly_lines SET amount = '2500000.00' "
        "WHERE account_id = 'wages-1' AND week_ending = :latest",
        "UPDATE financial_weekly SET operating_expenses = '2503000.00', "
        "net_profit = gross_profit + other_income - 2503000 WHERE week_ending = :latest",
    )
    held = read_snapshot(sqlite_warehouse.engine, financial_weekly, financial_weekly_lines)
    assert financial_within_history(held, [LATEST.previous]) == []
    assert len(financial_within_history(held, [LATEST])) == 2
    assert financial_within_history(held) == financial_within_history(held, WEEKS)
