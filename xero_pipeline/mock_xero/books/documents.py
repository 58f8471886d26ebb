"""Invoices, bills and credit notes in the books, with amounts in whole cents.

An amount in a document's own currency is an `int` of cents. Only this module converts it to the base
currency: amount / rate, each line rounded to the cent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Generic, TypeVar

from xero_pipeline.money import to_cents

T = TypeVar("T")


class DocumentKind(StrEnum):
    """The kind of a document; the value is Xero's `Type`."""

    SALE = "ACCREC"
    BILL = "ACCPAY"
    SALE_CREDIT = "ACCRECCREDIT"
    BILL_CREDIT = "ACCPAYCREDIT"

    @property
    def is_credit(self) -> bool:
        return self in (DocumentKind.SALE_CREDIT, DocumentKind.BILL_CREDIT)

    @property
    def is_sale(self) -> bool:
        return self in (DocumentKind.SALE, DocumentKind.SALE_CREDIT)


class DocumentStatus(StrEnum):
    DRAFT = "DRAFT"
    SUBMITTED = "SUBMITTED"
    AUTHORISED = "AUTHORISED"
    PAID = "PAID"
    VOIDED = "VOIDED"
    DELETED = "DELETED"

    @property
    def is_counted(self) -> bool:
        """Whether a document with this status counts in the figures."""
        return self in (DocumentStatus.AUTHORISED, DocumentStatus.PAID)


class TaxTreatment(StrEnum):
    """Xero's `LineAmountTypes`."""

    EXCLUSIVE = "Exclusive"
    INCLUSIVE = "Inclusive"
    NONE = "NoTax"


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """A line, in cents. `amount` is Xero's LineAmount: with tax in an inclusive document, otherwise without."""

    amount: int
    tax: int
    account_code: str
    revenue_type: str | None = None
    region: str | None = None
    description: str = "Work as agreed"
    quantity: int = 1


@dataclass(frozen=True, slots=True)
class MockLine:
    """A line as a command gives it. `amount` is the LineAmount; `tax` defaults to the country's rate."""

    amount: Decimal
    account_code: str = "200"
    revenue_type: str | None = None
    region: str | None = None
    tax: Decimal | None = None
    description: str = "Work as agreed"


@dataclass(frozen=True, slots=True)
class Document:
    """An invoice, bill or credit note. A credit note's amounts are positive, as in Xero."""

    kind: DocumentKind
    id: str
    number: str
    date: dt.date
    due: dt.date
    status: DocumentStatus
    tax: TaxTreatment
    currency: str
    rate: Decimal | None
    contact: str
    lines: tuple[DocumentLine, ...]
    created_at: dt.datetime
    updated_at: dt.datetime
    paid_on: dt.date | None = None

    def view_on(self, today: dt.date, *, payment_zone: dt.tzinfo | None = None) -> Document:
        """The document as it is on a day: paid only from its payment day on.

        Args:
            payment_zone: a payment moves `updated_at` to its day's midnight in this time zone; with `None` it
                does not move it.
        """
        if self.paid_on is None or self.status is not DocumentStatus.AUTHORISED:
            return self
        is_paid = self.paid_on <= today
        view = _views.get(self, (is_paid, payment_zone))
        return view or _views.keep(self, (is_paid, payment_zone), self._make_view(is_paid, payment_zone))

    def _make_view(self, is_paid: bool, payment_zone: dt.tzinfo | None) -> Document:
        if not is_paid or self.paid_on is None:
            return replace(self, paid_on=None)
        updated = self.updated_at
        if payment_zone is not None:
            paid_at = dt.datetime.combine(self.paid_on, dt.time(0), payment_zone)
            updated = max(updated, paid_at.astimezone(dt.UTC))
        return replace(self, status=DocumentStatus.PAID, updated_at=updated)

    def net(self, line: DocumentLine) -> int:
        """A line's net amount, in cents of the document's currency."""
        return line.amount - line.tax if self.tax is TaxTreatment.INCLUSIVE else line.amount

    def base_net(self, line: DocumentLine) -> int:
        """A line's net amount, in cents of the base currency."""
        return self._convert_to_base(self.net(line))

    def base_tax(self, line: DocumentLine) -> int:
        return self._convert_to_base(line.tax)

    @property
    def base_total(self) -> int:
        """The total with tax, in cents of the base currency."""
        return sum(self.base_net(line) + self.base_tax(line) for line in self.lines)

    @property
    def is_foreign(self) -> bool:
        return self.rate is not None

    @property
    def credit_sign(self) -> int:
        """1 if its lines are credited to their accounts, -1 if they are debited."""
        return 1 if self.kind in (DocumentKind.SALE, DocumentKind.BILL_CREDIT) else -1

    def _convert_to_base(self, cents: int) -> int:
        if self.rate is None:
            return cents
        return int(to_cents(Decimal(cents) / 100 / self.rate) * 100)


class DocumentCache(Generic[T]):
    """What was made of documents that are asked for again and again. A document is known by its identity.

    Two threads may make the same value twice.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        # The document is kept as well, so no other one gets its id meanwhile.
        self._values: dict[tuple[int, Hashable], tuple[Document, T]] = {}

    def get(self, document: Document, key: Hashable) -> T | None:
        found = self._values.get((id(document), key))
        return None if found is None else found[1]

    def keep(self, document: Document, key: Hashable, value: T) -> T:
        if len(self._values) >= self._max_size:
            self._values.clear()
        self._values[id(document), key] = document, value
        return value


_views: DocumentCache[Document] = DocumentCache(10_000)


def cents_to_decimal(cents: int) -> Decimal:
    """Cents as a `Decimal` amount with two decimals."""
    return Decimal(cents).scaleb(-2)
