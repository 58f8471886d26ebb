"""Values far outside a history, and values that only seem to be."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.warehouse.checks.history import WEEKS_NEEDED, check_financial_within_history, is_far
from xero_pipeline.warehouse.checks.snapshot import read_snapshot
from xero_pipeline.warehouse.schema import financial_weekly, financial_weekly_lines
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.warehouse.checks.books_given import LATEST, WEEKS, execute_by_hand, land_books


def amounts(*values: int) -> list[Decimal]:
    return [Decimal(value) for value in values]


STEADY = amounts(100, 104, 97, 101, 99, 103, 98, 102, 100, 96, 104, 101)


@pytest.mark.parametrize("value", [250, -40, 0, 160])
def test_a_value_far_from_steady_weeks_is_far(value: int) -> None:
    assert is_far(Decimal(value), STEADY)


@pytest.mark.parametrize("value", [100, 90, 111, 80, 120])
def test_a_value_near_steady_weeks_is_not_far(value: int) -> None:
    assert not is_far(Decimal(value), STEADY)


def test_constant_weeks_allow_a_deviation_of_a_quarter() -> None:
    rent = amounts(*[3000] * 26)
    assert not is_far(Decimal("3700.00"), rent)
    assert is_far(Decimal("3800.00"), rent)
    assert is_far(Decimal("0.00"), rent)


def test_one_unusual_week_in_a_long_history_hides_no_other() -> None:
    odd = [*STEADY, *STEADY, Decimal(9000)]
    assert is_far(Decimal(9000), odd)


def test_a_monthly_figure_is_not_far() -> None:
    monthly = amounts(*[100, 98, 103, 900] * 6)
    assert not is_far(Decimal(950), monthly)
    assert is_far(Decimal(5000), monthly)


def test_a_first_movement_in_an_unused_account_is_far() -> None:
    assert is_far(Decimal("0.01"), amounts(*[0] * 26))
    assert not is_far(Decimal(0), amounts(*[0] * 26))


@given(
    st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=WEEKS_NEEDED, max_size=26),
    st.decimals(-(10**9), 10**9, places=2),
    st.decimals(-(10**6), 10**6, places=2),
)
def test_a_value_that_occurs_twice_in_the_history_is_never_far(
    history: list[Decimal], value: Decimal, by: Decimal
) -> None:
    assert not is_far(value, [*history, value, value])
    # Only the distances between weeks count, so a history with all signs reversed gives the same result.
    assert is_far(value, history) == is_far(-value, [-amount for amount in history])


def test_fewer_than_eight_weeks_are_no_history(sqlite_warehouse: Warehouse) -> None:
    tables = (financial_weekly, financial_weekly_lines)
    late = WEEKS[-WEEKS_NEEDED:]
    land_books(sqlite_warehouse, late)
    engine = sqlite_warehouse.engine
    execute_by_hand(
        engine,
        "UPDATE financial_weekly_lines SET amount = '0.00' WHERE week_ending = :latest",
        "UPDATE financial_weekly SET total_trading_income = '0.00', cost_of_sales = '0.00', gross_profit = '0.00', "
        "other_income = '0.00', operating_expenses = '0.00', net_profit = '0.00' WHERE week_ending = :latest",
    )
    assert check_financial_within_history(read_snapshot(engine, *tables)) == []

    land_books(sqlite_warehouse, [late[0].previous])
    violations = check_financial_within_history(read_snapshot(engine, *tables))
    assert {violation.week for violation in violations} == {LATEST}
    assert {next(iter(violation.amounts)) for violation in violations} == {
        "total_trading_income",
        "cost_of_sales",
        "operating_expenses",
        "net_profit",
    }


def test_only_the_given_weeks_are_checked(sqlite_warehouse: Warehouse) -> None:
    land_books(sqlite_warehouse)
    execute_by_hand(
        sqlite_warehouse.engine,
        "UPDATE financial_weekly_lines SET amount = '2500000.00' "
        "WHERE account_id = 'wages-1' AND week_ending = :latest",
        "UPDATE financial_weekly SET operating_expenses = '2503000.00', "
        "net_profit = gross_profit + other_income - 2503000 WHERE week_ending = :latest",
    )
    snapshot = read_snapshot(sqlite_warehouse.engine, financial_weekly, financial_weekly_lines)
    assert check_financial_within_history(snapshot, [LATEST.previous]) == []
    assert len(check_financial_within_history(snapshot, [LATEST])) == 2
    assert check_financial_within_history(snapshot) == check_financial_within_history(snapshot, WEEKS)
