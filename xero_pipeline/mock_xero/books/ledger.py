"""The ledger as it is before anybody edits it: week by week, made when first asked for, and kept a while.

Weeks run Sunday to Saturday and are numbered from the first one with books. Nothing here depends on the
clock or on the state file; what a day has not reached yet, and what was edited, is `truth.py`'s matter.
"""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import lru_cache
from threading import Lock
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.documents import Document
from xero_pipeline.mock_xero.books.entries import Entry, entries_of, opening_balance
from xero_pipeline.mock_xero.books.generation import LONGEST_TO_PAY, Seasonality, documents_of
from xero_pipeline.mock_xero.books.identifiers import place_of
from xero_pipeline.mock_xero.organisations import MockOrganisation

FIRST_DAY = dt.date(2014, 12, 28)
BANKS = (chart.OPERATING_BANK, chart.FOREIGN_BANK)

# A payment falls at most so many weeks after the week of its document.
WEEKS_TO_PAY = LONGEST_TO_PAY // 7 + 1
# Surplus cash is swept out on the last day of each span of so many weeks, so that no balance has to be
# summed up from the beginning of the books.
SPAN = 4

T = TypeVar("T")


class Cached(Generic[T]):
    """The values that were made last, by number; making one twice does no harm."""

    def __init__(self, make: Callable[[int], T], most: int) -> None:
        self._make = make
        self._most = most
        self._values: OrderedDict[int, T] = OrderedDict()
        self._lock = Lock()

    def __call__(self, number: int) -> T:
        with self._lock:
            if number in self._values:
                self._values.move_to_end(number)
                return self._values[number]
        value = self._make(number)
        with self._lock:
            self._values[number] = value
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return value


class Ledger:
    """One organisation's books without edits. Safe for many threads."""

    def __init__(self, organisation: MockOrganisation, zone: ZoneInfo) -> None:
        self.organisation = organisation
        self.zone = zone
        self.documents = Cached(self._make_documents, 160)
        self.entries = Cached(self._make_entries, 1000)
        self.sweeps = Cached(self._make_sweeps, 1000)
        self.cash = Cached(self._make_cash, 1000)

    @staticmethod
    def number(day: dt.date) -> int:
        """The number of the week that a day lies in; negative before the books begin."""
        return (day - FIRST_DAY).days // 7

    @staticmethod
    def start(number: int) -> dt.date:
        return FIRST_DAY + dt.timedelta(weeks=number)

    @classmethod
    def weeks(cls, first: dt.date, last: dt.date) -> range:
        """The numbers of the weeks that a range of days touches."""
        return range(max(0, cls.number(first)), cls.number(last) + 1)

    def find(self, document_id: str) -> tuple[int, Document] | None:
        """The document with that id, and the number of its week."""
        place = place_of(self.organisation.books_seed, document_id)
        if place is None:
            return None
        wanted = document_id.lower()
        return next(((place[0], one) for one in self.documents(place[0]) if one.id == wanted), None)

    def opening(self, day: dt.date, bank: str) -> int:
        """What a bank account holds as the day begins, cents."""
        if day <= FIRST_DAY:
            return 0
        number = self.number(day)
        span = number - number % SPAN
        # In the very first span the money comes with its first entry.
        balance = self.span_opening(span, bank) if span else 0
        for week in range(span, number + 1):
            balance += sum(
                entry.cash + entry.gain for entry in self.cash(week) if entry.bank == bank and entry.day < day
            )
        return balance

    def payments(self, number: int) -> Iterator[tuple[Document, Entry]]:
        """What is paid in that week for documents of that week and earlier ones."""
        first = self.start(number)
        last = first + dt.timedelta(days=6)
        for week in range(max(0, number - WEEKS_TO_PAY), number + 1):
            for document in self.documents(week):
                if document.paid_on is not None and first <= document.paid_on <= last:
                    yield document, payment_of(document)

    def _season(self, number: int) -> Seasonality:
        return Seasonality(self.organisation, number, self.start(number), self.zone)

    def _make_documents(self, number: int) -> tuple[Document, ...]:
        return documents_of(self._season(number)) if number >= 0 else ()

    def _make_entries(self, number: int) -> tuple[Entry, ...]:
        return entries_of(self._season(number)) if number >= 0 else ()

    def _make_cash(self, number: int) -> tuple[Entry, ...]:
        """Whatever moves a bank account in that week."""
        return (*self._earned_and_spent(number), *self.sweeps(number))

    def _earned_and_spent(self, number: int) -> list[Entry]:
        moves = [entry for entry in self.entries(number) if entry.bank is not None]
        moves.extend(payment for _, payment in self.payments(number))
        return moves

    def _make_sweeps(self, number: int) -> tuple[Entry, ...]:
        """What has to leave (or come) so that the next span begins with its own opening balance.

        The very first entry brings in the first balance.
        """
        sweeps = []
        if number == 0:
            sweeps = [Entry(FIRST_DAY, bank=bank, cash=self.span_opening(0, bank)) for bank in BANKS]
        if number >= 0 and number % SPAN == SPAN - 1:
            span = number - SPAN + 1
            moves = [entry for week in range(span, number + 1) for entry in self._earned_and_spent(week)]
            day = self.start(number) + dt.timedelta(days=6)
            for bank in BANKS:
                held = self.span_opening(span, bank)
                held += sum(entry.cash + entry.gain for entry in moves if entry.bank == bank)
                sweeps.append(Entry(day, bank=bank, cash=self.span_opening(number + 1, bank) - held))
        return tuple(sweeps)

    def span_opening(self, number: int, bank: str) -> int:
        """What a bank account holds as a span begins, by the number of its first week."""
        return opening_balance(self._season(number), bank)


def payment_of(document: Document) -> Entry:
    """The payment of a document that has one, as what it does to the bank."""
    assert document.paid_on is not None  # noqa: S101 - the caller has looked
    bank = chart.FOREIGN_BANK if document.is_foreign else chart.OPERATING_BANK
    return Entry(document.paid_on, bank=bank, cash=document.credit_sign * document.base_total)


@lru_cache(maxsize=32)
def ledger_of(organisation: MockOrganisation, zone: ZoneInfo) -> Ledger:
    """The organisation's ledger; one for the whole process, since it never changes."""
    return Ledger(organisation, zone)
