"""The figures of `truth.py`, computed quickly: cached sums of whole days, corrected by the edits that affect them.

Requests use this module. A test checks that both modules agree after any edits.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from xero_pipeline.mock_xero.books import edits
from xero_pipeline.mock_xero.books.documents import Document
from xero_pipeline.mock_xero.books.entries import Entry
from xero_pipeline.mock_xero.books.ledger import BANK_CODES, Cached, Ledger, make_payment
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.state import State

Credits = Counter[str]
"""The amount credited to each account, by code, in cents; negative for a debit."""


@dataclass(frozen=True, slots=True)
class Movement:
    """A bank account's figures over a range of days, in cents."""

    opening: int
    received: int
    spent: int
    gain: int

    @property
    def closing(self) -> int:
        return self.opening + self.received - self.spent + self.gain


class _DailyCredits:
    """The credits of each week's seven days, summed once and cached."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.accrual = Cached(self._make_accrual, 1500)
        self.cash = Cached(self._make_cash, 1500)
        self.accrual_weeks = Cached(lambda number: _sum(self.accrual(number)), 1500)
        self.cash_weeks = Cached(lambda number: _sum(self.cash(number)), 1500)

    def _make_accrual(self, number: int) -> tuple[Credits, ...]:
        days = self._sum_entries(number, cash_basis=False)
        for document in self._ledger.documents(number):
            _post(days[(document.date - self._ledger.week_start(number)).days], document, document.status.is_counted)
        return tuple(days)

    def _make_cash(self, number: int) -> tuple[Credits, ...]:
        days = self._sum_entries(number, cash_basis=True)
        for document, payment in self._ledger.payments(number):
            _post(days[(payment.day - self._ledger.week_start(number)).days], document, True)
        return tuple(days)

    def _sum_entries(self, number: int, *, cash_basis: bool) -> list[Credits]:
        days: list[Credits] = [Counter() for _ in range(7)]
        for entry in self._ledger.entries(number):
            if entry.account is not None and (entry.in_cash_basis or not cash_basis):
                days[(entry.day - self._ledger.week_start(number)).days][entry.account] += entry.credit
        return days


@lru_cache(maxsize=32)
def _get_daily_credits(ledger: Ledger) -> _DailyCredits:
    return _DailyCredits(ledger)


class Figures:
    """One organisation's figures at the time of a request."""

    def __init__(self, books: Books, state: State, now: dt.datetime) -> None:
        self._books = books
        self._ledger = books.ledger
        self._state = state
        self._now = now
        self._today = books.today
        self._days = _get_daily_credits(books.ledger)
        self._tenant = books.organisation.tenant_id

    def sum_credits(self, first: dt.date, last: dt.date, *, cash_basis: bool) -> Credits:
        """The amount credited to each account in a range of days."""
        total: Credits = Counter()
        days, weeks = self._days.accrual, self._days.accrual_weeks
        if cash_basis:
            days, weeks = self._days.cash, self._days.cash_weeks
        last_over = min(last, self._today if cash_basis else self._today - dt.timedelta(days=1))
        for number in self._list_weeks(first, last):
            start = self._ledger.week_start(number)
            if first <= start and start + dt.timedelta(days=6) <= last_over:
                total.update(weeks(number))
                continue
            for offset in range(7):
                day = start + dt.timedelta(days=offset)
                if first <= day <= last_over:
                    total.update(days(number)[offset])
                elif first <= day <= min(last, self._today):
                    self._add_today(total, number)
        for entry in self._load_added_entries(first, last):
            if entry.account is not None and (entry.in_cash_basis or not cash_basis):
                total[entry.account] += entry.credit
        for original, edited in self._load_edits(first, last):
            if cash_basis:
                last_paid = min(last, self._today)
                if original is not None:
                    _post(total, original, _is_within(original.paid_on, first, last_paid), -1)
                _post(total, edited, _is_within(edited.paid_on, first, last_paid))
            else:
                if original is not None:
                    _post(total, original, original.status.is_counted and _is_within(original.date, first, last), -1)
                _post(total, edited, edited.status.is_counted and _is_within(edited.date, first, last))
        return total

    def sum_movements(self, first: dt.date, last: dt.date) -> dict[str, Movement]:
        """Each bank account's movement, by its code."""
        entries = [
            entry
            for number in self._list_weeks(first, last)
            for entry in self._ledger.cash(number)
            if _is_within(entry.day, first, min(last, self._today))
        ]
        entries += self._load_added_entries(first, last)
        reversed_entries: list[Entry] = []
        for original, edited in self._load_edits(first, last):
            last_paid = min(last, self._today)
            if original is not None and _is_within(original.paid_on, first, last_paid):
                reversed_entries.append(make_payment(original))
            if _is_within(edited.paid_on, first, last_paid):
                entries.append(make_payment(edited))
        opening_day = min(first, self._today + dt.timedelta(days=1))
        return {bank: self._make_movement(bank, opening_day, entries, reversed_entries) for bank in BANK_CODES}

    def _make_movement(self, bank: str, day: dt.date, entries: list[Entry], reversed_entries: list[Entry]) -> Movement:
        with self._state.begin_read() as connection:
            opening = edits.sum_cash_before(connection, self._tenant, bank, day)
        opening += self._books.sum_added_cash_before(bank, day, self._now)
        opening += self._ledger.opening(day, bank)
        received = _sum_received(entries, bank) - _sum_received(reversed_entries, bank)
        spent = _sum_spent(entries, bank) - _sum_spent(reversed_entries, bank)
        return Movement(opening, received, spent, sum(entry.gain for entry in entries if entry.bank == bank))

    def _list_weeks(self, first: dt.date, last: dt.date) -> range:
        return self._ledger.week_numbers(first, min(last, self._today))

    def _add_today(self, total: Credits, number: int) -> None:
        """Add the current day, of which only documents up to now count."""
        for entry in self._ledger.entries(number):
            if entry.account is not None and entry.day == self._today:
                total[entry.account] += entry.credit
        for document in self._ledger.documents(number):
            if document.date == self._today and document.created_at <= self._now:
                _post(total, document, document.status.is_counted)

    def _load_added_entries(self, first: dt.date, last: dt.date) -> list[Entry]:
        return self._books.load_added_entries(first, min(last, self._today), self._now)

    def _load_edits(self, first: dt.date, last: dt.date) -> list[tuple[Document | None, Document]]:
        """The edited documents that affect the range, each after the ledger's original (`None` if new)."""
        with self._state.begin_read() as connection:
            touched = edits.load_touching(connection, self._tenant, first, last)
        located = ((self._ledger.find_document(document.id), document) for document in touched.values())
        return [(match[1] if match else None, document) for match, document in located]


def _post(credits: Credits, document: Document, counted: bool, sign: int = 1) -> None:
    if not counted:
        return
    for line in document.lines:
        credits[line.account_code] += sign * document.credit_sign * document.base_net(line)


def _sum(parts: Iterable[Credits]) -> Credits:
    total: Credits = Counter()
    for part in parts:
        total.update(part)
    return total


def _is_within(day: dt.date | None, first: dt.date, last: dt.date) -> bool:
    return day is not None and first <= day <= last


def _sum_received(entries: Iterable[Entry], bank: str) -> int:
    return sum(entry.cash for entry in entries if entry.bank == bank and entry.cash > 0)


def _sum_spent(entries: Iterable[Entry], bank: str) -> int:
    return -sum(entry.cash for entry in entries if entry.bank == bank and entry.cash < 0)
