"""Cash: an account's closing balance follows from its opening one, which is the closing balance of the week before.

One wrong balance breaks both rules, in two weeks, but is reported once. A wrong closing balance is reported by the
rule about its own week, a wrong opening balance by the rule about the week before.
"""

from __future__ import annotations

from decimal import Decimal

from xero_pipeline.warehouse.checks.presence import check_no_duplicates
from xero_pipeline.warehouse.checks.snapshot import Key, Row, Violation, WarehouseSnapshot, cached_check
from xero_pipeline.warehouse.schema import cash_position_weekly
from xero_pipeline.weeks import Week

_AccountKey = tuple[str, Week, str]
"""Tenant id, week and bank account id."""


@cached_check
def check_closing_follows_from_opening(snapshot: WarehouseSnapshot) -> list[Violation]:
    """Each account's closing balance is its opening balance plus received, less spent, plus currency gain."""
    accounts = _index_accounts(snapshot)
    return [
        _describe_wrong_closing(row)
        for row in snapshot.rows(cash_position_weekly)
        if not _is_closing_right(row) and not _is_opening_wrong(row, accounts)
    ]


@cached_check
def check_opening_is_the_closing_before(snapshot: WarehouseSnapshot) -> list[Violation]:
    """Each account opens with its closing balance of the week before, if that week is stored."""
    accounts = _index_accounts(snapshot)
    violations = []
    for row in snapshot.rows(cash_position_weekly):
        before = accounts.get(_make_key(row, -1))
        if before is None or before["closing_balance"] == row["opening_balance"]:
            continue
        is_closing_reported = not _is_closing_right(before) and not _is_opening_wrong(before, accounts)
        if is_closing_reported and _compute_closing(before, before["opening_balance"]) == row["opening_balance"]:
            continue
        off = row["opening_balance"] - before["closing_balance"]
        violations.append(
            Violation(
                row["tenant_id"],
                row["week"],
                row["bank_account_name"],
                {
                    "opening_balance": row["opening_balance"],
                    "closing_balance_before": before["closing_balance"],
                    "difference": off,
                },
                f"{row['bank_account_name']}: opening_balance is {row['opening_balance']}, but the {row['week'].NOUN} "
                f"ending {before['week']} closed with {before['closing_balance']}, a difference of {off}.",
            )
        )
    return violations


def _describe_wrong_closing(row: Row) -> Violation:
    closing = _compute_closing(row, row["opening_balance"])
    off = row["closing_balance"] - closing
    moves = {name: row[name] for name in ("opening_balance", "cash_received", "cash_spent", "currency_gain")}
    return Violation(
        row["tenant_id"],
        row["week"],
        row["bank_account_name"],
        moves | {"closing_balance": row["closing_balance"], "difference": off},
        f"{row['bank_account_name']}: closing_balance is {row['closing_balance']}, but opening "
        f"{moves['opening_balance']} + received {moves['cash_received']} - spent {moves['cash_spent']} + currency "
        f"gain {moves['currency_gain']} is {closing}, a difference of {off}.",
    )


@cached_check
def _index_accounts(snapshot: WarehouseSnapshot) -> dict[_AccountKey, Row]:
    return {_make_key(row): row for row in snapshot.rows(cash_position_weekly)}


def _make_key(row: Row, weeks: int = 0) -> _AccountKey:
    return row["tenant_id"], row["week"].shift(weeks), row["bank_account_id"]


def _compute_closing(row: Row, opening: Decimal) -> Decimal:
    closing: Decimal = opening + row["cash_received"] - row["cash_spent"] + row["currency_gain"]
    return closing


def _is_closing_right(row: Row) -> bool:
    return bool(row["closing_balance"] == _compute_closing(row, row["opening_balance"]))


def _is_opening_wrong(row: Row, accounts: dict[_AccountKey, Row]) -> bool:
    """Whether the closing balance would be right with the correct closing balance of the week before as opening."""
    before = accounts.get(_make_key(row, -1))
    if before is None or not _is_closing_right(before):
        return False
    return bool(row["closing_balance"] == _compute_closing(row, before["closing_balance"]))


def find_wrong_weeks(snapshot: WarehouseSnapshot) -> set[Key]:
    """The weeks that another rule reports as wrong."""
    violations = [
        *check_closing_follows_from_opening(snapshot),
        *check_opening_is_the_closing_before(snapshot),
        *check_no_duplicates(snapshot, cash_position_weekly),
    ]
    return {violation.key for violation in violations}
