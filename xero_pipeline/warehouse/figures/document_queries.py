"""Reading the documents behind a week's revenue, and how they changed. `revenue_documents.py` writes them.

A week may have 200,000 documents, so they are added up and put in order by the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, true

from xero_pipeline.money import ZERO
from xero_pipeline.warehouse.database.exact_sums import sum_cents, to_money
from xero_pipeline.warehouse.figures.revenue_documents import CREDIT_NOTE, INVOICE
from xero_pipeline.warehouse.schema import revenue_document_changes as changes
from xero_pipeline.warehouse.schema import revenue_document_lines as lines
from xero_pipeline.warehouse.schema import revenue_documents as documents
from xero_pipeline.weeks import Week

_KEYS_AT_ONCE = 1000
_NOTHING = (0, ZERO, ZERO)


@dataclass(frozen=True, slots=True)
class DocumentSelection:
    """Some lines of one organisation's week: those of a revenue type, a region, an account. `None` means any."""

    tenant_id: str
    week: Week
    revenue_type: str | None = None
    region: str | None = None
    account_code: str | None = None

    def match(self, table: Any) -> ColumnElement[bool]:
        """The condition on a table with these columns."""
        wanted = {
            "tenant_id": self.tenant_id,
            "week_ending": self.week.ending,
            "revenue_type": self.revenue_type,
            "region": self.region,
            "account_code": self.account_code,
        }
        return and_(*(table.c[name] == value for name, value in wanted.items() if value is not None))


@dataclass(frozen=True, slots=True)
class SelectedDocument:
    """A document with what its selected lines add up to, in base currency; a credit note's amounts are positive."""

    tenant_id: str
    document_id: str
    document_type: str
    document_number: str | None
    document_date: date
    status: str
    contact_id: str | None
    contact_name: str | None
    document_currency: str
    currency_rate: Decimal
    document_net: Decimal
    net: Decimal
    tax: Decimal
    xero_url: str | None

    @property
    def adds(self) -> Decimal:
        """What it adds to net revenue: a credit note takes away."""
        return -self.net if self.document_type == CREDIT_NOTE else self.net


