"""Cash: each account's week follows from its opening balance, which is the week before's closing one.

A wrong balance breaks both rules, in two weeks. It is told once: a wrong closing balance where it does not
follow from its own week, a wrong opening one where it is not what the week before ended with.
"""

from __future__ import annotations

from decimal import Decimal

from xero_pipeline.warehouse.checks.presence import no_duplicates
from xero_pipeline.warehouse.checks.snapshot import Row, Violation, WarehouseSnapshot, cached_check
from xero_pipeline.warehouse.schema import cash_position_weekly
from xero_pipeline.weeks import Week

_Place = tuple[str, Week, str]


@cached_check
def closing_follows_from_opening(held: WarehouseSnapshot) -> list[Violation]:
    """Closing balance is opening balance plus received, less spent, plus currency gain, for each account."""
    accounts = _accounts(held)
    return [
        _wrong_closing(row)
        for row in held.rows(cash_position_weekly)
        if not _follows(row) and not _opening_is_wrong(row, accounts)
    ]


@cached_check
def opening_is_the_closing_before(held: WarehouseSnapshot) -> list[Violation]:
    """Each account opens with what it closed with the week before, where that is held."""
    accounts = _accounts(held)
    found = []
    for row in held.rows(cash_position_weekly):
        before = accounts.get(_place(row, -1))
        if before is None or before["closing_balance"] == row["opening_balance"]:
            continue
        told = not _follows(before) and not _opening_is_wrong(before, accounts)
        if told and _closing(before, before["opening_balance"]) == row["opening_balance"]:
            continue
        off = row["opening_balance"] - before["closing_balance"]
        found.append(
            Violation(
                row["tenant_id"],
                row["week"],
                row["bank_account_name"],
                {
                    "opening_balance": row["opening_balance"],
                    "closing_balance_before": before["closing_balance"],
                    "difference": off,
                },
                f"{row['bank_account_name']}: opening_balance is {row['opening_balance']}, but the week ending "
                f"{before['week']} closed with {before['closing_balance']}, a difference of {off}.",
            )
        )
    return found


def _wrong_closing(row: Row) -> Violation:
    closing = _closing(row, row["opening_balance"])
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
def _accounts(held: WarehouseSnapshot) -> dict[_Place, Row]:
    return {_place(row): row for row in held.rows(cash_position_weekly)}


def _place(row: Row, weeks: int = 0) -> _Place:
    return row["tenant_id"], row["week"].shift(weeks), row["bank_account_id"]


def _closing(row: Row, opening: Decimal) -> Decimal:
    closing: Decimal = opening + row["cash_received"] - row["cash_spent"] + row["currency_gain"]
    return closing


def _follows(row: Row) -> bool:
    return bool(row["closing_balance"] == _closing(row, row["opening_balance"]))


def _opening_is_wrong(row: Row, accounts: dict[_Place, Row]) -> bool:
    """Whether a week that does not follow would, from the sound closing balance of the week before."""
    before = accounts.get(_place(row, -1))
    if before is None or not _follows(before):
        return False
    return bool(row["closing_balance"] == _closing(row, before["closing_balance"]))


def unsound_weeks(held: WarehouseSnapshot) -> set[tuple[str, Week]]:
    """The weeks whose figures are told to be wrong already."""
    findings = [
        *closing_follows_from_opening(held),
        *opening_is_the_closing_before(held),
        *no_duplicates(held, cash_position_weekly),
    ]
    return {finding.key for finding in findings}
