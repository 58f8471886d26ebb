"""Which document was counted in which week's figures, and as of when: what tells a late edit where it was.

A document that moves to another week touches two of them, and Xero only tells the new one. So each week
of `revenue_weekly` leaves the documents that it was made from here, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from sqlalchemy import Column, Connection, Date, Engine, Table, Text, delete, insert, select

from xero_pipeline.warehouse.metadata import metadata
from xero_pipeline.warehouse.types import UtcDateTime
from xero_pipeline.weeks import Week

synced_documents = Table(
    "synced_documents",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("document_id", Text, primary_key=True),
    Column("week_ending", Date, primary_key=True),
    # Xero's own UpdatedDateUTC of what was counted; NULL where Xero gave none.
    Column("document_updated_at", UtcDateTime),
)

# SQLite takes at most 32,766 parameters in a statement, and four fit a row.
_AT_ONCE = 5000


def replace_documents(
    connection: Connection, tenant_id: str, week: Week, documents: Mapping[str, datetime | None]
) -> None:
    """Remember exactly these documents, by id, as the ones in a week's figures."""
    connection.execute(
        delete(synced_documents).where(
            synced_documents.c.tenant_id == tenant_id, synced_documents.c.week_ending == week.ending
        )
    )
    rows = [
        {"tenant_id": tenant_id, "document_id": key, "week_ending": week.ending, "document_updated_at": updated}
        for key, updated in documents.items()
    ]
    for first in range(0, len(rows), _AT_ONCE):
        connection.execute(insert(synced_documents), rows[first : first + _AT_ONCE])


def weeks_counting(
    engine: Engine, tenant_id: str, document_ids: Iterable[str]
) -> dict[str, list[tuple[Week, datetime | None]]]:
    """For each document that is in some week's figures: those weeks, and as of which edit it was counted."""
    wanted: Sequence[str] = sorted(set(document_ids))
    found: dict[str, list[tuple[Week, datetime | None]]] = {}
    with engine.connect() as connection:
        for first in range(0, len(wanted), _AT_ONCE):
            rows = connection.execute(
                select(synced_documents).where(
                    synced_documents.c.tenant_id == tenant_id,
                    synced_documents.c.document_id.in_(wanted[first : first + _AT_ONCE]),
                )
            )
            for row in rows:
                ending: date = row.week_ending
                found.setdefault(row.document_id, []).append((Week(ending), row.document_updated_at))
    return found
