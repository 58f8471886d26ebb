"""Invoices, bills and credit notes as the books know them: amounts in whole cents, no JSON.

An amount in a document's own currency is an `int` of cents; what it is worth in the base currency is
settled here and nowhere else: amount / rate, each line rounded to the cent.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from xero_pipeline.money import to_cents


class DocumentKind(StrEnum):
    """What a document is."""

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
    def counts(self) -> bool:
        """Whether the document is in the books' figures."""
        return self in (DocumentStatus.AUTHORISED, DocumentStatus.PAID)


class TaxTreatment(StrEnum):
    """Xero's `LineAmountTypes`."""

    EXCLUSIVE = "Exclusive"
    INCLUSIVE = "Inclusive"
    NONE = "NoTax"


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """A line. `amount` is Xero's LineAmount: with tax in an inclusive document, without it else. Cents."""

    amount: int
    tax: int
    account_code: str
    revenue_type: str | None = None
    region: str | None = None
    description: str = "Work as agreed"
    quantity: int = 1


@dataclass(frozen=True, slots=True)
class MockLine:
    """A line as a command gives it: `amount` is the LineAmount; `tax` defaults to 10 % of what is taxed."""

    amount: Decimal
    account_code: str = "200"
    revenue_type: str | None = None
    region: str | None = None
    tax: Decimal | None = None
    description: str = "Work as agreed"


@dataclass(frozen=True, slots=True)
class Document:
    """An invoice, a bill or a credit note; amounts positive, as in Xero's own credit notes."""

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

    def seen_on(self, today: dt.date, *, touched_in: dt.tzinfo | None = None) -> Document:
        """As it stands on a day: paid only once its payment has been made.

        Args:
            touched_in: the zone in whose small hours a payment moves `updated_at`; `None` leaves it.
        """
        if self.paid_on is None or self.status is not DocumentStatus.AUTHORISED:
            return self
        if self.paid_on > today:
            return replace(self, paid_on=None)
        updated = self.updated_at
        if touched_in is not None:
            paid_at = dt.datetime.combine(self.paid_on, dt.time(0), touched_in)
            updated = max(updated, paid_at.astimezone(dt.UTC))
        return replace(self, status=DocumentStatus.PAID, updated_at=updated)

    def net(self, line: DocumentLine) -> int:
        """A line without tax, in the document's currency, cents."""
        return line.amount - line.tax if self.tax is TaxTreatment.INCLUSIVE else line.amount

    def base_net(self, line: DocumentLine) -> int:
        """A line without tax, in base currency, cents."""
        return self._to_base(self.net(line))

    def base_tax(self, line: DocumentLine) -> int:
        return self._to_base(line.tax)

    @property
    def base_total(self) -> int:
        """What is paid in the end, in base currency, cents."""
        return sum(self.base_net(line) + self.base_tax(line) for line in self.lines)

    @property
    def is_foreign(self) -> bool:
        return self.rate is not None

    @property
    def credit_sign(self) -> int:
        """1 where its lines are credited to their accounts (income), -1 where they are debited."""
        return 1 if self.kind in (DocumentKind.SALE, DocumentKind.BILL_CREDIT) else -1

    def _to_base(self, cents: int) -> int:
        if self.rate is None:
            return cents
        return int(to_cents(Decimal(cents) / 100 / self.rate) * 100)


def in_units(cents: int) -> Decimal:
    """Cents as an amount with two decimals."""
    return Decimal(cents).scaleb(-2)
