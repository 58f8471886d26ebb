"""The stored late edits: documents that differ from the generated ledger's, or are new.

An edited document is stored whole, beside the date and payment of the ledger's original. So the figures of
every week that it affects can be corrected without reading the other edits.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from dataclasses import asdict
from decimal import Decimal
from functools import lru_cache
from typing import Any

from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, DocumentLine, DocumentStatus, TaxTreatment
from xero_pipeline.mock_xero.books.ledger import make_payment
from xero_pipeline.mock_xero.state import to_microseconds


def save(connection: sqlite3.Connection, tenant_id: str, document: Document, original: Document | None) -> None:
    """Store an edited document; `original` is the ledger's version, `None` for a new document."""
    day, bank, cash = _read_payment(document)
    base_day, base_bank, base_cash = _read_payment(original)
    connection.execute(
        "INSERT OR REPLACE INTO documents (tenant_id, id, updated, day, base_day, paid_on, bank, cash,"
        " base_paid_on, base_bank, base_cash, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            tenant_id,
            document.id,
            to_microseconds(document.updated_at),
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
    return None if row is None else _parse_document(row["payload"])


def load_touching(connection: sqlite3.Connection, tenant_id: str, first: dt.date, last: dt.date) -> dict[str, Document]:
    """Edited documents, by id, whose present or original date or payment day is in a range of days."""
    rows = connection.execute(
        "SELECT payload FROM documents WHERE tenant_id = :tenant AND ("
        "day BETWEEN :first AND :last OR base_day BETWEEN :first AND :last OR "
        "paid_on BETWEEN :first AND :last OR base_paid_on BETWEEN :first AND :last)",
        {"tenant": tenant_id, "first": first.isoformat(), "last": last.isoformat()},
    )
    return {document.id: document for document in (_parse_document(row["payload"]) for row in rows)}


def load_updated_since(connection: sqlite3.Connection, tenant_id: str, since: dt.datetime) -> dict[str, Document]:
    rows = connection.execute(
        "SELECT payload FROM documents WHERE tenant_id = ? AND updated >= ?", (tenant_id, to_microseconds(since))
    )
    return {document.id: document for document in (_parse_document(row["payload"]) for row in rows)}


def load_all(connection: sqlite3.Connection, tenant_id: str) -> dict[str, Document]:
    rows = connection.execute("SELECT payload FROM documents WHERE tenant_id = ?", (tenant_id,))
    return {document.id: document for document in (_parse_document(row["payload"]) for row in rows)}


def sum_cash_before(connection: sqlite3.Connection, tenant_id: str, bank: str, day: dt.date) -> int:
    """How much edits change a bank account's balance at the start of a day, in cents."""
    row = connection.execute(
        "SELECT COALESCE((SELECT SUM(cash) FROM documents"
        " WHERE tenant_id = :tenant AND bank = :bank AND paid_on < :day), 0)"
        " - COALESCE((SELECT SUM(base_cash) FROM documents"
        " WHERE tenant_id = :tenant AND base_bank = :bank AND base_paid_on < :day), 0)",
        {"tenant": tenant_id, "bank": bank, "day": day.isoformat()},
    ).fetchone()
    return int(row[0])


def _read_payment(document: Document | None) -> tuple[str | None, str | None, int]:
    if document is None or document.paid_on is None:
        return None, None, 0
    entry = make_payment(document)
    return entry.day.isoformat(), entry.bank, entry.cash


# Each request reads the edits that concern it, and most of them are the same as before.
@lru_cache(maxsize=2000)
def _parse_document(payload: str) -> Document:
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
