"""Keeps on disk what figures depend on of a list of documents, so that a million documents need little memory.

The file is SQLite's private temporary database. It has no name that anybody could open, and ends with the spool.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from xero_pipeline.errors import PipelineError
from xero_pipeline.warehouse.figures.document_index import StoredDocument
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.errors import WrongPeriod
from xero_pipeline.xero.readers.document_heading import DocumentHeading
from xero_pipeline.xero.readers.document_state import read_document_state
from xero_pipeline.xero.readers.documents import is_sale, read_document_date
from xero_pipeline.xero.readers.reports import Difference
from xero_pipeline.xero.readers.revenue import DocumentRevenue, RevenueLine, reduce_document

Json = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TABLE = """
CREATE TABLE documents (
    id TEXT PRIMARY KEY, week TEXT, readable INTEGER, counted INTEGER,
    figures TEXT, payments TEXT, edited INTEGER, revenue TEXT
) WITHOUT ROWID
"""
# How many rows are read at once while others may be written.
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class _Row:
    """One document. `week` is empty if it is not known, not one of those that were requested, or does not matter."""

    week: str
    readable: bool
    counted: bool = False
    figures: str = ""
    payments: str = ""
    edited: int = 0
    revenue: str = ""


class DocumentSpool:
    """`xero.listing.DocumentSink` for the revenue of a range of weeks. Safe to use from several threads.

    Args:
        weeks: the weeks whose documents were requested.
        tracking: the names of the tracking categories for the revenue type and the region.
    """

    def __init__(self, weeks: WeekRange, *, base_currency: str, tracking: tuple[str, str]) -> None:
        self._weeks = frozenset(weeks)
        self._base_currency = base_currency
        self._tracking = tracking
        self._lock = threading.Lock()
        self._documents = 0
        self._errors: dict[str, PipelineError] = {}
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(_TABLE)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    # ---- the list, page after page ----------------------------------------------------------------------------

    def reduce(self, document: Json) -> _Row:
        try:
            return self._reduce(document)
        except PipelineError as error:
            # Its week fails with this error. The other weeks can land.
            week = self._find_week(document)
            self._errors.setdefault(week, error)
            return _Row(week, readable=False)

    def clear(self) -> None:
        with self._lock:
            self._database.execute("DELETE FROM documents")
            self._documents = 0
            self._errors.clear()

    def add(self, page: Mapping[str, _Row]) -> bool:
        with self._lock:
            self._database.execute("BEGIN")
            query = "SELECT count(*) FROM documents WHERE id = ?"
            known: int = sum(self._database.execute(query, (key,)).fetchone()[0] for key in page)
            new = len(page) - known
            self._database.executemany(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (key, row.week, row.readable, row.counted, row.figures, row.payments, row.edited, row.revenue)
                    for key, row in page.items()
                ),
            )
            self._database.execute("COMMIT")
            self._documents += new
            return new > 0

    def __len__(self) -> int:
        return self._documents

    def list_keys(self) -> Iterator[str]:
        for (key,) in self._select("SELECT id FROM documents WHERE id > ? ORDER BY id"):
            yield key

    def find_figures(self, keys: Iterable[str]) -> dict[str, str]:
        figures = {}
        with self._lock:
            for key in keys:
                row = self._database.execute("SELECT figures FROM documents WHERE id = ?", (key,)).fetchone()
                if row is not None:
                    figures[key] = row[0]
        return figures

    # ---- the documents of a week ------------------------------------------------------------------------------

    def find_errors(self) -> dict[Week | None, PipelineError]:
        """Find the weeks with a document that cannot be read, and why; `None` for one whose week is not known."""
        with self._lock:
            weeks = [
                week for (week,) in self._database.execute("SELECT DISTINCT week FROM documents WHERE NOT readable")
            ]
            return {Week(date.fromisoformat(week)) if week else None: self._errors[week] for week in weeks}

    def iterate_revenue(self, week: Week) -> Iterator[DocumentRevenue]:
        """Yield what each document of a week adds to revenue."""
        for key, revenue in self._select(
            "SELECT id, revenue FROM documents WHERE id > ? AND week = ? ORDER BY id", str(week)
        ):
            yield _read_revenue(key, json.loads(revenue))

    def iterate_counted(self, week: Week) -> Iterator[StoredDocument]:
        """Yield the documents of a week that its figures include."""
        query = "SELECT id, figures, payments, edited FROM documents WHERE id > ? AND week = ? AND counted ORDER BY id"
        for key, figures, payments, edited in self._select(query, str(week)):
            yield StoredDocument(key, week, figures, json.loads(payments), _EPOCH + timedelta(microseconds=edited))

    def _select(self, query: str, *arguments: str) -> Iterator[tuple[Any, ...]]:
        """Run a query that is ordered by the id, a part at a time."""
        last = ""
        while True:
            with self._lock:
                cursor = self._database.execute(f"{query} LIMIT {_ROWS_AT_ONCE}", (last, *arguments))
                rows = cursor.fetchall()
            yield from rows
            if len(rows) < _ROWS_AT_ONCE:
                return
            last = rows[-1][0]

    def _reduce(self, document: Json) -> _Row:
        revenue = reduce_document(document, base_currency=self._base_currency, tracking=self._tracking)
        if not is_sale(document):
            return _Row("", readable=True)
        state = read_document_state(document)
        if state.week not in self._weeks:
            first, last = min(self._weeks), max(self._weeks)
            raise WrongPeriod(
                f"Xero answered with {revenue.name} of {revenue.day}, outside of the requested weeks from "
                f"{first.start} to {last.ending}."
            )
        return _Row(
            str(state.week),
            readable=True,
            counted=revenue.counts,
            figures=state.figures,
            payments=json.dumps(dict(state.payments)),
            edited=(state.edited_at - _EPOCH) // timedelta(microseconds=1),
            revenue=json.dumps(_write_revenue(revenue), separators=(",", ":")),
        )

    def _find_week(self, document: Json) -> str:
        try:
            week = Week.containing(read_document_date(document))
        except PipelineError:
            return ""
        return str(week) if week in self._weeks else ""


def _write_revenue(revenue: DocumentRevenue) -> Sequence[Any]:
    lines = [_write_line(line) for line in revenue.lines]
    differences = [[d.where, str(d.stated), str(d.computed), d.doubt] for d in revenue.differences]
    flags = [revenue.is_sale, revenue.is_credit, revenue.counts]
    heading = revenue.heading
    called = None
    if heading is not None:
        contact = [heading.contact_id, heading.contact_name]
        called = [heading.number, heading.status, *contact, heading.currency, str(heading.rate)]
    return [revenue.name, revenue.day.isoformat(), flags, lines, differences, sorted(revenue.categories), called]


def _write_line(line: RevenueLine) -> Sequence[Any]:
    amounts = [str(line.net), str(line.tax), str(line.document_net)]
    return [*line.cell, line.account, *amounts, line.number, line.account_code, line.item_code]


def _read_revenue(key: str, row: Sequence[Any]) -> DocumentRevenue:
    name, day, (is_sale_, is_credit, counts), lines, differences, categories, called = row
    return DocumentRevenue(
        key=key,
        name=name,
        day=date.fromisoformat(day),
        is_sale=is_sale_,
        is_credit=is_credit,
        counts=counts,
        lines=[_read_line(line) for line in lines],
        differences=[
            Difference(where, Decimal(stated), Decimal(computed), doubt)
            for where, stated, computed, doubt in differences
        ],
        categories=frozenset(categories),
        heading=None if called is None else _read_heading(called),
    )


def _read_heading(called: Sequence[Any]) -> DocumentHeading:
    number, status, contact_id, contact_name, currency, rate = called
    return DocumentHeading(number, status, contact_id, contact_name, currency, Decimal(rate))


def _read_line(line: Sequence[Any]) -> RevenueLine:
    kind, region, account, net, tax, document_net, number, account_code, item_code = line
    return RevenueLine(
        (kind, region), account, Decimal(net), Decimal(tax), number, Decimal(document_net), account_code, item_code
    )
