"""The documents that each week's figures include, with their state, so that a late edit shows which weeks it changes.

A document that moves to another week changes both weeks, but Xero only returns the new date. So the documents of each
week of `revenue_weekly` are stored here, in the transaction that lands the week. Other documents that change figures,
such as bills, are stored as they were last seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
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

# SQLite accepts at most 32,766 parameters in a statement, and a row has six.
_CHUNK_SIZE = 2000


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document in the state in which a week's figures include it, or in which it was last seen."""

    key: str
    week: Week
    figures: str
    payments: Mapping[str, str]
    edited_at: datetime

    def _to_row(self, tenant_id: str) -> dict[str, Any]:
        return {
            "tenant_id": tenant_id,
            "document_id": self.key,
            "week_ending": self.week.ending,
            "figures": self.figures,
            "payments": dict(self.payments),
            "edited_at": self.edited_at,
        }


def replace_documents(connection: Connection, tenant_id: str, week: Week, documents: Iterable[StoredDocument]) -> None:
    """Store exactly these documents as the ones that a week's figures include."""
    connection.execute(
        delete(synced_documents).where(
            synced_documents.c.tenant_id == tenant_id, synced_documents.c.week_ending == week.ending
        )
    )
    _insert(connection, synced_documents, tenant_id, documents)


def save_seen_documents(connection: Connection, tenant_id: str, documents: Iterable[StoredDocument]) -> None:
    """Store these documents as they were last seen."""
    by_key = {document.key: document for document in documents}
    for keys in _split_into_chunks(sorted(by_key)):
        connection.execute(
            delete(seen_documents).where(
                seen_documents.c.tenant_id == tenant_id, seen_documents.c.document_id.in_(keys)
            )
        )
    _insert(connection, seen_documents, tenant_id, by_key.values())


def read_counted_documents(engine: Engine, tenant_id: str, keys: Iterable[str]) -> dict[str, list[StoredDocument]]:
    """The states of these documents in weeks' figures, by document key: one for each week that includes it."""
    documents: dict[str, list[StoredDocument]] = {}
    for document in _read(engine, synced_documents, tenant_id, keys):
        documents.setdefault(document.key, []).append(document)
    return documents


def read_last_seen_documents(engine: Engine, tenant_id: str, keys: Iterable[str]) -> dict[str, StoredDocument]:
    """The last seen states of these documents, by document key. Documents that were never seen are left out."""
    return {document.key: document for document in _read(engine, seen_documents, tenant_id, keys)}


def _insert(connection: Connection, table: Table, tenant_id: str, documents: Iterable[StoredDocument]) -> None:
    rest = iter(documents)
    while rows := [document._to_row(tenant_id) for document in islice(rest, _CHUNK_SIZE)]:
        connection.execute(insert(table), rows)


def _read(engine: Engine, table: Table, tenant_id: str, keys: Iterable[str]) -> list[StoredDocument]:
    documents = []
    with engine.connect() as connection:
        for chunk in _split_into_chunks(sorted(set(keys))):
            query = select(table).where(table.c.tenant_id == tenant_id, table.c.document_id.in_(chunk))
            for row in connection.execute(query):
                documents.append(
                    StoredDocument(row.document_id, Week(row.week_ending), row.figures, row.payments, row.edited_at)
                )
    return documents


def _split_into_chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[first : first + _CHUNK_SIZE] for first in range(0, len(keys), _CHUNK_SIZE))
