"""Bank accounts that a bank summary lacks although they had money, so that an answer cut short deletes no balance.

A bank account does not vanish with money in it. Where a report lacks one that closed the week before with another
balance than zero, the report is incomplete or the account was archived in Xero with money in it. Either way the row
that was held stays, and the week is `partial`. An account that was archived at zero is no difference.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from xero_pipeline.differences import Difference
from xero_pipeline.identifiers import normalise_id
from xero_pipeline.money import ZERO
from xero_pipeline.periods import Month, Period
from xero_pipeline.warehouse.logs.sync_log import SyncType, has_landed
from xero_pipeline.warehouse.schema import cash_position_monthly, cash_position_weekly

_AMOUNTS = ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance")


@dataclass(frozen=True, slots=True)
class MissingAccounts:
    """The accounts that a report lacks: the ids of those with a row in the week, and a difference for each."""

    held: frozenset[str]
    differences: Sequence[Difference]


def find_missing_accounts(
    connection: Connection, tenant_id: str, week: Period, listed: Collection[str]
) -> MissingAccounts:
    """Find the accounts that a week's or month's report should have listed.

    The week before says what an account had. Where it has never landed, the opening balance held for this week says
    it. A report without any account must also not delete rows of accounts that began in this week.

    Args:
        listed: the ids of the accounts in the report.
    """
    before = _read_accounts(connection, tenant_id, week.previous)
    held = _read_accounts(connection, tenant_id, week)
    sync_type = SyncType.BANK_SUMMARY_MONTHLY if isinstance(week, Month) else SyncType.BANK_SUMMARY
    knows_before = bool(before) or has_landed(connection, tenant_id, sync_type, week.previous)
    kept, differences = set(), []
    for account_id in sorted((before.keys() | held.keys()) - set(listed)):
        row = before.get(account_id) or held[account_id]
        balance = ZERO
        if account_id in before:
            balance = before[account_id]["closing_balance"]
        elif not knows_before:
            balance = held[account_id]["opening_balance"]
        moved = account_id in held and any(held[account_id][name] for name in _AMOUNTS)
        if not balance and (listed or not moved):
            continue
        if account_id in held:
            kept.add(account_id)
        differences.append(_describe(row["bank_account_name"], balance, is_held=account_id in held))
    return MissingAccounts(frozenset(kept), differences)


def _read_accounts(connection: Connection, tenant_id: str, week: Period) -> dict[str, Mapping[str, Any]]:
    cash = cash_position_monthly if isinstance(week, Month) else cash_position_weekly
    query = select(cash).where(cash.c.tenant_id == tenant_id, cash.c[week.COLUMN] == week.ending)
    return {normalise_id(row["bank_account_id"]): dict(row) for row in connection.execute(query).mappings()}


def _describe(name: str, balance: Decimal, *, is_held: bool) -> Difference:
    stays = "; the row held before stays" if is_held else ""
    return Difference(
        f"opening balance of {name}", ZERO, balance, f"the bank summary does not list this account any more{stays}"
    )
