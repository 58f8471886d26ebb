"""Any single wrong figure, by any amount, is reported by exactly one rule."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.warehouse.checks import cash, revenue, totals
from xero_pipeline.warehouse.checks.snapshot import Violation, WarehouseSnapshot
from xero_pipeline.warehouse.logs.sync_log import WEEKLY_TYPES
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)
from xero_pipeline_tests.warehouse.checks.books_given import TENANT, WEEKS

Tables = dict[str, list[dict[str, Any]]]

D = Decimal
SHORT = WEEKS[:5]


def _make_tables() -> Tables:
    """Five weeks of one organisation that satisfy every rule."""
    tables: Tables = {table.name: [] for table in (financial_weekly, financial_weekly_lines, revenue_weekly)}
    tables[cash_position_weekly.name] = []
    balance = {"a": D("100.00"), "b": D("-7.50")}
    for number, week in enumerate(SHORT, start=1):
        of_week = {"tenant_id": TENANT, "week": week}
        amounts = {
            "trading_income": (D("60.10") * number, D("39.90")),
            "cost_of_sales": (D("30.00"), D("0.55") * number),
            "other_income": (D("1.23"),),
            "operating_expenses": (D("25.00"), D("5.00"), D("-0.45")),
        }
        for category, parts in amounts.items():
            tables[financial_weekly_lines.name] += [
                of_week | {"account_id": f"{category}-{index}", "category": category, "amount": part}
                for index, part in enumerate(parts)
            ]
        income, cost, other, expenses = (sum(parts, D(0)) for parts in amounts.values())
        tables[financial_weekly.name].append(
            of_week
            | {
                "basis": "accrual",
                "total_trading_income": income,
                "cost_of_sales": cost,
                "gross_profit": income - cost,
                "other_income": other,
                "operating_expenses": expenses,
                "net_profit": income - cost + other - expenses,
            }
        )
        for kind, net, credited in (("residential", income - 10, D("4.00")), ("commercial", D(10), D("0.00"))):
            tables[revenue_weekly.name].append(
                of_week
                | {"revenue_type": kind, "region": "north", "invoiced": net + credited, "credited": credited}
                | {"net_revenue": net}
            )
        for account, opening in balance.items():
            received, spent, gain = D("11.11") * number, D("9.99"), D("0.02")
            balance[account] = opening + received - spent + gain
            tables[cash_position_weekly.name].append(
                of_week
                | {"bank_account_id": account, "bank_account_name": f"Account {account}", "opening_balance": opening}
                | {"cash_received": received, "cash_spent": spent, "currency_gain": gain}
                | {"closing_balance": balance[account]}
            )
    return tables


CORRECT = _make_tables()
FIGURES = [
    (table, index, name)
    for table, rows in CORRECT.items()
    for index, row in enumerate(rows)
    for name, value in row.items()
    if isinstance(value, Decimal)
]
RULES = {
    "lines_add_up": totals.check_lines_add_up,
    "gross_and_net_add_up": totals.check_gross_and_net_add_up,
    "net_is_invoiced_less_credited": revenue.check_net_is_invoiced_less_credited,
    "revenue_matches_income": revenue.check_revenue_matches_income,
    "closing_follows_from_opening": cash.check_closing_follows_from_opening,
    "opening_is_the_closing_before": cash.check_opening_is_the_closing_before,
}


def find_violations(tables: Tables) -> dict[str, list[Violation]]:
    counts = {kind: {(TENANT, week): 2 for week in SHORT} for kind in WEEKLY_TYPES}
    snapshot = WarehouseSnapshot(tables, counts, {kind: {} for kind in WEEKLY_TYPES})  # type: ignore[arg-type]
    return {name: violations for name, rule in RULES.items() if (violations := rule(snapshot))}


def test_correct_figures_violate_no_rule() -> None:
    assert find_violations(CORRECT) == {}


@given(st.sampled_from(FIGURES), st.decimals(-(10**9), 10**9, places=2).filter(bool))
def test_one_wrong_figure_is_reported_by_one_rule_in_its_own_week(figure: tuple[str, int, str], by: Decimal) -> None:
    table, index, name = figure
    broken = copy.deepcopy(CORRECT)
    broken[table][index][name] += by

    ((_, (violation,)),) = find_violations(broken).items()

    assert violation.week == broken[table][index]["week"]
    assert abs(violation.amounts.get("difference", by)) == abs(by)


def test_a_wrong_closing_balance_hides_no_other() -> None:
    """Two weeks are too high by five. The second follows from the first, but the first is wrong itself."""
    broken = copy.deepcopy(CORRECT)
    for row in broken[cash_position_weekly.name]:
        if row["week"] in SHORT[1:3] and row["bank_account_id"] == "a":
            row["closing_balance"] += 5
    assert [violation.week for violation in find_violations(broken)["closing_follows_from_opening"]] == SHORT[1:3]


# Small whole amounts, so that one wrong figure often compensates for another.
_CHANGES = st.lists(st.tuples(st.sampled_from(FIGURES), st.sampled_from([D(-1), D(1), D(2)])), min_size=1, max_size=6)


@given(_CHANGES)
def test_any_set_of_wrong_figures_is_reported(changes: list[tuple[tuple[str, int, str], Decimal]]) -> None:
    """Wrong figures may hide each other, but something is always reported."""
    broken = copy.deepcopy(CORRECT)
    for (table, index, name), by in changes:
        broken[table][index][name] += by
    assert find_violations(broken) or (
        _are_profits_right(broken) and _is_revenue_right(broken) and _is_cash_right(broken)
    )


def _are_profits_right(tables: Tables) -> bool:
    """The plain rules, without the exceptions that avoid double reports; likewise the two functions below."""
    sums: dict[Any, Decimal] = {}
    for line in tables[financial_weekly_lines.name]:
        key = (line["week"], totals.TOTAL_OF[line["category"]])
        sums[key] = sums.get(key, D(0)) + line["amount"]
    return all(
        all(row[name] == sums[row["week"], name] for name in totals.TOTAL_OF.values())
        and row["gross_profit"] == row["total_trading_income"] - row["cost_of_sales"]
        and row["net_profit"] == row["gross_profit"] + row["other_income"] - row["operating_expenses"]
        for row in tables[financial_weekly.name]
    )


def _is_revenue_right(tables: Tables) -> bool:
    income = {row["week"]: row["total_trading_income"] for row in tables[financial_weekly.name]}
    for cell in tables[revenue_weekly.name]:
        income[cell["week"]] -= cell["net_revenue"]
    return not any(income.values()) and all(
        cell["net_revenue"] == cell["invoiced"] - cell["credited"] for cell in tables[revenue_weekly.name]
    )


def _is_cash_right(tables: Tables) -> bool:
    closing = {
        (row["week"], row["bank_account_id"]): row["closing_balance"] for row in tables[cash_position_weekly.name]
    }
    return all(
        row["closing_balance"]
        == row["opening_balance"] + row["cash_received"] - row["cash_spent"] + row["currency_gain"]
        and row["opening_balance"]
        == closing.get((row["week"].previous, row["bank_account_id"]), row["opening_balance"])
        for row in tables[cash_position_weekly.name]
    )
