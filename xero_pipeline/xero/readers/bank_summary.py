"""The bank summary: each account's week, every column. Pure: JSON in, a frame out.

Columns are read by their header, never by their place; the one that a multi-currency organisation adds has
no documented header, so the arithmetic of the rows has to bear it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from xero_pipeline.money import ZERO
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.reports import Difference, ReportRow, read_amount, read_report

NAME = "Bank Summary"
AMOUNTS = ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance")
_HEADERS = {
    "bankaccounts": "bank_account_name",
    "bankaccount": "bank_account_name",
    "openingbalance": "opening_balance",
    "cashreceived": "cash_received",
    "cashspent": "cash_spent",
    "closingbalance": "closing_balance",
}
_SPEAKS_OF_GAIN = re.compile(r"currenc|exchange|fx|gain|revaluation", re.IGNORECASE)


@dataclass(frozen=True)
class BankSummary:
    """`accounts`: bank_account_id, bank_account_name and the five amounts, one row an account."""

    accounts: pd.DataFrame
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


def read_bank_summary(payload: Mapping[str, Any], *, week: Week) -> BankSummary:
    """The week's accounts, held against the report's own total and against their own closing balances.

    Raises:
        PayloadNotUnderstood: a column is missing or unknown, an account has no id or is there twice.
        WrongPeriod: the report is for other dates.
    """
    rows = [row for row in read_report(payload, NAME, week) if not row.is_blank]
    details = [row for row in rows if row.kind == "row"]
    totals = [row for row in rows if row.kind == "summaryrow"]
    if not details and not totals:
        return BankSummary(_frame([]))
    columns, extra = _columns(rows)
    accounts = [_account(row, columns) for row in details]
    if extra is not None and any(_closing(account) != account["closing_balance"] for account in accounts):
        raise PayloadNotUnderstood(f"The {NAME} report has a column {extra[:60]!r} that is not known.")
    ids = [account["bank_account_id"].lower() for account in accounts]
    if len(set(ids)) != len(ids):
        raise PayloadNotUnderstood(f"The {NAME} report has an account twice.")
    differences = [*_check_accounts(accounts), *_check_totals(rows, accounts, totals, columns)]
    notes = [] if extra is None else [_taken_for_gain(extra)]
    return BankSummary(_frame(accounts), differences, notes)


def _columns(rows: Sequence[ReportRow]) -> tuple[dict[str, int], str | None]:
    """Where each column stands; and the header of a further one that does not say that it is a currency gain."""
    headers = [tuple(str(cell.value or "").strip() for cell in row.cells) for row in rows if row.kind == "header"]
    if len({tuple(map(_word, header)) for header in headers}) != 1:
        raise PayloadNotUnderstood(f"The {NAME} report has no header, or several, so its columns cannot be told apart.")
    columns: dict[str, int] = {}
    for place, text in enumerate(headers[0]):
        name = _HEADERS.get(_word(text))
        if name in columns:
            raise PayloadNotUnderstood(f"The {NAME} report has the column {text[:60]!r} twice.")
        if name is not None:
            columns[name] = place
    missing = [name for name in dict.fromkeys(_HEADERS.values()) if name not in columns]
    if missing:
        said = ", ".join(name.replace("_name", "s").replace("_", " ") for name in missing)
        raise PayloadNotUnderstood(f"The {NAME} report has no column for {said}.")
    width = max(len(row.cells) for row in rows)
    used = {place for place in range(width) for row in rows if row.says(place)} - set(columns.values())
    if len(used) > 1:
        raise PayloadNotUnderstood(f"The {NAME} report has more columns than are known.")
    for place in used:
        columns["currency_gain"] = place
        text = headers[0][place] if place < len(headers[0]) else ""
        return columns, None if _SPEAKS_OF_GAIN.search(text) else text
    return columns, None


def _taken_for_gain(header: str) -> str:
    column = f"The column {header[:60]!r}" if header else "A column without a header"
    return f"{column} was taken for the currency gain: with it every account comes to its closing balance."


def _word(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


def _account(row: ReportRow, columns: Mapping[str, int]) -> dict[str, Any]:
    account_id, name = row.account_id, columns["bank_account_name"]
    label = str(row.cells[name].value).strip() if row.says(name) else ""
    if account_id is None:
        raise PayloadNotUnderstood(f"The {NAME} report has the row {label[:60]!r} without an account's id.")
    amounts = {column: _amount(row, column, columns, label) for column in AMOUNTS}
    return {"bank_account_id": account_id, "bank_account_name": label, **amounts}


def _amount(row: ReportRow, column: str, columns: Mapping[str, int], label: str) -> Decimal:
    place = columns.get(column)
    if column == "currency_gain" and (place is None or not row.says(place)):
        return ZERO
    cell = row.cells[place] if place is not None and place < len(row.cells) else None
    return read_amount(cell, f"The {NAME} report's row {label[:60]!r}")


def _closing(account: Mapping[str, Any]) -> Decimal:
    closing: Decimal = (
        account["opening_balance"] + account["cash_received"] - account["cash_spent"] + account["currency_gain"]
    )
    return closing


def _check_accounts(accounts: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    for account in accounts:
        if account["closing_balance"] != _closing(account):
            where = f"closing balance of {account['bank_account_name']}"
            yield Difference(where, account["closing_balance"], _closing(account))


def _check_totals(
    rows: Sequence[ReportRow],
    accounts: Sequence[Mapping[str, Any]],
    totals: Sequence[ReportRow],
    columns: Mapping[str, int],
) -> Iterator[Difference]:
    """A section's total is of its own accounts; one that has none above it is of all of them."""
    details = [row for row in rows if row.kind == "row"]
    for total in totals:
        own = [one for row, one in zip(details, accounts, strict=True) if row.path[: len(total.path)] == total.path]
        for column in AMOUNTS:
            place = columns.get(column)
            if place is None or not total.says(place):
                continue
            stated = _amount(total, column, columns, total.label)
            found = [sum((account[column] for account in some), ZERO) for some in (own or accounts, accounts)]
            if stated not in found:
                yield Difference(f"total of {column.replace('_', ' ')}", stated, found[0])


def _frame(accounts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(accounts), columns=["bank_account_id", "bank_account_name", *AMOUNTS], dtype=object)
