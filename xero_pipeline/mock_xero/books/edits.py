"""What was edited in the books after the fact: documents that differ from the ledger's, or are new.

An edited document is kept whole, beside what the ledger had: which day it lay in and what was paid for it,
so that the figures of every week it touches can be put right without reading the others.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, DocumentLine, DocumentStatus, TaxTreatment
from xero_pipeline.mock_xero.books.ledger import payment_of
from xero_pipeline.mock_xero.state import ticks


def save(connection: sqlite3.Connection, tenant_id: str, document: Document, original: Document | None) -> None:
    """Keep an edited document; `original` is the ledger's own, `None` for a new one."""
    day, bank, cash = _payment(document)
    base_day, base_bank, base_cash = _payment(original)
    connection.execute(
        "INSERT OR REPLACE INTO documents (tenant_id, id, updated, day, base_day, paid_on, bank, cash,"
        " base_paid_on, base_bank, base_cash, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            tenant_id,
            document.id,
            ticks(document.updated_at),
            document.date.isoformat(),
            original.date.isoformat() if original else None,
            day,
            bank,
            cash,
            base_day,
            base_bank,
            base_cash,
            json.dumps(asdict(document), default=str),
        ),
    )


def load(connection: sqlite3.Connection, tenant_id: str, document_id: str) -> Document | None:
    row = connection.execute(
        "SELECT payload FROM documents WHERE tenant_id = ? AND id = ?", (tenant_id, document_id.lower())
    ).fetchone()
    return None if row is None else _read(row["payload"])


def touching(connection: sqlite3.Connection, tenant_id: str, first: dt.date, last: dt.date) -> dict[str, Document]:
    """Edited documents that lie in a range of days or lay in it before, or are paid in it or were; by id."""
    rows = connection.execute(
        "SELECT payload FROM documents WHERE tenant_id = :tenant AND ("
        "day BETWEEN :first AND :last OR base_day BETWEEN :first AND :last OR "
        "paid_on BETWEEN :first AND :last OR base_paid_on BETWEEN :first AND :last)",
        {"tenant": tenant_id, "first": first.isoformat(), "last": last.isoformat()},
    )
    return {document.id: document for document in (_read(row["payload"]) for row in rows)}


def updated_since(connection: sqlite3.Connection, tenant_id: str, since: dt.datetime) -> dict[str, Document]:
    rows = connection.execute(
        "SELECT payload FROM documents WHERE tenant_id = ? AND updated >= ?", (tenant_id, ticks(since))
    )
    return {document.id: document for document in (_read(row["payload"]) for row in rows)}


def everything(connection: sqlite3.Connection, tenant_id: str) -> dict[str, Document]:
    rows = connection.execute("SELECT payload FROM documents WHERE tenant_id = ?", (tenant_id,))
    return {document.id: document for document in (_read(row["payload"]) for row in rows)}


def cash_before(connection: sqlite3.Connection, tenant_id: str, bank: str, day: dt.date) -> int:
    """By how much edits have changed a bank account's balance as a day begins, cents."""
    row = connection.execute(
        "SELECT COALESCE((SELECT SUM(cash) FROM documents"
        " WHERE tenant_id = :tenant AND bank = :bank AND paid_on < :day), 0)"
        " - COALESCE((SELECT SUM(base_cash) FROM documents"
        " WHERE tenant_id = :tenant AND base_bank = :bank AND base_paid_on < :day), 0)",
        {"tenant": tenant_id, "bank": bank, "day": day.isoformat()},
    ).fetchone()
    return int(row[0])


def _payment(document: Document | None) -> tuple[str | None, str | None, int]:
    if document is None or document.paid_on is None:
        return None, None, 0
    entry = payment_of(document)
    return entry.day.isoformat(), entry.bank, entry.cash


def _read(payload: str) -> Document:
    given: dict[str, Any] = json.loads(payload)
    return Document(
        kind=DocumentKind(given["kind"]),
        id=given["id"],
        number=given["number"],
        date=dt.date.fromisoformat(given["date"]),
        due=dt.date.fromisoformat(given["due"]),
        status=DocumentStatus(given["status"]),
        tax=TaxTreatment(given["tax"]),
        currency=given["currency"],
        rate=Decimal(given["rate"]) if given["rate"] is not None else None,
        contact=given["contact"],
        lines=tuple(DocumentLine(**line) for line in given["lines"]),
        created_at=dt.datetime.fromisoformat(given["created_at"]),
        updated_at=dt.datetime.fromisoformat(given["updated_at"]),
        paid_on=dt.date.fromisoformat(given["paid_on"]) if given["paid_on"] else None,
    )
