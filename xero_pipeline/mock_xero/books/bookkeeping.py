"""Late edits: what a bookkeeper does to documents after the fact. Each moves `UpdatedDateUTC` to now."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from xero_pipeline.clock import Clock
from xero_pipeline.mock_xero.books import chart, edits
from xero_pipeline.mock_xero.books.documents import (
    Document,
    DocumentKind,
    DocumentLine,
    DocumentStatus,
    MockLine,
    TaxTreatment,
)
from xero_pipeline.mock_xero.books.ledger import FIRST_DAY, Ledger
from xero_pipeline.mock_xero.exact_json import clean_text
from xero_pipeline.mock_xero.state import State
from xero_pipeline.money import to_cents

_NUMBERS = {
    DocumentKind.SALE: "INV-L",
    DocumentKind.BILL: "BILL-L",
    DocumentKind.SALE_CREDIT: "CN-L",
    DocumentKind.BILL_CREDIT: "BCN-L",
}

Change = Callable[[Document], Document]


class Bookkeeper:
    """Edits one organisation's documents.

    Every method raises KeyError for a document that there is not, ValueError for what cannot be.
    """

    def __init__(self, ledger: Ledger, state: State, clock: Clock) -> None:
        self._ledger = ledger
        self._state = state
        self._clock = clock
        self._tenant = ledger.organisation.tenant_id

    def add(
        self,
        *,
        kind: DocumentKind,
        date: dt.date,
        lines: Sequence[MockLine],
        status: DocumentStatus,
        tax: TaxTreatment,
        currency: str | None,
        rate: Decimal | None,
        contact: str,
        paid_on: dt.date | None,
    ) -> str:
        """A new document; answers its id."""
        base = self._ledger.organisation.base_currency
        currency = currency or base
        if (currency != base) != (rate is not None):
            raise ValueError("a document in another currency, and no other, has a rate")
        now = self._now()
        identifier = str(uuid.uuid4())
        document = Document(
            kind=kind,
            id=identifier,
            number=f"{_NUMBERS[kind]}{identifier[:8].upper()}",
            date=date,
            due=date + dt.timedelta(days=14),
            status=status,
            tax=tax,
            currency=currency,
            rate=rate,
            contact=clean_text(contact),
            lines=self._lines(lines, tax, foreign=rate is not None),
            created_at=now,
            updated_at=now,
            paid_on=paid_on,
        )
        with self._state.writing() as connection:
            edits.save(connection, self._tenant, self._settled(document), None)
        return identifier

    def edit(
        self,
        kinds: Sequence[DocumentKind],
        document_id: str,
        *,
        change: Decimal | None = None,
        lines: Sequence[MockLine] | None = None,
        date: dt.date | None = None,
        status: DocumentStatus | None = None,
        paid_on: dt.date | None = None,
    ) -> None:
        """Change what is given, and nothing else."""

        def changed(document: Document) -> Document:
            if lines is not None:
                given = self._lines(lines, document.tax, foreign=document.is_foreign)
                document = replace(document, lines=given)
            if change is not None:
                first = self._changed(document, document.lines[0], change)
                document = replace(document, lines=(first, *document.lines[1:]))
            if date is not None:
                later = max(document.due, date)
                paid = max(document.paid_on, date) if document.paid_on is not None else None
                document = replace(document, date=date, due=later, paid_on=paid)
            if paid_on is not None:
                document = replace(document, paid_on=paid_on)
            return document if status is None else replace(document, status=status)

        self._apply(kinds, document_id, changed)

    def _apply(self, kinds: Sequence[DocumentKind], document_id: str, change: Change) -> None:
        with self._state.writing() as connection:
            place = self._ledger.find(document_id)
            original = place[1] if place and place[1].created_at <= self._clock.now() else None
            document = edits.load(connection, self._tenant, document_id) or original
            if document is None or document.kind not in kinds:
                raise KeyError(document_id)
            changed = self._settled(change(document))
            edits.save(connection, self._tenant, replace(changed, updated_at=self._now()), original)

    def _settled(self, document: Document) -> Document:
        """With a payment where, and only where, its status allows one."""
        if document.date < FIRST_DAY:
            raise ValueError(f"the books begin on {FIRST_DAY}")
        if document.paid_on is not None and document.paid_on < document.date:
            raise ValueError("nothing is paid before it is dated")
        if not document.status.counts:
            return replace(document, paid_on=None)
        if document.status is DocumentStatus.PAID:
            # Kept as authorised with a payment: what day it is settles which of the two it shows.
            today = self._clock.now().astimezone(self._ledger.zone).date()
            paid = document.paid_on if document.paid_on and document.paid_on <= today else max(today, document.date)
            return replace(document, status=DocumentStatus.AUTHORISED, paid_on=paid)
        return document

    def _lines(self, given: Sequence[MockLine], tax: TaxTreatment, *, foreign: bool) -> tuple[DocumentLine, ...]:
        if not given:
            raise ValueError("a document has at least one line")
        return tuple(self._line(line, tax, foreign) for line in given)

    def _line(self, line: MockLine, tax: TaxTreatment, foreign: bool) -> DocumentLine:
        if line.account_code not in chart.chart_of(self._ledger.organisation):
            raise ValueError(f"there is no account {line.account_code}")
        amount = _cents(line.amount)
        due = self._tax(amount, tax, foreign) if line.tax is None else _cents(line.tax)
        if tax is TaxTreatment.NONE and due:
            raise ValueError("a document without tax has no tax on a line")
        kind = None if line.revenue_type is None else clean_text(line.revenue_type)
        place = None if line.region is None else clean_text(line.region)
        return DocumentLine(amount, due, line.account_code, kind, place, clean_text(line.description))

    def _tax(self, amount: int, tax: TaxTreatment, foreign: bool) -> int:
        percent = chart.tax_percent(self._ledger.organisation)
        if tax is TaxTreatment.NONE or foreign:
            return 0
        return chart.tax_in(amount, percent) if tax is TaxTreatment.INCLUSIVE else chart.tax_on(amount, percent)

    def _changed(self, document: Document, line: DocumentLine, change: Decimal) -> DocumentLine:
        amount = line.amount + _cents(change)
        # A line that bore no tax bears none now.
        due = self._tax(amount, document.tax, document.is_foreign) if line.tax or not line.amount else 0
        return replace(line, amount=amount, tax=due, quantity=1)

    def _now(self) -> dt.datetime:
        """Xero keeps milliseconds."""
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _cents(amount: Decimal) -> int:
    if to_cents(amount) != amount:
        raise ValueError("an amount has two decimals at most")
    return int(amount * 100)
