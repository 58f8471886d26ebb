"""What an organisation's books say: the ledger with every edit in it, as far as the clock has come.

`Books` is the truth: it reads document by document, with no short cut and no JSON, so that a test can hold
the mock's own answers, and the pipeline's tables, against it. What answers a request quickly is
`figures.py`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from xero_pipeline.clock import Clock
from xero_pipeline.mock_xero.books import chart, edits
from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, in_units
from xero_pipeline.mock_xero.books.entries import Entry
from xero_pipeline.mock_xero.books.identifiers import week_of_number
from xero_pipeline.mock_xero.books.ledger import BANKS, FIRST_DAY, SPAN, WEEKS_TO_PAY, Ledger, payment_of
from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.state import State
from xero_pipeline.weeks import Week

Span = Week | tuple[dt.date, dt.date]

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
    """One revenue type in one region, without tax, in base currency."""

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
    """The truth about one organisation, for any range of days (both ends belong to it)."""

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
        """The day it is where the organisation is."""
        return self._clock.now().astimezone(self._ledger.zone).date()

    def account_id(self, code: str) -> str:
        return chart.chart_of(self.organisation)[code].id

    def documents(self, week: Span) -> Sequence[Document]:
        """Every document dated in the range, of every kind and status, in order of date and number."""
        first, last = _ends(week)
        edited = self._edited(first, last)
        made = [one for one in self._made(first, last) if one.id not in edited]
        made.extend(one for one in edited.values() if first <= one.date <= last)
        return sorted(map(self._seen, made), key=lambda one: (one.date, one.number))

    def document(self, document_id: str) -> Document:
        """Raises KeyError where there is none."""
        with self._state.reading() as connection:
            found = edits.load(connection, self.organisation.tenant_id, document_id)
        if found is None:
            place = self._ledger.find(document_id)
            if place is None or place[1].created_at > self._clock.now():
                raise KeyError(document_id)
            found = place[1]
        return self._seen(found)

    def numbered(self, number: str) -> Document | None:
        """The document with that number; a number tells its week, if the ledger made it."""
        week = week_of_number(number)
        with self._state.reading() as connection:
            edited = edits.everything(connection, self.organisation.tenant_id).values()
        made = () if week is None else self.ledger.documents(week)
        found = next((one for one in (*edited, *made) if one.number == number), None)
        return self._seen(found) if found is not None and found.created_at <= self._clock.now() else None

    def edited_since(self, since: dt.datetime) -> Sequence[Document]:
        """Documents that were edited or added by a command at that moment or later."""
        with self._state.reading() as connection:
            found = edits.updated_since(connection, self.organisation.tenant_id, since)
        return [self._seen(one) for one in found.values()]

    def profit_and_loss(self, week: Span, *, cash_basis: bool = False) -> ExpectedProfitAndLoss:
        first, last = _ends(week)
        credits: dict[str, int] = defaultdict(int)
        if cash_basis:
            for document in self._paid_documents(first, last):
                _post(document, credits)
        else:
            for document in self.documents(week):
                if document.status.counts:
                    _post(document, credits)
        for entry in self._entries(first, last):
            if entry.account is not None and (entry.in_cash_basis or not cash_basis):
                credits[entry.account] += entry.credit
        return self._profit_and_loss(credits)

    def revenue(self, week: Span) -> Mapping[tuple[str, str], ExpectedRevenueCell]:
        """By revenue type and region in lower case, `unallocated` where there is none; no empty cells."""
        amounts: dict[tuple[str, str], dict[str, int]] = {}
        for document in self.documents(week):
            if not document.kind.is_sale or not document.status.counts:
                continue
            side, count = ("invoiced", "invoices") if document.kind is DocumentKind.SALE else ("credited", "notes")
            seen = set()
            for line in document.lines:
                key = ((line.revenue_type or UNALLOCATED).lower(), (line.region or UNALLOCATED).lower())
                cell = amounts.setdefault(key, dict.fromkeys(("invoiced", "credited", "tax", "invoices", "notes"), 0))
                cell[side] += document.base_net(line)
                cell["tax"] += document.base_tax(line) * (1 if side == "invoiced" else -1)
                if key not in seen:
                    seen.add(key)
                    cell[count] += 1
        return {key: _revenue_cell(cell) for key, cell in amounts.items()}

    def bank(self, week: Span) -> Mapping[str, BankMovement]:
        """By bank account id."""
        first, last = _ends(week)
        moves = list(self._moves(first, last))
        movements = {}
        for code in BANKS:
            account = chart.chart_of(self.organisation)[code]
            mine = [entry for entry in moves if entry.bank == code]
            opening = self._opening(first, code)
            received = sum(entry.cash for entry in mine if entry.cash > 0)
            spent = -sum(entry.cash for entry in mine if entry.cash < 0)
            gain = sum(entry.gain for entry in mine)
            closing = opening + received - spent + gain
            figures = map(in_units, (opening, received, spent, gain, closing))
            movements[account.id] = BankMovement(account.name, *figures)
        return movements

    def _made(self, first: dt.date, last: dt.date) -> Iterator[Document]:
        """The ledger's own documents that exist by now."""
        now = self._clock.now()
        for number in self._ledger.weeks(first, min(last, self.today)):
            for document in self._ledger.documents(number):
                if first <= document.date <= last and document.created_at <= now:
                    yield document

    def _edited(self, first: dt.date, last: dt.date) -> Mapping[str, Document]:
        """Edited documents that a range of days has to do with, or had before they were edited."""
        with self._state.reading() as connection:
            return edits.touching(connection, self.organisation.tenant_id, first, last)

    def _seen(self, document: Document) -> Document:
        zone = self._ledger.zone if self.organisation.payments_touch_documents else None
        return document.seen_on(self.today, touched_in=zone)

    def _entries(self, first: dt.date, last: dt.date) -> Iterator[Entry]:
        for number in self._ledger.weeks(first, last):
            for entry in self._ledger.entries(number):
                if first <= entry.day <= min(last, self.today):
                    yield entry

    def _paid_documents(self, first: dt.date, last: dt.date) -> list[Document]:
        """What was paid in the range, by documents of any date."""
        edited = self._edited(first, last)
        early = first - dt.timedelta(weeks=WEEKS_TO_PAY)
        made = [one for one in self._made(early, last) if one.id not in edited]
        return [
            one
            for one in [*made, *edited.values()]
            if one.paid_on is not None and first <= one.paid_on <= min(last, self.today)
        ]

    def _moves(self, first: dt.date, last: dt.date) -> Iterator[Entry]:
        """Whatever moved a bank account in the range."""
        yield from (entry for entry in self._entries(first, last) if entry.bank is not None)
        for number in self._ledger.weeks(first, last):
            for entry in self._ledger.sweeps(number):
                if first <= entry.day <= min(last, self.today):
                    yield entry
        yield from map(payment_of, self._paid_documents(first, last))

    def _opening(self, day: dt.date, bank: str) -> int:
        """The balance as a day begins: the span's own opening, what edits changed before it, and since."""
        day = min(day, self.today + dt.timedelta(days=1))
        number = max(0, self._ledger.number(day))
        span = number - number % SPAN
        start = self._ledger.start(span)
        opening = self._ledger.span_opening(span, bank) if span and day > FIRST_DAY else 0
        with self._state.reading() as connection:
            edited = edits.everything(connection, self.organisation.tenant_id)
        for document in edited.values():
            place = self._ledger.find(document.id)
            for sign, one in ((1, document), (-1, place[1] if place else None)):
                if one is not None and one.paid_on is not None and one.paid_on < start:
                    payment = payment_of(one)
                    opening += sign * payment.cash if payment.bank == bank else 0
        moves = self._moves(start, day - dt.timedelta(days=1)) if day > start else ()
        return opening + sum(entry.cash + entry.gain for entry in moves if entry.bank == bank)

    def _profit_and_loss(self, credits: Mapping[str, int]) -> ExpectedProfitAndLoss:
        accounts = chart.chart_of(self.organisation)
        lines: dict[str, Decimal] = {}
        sums: dict[str, int] = defaultdict(int)
        for code, credit in credits.items():
            account = accounts[code]
            if not account.is_profit_and_loss or not credit:
                continue
            amount = credit if account.is_income else -credit
            account_id = chart.CURRENCY_GAINS_ID if code == chart.CURRENCY_GAINS else account.id
            lines[account_id] = in_units(amount)
            sums[_category(account.type)] += amount
        gross = sums["income"] - sums["cost"]
        net = gross + sums["other"] - sums["expenses"]
        figures = (sums["income"], sums["cost"], gross, sums["other"], sums["expenses"], net)
        return ExpectedProfitAndLoss(lines, *map(in_units, figures))


def _category(kind: str) -> str:
    if kind in chart.TRADING_INCOME:
        return "income"
    if kind in chart.COST_OF_SALES:
        return "cost"
    return "other" if kind in chart.OTHER_INCOME else "expenses"


def _post(document: Document, credits: dict[str, int]) -> None:
    for line in document.lines:
        credits[line.account_code] += document.credit_sign * document.base_net(line)


def _revenue_cell(cell: Mapping[str, int]) -> ExpectedRevenueCell:
    invoiced, credited = in_units(cell["invoiced"]), in_units(cell["credited"])
    tax = in_units(cell["tax"])
    return ExpectedRevenueCell(invoiced, credited, invoiced - credited, tax, cell["invoices"], cell["notes"])


def _ends(week: Span) -> tuple[dt.date, dt.date]:
    return (week.start, week.ending) if isinstance(week, Week) else week
