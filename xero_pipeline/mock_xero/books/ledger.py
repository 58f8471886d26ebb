"""The ledger before any edit, generated week by week when first needed and then cached.

Weeks run Sunday to Saturday and are numbered from the first week of the books. Nothing here depends on the
clock or on the state file: `truth.py` hides what is still in the future and applies edits.
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
from xero_pipeline.mock_xero.books.entries import Entry, generate_entries, generate_opening_balance
from xero_pipeline.mock_xero.books.generation import MAX_DAYS_TO_PAY, Seasonality, generate_documents
from xero_pipeline.mock_xero.books.identifiers import locate_document
from xero_pipeline.mock_xero.organisations import MockOrganisation

FIRST_DAY = dt.date(2014, 12, 28)
BANK_CODES = (chart.OPERATING_BANK, chart.FOREIGN_BANK)

# A payment is at most this many weeks after the week of its document.
WEEKS_TO_PAY = MAX_DAYS_TO_PAY // 7 + 1
# Cash is swept on the last day of each span of this many weeks, so that no balance has to be summed from the
# beginning of the books.
WEEKS_PER_SPAN = 4

T = TypeVar("T")


class Cached(Generic[T]):
    """A cache of the most recently used values, by number. Two threads may make the same value twice."""

    def __init__(self, make: Callable[[int], T], max_size: int) -> None:
        self._make = make
        self._max_size = max_size
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
            while len(self._values) > self._max_size:
                self._values.popitem(last=False)
        return value


class Ledger:
    """One organisation's books without edits. Many threads can use it at once."""

    def __init__(self, organisation: MockOrganisation, zone: ZoneInfo) -> None:
        self.organisation = organisation
        self.zone = zone
        self.documents = Cached(self._make_documents, 160)
        self.entries = Cached(self._make_entries, 1000)
        self.sweeps = Cached(self._make_sweeps, 1000)
        self.cash = Cached(self._make_cash, 1000)

    @staticmethod
    def week_number(day: dt.date) -> int:
        """The number of the week that contains a day; negative before the books begin."""
        return (day - FIRST_DAY).days // 7

    @staticmethod
    def week_start(number: int) -> dt.date:
        return FIRST_DAY + dt.timedelta(weeks=number)

    @classmethod
    def week_numbers(cls, first: dt.date, last: dt.date) -> range:
        """The numbers of the weeks that a range of days overlaps."""
        return range(max(0, cls.week_number(first)), cls.week_number(last) + 1)

    def find_document(self, document_id: str) -> tuple[int, Document] | None:
        """The number of a document's week, and the document; `None` if the id is unknown."""
        location = locate_document(self.organisation.books_seed, document_id)
        if location is None:
            return None
        wanted = document_id.lower()
        return next(
            ((location[0], document) for document in self.documents(location[0]) if document.id == wanted), None
        )

    def opening(self, day: dt.date, bank: str) -> int:
        """A bank account's balance at the start of a day, in cents."""
        if day <= FIRST_DAY:
            return 0
        number = self.week_number(day)
        span = number - number % WEEKS_PER_SPAN
        # The first span begins at zero: its first entry brings in the opening balance.
        balance = self.span_opening(span, bank) if span else 0
        for week in range(span, number + 1):
            balance += sum(
                entry.cash + entry.gain for entry in self.cash(week) if entry.bank == bank and entry.day < day
            )
        return balance

    def payments(self, number: int) -> Iterator[tuple[Document, Entry]]:
        """The payments made in a week, each with its document of that week or an earlier one."""
        first = self.week_start(number)
        last = first + dt.timedelta(days=6)
        for week in range(max(0, number - WEEKS_TO_PAY), number + 1):
            for document in self.documents(week):
                if document.paid_on is not None and first <= document.paid_on <= last:
                    yield document, make_payment(document)

    def _make_season(self, number: int) -> Seasonality:
        return Seasonality(self.organisation, number, self.week_start(number), self.zone)

    def _make_documents(self, number: int) -> tuple[Document, ...]:
        return generate_documents(self._make_season(number)) if number >= 0 else ()

    def _make_entries(self, number: int) -> tuple[Entry, ...]:
        return generate_entries(self._make_season(number)) if number >= 0 else ()

    def _make_cash(self, number: int) -> tuple[Entry, ...]:
        """Every entry of a week that changes a bank account."""
        return (*self._list_cash_entries(number), *self.sweeps(number))

    def _list_cash_entries(self, number: int) -> list[Entry]:
        entries = [entry for entry in self.entries(number) if entry.bank is not None]
        entries.extend(payment for _, payment in self.payments(number))
        return entries

    def _make_sweeps(self, number: int) -> tuple[Entry, ...]:
        """The transfers that bring each bank account to the next span's opening balance.

        The first entry of the books brings in the first opening balance.
        """
        sweeps = []
        if number == 0:
            sweeps = [Entry(FIRST_DAY, bank=bank, cash=self.span_opening(0, bank)) for bank in BANK_CODES]
        if number >= 0 and number % WEEKS_PER_SPAN == WEEKS_PER_SPAN - 1:
            span = number - WEEKS_PER_SPAN + 1
            entries = [entry for week in range(span, number + 1) for entry in self._list_cash_entries(week)]
            day = self.week_start(number) + dt.timedelta(days=6)
            for bank in BANK_CODES:
                balance = self.span_opening(span, bank)
                balance += sum(entry.cash + entry.gain for entry in entries if entry.bank == bank)
                sweeps.append(Entry(day, bank=bank, cash=self.span_opening(number + 1, bank) - balance))
        return tuple(sweeps)

    def span_opening(self, number: int, bank: str) -> int:
        """A bank account's balance at the start of a span, in cents; `number` is the span's first week."""
        return generate_opening_balance(self._make_season(number), bank)


def make_payment(document: Document) -> Entry:
    """The bank entry for the payment of a document that has one."""
    assert document.paid_on is not None  # noqa: S101 - the caller checks
    bank = chart.FOREIGN_BANK if document.is_foreign else chart.OPERATING_BANK
    return Entry(document.paid_on, bank=bank, cash=document.credit_sign * document.base_total)


@lru_cache(maxsize=32)
def get_ledger(organisation: MockOrganisation, zone: ZoneInfo) -> Ledger:
    """The organisation's ledger; one object per process, since it never changes."""
    return Ledger(organisation, zone)
