"""Edits that touch no document: journals, bank movements, a payroll run that moves, accounts that are retyped.

Xero reports none of them in any list of changes; only its reports show them.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from dataclasses import replace

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.chart import MockAccount
from xero_pipeline.mock_xero.books.entries import Entry


def add_entry(connection: sqlite3.Connection, tenant_id: str, entry: Entry) -> None:
    connection.execute(
        "INSERT INTO entries (tenant_id, day, account, credit, bank, cash) VALUES (?, ?, ?, ?, ?, ?)",
        (tenant_id, entry.day.isoformat(), entry.account, entry.credit, entry.bank, entry.cash),
    )


def load_entries(connection: sqlite3.Connection, tenant_id: str, first: dt.date, last: dt.date) -> list[Entry]:
    """The added entries in a range of days."""
    rows = connection.execute(
        "SELECT day, account, credit, bank, cash FROM entries WHERE tenant_id = ? AND day BETWEEN ? AND ? ORDER BY id",
        (tenant_id, first.isoformat(), last.isoformat()),
    )
    return [Entry(dt.date.fromisoformat(row["day"]), *tuple(row)[1:]) for row in rows]


def sum_cash_before(connection: sqlite3.Connection, tenant_id: str, bank: str, day: dt.date) -> int:
    """How much the added entries change a bank account's balance at the start of a day, in cents."""
    row = connection.execute(
        "SELECT COALESCE(SUM(cash), 0) FROM entries WHERE tenant_id = ? AND bank = ? AND day < ?",
        (tenant_id, bank, day.isoformat()),
    ).fetchone()
    return int(row[0])


def retype_account(connection: sqlite3.Connection, tenant_id: str, code: str, kind: str) -> None:
    connection.execute("INSERT OR REPLACE INTO account_types VALUES (?, ?, ?)", (tenant_id, code, kind))


def apply_types(
    connection: sqlite3.Connection, tenant_id: str, accounts: dict[str, MockAccount]
) -> dict[str, MockAccount]:
    """The chart of accounts with the types that were changed."""
    rows = connection.execute("SELECT code, type FROM account_types WHERE tenant_id = ?", (tenant_id,)).fetchall()
    # A file from before may hold a type that only the mock knew.
    changed = {row["code"]: row["type"] if row["type"] in chart.CLASSES else "EXPENSE" for row in rows}
    return {
        code: replace(account, type=changed[code], account_class=chart.CLASSES[changed[code]])
        if code in changed
        else account
        for code, account in accounts.items()
    }
