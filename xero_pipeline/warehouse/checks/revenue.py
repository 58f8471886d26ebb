"""Revenue: each cell's net revenue is right, and the sum of all cells is the week's trading income.

A cell is one revenue type in one region. A wrong cell breaks both rules but is reported only by the first. The second
rule accepts revenue that equals the income by either count of the cells (net revenue, or invoiced less credited). It
also accepts revenue that equals the sum of the income's lines, since then the income itself is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from xero_pipeline.money import ZERO
from xero_pipeline.warehouse.checks.presence import check_no_duplicates
from xero_pipeline.warehouse.checks.snapshot import Key, Violation, WarehouseSnapshot, cached_check
from xero_pipeline.warehouse.checks.totals import sum_lines
from xero_pipeline.warehouse.figures.account_revenue import revenue_by_account
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import financial_weekly, financial_weekly_lines, revenue_weekly


@cached_check
def check_net_is_invoiced_less_credited(snapshot: WarehouseSnapshot) -> list[Violation]:
    """In every cell, net revenue is the invoiced amount less the credited amount."""
    violations = []
    for row in snapshot.rows(revenue_weekly):
        net = row["invoiced"] - row["credited"]
        if row["net_revenue"] != net:
            name, off = f"{row['revenue_type']} / {row['region']}", row["net_revenue"] - net
            violations.append(
                Violation(
                    row["tenant_id"],
                    row["week"],
                    name,
                    {"net_revenue": row["net_revenue"], "invoiced": row["invoiced"], "credited": row["credited"]},
                    f"{name}: net_revenue is {row['net_revenue']}, but {row['invoiced']} invoiced less "
                    f"{row['credited']} credited is {net}, a difference of {off}.",
                )
            )
    return violations


def check_revenue_matches_income(snapshot: WarehouseSnapshot) -> list[Violation]:
    """A week's revenue is its trading income.

    Weeks on a cash basis are skipped, since their income is what was paid. So are weeks with missing or duplicate
    rows on either side.
    """
    revenue = _sum_revenue(snapshot)
    lines = sum_lines(snapshot)
    skipped = {violation.key for violation in check_no_duplicates(snapshot, revenue_weekly, financial_weekly_lines)}
    violations = []
    for row in snapshot.rows(financial_weekly):
        key = (row["tenant_id"], row["week"])
        if row["basis"] == "cash" or key in skipped or not snapshot.is_whole(SyncType.INVOICES, key):
            continue
        net, invoiced_less_credited = revenue.get(key, (ZERO, ZERO))
        income = row["total_trading_income"]
        if not {net, invoiced_less_credited} & {income, lines[key]["total_trading_income"]}:
            off = net - income
            violations.append(
                Violation(
                    *key,
                    "",
                    {"net_revenue": net, "total_trading_income": income, "difference": off},
                    f"revenue is {net}, the trading income of the profit and loss {income}, a difference of {off}.",
                )
            )
    return violations


def check_revenue_accounts_have_income(snapshot: WarehouseSnapshot) -> list[Violation]:
    """Every account to which a week's documents add revenue has a line in the week's profit and loss.

    Other entries may add to the same account, so amounts may differ. But only an entry of exactly the opposite amount
    can remove the line. Accounts that no week's profit and loss has are skipped: they belong to the balance sheet.
    """
    accounts: dict[str, dict[str, str]] = defaultdict(dict)
    in_week: dict[Key, set[str]] = defaultdict(set)
    for line in snapshot.rows(financial_weekly_lines):
        for name in filter(None, (line["account_id"], line["account_code"])):
            accounts[line["tenant_id"]][name] = line["account_name"]
            in_week[line["tenant_id"], line["week"]].add(name)
    accrual = {(row["tenant_id"], row["week"]) for row in snapshot.rows(financial_weekly) if row["basis"] == "accrual"}
    violations = []
    for row in snapshot.rows(revenue_by_account):
        key = (row["tenant_id"], row["week"])
        name, amount = accounts[row["tenant_id"]].get(row["account"]), row["net_revenue"]
        if key in accrual and name and amount and row["account"] not in in_week[key]:
            violations.append(
                Violation(
                    *key,
                    name,
                    {"net_revenue": amount},
                    f"documents add {amount} to {name}, and the profit and loss has no line of this account.",
                )
            )
    return violations


def _sum_revenue(snapshot: WarehouseSnapshot) -> dict[Key, tuple[Decimal, Decimal]]:
    """Each week's sum of net revenue, and its sum of invoiced less credited."""
    sums: dict[Key, tuple[Decimal, Decimal]] = defaultdict(lambda: (ZERO, ZERO))
    for row in snapshot.rows(revenue_weekly):
        net, other = sums[row["tenant_id"], row["week"]]
        sums[row["tenant_id"], row["week"]] = (net + row["net_revenue"], other + row["invoiced"] - row["credited"])
    return dict(sums)


def find_wrong_weeks(snapshot: WarehouseSnapshot) -> set[Key]:
    """The weeks that another rule reports as wrong."""
    violations = [*check_net_is_invoiced_less_credited(snapshot), *check_no_duplicates(snapshot, revenue_weekly)]
    return {violation.key for violation in violations}
