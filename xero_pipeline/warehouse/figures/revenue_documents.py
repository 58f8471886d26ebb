"""Replacing the documents and lines that a week's revenue is made of, in the transaction that lands the week.

The lines of a cell add up to its row of `revenue_weekly` to the cent. Documents come one after the other, and are
compared and written in portions, so that a week of any size needs little memory. Rows that are as before stay.

Where a later sync changes what a document adds to a landed week, `revenue_document_changes` keeps both amounts: the
restatements of `revenue_weekly` say which figure changed, these rows say because of which document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, delete, insert, select

from xero_pipeline.periods import Period
from xero_pipeline.warehouse.figures.landing import Provenance
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.warehouse.schema import (
    revenue_document_changes,
    revenue_document_lines,
    revenue_documents,
    xero_sync_logs,
)

# So many documents are compared and written at once.
_CHUNK_SIZE = 500
# SQLite accepts at most 32,766 parameters in a statement, and no table here has more than 17 columns.
_MAX_ROWS = 1500

INVOICE, CREDIT_NOTE = "invoice", "credit_note"


@dataclass(frozen=True, slots=True)
class RevenueDocumentLine:
    """One line. `document_net` is in the document's currency, the other amounts are in base currency."""

    line_number: int
    account_code: str | None
    item_code: str | None
    revenue_type: str
    region: str
    net: Decimal
    tax: Decimal
    document_net: Decimal


@dataclass(frozen=True, slots=True)
class RevenueDocument:
    """One invoice or credit note that a week's revenue counts; the amounts of a credit note are positive."""

    key: str
    document_type: str
    number: str | None
    day: date
    status: str
    contact_id: str | None
    contact_name: str | None
    currency: str
    rate: Decimal
    xero_url: str | None
    lines: Sequence[RevenueDocumentLine]


class _Part(NamedTuple):
    """The part of a document whose changes are stored together."""

    account_code: str | None
    revenue_type: str
    region: str


_Row = dict[str, Any]
_Rows = tuple[_Row, list[_Row]]
"""A document's own row and those of its lines."""
_Amounts = tuple[Decimal, Decimal]
"""Net and tax."""


def replace_revenue_documents(
    connection: Connection, provenance: Provenance, documents: Iterable[RevenueDocument]
) -> int:
    """Store exactly these documents, each given once, as those of the week. Returns how many they are.

    The caller has waited for any other process that writes the same week's revenue.
    """
    writer = _Writer(connection, provenance)
    rest = iter(documents)
    count = 0
    while chunk := list(islice(rest, _CHUNK_SIZE)):
        count += len(chunk)
        writer.replace(chunk)
    writer.delete_rest()
    return count


def are_documents_stored(connection: Connection, tenant_id: str, week: Period) -> bool:
    """Whether a sync has stored the documents of that week's revenue. Older versions landed weeks without them."""
    logs = xero_sync_logs.c
    query = select(logs.id).where(
        logs.tenant_id == tenant_id,
        logs.sync_type == SyncType.INVOICES.value,
        logs.week_ending == week.ending,
        logs.status.in_(LANDED),
        logs.documents.is_not(None),
    )
    return connection.execute(query.limit(1)).first() is not None