@dataclass(frozen=True, slots=True)
class DocumentSums:
    """What selected lines add up to, and how many documents have one of them."""

    invoice_count: int = 0
    credit_note_count: int = 0
    invoiced: Decimal = ZERO
    credited: Decimal = ZERO
    tax: Decimal = ZERO

    def __add__(self, other: DocumentSums) -> DocumentSums:
        return DocumentSums(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def count(self) -> int:
        """How many invoices and credit notes there are."""
        return self.invoice_count + self.credit_note_count

    @property
    def net_revenue(self) -> Decimal:
        return self.invoiced - self.credited


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """What a document added to a part of a landed week before and after a later sync.

    `old_net` is `None` for a document that came, `new_net` for one that left. `other_week` is the week that it came
    from or went to, where that is known. `xero_url` is that of the week that has the document now.
    """

    document_id: str
    document_type: str
    document_number: str | None
    contact_name: str | None
    account_code: str | None
    revenue_type: str
    region: str
    old_net: Decimal | None
    new_net: Decimal | None
    old_tax: Decimal | None
    new_tax: Decimal | None
    restated_at: datetime
    dagster_run_id: str | None
    other_week: Week | None = None
    xero_url: str | None = None


IS_LINE_OF_DOCUMENT = and_(*(lines.c[column.name] == column for column in documents.primary_key.columns))


def sum_documents(connection: Connection, selection: DocumentSelection) -> DocumentSums:
    query = (
        select(
            documents.c.document_type,
            func.count(lines.c.document_id.distinct()),
            sum_cents(lines.c.net),
            sum_cents(lines.c.tax),
        )
        .join_from(lines, documents, IS_LINE_OF_DOCUMENT)
        .where(selection.match(lines))
        .group_by(documents.c.document_type)
    )
    rows = connection.execute(query)
    sums = {document_type: (count, to_money(net), to_money(tax)) for document_type, count, net, tax in rows}
    invoices, invoiced, tax = sums.get(INVOICE, _NOTHING)
    credit_notes, credited, credited_tax = sums.get(CREDIT_NOTE, _NOTHING)
    return DocumentSums(invoices, credit_notes, invoiced, credited, tax - credited_tax)


def list_documents(
    connection: Connection, selection: DocumentSelection, limit: int | None = None
) -> list[SelectedDocument]:
    """The documents with a line in the selection: what adds most comes first, and credit notes come last."""
    net, tax, in_currency = sum_cents(lines.c.net), sum_cents(lines.c.tax), sum_cents(lines.c.document_net)
    selected = (
        select(lines.c.document_id, net.label("net"), tax.label("tax"), in_currency.label("document_net"))
        .where(selection.match(lines))
        .group_by(lines.c.document_id)
        .subquery()
    )
    adds = case((documents.c.document_type == CREDIT_NOTE, -selected.c.net), else_=selected.c.net)
    query = (
        select(documents, selected.c.net.label("cents"), selected.c.tax.label("tax_cents"), selected.c.document_net)
        .join_from(selected, documents, selected.c.document_id == documents.c.document_id)
        .where(documents.c.tenant_id == selection.tenant_id, documents.c.week_ending == selection.week.ending)
        .order_by(adds.desc(), documents.c.document_number, documents.c.document_id)
        .limit(limit)
    )
    return [
        SelectedDocument(
            tenant_id=row["tenant_id"],
            document_id=row["document_id"],
            document_type=row["document_type"],
            document_number=row["document_number"],
            document_date=row["document_date"],
            status=row["status"],
            contact_id=row["contact_id"],
            contact_name=row["contact_name"],
            document_currency=row["document_currency"],
            currency_rate=row["currency_rate"],
            document_net=to_money(row["document_net"]),
            net=to_money(row["cents"]),
            tax=to_money(row["tax_cents"]),
            xero_url=row["xero_url"],
        )
        for row in connection.execute(query).mappings()
    ]


def list_document_changes(
    connection: Connection, selection: DocumentSelection, limit: int | None = None
) -> list[DocumentChange]:
    """The changes of the selection's documents, newest first.

    Args:
        limit: how many changes of one sync are listed at most for each cell of revenue; `None` for all.
    """
    of_sync = ("dagster_run_id", "restated_at", "revenue_type", "region")
    place = func.row_number().over(partition_by=[changes.c[name] for name in of_sync], order_by=changes.c.id)
    ranked = select(changes, place.label("place")).where(selection.match(changes)).subquery()
    query = (
        select(*(ranked.c[column.name] for column in changes.c))
        .where(true() if limit is None else ranked.c.place <= limit)
        .order_by(ranked.c.restated_at.desc(), ranked.c.id)
    )
    rows = connection.execute(query).mappings().all()
    keys = sorted({row["document_id"] for row in rows})
    others, links = _find_other_weeks(connection, selection, keys), _find_links(connection, selection, keys)
    unused = ("id", "tenant_id", "week_ending")
    return [
        DocumentChange(
            **{name: value for name, value in row.items() if name not in unused},
            other_week=others.get((row["document_id"], row["old_net"] is None))
            if None in (row["old_net"], row["new_net"])
            else None,
            xero_url=links.get(row["document_id"]),
        )
        for row in rows
    ]


def _find_links(connection: Connection, selection: DocumentSelection, keys: Sequence[str]) -> dict[str, str | None]:
    links: dict[str, str | None] = {}
    for first in range(0, len(keys), _KEYS_AT_ONCE):
        query = select(documents.c.document_id, documents.c.xero_url).where(
            documents.c.tenant_id == selection.tenant_id,
            documents.c.document_id.in_(keys[first : first + _KEYS_AT_ONCE]),
        )
        links |= {row.document_id: row.xero_url for row in connection.execute(query)}
    return links


def _find_other_weeks(
    connection: Connection, selection: DocumentSelection, keys: Sequence[str]
) -> dict[tuple[str, bool], Week]:
    """Where documents went to (`False`) or came from (`True`), by document id, as far as it is known.

    A document went to the week that has it now. It came from a week that lost it, or from one that still has it and
    has to be read again.
    """
    weeks: dict[tuple[str, bool], Week] = {}
    for first in range(0, len(keys), _KEYS_AT_ONCE):
        chunk = keys[first : first + _KEYS_AT_ONCE]
        for table, condition in ((documents, true()), (changes, changes.c.new_net.is_(None))):
            query = select(table.c.document_id, table.c.week_ending).where(
                table.c.tenant_id == selection.tenant_id,
                table.c.document_id.in_(chunk),
                table.c.week_ending != selection.week.ending,
                condition,
            )
            for document_id, ending in connection.execute(query.order_by(table.c.week_ending)):
                weeks[document_id, True] = Week(ending)
                if table is documents:
                    weeks[document_id, False] = Week(ending)
    return weeks
