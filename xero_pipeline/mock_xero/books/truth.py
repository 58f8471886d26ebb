"""An organisation's books: the ledger with every edit applied, up to the clock's time.

`Books` is the reference: it reads document by document without any cache of sums, so that a test can compare
the mock's answers and the pipeline's tables with it. Requests use the faster `figures.py`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from xero_pipeline.clock import Clock
from xero_pipeline.mock_xero.books import chart, edits, invented_edits, silent_edits
from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, cents_to_decimal
from xero_pipeline.mock_xero.books.entries import Entry
from xero_pipeline.mock_xero.books.identifiers import parse_week_number
from xero_pipeline.mock_xero.books.ledger import (
    BANK_CODES,
    FIRST_DAY,
    WEEKS_PER_SPAN,
    WEEKS_TO_PAY,
    Ledger,
    make_payment,
)
from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.state import State
from xero_pipeline.weeks import Week

Period = Week | tuple[dt.date, dt.date]

UNALLOCATED = "unallocated"


@dataclass(frozen=True, slots=True)
class ExpectedProfitAndLoss:
    """`lines` by account id, signed as in `financial_weekly_lines`: income and expenses positive."""

    lines: Mapping[str, Decimal]
    total_trading_income: Decimal
    cost_of_sales: Decimal
    gross_profit: Decimal
    other_income: Decimal
    operating_expenses: Decimal
    net_profit: Decimal


@dataclass(frozen=True, slots=True)
class ExpectedRevenueCell:
    """The revenue of one type in one region, without tax, in base currency."""

    invoiced: Decimal
    credited: Decimal
    net_revenue: Decimal
    tax: Decimal
    invoice_count: int
    credit_note_count: int


@dataclass(frozen=True, slots=True)
class BankMovement:
    name: str
    opening_balance: Decimal
    cash_received: Decimal
    cash_spent: Decimal
    currency_gain: Decimal
    closing_balance: Decimal


class Books:
    """One organisation's books, for a week or any range of days (both ends included)."""

    def __init__(self, ledger: Ledger, state: State, clock: Clock) -> None:
        self._ledger = ledger
        self._state = state
        self._clock = clock

    @property
    def organisation(self) -> MockOrganisation:
        return self._ledger.organisation

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @property
    def today(self) -> dt.date:
        """The current day in the organisation's time zone."""
        return self._clock.now().astimezone(self._ledger.zone).date()

    @property
    def chart(self) -> dict[str, chart.MockAccount]:
        """The organisation's accounts by code, with the types that they have now."""
        accounts = chart.get_chart(self.organisation)
        accounts = invented_edits.apply_types(self.organisation, self._ledger.zone, self._clock.now(), accounts)
        with self._state.begin_read() as connection:
            return silent_edits.apply_types(connection, self.organisation.tenant_id, accounts)

    def account_id(self, code: str) -> str:
        return chart.get_chart(self.organisation)[code].id

    def documents(self, period: Period) -> Sequence[Document]:
        """Every document dated in the period, of every kind and status, sorted by date and number."""
        first, last = _to_range(period)
        edited = self._load_edited(first, last)
        documents = [document for document in self._iterate_generated(first, last) if document.id not in edited]
        documents.extend(document for document in edited.values() if first <= document.date <= last)
        return sorted(map(self._view_today, documents), key=lambda document: (document.date, document.number))

    def document(self, document_id: str) -> Document:
        """A document by its id. Raises KeyError if there is none."""
        with self._state.begin_read() as connection:
            document = edits.load(connection, self.organisation.tenant_id, document_id)
        if document is None:
            location = self._ledger.find_document(document_id)
            if location is None or location[1].created_at > self._clock.now():
                raise KeyError(document_id)
            document = location[1]
        return self._view_today(document)

    def find_by_number(self, number: str) -> Document | None:
        """The document with a number, `None` if there is none. A generated number encodes its week."""
        week = parse_week_number(number)
        with self._state.begin_read() as connection:
            edited = edits.load_all(connection, self.organisation.tenant_id).values()
        generated = () if week is None else self.ledger.documents(week)
        match = next((document for document in (*edited, *generated) if document.number == number), None)
        return self._view_today(match) if match is not None and match.created_at <= self._clock.now() else None

    def find_edited_since(self, since: dt.datetime) -> Sequence[Document]:
        """Documents that a command edited or added at a moment or later."""
        with self._state.begin_read() as connection:
            edited = edits.load_updated_since(connection, self.organisation.tenant_id, since)
        return [self._view_today(document) for document in edited.values()]

    def profit_and_loss(self, period: Period, *, cash_basis: bool = False) -> ExpectedProfitAndLoss:
        first, last = _to_range(period)
        credits: dict[str, int] = defaultdict(int)
        if cash_basis:
            for document in self.find_paid_documents(first, last):
                _post(document, credits)
        else:
            for document in self.documents(period):
                if document.status.is_counted:
                    _post(document, credits)
        for entry in self.iterate_entries(first, last):
            if entry.account is not None and (entry.in_cash_basis or not cash_basis):
                credits[entry.account] += entry.credit
        return self._summarise_credits(credits)

    def revenue(self, period: Period) -> Mapping[tuple[str, str], ExpectedRevenueCell]:
        """Revenue by type and region in lower case, `unallocated` if a line has none. There are no empty cells."""
        amounts: dict[tuple[str, str], dict[str, int]] = {}
        for document in self.documents(period):
            if not document.kind.is_sale or not document.status.is_counted:
                continue
            side, count = ("invoiced", "invoices") if document.kind is DocumentKind.SALE else ("credited", "notes")
            counted_keys = set()
            for line in document.lines:
                key = ((line.revenue_type or UNALLOCATED).lower(), (line.region or UNALLOCATED).lower())
                cell = amounts.setdefault(key, dict.fromkeys(("invoiced", "credited", "tax", "invoices", "notes"), 0))
                cell[side] += document.base_net(line)
                cell["tax"] += document.base_tax(line) * (1 if side == "invoiced" else -1)
                if key not in counted_keys:
                    counted_keys.add(key)
                    cell[count] += 1
        return {key: _make_revenue_cell(cell) for key, cell in amounts.items()}

    def bank(self, period: Period) -> Mapping[str, BankMovement]:
        """The movement of each bank account, by its account id."""
        first, last = _to_range(period)
        entries = list(self._iterate_cash_entries(first, last))
        movements = {}
        for code in BANK_CODES:
            account = chart.get_chart(self.organisation)[code]
            account_entries = [entry for entry in entries if entry.bank == code]
            opening = self._calculate_opening(first, code)
            received = sum(entry.cash for entry in account_entries if entry.cash > 0)
            spent = -sum(entry.cash for entry in account_entries if entry.cash < 0)
            gain = sum(entry.gain for entry in account_entries)
            closing = opening + received - spent + gain
            figures = map(cents_to_decimal, (opening, received, spent, gain, closing))
            movements[account.id] = BankMovement(account.name, *figures)
        return movements

    def _iterate_generated(self, first: dt.date, last: dt.date) -> Iterator[Document]:
        """The ledger's original documents that exist by now."""
        now = self._clock.now()
        for number in self._ledger.week_numbers(first, min(last, self.today)):
            for document in self._ledger.documents(number):
                if first <= document.date <= last and document.created_at <= now:
                    yield document

    def _load_edited(self, first: dt.date, last: dt.date) -> Mapping[str, Document]:
        """Edited documents, by id, whose present or original date or payment is in a range of days."""
        with self._state.begin_read() as connection:
            return edits.load_touching(connection, self.organisation.tenant_id, first, last)

    def _view_today(self, document: Document) -> Document:
        zone = self._ledger.zone if self.organisation.payments_touch_documents else None
        return document.view_on(self.today, payment_zone=zone)

    def iterate_entries(self, first: dt.date, last: dt.date) -> Iterator[Entry]:
        """The entries of a range of days that are no documents."""
        for number in self._ledger.week_numbers(first, last):
            for entry in self._ledger.entries(number):
                if first <= entry.day <= min(last, self.today):
                    yield entry
        yield from self.load_added_entries(first, min(last, self.today), self._clock.now())

    def load_added_entries(self, first: dt.date, last: dt.date, now: dt.datetime) -> list[Entry]:
        """The entries of a range of days that silent edits added, by a command or by the books themselves."""
        with self._state.begin_read() as connection:
            added = silent_edits.load_entries(connection, self.organisation.tenant_id, first, last)
        invented = invented_edits.list_entries(self.organisation, self._ledger.zone, now)
        return [*added, *(entry for entry in invented if first <= entry.day <= last)]

    def sum_added_cash_before(self, bank: str, day: dt.date, now: dt.datetime) -> int:
        """How much such entries change a bank account's balance at the start of a day, in cents."""
        with self._state.begin_read() as connection:
            added = silent_edits.sum_cash_before(connection, self.organisation.tenant_id, bank, day)
        invented = invented_edits.list_entries(self.organisation, self._ledger.zone, now)
        return added + sum(entry.cash for entry in invented if entry.bank == bank and entry.day < day)

    def find_paid_documents(self, first: dt.date, last: dt.date) -> list[Document]:
        """Documents of any date that were paid in the range."""
        edited = self._load_edited(first, last)
        early = first - dt.timedelta(weeks=WEEKS_TO_PAY)
        generated = [document for document in self._iterate_generated(early, last) if document.id not in edited]
        return [
            document
            for document in [*generated, *edited.values()]
            if document.paid_on is not None and first <= document.paid_on <= min(last, self.today)
        ]

    def _iterate_cash_entries(self, first: dt.date, last: dt.date) -> Iterator[Entry]:
        """Every entry in the range that changes a bank account."""
        yield from (entry for entry in self.iterate_entries(first, last) if entry.bank is not None)
        for number in self._ledger.week_numbers(first, last):
            for entry in self._ledger.sweeps(number):
                if first <= entry.day <= min(last, self.today):
                    yield entry
        yield from map(make_payment, self.find_paid_documents(first, last))

    def _calculate_opening(self, day: dt.date, bank: str) -> int:
        """The balance at the start of a day: the span's opening, earlier edits, and the span's entries so far."""
        day = min(day, self.today + dt.timedelta(days=1))
        number = max(0, self._ledger.week_number(day))
        span = number - number % WEEKS_PER_SPAN
        start = self._ledger.week_start(span)
        opening = self._ledger.span_opening(span, bank) if span and day > FIRST_DAY else 0
        with self._state.begin_read() as connection:
            edited = edits.load_all(connection, self.organisation.tenant_id)
        opening += self.sum_added_cash_before(bank, start, self._clock.now())
        for document in edited.values():
            location = self._ledger.find_document(document.id)
            for sign, version in ((1, document), (-1, location[1] if location else None)):
                if version is not None and version.paid_on is not None and version.paid_on < start:
                    payment = make_payment(version)
                    opening += sign * payment.cash if payment.bank == bank else 0
        entries = self._iterate_cash_entries(start, day - dt.timedelta(days=1)) if day > start else ()
        return opening + sum(entry.cash + entry.gain for entry in entries if entry.bank == bank)

    def _summarise_credits(self, credits: Mapping[str, int]) -> ExpectedProfitAndLoss:
        accounts = self.chart
        lines: dict[str, Decimal] = {}
        sums: dict[str, int] = defaultdict(int)
        for code, credit in credits.items():
            account = accounts[code]
            if not account.is_profit_and_loss or not credit:
                continue
            amount = credit if account.is_income else -credit
            account_id = chart.CURRENCY_GAINS_ID if code == chart.CURRENCY_GAINS else account.id
            lines[account_id] = cents_to_decimal(amount)
            sums[_categorise(account.type)] += amount
        gross = sums["income"] - sums["cost"]
        net = gross + sums["other"] - sums["expenses"]
        figures = (sums["income"], sums["cost"], gross, sums["other"], sums["expenses"], net)
        return ExpectedProfitAndLoss(lines, *map(cents_to_decimal, figures))


def _categorise(kind: str) -> str:
    if kind in chart.TRADING_INCOME:
        return "income"
    if kind in chart.COST_OF_SALES:
        return "cost"
    return "other" if kind in chart.OTHER_INCOME else "expenses"


def _post(document: Document, credits: dict[str, int]) -> None:
    for line in document.lines:
        credits[line.account_code] += document.credit_sign * document.base_net(line)


def _make_revenue_cell(cell: Mapping[str, int]) -> ExpectedRevenueCell:
    invoiced, credited = cents_to_decimal(cell["invoiced"]), cents_to_decimal(cell["credited"])
    tax = cents_to_decimal(cell["tax"])
    return ExpectedRevenueCell(invoiced, credited, invoiced - credited, tax, cell["invoices"], cell["notes"])


def _to_range(period: Period) -> tuple[dt.date, dt.date]:
    return (period.start, period.ending) if isinstance(period, Week) else period
