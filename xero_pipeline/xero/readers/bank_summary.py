"""Reads the bank summary: each account's amounts of the week. Pure: JSON in, a frame out.

Columns are found by their header, never by their position. The column that a multi-currency organisation adds has no
documented header, so it is accepted only if every row, with that column, adds up to its closing balance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from xero_pipeline.money import ZERO
from xero_pipeline.periods import Period
from xero_pipeline.weeks import WeekRange
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
_CURRENCY_GAIN = re.compile(r"currenc|exchange|fx|gain|revaluation", re.IGNORECASE)


@dataclass(frozen=True)
class BankSummary:
    """`accounts` has one row for each account: bank_account_id, bank_account_name and the five amounts."""

    accounts: pd.DataFrame
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


def read_bank_summary(payload: Mapping[str, Any], *, week: Period | WeekRange) -> BankSummary:
    """Read the accounts of a week or a range of weeks, and compare them with the totals and closing balances.

    Raises:
        PayloadNotUnderstood: a column is missing or unknown, or an account has no id or is listed twice.
        WrongPeriod: the report is for other dates.
    """
    rows = [row for row in read_report(payload, NAME, week) if not row.is_blank]
    details = [row for row in rows if row.kind == "row"]
    totals = [row for row in rows if row.kind == "summaryrow"]
    if not details and not totals:
        return BankSummary(_make_frame([]))
    columns, extra_header = _find_columns(rows)
    accounts = [_read_account(row, columns) for row in details]
    if extra_header is not None and any(
        _compute_closing_balance(account) != account["closing_balance"] for account in accounts
    ):
        raise PayloadNotUnderstood(f"The {NAME} report has an unknown column {extra_header[:60]!r}.")
    ids = [account["bank_account_id"] for account in accounts]
    if len(set(ids)) != len(ids):
        raise PayloadNotUnderstood(f"The {NAME} report has an account twice.")
    differences = [*_check_accounts(accounts), *_check_totals(rows, accounts, totals, columns)]
    notes = [] if extra_header is None else [_describe_assumed_gain(extra_header)]
    return BankSummary(_make_frame(accounts), differences, notes)


def _find_columns(rows: Sequence[ReportRow]) -> tuple[dict[str, int], str | None]:
    """Return the index of each column, and the header of an extra column that does not name a currency gain."""
    headers = [tuple(str(cell.value or "").strip() for cell in row.cells) for row in rows if row.kind == "header"]
    if len({tuple(map(_keep_letters, header)) for header in headers}) != 1:
        raise PayloadNotUnderstood(
            f"The {NAME} report has no header row or more than one, so its columns cannot be identified."
        )
    columns: dict[str, int] = {}
    for index, text in enumerate(headers[0]):
        name = _HEADERS.get(_keep_letters(text))
        if name in columns:
            raise PayloadNotUnderstood(f"The {NAME} report has the column {text[:60]!r} twice.")
        if name is not None:
            columns[name] = index
    missing = [name for name in dict.fromkeys(_HEADERS.values()) if name not in columns]
    if missing:
        names = ", ".join(name.replace("_name", "s").replace("_", " ") for name in missing)
        raise PayloadNotUnderstood(f"The {NAME} report has no column for {names}.")
    width = max(len(row.cells) for row in rows)
    extra = {index for index in range(width) for row in rows if row.has_value(index)} - set(columns.values())
    if len(extra) > 1:
        raise PayloadNotUnderstood(f"The {NAME} report has several unknown columns.")
    for index in extra:
        columns["currency_gain"] = index
        text = headers[0][index] if index < len(headers[0]) else ""
        return columns, None if _CURRENCY_GAIN.search(text) else text
    return columns, None


def _describe_assumed_gain(header: str) -> str:
    column = f"The column {header[:60]!r}" if header else "A column without a header"
    return f"{column} was taken for the currency gain: with it every account comes to its closing balance."


def _keep_letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


def _read_account(row: ReportRow, columns: Mapping[str, int]) -> dict[str, Any]:
    account_id, name_column = row.account_id, columns["bank_account_name"]
    label = str(row.cells[name_column].value).strip() if row.has_value(name_column) else ""
    if account_id is None:
        raise PayloadNotUnderstood(f"The {NAME} report has the row {label[:60]!r} without an account's id.")
    amounts = {name: _read_amount(row, name, columns, label) for name in AMOUNTS}
    return {"bank_account_id": account_id, "bank_account_name": label, **amounts}


def _read_amount(row: ReportRow, name: str, columns: Mapping[str, int], label: str) -> Decimal:
    index = columns.get(name)
    if name == "currency_gain" and (index is None or not row.has_value(index)):
        return ZERO
    cell = row.cells[index] if index is not None and index < len(row.cells) else None
    return read_amount(cell, f"The {NAME} report's row {label[:60]!r}")


def _compute_closing_balance(account: Mapping[str, Any]) -> Decimal:
    closing_balance: Decimal = (
        account["opening_balance"] + account["cash_received"] - account["cash_spent"] + account["currency_gain"]
    )
    return closing_balance


def _check_accounts(accounts: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    for account in accounts:
        computed = _compute_closing_balance(account)
        if account["closing_balance"] != computed:
            yield Difference(f"closing balance of {account['bank_account_name']}", account["closing_balance"], computed)


def _check_totals(
    rows: Sequence[ReportRow],
    accounts: Sequence[Mapping[str, Any]],
    totals: Sequence[ReportRow],
    columns: Mapping[str, int],
) -> Iterator[Difference]:
    """Compare each total with the sum of its section's accounts, or of all accounts if its section has none.

    A total that equals the sum of all accounts is accepted in any section.
    """
    details = [row for row in rows if row.kind == "row"]
    for total in totals:
        section_accounts = [
            account for row, account in zip(details, accounts, strict=True) if row.path[: len(total.path)] == total.path
        ]
        for name in AMOUNTS:
            index = columns.get(name)
            if index is None or not total.has_value(index):
                continue
            stated = _read_amount(total, name, columns, total.label)
            sums = [
                sum((account[name] for account in group), ZERO) for group in (section_accounts or accounts, accounts)
            ]
            if stated not in sums:
                yield Difference(f"total of {name.replace('_', ' ')}", stated, sums[0])


def _make_frame(accounts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(accounts), columns=["bank_account_id", "bank_account_name", *AMOUNTS], dtype=object)
