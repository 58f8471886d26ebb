"""Revenue: its cells hold together, and all of them are the week's trading income.

A wrong cell breaks both rules. It is told where it does not hold together: revenue that is the income by one
reading of its cells is not told again, nor is an income that is wrong by itself.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from xero_pipeline.money import ZERO
from xero_pipeline.warehouse.checks.presence import no_duplicates
from xero_pipeline.warehouse.checks.snapshot import Key, Violation, WarehouseSnapshot, cached_check
from xero_pipeline.warehouse.checks.totals import sums_of_lines
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import financial_weekly, financial_weekly_lines, revenue_weekly


@cached_check
def net_is_invoiced_less_credited(held: WarehouseSnapshot) -> list[Violation]:
    """In every cell net revenue is what was invoiced less what was credited."""
    found = []
    for row in held.rows(revenue_weekly):
        net = row["invoiced"] - row["credited"]
        if row["net_revenue"] != net:
            name, off = f"{row['revenue_type']} / {row['region']}", row["net_revenue"] - net
            found.append(
                Violation(
                    row["tenant_id"],
                    row["week"],
                    name,
                    {"net_revenue": row["net_revenue"], "invoiced": row["invoiced"], "credited": row["credited"]},
                    f"{name}: net_revenue is {row['net_revenue']}, but {row['invoiced']} invoiced less "
                    f"{row['credited']} credited is {net}, a difference of {off}.",
                )
            )
    return found


def revenue_matches_income(held: WarehouseSnapshot) -> list[Violation]:
    """A week's revenue is its trading income.

    Not asked of a week on a cash basis, where income is what was paid; nor of one that is not whole on
    either side.
    """
    revenue = _revenue(held)
    lines = sums_of_lines(held)
    skipped = {finding.key for finding in no_duplicates(held, revenue_weekly, financial_weekly_lines)}
    found = []
    for row in held.rows(financial_weekly):
        key = (row["tenant_id"], row["week"])
        if row["basis"] == "cash" or key in skipped or not held.is_whole(SyncType.INVOICES, key):
            continue
        net, invoiced_less_credited = revenue.get(key, (ZERO, ZERO))
        income = row["total_trading_income"]
        if not {net, invoiced_less_credited} & {income, lines[key]["total_trading_income"]}:
            off = net - income
            found.append(
                Violation(
                    *key,
                    "",
                    {"net_revenue": net, "total_trading_income": income, "difference": off},
                    f"revenue is {net}, the trading income of the profit and loss {income}, a difference of {off}.",
                )
            )
    return found


def _revenue(held: WarehouseSnapshot) -> dict[Key, tuple[Decimal, Decimal]]:
    """Each week's net revenue, as it stands there and as invoiced less credited."""
    sums: dict[Key, tuple[Decimal, Decimal]] = defaultdict(lambda: (ZERO, ZERO))
    for row in held.rows(revenue_weekly):
        net, other = sums[row["tenant_id"], row["week"]]
        sums[row["tenant_id"], row["week"]] = (net + row["net_revenue"], other + row["invoiced"] - row["credited"])
    return dict(sums)


def unsound_weeks(held: WarehouseSnapshot) -> set[Key]:
    """The weeks whose figures are told to be wrong already."""
    return {f.key for f in [*net_is_invoiced_less_credited(held), *no_duplicates(held, revenue_weekly)]}
