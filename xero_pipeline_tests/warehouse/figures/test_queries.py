"""Reading figures: the view sums exactly on both databases, and unknown figures are `None`."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from xero_pipeline.warehouse.figures import queries as figures
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.warehouse.figures.figures_given import (
    WEEK,
    account,
    cash,
    cell,
    land_cash,
    land_profit,
    land_revenue,
    line,
    profit,
    revenue,
)


def test_a_weeks_summary_has_its_figures_of_all_three_tables(warehouse: Warehouse, clock: FakeClock) -> None:
    land_profit(warehouse, profit("250.00", line("acc-1", "250.00")))
    land_revenue(
        warehouse,
        revenue(cell("residential", "north", "161101.83", "0.03"), cell("commercial", "south", "0.25")),
    )
    land_cash(warehouse, cash(account("bank-1", "-100.05"), account("bank-2", "0.10")))
    (week,) = warehouse.read_summary("org-1", WEEK, WEEK)
    assert (week.tenant_id, week.week, week.currency, week.data_source) == ("org-1", WEEK, "AUD", "xero_mock")
    assert (week.total_trading_income, week.cost_of_sales) == (Decimal("250.00"), Decimal("0.00"))
    assert (week.net_revenue, week.closing_cash) == (Decimal("161102.05"), Decimal("-99.95"))
    assert week.updated_at == clock.now()


def test_figures_that_did_not_land_are_unknown_and_empty_ones_are_zero(warehouse: Warehouse) -> None:
    land_profit(warehouse, profit("250.00"))
    land_revenue(warehouse, revenue())
    (week,) = warehouse.read_summary("org-1", WEEK, WEEK)
    assert (week.net_revenue, week.closing_cash) == (Decimal("0.00"), None)
    land_cash(warehouse, cash(account("bank-1", "1.00")), week=WEEK.previous)
    (week,) = warehouse.read_summary("org-1", WEEK.previous, WEEK.previous)
    assert (week.total_trading_income, week.net_revenue, week.closing_cash) == (None, None, Decimal("1.00"))


def test_the_summary_lists_the_organisations_weeks_of_the_range_oldest_first(
    warehouse: Warehouse,
) -> None:
    for weeks_back in (3, 0, 1):
        land_profit(warehouse, profit("1.00"), week=WEEK.shift(-weeks_back))
    land_profit(warehouse, profit("1.00"), tenant_id="org-2")
    weeks = warehouse.read_summary("org-1", WEEK.shift(-2), WEEK)
    assert [week.week for week in weeks] == [WEEK.previous, WEEK]
    assert figures.find_newest_week(warehouse.engine, "org-1") == WEEK
    assert figures.find_newest_week(warehouse.engine, "nobody") is None


LARGE = st.integers(-(10**15), 10**15).map(lambda whole: Decimal(whole).scaleb(-2))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LARGE, min_size=1, max_size=6))
@example([Decimal("-0.05")])
@example([Decimal("0.05"), Decimal("-0.05")])
@example([Decimal("-1.00"), Decimal("0.01")])
@example([Decimal("9999999999999999.99"), Decimal("-9999999999999999.98")])
def test_the_view_adds_up_to_the_cent(warehouse: Warehouse, balances: list[Decimal]) -> None:
    land_cash(warehouse, cash(*(account(f"bank-{n}", str(balance)) for n, balance in enumerate(balances))))
    (week,) = warehouse.read_summary("org-1", WEEK, WEEK)
    assert week.closing_cash == sum(balances)
    with warehouse.engine.connect() as connection:
        shown = connection.execute(text("SELECT CAST(closing_cash AS TEXT) FROM weekly_summary")).scalar_one()
    assert shown == format(sum(balances, Decimal("0.00")), "f")


@pytest.mark.parametrize(("by_hand", "shown"), [("closing_balance + 1", "2.25"), ("'3'", "3.00"), ("-7.5", "-7.50")])
def test_an_amount_changed_by_hand_in_sqlite_is_not_misread(
    sqlite_warehouse: Warehouse, by_hand: str, shown: str
) -> None:
    land_cash(sqlite_warehouse, cash(account("bank-1", "1.25")))
    with sqlite_warehouse.engine.begin() as connection:
        connection.execute(text(f"UPDATE cash_position_weekly SET closing_balance = {by_hand}"))
    (week,) = sqlite_warehouse.read_summary("org-1", WEEK, WEEK)
    assert str(week.closing_cash) == shown
    assert str(sqlite_warehouse.read_week_figures("org-1", WEEK).cash[0]["closing_balance"]) == shown


def test_a_week_is_read_whole_and_an_unknown_one_is_empty(warehouse: Warehouse) -> None:
    land_profit(warehouse, profit("2.00", line("acc-2", "2.00"), line("acc-1", "0.00")))
    land_revenue(warehouse, revenue(cell("residential", "north", "1.00")))
    land_cash(warehouse, cash(account("bank-1", "1.00")))
    stored = warehouse.read_week_figures("org-1", WEEK)
    assert stored.profit_and_loss is not None
    assert stored.profit_and_loss["total_trading_income"] == Decimal("2.00")
    assert [row["account_id"] for row in stored.lines] == ["acc-1", "acc-2"]
    assert (stored.revenue[0]["net_revenue"], stored.cash[0]["closing_balance"]) == (
        Decimal("1.00"),
        Decimal("1.00"),
    )
    empty = warehouse.read_week_figures("org-1", WEEK.previous)
    assert (empty.profit_and_loss, empty.lines, empty.revenue, empty.cash) == (None, [], [], [])


def test_revenue_by_type_is_summed_over_its_regions(warehouse: Warehouse) -> None:
    land_revenue(
        warehouse,
        revenue(
            cell("residential", "north", "1.10"),
            cell("residential", "south", "2.20"),
            cell("other", "north", "3.00"),
        ),
    )
    land_revenue(warehouse, revenue(), week=WEEK.previous)
    assert figures.read_revenue_by_type(warehouse.engine, "org-1", WEEK.previous, WEEK) == {
        WEEK: {"other": Decimal("3.00"), "residential": Decimal("3.30")}
    }
