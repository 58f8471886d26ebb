"""Late edits, as a bookkeeper makes them to past documents. Each sets `UpdatedDateUTC` to now."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from xero_pipeline.clock import Clock
from xero_pipeline.mock_xero.books import chart, edits, silent_edits
from xero_pipeline.mock_xero.books.documents import (
    Document,
    DocumentKind,
    DocumentLine,
    DocumentStatus,
    MockLine,
    TaxTreatment,
)
from xero_pipeline.mock_xero.books.entries import Entry
from xero_pipeline.mock_xero.books.ledger import BANK_CODES, FIRST_DAY, Ledger
from xero_pipeline.mock_xero.exact_json import clean_text
from xero_pipeline.mock_xero.state import State
from xero_pipeline.money import to_cents

_NUMBER_PREFIXES = {
    DocumentKind.SALE: "INV-L",
    DocumentKind.BILL: "BILL-L",
    DocumentKind.SALE_CREDIT: "CN-L",
    DocumentKind.BILL_CREDIT: "BCN-L",
}

DocumentChange = Callable[[Document], Document]


class Bookkeeper:
    """Edits one organisation's documents.

    Raises:
        KeyError: the document does not exist or is of another kind.
        ValueError: a given value is not allowed.
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
        """Add a document and return its id."""
        base = self._ledger.organisation.base_currency
        currency = currency or base
        if (currency != base) != (rate is not None):
            raise ValueError("a document in a foreign currency needs a rate, and only such a document can have one")
        now = self._read_clock()
        identifier = str(uuid.uuid4())
        document = Document(
            kind=kind,
            id=identifier,
            number=f"{_NUMBER_PREFIXES[kind]}{identifier[:8].upper()}",
            date=date,
            due=date + dt.timedelta(days=14),
            status=status,
            tax=tax,
            currency=currency,
            rate=rate,
            contact=clean_text(contact),
            lines=self._make_lines(lines, tax, foreign=rate is not None),
            created_at=now,
            updated_at=now,
            paid_on=paid_on,
        )
        with self._state.begin_write() as connection:
            edits.save(connection, self._tenant, self._normalise(document), None)
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
        """Change the given fields and no others."""

        def change_fields(document: Document) -> Document:
            if lines is not None:
                new_lines = self._make_lines(lines, document.tax, foreign=document.is_foreign)
                document = replace(document, lines=new_lines)
            if change is not None:
                first = self._change_line(document, document.lines[0], change)
                document = replace(document, lines=(first, *document.lines[1:]))
            if date is not None:
                due = max(document.due, date)
                paid = max(document.paid_on, date) if document.paid_on is not None else None
                document = replace(document, date=date, due=due, paid_on=paid)
            if paid_on is not None:
                document = replace(document, paid_on=paid_on)
            return document if status is None else replace(document, status=status)

        self._apply(kinds, document_id, change_fields)

    def add_entry(self, entry: Entry) -> None:
        """Post an entry that belongs to no document."""
        if entry.day < FIRST_DAY:
            raise ValueError(f"the books begin on {FIRST_DAY}")
        accounts = chart.get_chart(self._ledger.organisation)
        if entry.account is None or entry.account not in accounts or not accounts[entry.account].is_profit_and_loss:
            raise ValueError(f"there is no profit and loss account {entry.account}")
        if entry.bank is not None and entry.bank not in BANK_CODES:
            raise ValueError(f"there is no bank account {entry.bank}")
        with self._state.begin_write() as connection:
            silent_edits.add_entry(connection, self._tenant, entry)

    def retype_account(self, code: str, kind: str) -> None:
        """Give a profit and loss account another type, which every report then shows for every date."""
        accounts = chart.get_chart(self._ledger.organisation)
        if code not in accounts or not accounts[code].is_profit_and_loss:
            raise ValueError(f"there is no profit and loss account {code}")
        if kind not in chart.CLASSES or chart.CLASSES[kind] not in ("REVENUE", "EXPENSE"):
            raise ValueError(f"{kind} is no type of a profit and loss account")
        with self._state.begin_write() as connection:
            silent_edits.retype_account(connection, self._tenant, code, kind)

    def _apply(self, kinds: Sequence[DocumentKind], document_id: str, change: DocumentChange) -> None:
        with self._state.begin_write() as connection:
            located = self._ledger.find_document(document_id)
            original = located[1] if located and located[1].created_at <= self._clock.now() else None
            document = edits.load(connection, self._tenant, document_id) or original
            if document is None or document.kind not in kinds:
                raise KeyError(document_id)
            changed = self._normalise(change(document))
            edits.save(connection, self._tenant, replace(changed, updated_at=self._read_clock()), original)

    def _normalise(self, document: Document) -> Document:
        """The document with a payment only if its status allows one, and never with status PAID.

        Raises:
            ValueError: it is dated before the books begin, or paid before it is dated.
        """
        if document.date < FIRST_DAY:
            raise ValueError(f"the books begin on {FIRST_DAY}")
        if document.paid_on is not None and document.paid_on < document.date:
            raise ValueError("a document cannot be paid before its date")
        if not document.status.is_counted:
            return replace(document, paid_on=None)
        if document.status is DocumentStatus.PAID:
            # Stored as authorised with a payment day: `Document.view_on` shows it as paid from that day on.
            today = self._clock.now().astimezone(self._ledger.zone).date()
            paid = document.paid_on if document.paid_on and document.paid_on <= today else max(today, document.date)
            return replace(document, status=DocumentStatus.AUTHORISED, paid_on=paid)
        return document

    def _make_lines(self, given: Sequence[MockLine], tax: TaxTreatment, *, foreign: bool) -> tuple[DocumentLine, ...]:
        if not given:
            raise ValueError("a document needs at least one line")
        return tuple(self._make_line(line, tax, foreign) for line in given)

    def _make_line(self, line: MockLine, tax: TaxTreatment, foreign: bool) -> DocumentLine:
        if line.account_code not in chart.get_chart(self._ledger.organisation):
            raise ValueError(f"there is no account {line.account_code}")
        amount = to_whole_cents(line.amount)
        line_tax = self._calculate_tax(amount, tax, foreign) if line.tax is None else to_whole_cents(line.tax)
        if tax is TaxTreatment.NONE and line_tax:
            raise ValueError("a line of a document without tax cannot have tax")
        revenue_type = None if line.revenue_type is None else clean_text(line.revenue_type)
        region = None if line.region is None else clean_text(line.region)
        return DocumentLine(amount, line_tax, line.account_code, revenue_type, region, clean_text(line.description))

    def _calculate_tax(self, amount: int, tax: TaxTreatment, foreign: bool) -> int:
        percent = chart.get_tax_percent(self._ledger.organisation)
        if tax is TaxTreatment.NONE or foreign:
            return 0
        return (
            chart.extract_tax(amount, percent)
            if tax is TaxTreatment.INCLUSIVE
            else chart.calculate_tax(amount, percent)
        )

    def _change_line(self, document: Document, line: DocumentLine, change: Decimal) -> DocumentLine:
        amount = line.amount + to_whole_cents(change)
        # A line without tax stays without tax.
        line_tax = self._calculate_tax(amount, document.tax, document.is_foreign) if line.tax or not line.amount else 0
        return replace(line, amount=amount, tax=line_tax, quantity=1)

    def _read_clock(self) -> dt.datetime:
        """The clock's time to the millisecond, as precise as Xero stores it."""
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def to_whole_cents(amount: Decimal) -> int:
    if to_cents(amount) != amount:
        raise ValueError("an amount can have at most two decimals")
    return int(amount * 100)
