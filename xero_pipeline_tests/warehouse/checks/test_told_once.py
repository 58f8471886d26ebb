"""Whichever single figure is wrong, by whatever amount, exactly one rule tells of it."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.warehouse.checks import cash, revenue, totals
from xero_pipeline.warehouse.checks.snapshot import Violation, WarehouseSnapshot
from xero_pipeline.warehouse.logs.sync_log import SyncType
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


def _whole() -> Tables:
    """Five weeks of one organisation that hold together."""
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
                of_week | {"account_id": f"{category}-{place}", "category": category, "amount": part}
                for place, part in enumerate(parts)
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


WHOLE = _whole()
FIGURES = [
    (table, place, name)
    for table, rows in WHOLE.items()
    for place, row in enumerate(rows)
    for name, value in row.items()
    if isinstance(value, Decimal)
]
RULES = {
    "lines_add_up": totals.lines_add_up,
    "gross_and_net_add_up": totals.gross_and_net_add_up,
    "net_is_invoiced_less_credited": revenue.net_is_invoiced_less_credited,
    "revenue_matches_income": revenue.revenue_matches_income,
    "closing_follows_from_opening": cash.closing_follows_from_opening,
    "opening_is_the_closing_before": cash.opening_is_the_closing_before,
}


def told(tables: Tables) -> dict[str, list[Violation]]:
    counts = {kind: {(TENANT, week): 2 for week in SHORT} for kind in SyncType}
    held = WarehouseSnapshot(tables, counts, {kind: {} for kind in SyncType})  # type: ignore[arg-type]
    return {name: found for name, rule in RULES.items() if (found := rule(held))}


def test_what_holds_together_is_not_told_of() -> None:
    assert told(WHOLE) == {}


@given(st.sampled_from(FIGURES), st.decimals(-(10**9), 10**9, places=2).filter(bool))
def test_one_wrong_figure_is_told_by_one_rule_in_its_own_week(figure: tuple[str, int, str], by: Decimal) -> None:
    table, place, name = figure
    broken = copy.deepcopy(WHOLE)
    broken[table][place][name] += by

    ((_, (finding,)),) = told(broken).items()

    assert finding.week == broken[table][place]["week"]
    assert abs(finding.amounts.get("difference", by)) == abs(by)


def test_a_wrong_closing_balance_excuses_no_other() -> None:
    """Two weeks are five too high: the second seems to follow from the first, which itself does not follow."""
    broken = copy.deepcopy(WHOLE)
    for row in broken[cash_position_weekly.name]:
        if row["week"] in SHORT[1:3] and row["bank_account_id"] == "a":
            row["closing_balance"] += 5
    assert [one.week for one in told(broken)["closing_follows_from_opening"]] == SHORT[1:3]


# Small whole amounts, so that one wrong figure often makes up for another.
_CHANGES = st.lists(st.tuples(st.sampled_from(FIGURES), st.sampled_from([D(-1), D(1), D(2)])), min_size=1, max_size=6)


@given(_CHANGES)
def test_however_much_is_wrong_something_is_told(changes: list[tuple[tuple[str, int, str], Decimal]]) -> None:
    """Wrong figures may excuse each other, but never so far that nothing is told."""
    broken = copy.deepcopy(WHOLE)
    for (table, place, name), by in changes:
        broken[table][place][name] += by
    assert told(broken) or (_profits_hold(broken) and _revenue_holds(broken) and _cash_holds(broken))


def _profits_hold(tables: Tables) -> bool:
    """By the rules' own words, without any excuse; so the two below."""
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


def _revenue_holds(tables: Tables) -> bool:
    income = {row["week"]: row["total_trading_income"] for row in tables[financial_weekly.name]}
    for cell in tables[revenue_weekly.name]:
        income[cell["week"]] -= cell["net_revenue"]
    return not any(income.values()) and all(
        cell["net_revenue"] == cell["invoiced"] - cell["credited"] for cell in tables[revenue_weekly.name]
    )


def _cash_holds(tables: Tables) -> bool:
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
