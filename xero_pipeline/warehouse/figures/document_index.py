"""Which document was counted in which week's figures, and in what state: what tells a late edit where it was.

A document that moves to another week touches two of them, and Xero only tells the new one. So each week
of `revenue_weekly` leaves the documents that it was made from here, in the same transaction. What is no
revenue but moves figures too (a bill) is remembered as it was last seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Connection, Date, Engine, Table, Text, delete, insert, select

from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime
from xero_pipeline.weeks import Week

synced_documents = Table(
    "synced_documents",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("document_id", Text, primary_key=True),
    Column("week_ending", Date, primary_key=True),
    Column("figures", Text, nullable=False),
    Column("payments", JSON, nullable=False),
    Column("edited_at", UtcDateTime, nullable=False),
)

seen_documents = Table(
    "seen_documents",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("document_id", Text, primary_key=True),
    Column("week_ending", Date, nullable=False),
    Column("figures", Text, nullable=False),
    Column("payments", JSON, nullable=False),
    Column("edited_at", UtcDateTime, nullable=False),
)

# SQLite takes at most 32,766 parameters in a statement; a row has six.
_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A document in the state in which it was counted in a week's figures, or last seen."""

    key: str
    week: Week
    figures: str
    payments: Mapping[str, str]
    edited_at: datetime

    def _row(self, tenant_id: str) -> dict[str, Any]:
        return {
            "tenant_id": tenant_id,
            "document_id": self.key,
            "week_ending": self.week.ending,
            "figures": self.figures,
            "payments": dict(self.payments),
            "edited_at": self.edited_at,
        }


def replace_documents(connection: Connection, tenant_id: str, week: Week, documents: Iterable[KeptDocument]) -> None:
    """Remember exactly these documents as the ones in a week's figures."""
    connection.execute(
        delete(synced_documents).where(
            synced_documents.c.tenant_id == tenant_id, synced_documents.c.week_ending == week.ending
        )
    )
    _insert(connection, synced_documents, tenant_id, list(documents))


def remember_seen(connection: Connection, tenant_id: str, documents: Iterable[KeptDocument]) -> None:
    """Remember these documents as they were last seen."""
    kept = {document.key: document for document in documents}
    for keys in _portions(sorted(kept)):
        connection.execute(
            delete(seen_documents).where(
                seen_documents.c.tenant_id == tenant_id, seen_documents.c.document_id.in_(keys)
            )
        )
    _insert(connection, seen_documents, tenant_id, list(kept.values()))


def counted_documents(engine: Engine, tenant_id: str, keys: Iterable[str]) -> dict[str, list[KeptDocument]]:
    """For each of these documents that is in some week's figures: once for each such week."""
    found: dict[str, list[KeptDocument]] = {}
    for document in _read(engine, synced_documents, tenant_id, keys):
        found.setdefault(document.key, []).append(document)
    return found


def last_seen_documents(engine: Engine, tenant_id: str, keys: Iterable[str]) -> dict[str, KeptDocument]:
    """For each of these documents that a look has seen: its last state."""
    return {document.key: document for document in _read(engine, seen_documents, tenant_id, keys)}


def _insert(connection: Connection, table: Table, tenant_id: str, documents: Sequence[KeptDocument]) -> None:
    for first in range(0, len(documents), _AT_ONCE):
        rows = [document._row(tenant_id) for document in documents[first : first + _AT_ONCE]]
        connection.execute(insert(table), rows)


def _read(engine: Engine, table: Table, tenant_id: str, keys: Iterable[str]) -> list[KeptDocument]:
    found = []
    with engine.connect() as connection:
        for portion in _portions(sorted(set(keys))):
            query = select(table).where(table.c.tenant_id == tenant_id, table.c.document_id.in_(portion))
            for row in connection.execute(query):
                found.append(
                    KeptDocument(row.document_id, Week(row.week_ending), row.figures, row.payments, row.edited_at)
                )
    return found


def _portions(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[first : first + _AT_ONCE] for first in range(0, len(keys), _AT_ONCE))