class _Writer:
    def __init__(self, connection: Connection, provenance: Provenance) -> None:
        self._connection = connection
        self._provenance = provenance
        self._week = {"tenant_id": provenance.tenant_id, "week_ending": provenance.week.ending}
        self._origin = {"data_source": provenance.data_source, "currency": provenance.currency}
        self._is_restatement = are_documents_stored(connection, provenance.tenant_id, provenance.week)
        ids = select(revenue_documents.c.document_id).where(self._match(revenue_documents))
        self._rest: set[str] = set(connection.execute(ids).scalars())

    def replace(self, documents: Sequence[RevenueDocument]) -> None:
        stored = self._read([document.key for document in documents if document.key in self._rest])
        self._rest.difference_update(document.key for document in documents)
        rows: list[_Row] = []
        lines: list[_Row] = []
        changes: list[_Row] = []
        replaced: list[str] = []
        for document in documents:
            row, line_rows = self._make_rows(document)
            before = stored.get(document.key)
            if before == (row, line_rows):
                continue
            if before is not None:
                replaced.append(document.key)
            changes += self._find_changes(before, (row, line_rows))
            rows.append(row)
            lines += line_rows
        self._delete(replaced)
        moment = {"updated_at": self._provenance.now}
        self._insert(revenue_documents, [row | moment for row in rows])
        self._insert(revenue_document_lines, [row | moment for row in lines])
        self._insert(revenue_document_changes, changes)

    def delete_rest(self) -> None:
        """Delete the stored documents that were not given."""
        rest = sorted(self._rest)
        for first in range(0, len(rest), _CHUNK_SIZE):
            keys = rest[first : first + _CHUNK_SIZE]
            changes = [change for before in self._read(keys).values() for change in self._find_changes(before, None)]
            self._delete(keys)
            self._insert(revenue_document_changes, changes)

    def _make_rows(self, document: RevenueDocument) -> _Rows:
        key = self._week | {"document_id": document.key}
        row = key | {
            "document_type": document.document_type,
            "document_number": document.number,
            "document_date": document.day,
            "status": document.status,
            "contact_id": document.contact_id,
            "contact_name": document.contact_name,
            "document_currency": document.currency,
            "currency_rate": document.rate,
            "net": sum((line.net for line in document.lines), Decimal("0.00")),
            "tax": sum((line.tax for line in document.lines), Decimal("0.00")),
            "xero_url": document.xero_url,
            **self._origin,
        }
        lines = [
            key
            | {
                "line_number": line.line_number,
                "account_code": line.account_code,
                "item_code": line.item_code,
                "revenue_type": line.revenue_type,
                "region": line.region,
                "net": line.net,
                "tax": line.tax,
                "document_net": line.document_net,
                **self._origin,
            }
            for line in document.lines
        ]
        return row, lines

    def _find_changes(self, before: _Rows | None, after: _Rows | None) -> list[_Row]:
        """The parts of a document whose amounts are others than before, if the week had its documents before."""
        if not self._is_restatement:
            return []
        old, new = _sum_parts(before), _sum_parts(after)
        row: Mapping[str, Any] = (after or before or ({}, []))[0]
        called = {name: row[name] for name in ("document_id", "document_type", "document_number", "contact_name")}
        return [
            self._week
            | called
            | part._asdict()
            | {
                "old_net": old[part][0] if part in old else None,
                "new_net": new[part][0] if part in new else None,
                "old_tax": old[part][1] if part in old else None,
                "new_tax": new[part][1] if part in new else None,
                "restated_at": self._provenance.now,
                "dagster_run_id": self._provenance.run_id,
            }
            for part in sorted(old.keys() | new.keys(), key=lambda part: (part.account_code or "", *part[1:]))
            if old.get(part) != new.get(part)
        ]

    def _read(self, keys: Sequence[str]) -> dict[str, _Rows]:
        """The stored rows of these documents, without the moment of their last change."""
        if not keys:
            return {}
        documents: dict[str, _Rows] = {}
        for row in self._select(revenue_documents, keys):
            documents[row["document_id"]] = (row, [])
        for row in self._select(revenue_document_lines, keys):
            if row["document_id"] in documents:
                documents[row["document_id"]][1].append(row)
        return documents

    def _select(self, table: Table, keys: Sequence[str]) -> list[_Row]:
        columns = [column for column in table.c if column.name != "updated_at"]
        query = select(*columns).where(self._match(table), table.c.document_id.in_(keys))
        return [dict(row) for row in self._connection.execute(query.order_by(*table.primary_key.columns)).mappings()]

    def _delete(self, keys: Sequence[str]) -> None:
        if keys:
            for table in (revenue_document_lines, revenue_documents):
                self._connection.execute(delete(table).where(self._match(table), table.c.document_id.in_(keys)))

    def _insert(self, table: Table, rows: Sequence[_Row]) -> None:
        for first in range(0, len(rows), _MAX_ROWS):
            self._connection.execute(insert(table), rows[first : first + _MAX_ROWS])

    def _match(self, table: Table) -> Any:
        return and_(
            table.c.tenant_id == self._provenance.tenant_id, table.c.week_ending == self._provenance.week.ending
        )


def _sum_parts(rows: _Rows | None) -> dict[_Part, _Amounts]:
    parts: dict[_Part, _Amounts] = {}
    for line in rows[1] if rows else ():
        part = _Part(line["account_code"], line["revenue_type"], line["region"])
        net, tax = parts.get(part, (Decimal("0.00"), Decimal("0.00")))
        parts[part] = (net + line["net"], tax + line["tax"])
    return parts
