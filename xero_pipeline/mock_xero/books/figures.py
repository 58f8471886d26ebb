"""The same figures as `truth.py`, quickly: sums of whole days, kept, and put right by the edits that touch them.

A request asks here. That both agree, whatever was edited, is a test.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from xero_pipeline.mock_xero.books import edits
from xero_pipeline.mock_xero.books.documents import Document
from xero_pipeline.mock_xero.books.entries import Entry
from xero_pipeline.mock_xero.books.ledger import BANKS, Cached, Ledger, payment_of
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.state import State

Credits = Counter[str]
"""What each account, by code, is credited with; cents, negative for a debit."""


@dataclass(frozen=True, slots=True)
class Movement:
    """A bank account over a range of days, cents."""

    opening: int
    received: int
    spent: int
    gain: int

    @property
    def closing(self) -> int:
        return self.opening + self.received - self.spent + self.gain


class _Days:
    """Each week's seven days, summed once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.accrual = Cached(self._make_accrual, 1500)
        self.cash = Cached(self._make_cash, 1500)

    def _make_accrual(self, number: int) -> tuple[Credits, ...]:
        days = self._entries(number, cash_basis=False)
        for document in self._ledger.documents(number):
            _post(days[(document.date - self._ledger.start(number)).days], document, document.status.counts)
        return tuple(days)

    def _make_cash(self, number: int) -> tuple[Credits, ...]:
        days = self._entries(number, cash_basis=True)
        for document, payment in self._ledger.payments(number):
            _post(days[(payment.day - self._ledger.start(number)).days], document, True)
        return tuple(days)

    def _entries(self, number: int, *, cash_basis: bool) -> list[Credits]:
        days: list[Credits] = [Counter() for _ in range(7)]
        for entry in self._ledger.entries(number):
            if entry.account is not None and (entry.in_cash_basis or not cash_basis):
                days[(entry.day - self._ledger.start(number)).days][entry.account] += entry.credit
        return days


@lru_cache(maxsize=32)
def _days_of(ledger: Ledger) -> _Days:
    return _Days(ledger)


class Figures:
    """One organisation's figures for a request."""

    def __init__(self, books: Books, state: State, now: dt.datetime) -> None:
        self._ledger = books.ledger
        self._state = state
        self._now = now
        self._today = books.today
        self._days = _days_of(books.ledger)
        self._tenant = books.organisation.tenant_id

    def credits(self, first: dt.date, last: dt.date, *, cash_basis: bool) -> Credits:
        """What each account is credited with in a range of days."""
        total: Credits = Counter()
        for number, day in self._each_day(first, last):
            offset = (day - self._ledger.start(number)).days
            if cash_basis:
                total.update(self._days.cash(number)[offset])
            elif day < self._today:
                total.update(self._days.accrual(number)[offset])
            else:
                self._add_today(total, number)
        for original, edited in self._edits(first, last):
            if cash_basis:
                last_paid = min(last, self._today)
                if original is not None:
                    _post(total, original, _within(original.paid_on, first, last_paid), -1)
                _post(total, edited, _within(edited.paid_on, first, last_paid))
            else:
                if original is not None:
                    _post(total, original, original.status.counts and _within(original.date, first, last), -1)
                _post(total, edited, edited.status.counts and _within(edited.date, first, last))
        return total

    def bank(self, first: dt.date, last: dt.date) -> dict[str, Movement]:
        """Each bank account's movement, by its code."""
        moves = [
            entry
            for number in self._weeks(first, last)
            for entry in self._ledger.cash(number)
            if _within(entry.day, first, min(last, self._today))
        ]
        undone: list[Entry] = []
        for original, edited in self._edits(first, last):
            last_paid = min(last, self._today)
            if original is not None and _within(original.paid_on, first, last_paid):
                undone.append(payment_of(original))
            if _within(edited.paid_on, first, last_paid):
                moves.append(payment_of(edited))
        opening_day = min(first, self._today + dt.timedelta(days=1))
        return {bank: self._movement(bank, opening_day, moves, undone) for bank in BANKS}

    def _movement(self, bank: str, day: dt.date, moves: list[Entry], undone: list[Entry]) -> Movement:
        with self._state.reading() as connection:
            opening = edits.cash_before(connection, self._tenant, bank, day)
        opening += self._ledger.opening(day, bank)
        received = _received(moves, bank) - _received(undone, bank)
        spent = _spent(moves, bank) - _spent(undone, bank)
        return Movement(opening, received, spent, sum(entry.gain for entry in moves if entry.bank == bank))

    def _weeks(self, first: dt.date, last: dt.date) -> range:
        return self._ledger.weeks(first, min(last, self._today))

    def _each_day(self, first: dt.date, last: dt.date) -> Iterator[tuple[int, dt.date]]:
        last = min(last, self._today)
        for number in self._ledger.weeks(first, last):
            start = self._ledger.start(number)
            for offset in range(7):
                day = start + dt.timedelta(days=offset)
                if first <= day <= last:
                    yield number, day

    def _add_today(self, total: Credits, number: int) -> None:
        """The running day: its documents come one by one."""
        for entry in self._ledger.entries(number):
            if entry.account is not None and entry.day == self._today:
                total[entry.account] += entry.credit
        for document in self._ledger.documents(number):
            if document.date == self._today and document.created_at <= self._now:
                _post(total, document, document.status.counts)

    def _edits(self, first: dt.date, last: dt.date) -> list[tuple[Document | None, Document]]:
        """Edited documents that touch the range, each with what the ledger had."""
        with self._state.reading() as connection:
            touched = edits.touching(connection, self._tenant, first, last)
        found = ((self._ledger.find(document.id), document) for document in touched.values())
        return [(place[1] if place else None, document) for place, document in found]


def _post(credits: Credits, document: Document, counted: bool, sign: int = 1) -> None:
    if not counted:
        return
    for line in document.lines:
        credits[line.account_code] += sign * document.credit_sign * document.base_net(line)


def _within(day: dt.date | None, first: dt.date, last: dt.date) -> bool:
    return day is not None and first <= day <= last


def _received(moves: Iterable[Entry], bank: str) -> int:
    return sum(entry.cash for entry in moves if entry.bank == bank and entry.cash > 0)


def _spent(moves: Iterable[Entry], bank: str) -> int:
    return -sum(entry.cash for entry in moves if entry.bank == bank and entry.cash < 0)
