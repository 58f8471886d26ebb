"""The profit and loss: its lines add up to its totals, and its profits follow from its totals.

A wrong total breaks both rules but is reported only by the first. The second rule accepts profits that follow from
the sums of the lines, even if they do not follow from the totals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from xero_pipeline.money import ZERO
from xero_pipeline.warehouse.checks.presence import check_no_duplicates
from xero_pipeline.warehouse.checks.snapshot import Key, Row, Violation, WarehouseSnapshot, cached_check
from xero_pipeline.warehouse.schema import financial_weekly, financial_weekly_lines

TOTAL_OF = {
    "trading_income": "total_trading_income",
    "cost_of_sales": "cost_of_sales",
    "other_income": "other_income",
    "operating_expenses": "operating_expenses",
}


@cached_check
def sum_lines(snapshot: WarehouseSnapshot) -> dict[Key, dict[str, Decimal]]:
    """For every week with totals, the sums of its lines, by the total's column name."""
    zeros = dict.fromkeys(TOTAL_OF.values(), ZERO)
    sums: dict[Key, dict[str, Decimal]] = defaultdict(lambda: dict(zeros))
    for row in snapshot.rows(financial_weekly):
        sums[row["tenant_id"], row["week"]] = dict(zeros)
    for line in snapshot.rows(financial_weekly_lines):
        sums[line["tenant_id"], line["week"]][TOTAL_OF[line["category"]]] += line["amount"]
    return dict(sums)


@cached_check
def check_lines_add_up(snapshot: WarehouseSnapshot) -> list[Violation]:
    """Each category's lines add up to its total. Weeks with duplicate lines are left to `check_no_duplicates`."""
    sums, weeks_with_duplicates = sum_lines(snapshot), _find_weeks_with_duplicates(snapshot)
    violations = []
    for row in snapshot.rows(financial_weekly):
        key = (row["tenant_id"], row["week"])
        for total, line_sum in sums[key].items():
            if row[total] != line_sum and key not in weeks_with_duplicates:
                off = row[total] - line_sum
                violations.append(
                    Violation(
                        *key,
                        total,
                        {"total": row[total], "lines": line_sum, "difference": off},
                        f"{total} is {row[total]}, its lines add up to {line_sum}, a difference of {off}.",
                    )
                )
    return violations


@cached_check
def check_gross_and_net_add_up(snapshot: WarehouseSnapshot) -> list[Violation]:
    """Gross profit is income less cost of sales; net profit is gross profit and other income less expenses."""
    sums = sum_lines(snapshot)
    return [
        violation
        for row in snapshot.rows(financial_weekly)
        for violation in _check_profits(row, sums[row["tenant_id"], row["week"]])
    ]


def _check_profits(row: Row, lines: Mapping[str, Decimal]) -> list[Violation]:
    violations = []
    for name, formula, by_totals, by_lines in (
        ("gross_profit", "total_trading_income - cost_of_sales", _compute_gross(row), _compute_gross(lines)),
        (
            "net_profit",
            "gross_profit + other_income - operating_expenses",
            row["gross_profit"] + _compute_below_gross(row),
            row["gross_profit"] + _compute_below_gross(lines),
        ),
    ):
        accepted = {by_totals, by_lines}
        if name == "net_profit":
            # A net profit that follows from the correct gross profit is right; only the gross profit is wrong.
            accepted |= {
                _compute_gross(row) + _compute_below_gross(row),
                _compute_gross(lines) + _compute_below_gross(lines),
            }
        if row[name] not in accepted:
            off = row[name] - by_totals
            violations.append(
                Violation(
                    row["tenant_id"],
                    row["week"],
                    name,
                    {name: row[name], formula: by_totals, "difference": off},
                    f"{name} is {row[name]}, but {formula} is {by_totals}, a difference of {off}.",
                )
            )
    return violations


def _compute_gross(amounts: Mapping[str, Decimal]) -> Decimal:
    return amounts["total_trading_income"] - amounts["cost_of_sales"]


def _compute_below_gross(amounts: Mapping[str, Decimal]) -> Decimal:
    return amounts["other_income"] - amounts["operating_expenses"]


def _find_weeks_with_duplicates(snapshot: WarehouseSnapshot) -> set[Key]:
    return {violation.key for violation in check_no_duplicates(snapshot, financial_weekly_lines)}


def find_wrong_weeks(snapshot: WarehouseSnapshot) -> set[Key]:
    """The weeks that another rule reports as wrong."""
    violations = [*check_lines_add_up(snapshot), *check_gross_and_net_add_up(snapshot)]
    return {violation.key for violation in violations} | _find_weeks_with_duplicates(snapshot)
