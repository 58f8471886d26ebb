"""The bank summary: each account's week, every column. Pure: JSON in, a frame out.

Columns are read by their header, never by their place; the one that a multi-currency organisation adds has
no documented header, so the arithmetic of the rows has to bear it out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pandas as pd

from xero_pipeline.money import ZERO
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.reports import Difference, Row, read_amount, read_report

NAME = "Bank Summary"
HEADERS = {
    "openingbalance": "opening_balance",
    "cashreceived": "cash_received",
    "cashspent": "cash_spent",
    "closingbalance": "closing_balance",
}
AMOUNTS = ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance")
_NAMES = {"bankaccounts", "bankaccount", "account", "accounts", ""}
_SPEAKS_OF_GAIN = re.compile(r"currenc|exchange|fx|gain|revaluation", re.IGNORECASE)


@dataclass(frozen=True)
class BankSummary:
    """`accounts`: bank_account_id, bank_account_name and the five amounts, one row an account."""

    accounts: pd.DataFrame
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def read_bank_summary(payload: Mapping[str, Any], *, week: Week) -> BankSummary:
    """The week's accounts, held against the report's own total and against their own closing balances.

    Raises:
        PayloadNotUnderstood: a column is missing or unknown, an account has no id or is there twice.
        WrongPeriod: the report is for other dates.
    """
    rows = read_report(payload, NAME, week)
    details = [row for row in rows if row.kind == "row" and row.cells]
    totals = [row for row in rows if row.kind == "summaryrow" and len(row.cells) > 1]
    headers = [row for row in rows if row.kind == "header"]
    if not details:
        return BankSummary(_frame([]))
    if not headers:
        raise PayloadNotUnderstood(f"The {NAME} report has no header, so its columns cannot be told apart.")
    columns, extra = _columns(headers[0])
    accounts = [_account(row, columns, extra) for row in details]
    if extra is not None and not _SPEAKS_OF_GAIN.search(str(headers[0].cells[extra].value)):
        if any(_closing(account) != account["closing_balance"] for account in accounts):
            raise PayloadNotUnderstood(f"The {NAME} report has a column that is not known.")
    ids = [account["bank_account_id"] for account in accounts]
    if len(set(ids)) != len(ids):
        raise PayloadNotUnderstood(f"The {NAME} report has an account twice.")
    return BankSummary(_frame(accounts), _check(accounts, totals, columns, extra))


def _columns(header: Row) -> tuple[dict[str, int], int | None]:
    """Where each amount stands, and the one further column."""
    columns: dict[str, int] = {}
    extra: list[int] = []
    for place, cell in enumerate(header.cells):
        word = re.sub(r"[^a-z]", "", str(cell.value or "").lower())
        if word in HEADERS:
            if HEADERS[word] in columns:
                raise PayloadNotUnderstood(f"The {NAME} report has the column {cell.value!r} twice.")
            columns[HEADERS[word]] = place
        elif word not in _NAMES:
            extra.append(place)
    missing = [name.replace("_", " ") for name in HEADERS.values() if name not in columns]
    if missing:
        raise PayloadNotUnderstood(f"The {NAME} report has no column for {', '.join(missing)}.")
    if len(extra) > 1:
        raise PayloadNotUnderstood(f"The {NAME} report has more columns than are known.")
    return columns, extra[0] if extra else None


def _account(row: Row, columns: Mapping[str, int], extra: int | None) -> dict[str, Any]:
    account_id = row.attribute("accountid", "account")
    if not account_id:
        raise PayloadNotUnderstood(f"The {NAME} report has a row without an account's id.")
    amounts = {name: _amount(row, place) for name, place in columns.items()}
    gain = ZERO if extra is None else _amount(row, extra)
    return {"bank_account_id": account_id, "bank_account_name": row.label, **amounts, "currency_gain": gain}


def _amount(row: Row, place: int) -> Decimal:
    cell = row.cells[place] if place < len(row.cells) else None
    return read_amount(cell, f"The {NAME} report's row {row.label!r}")


def _closing(account: Mapping[str, Any]) -> Decimal:
    closing: Decimal = (
        account["opening_balance"] + account["cash_received"] - account["cash_spent"] + account["currency_gain"]
    )
    return closing


def _check(
    accounts: Sequence[Mapping[str, Any]],
    totals: Sequence[Row],
    columns: Mapping[str, int],
    extra: int | None,
) -> list[Difference]:
    differences = [
        Difference(
            f"closing balance of {account['bank_account_name']}",
            account["closing_balance"],
            _closing(account),
        )
        for account in accounts
        if account["closing_balance"] != _closing(account)
    ]
    places = {**columns, **({} if extra is None else {"currency_gain": extra})}
    for total in totals[-1:]:
        for name, place in places.items():
            stated = _amount(total, place)
            found = sum((account[name] for account in accounts), ZERO)
            if stated != found:
                differences.append(Difference(f"total of {name.replace('_', ' ')}", stated, found))
    return differences


def _frame(accounts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(accounts), columns=["bank_account_id", "bank_account_name", *AMOUNTS], dtype=object)
