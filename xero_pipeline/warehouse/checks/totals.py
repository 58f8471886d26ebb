"""The profit and loss: its lines make its totals, and its totals make its profits.

A total that is wrong breaks both rules. It is told where the lines show it: profits that follow from the
lines' sums, though not from the totals, are not told again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from xero_pipeline.money import ZERO
from xero_pipeline.warehouse.checks.presence import no_duplicates
from xero_pipeline.warehouse.checks.snapshot import Key, Row, Violation, WarehouseSnapshot, cached_check
from xero_pipeline.warehouse.schema import financial_weekly, financial_weekly_lines

TOTAL_OF = {
    "trading_income": "total_trading_income",
    "cost_of_sales": "cost_of_sales",
    "other_income": "other_income",
    "operating_expenses": "operating_expenses",
}


@cached_check
def sums_of_lines(held: WarehouseSnapshot) -> dict[Key, dict[str, Decimal]]:
    """For every week with totals, what its lines add up to, by the total's name."""
    nothing = dict.fromkeys(TOTAL_OF.values(), ZERO)
    sums: dict[Key, dict[str, Decimal]] = defaultdict(lambda: dict(nothing))
    for row in held.rows(financial_weekly):
        sums[row["tenant_id"], row["week"]] = dict(nothing)
    for line in held.rows(financial_weekly_lines):
        sums[line["tenant_id"], line["week"]][TOTAL_OF[line["category"]]] += line["amount"]
    return dict(sums)


@cached_check
def lines_add_up(held: WarehouseSnapshot) -> list[Violation]:
    """Each category's lines add up to its total. A week with a line twice is `no_duplicates`' matter."""
    sums, doubled = sums_of_lines(held), _doubled(held)
    found = []
    for row in held.rows(financial_weekly):
        key = (row["tenant_id"], row["week"])
        for total, added in sums[key].items():
            if row[total] != added and key not in doubled:
                off = row[total] - added
                found.append(
                    Violation(
                        *key,
                        total,
                        {"total": row[total], "lines": added, "difference": off},
                        f"{total} is {row[total]}, its lines add up to {added}, a difference of {off}.",
                    )
                )
    return found


@cached_check
def gross_and_net_add_up(held: WarehouseSnapshot) -> list[Violation]:
    """Gross profit is income less cost of sales; net profit is gross profit and other income less expenses."""
    sums = sums_of_lines(held)
    return [
        finding for row in held.rows(financial_weekly) for finding in _profits(row, sums[row["tenant_id"], row["week"]])
    ]


def _profits(row: Row, lines: Mapping[str, Decimal]) -> list[Violation]:
    found = []
    for name, made_of, by_totals, by_lines in (
        ("gross_profit", "total_trading_income - cost_of_sales", _gross(row), _gross(lines)),
        (
            "net_profit",
            "gross_profit + other_income - operating_expenses",
            row["gross_profit"] + _below_gross(row),
            row["gross_profit"] + _below_gross(lines),
        ),
    ):
        # A net profit that follows from what gross profit should be is not wrong; gross profit is.
        right = {by_totals, by_lines}
        if name == "net_profit":
            right |= {_gross(row) + _below_gross(row), _gross(lines) + _below_gross(lines)}
        if row[name] not in right:
            off = row[name] - by_totals
            found.append(
                Violation(
                    row["tenant_id"],
                    row["week"],
                    name,
                    {name: row[name], made_of: by_totals, "difference": off},
                    f"{name} is {row[name]}, but {made_of} is {by_totals}, a difference of {off}.",
                )
            )
    return found


def _gross(amounts: Mapping[str, Decimal]) -> Decimal:
    return amounts["total_trading_income"] - amounts["cost_of_sales"]


def _below_gross(amounts: Mapping[str, Decimal]) -> Decimal:
    return amounts["other_income"] - amounts["operating_expenses"]


def _doubled(held: WarehouseSnapshot) -> set[Key]:
    return {finding.key for finding in no_duplicates(held, financial_weekly_lines)}


def unsound_weeks(held: WarehouseSnapshot) -> set[Key]:
    """The weeks whose figures are told to be wrong already, and so are judged by nothing that rests on them."""
    return {finding.key for finding in [*lines_add_up(held), *gross_and_net_add_up(held)]} | _doubled(held)
