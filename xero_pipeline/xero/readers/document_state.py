"""What of a document can move a figure, so that an edit that moves none can be told from one that does.

Xero's `UpdatedDateUTC` moves with every payment, e-mail and attachment; read by it alone, each old week would
look edited as its invoices are paid. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from xero_pipeline.money import to_decimal
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.documents import Document, document_date, document_key, updated_at

_IN_FIGURES = {"AUTHORISED", "PAID"}
_NEVER_IN_FIGURES = {"DRAFT", "SUBMITTED"}
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DocumentState:
    """One document, as far as figures go.

    `figures` is a digest of whatever a report is made from: date, lines, rate, and whether it counts; a draft
    and a voided document differ from one that counts, and from each other. `payments` is what was paid on
    which day, in its own currency, as text.
    """

    key: str
    week: Week
    figures: str
    payments: Mapping[str, str]
    edited_at: datetime

    def paid_weeks_that_differ(self, before: Mapping[str, str]) -> set[Week]:
        """The weeks of payments that were made, changed or taken back since."""
        days = {day for day in {*before, *self.payments} if before.get(day) != self.payments.get(day)}
        return {Week.containing(date.fromisoformat(day)) for day in days}


def document_state(document: Document) -> DocumentState:
    """A document's state. One that does not say when it was edited is taken to be as old as can be.

    Raises:
        PayloadNotUnderstood: it has no id, no date, or an amount that is none.
    """
    status = str(document.get("Status") or "").upper()
    return DocumentState(
        key=document_key(document),
        week=Week.containing(document_date(document)),
        figures=_digest(document, status),
        payments=_payments(document),
        edited_at=updated_at(document) or _LONG_AGO,
    )


def _digest(document: Document, status: str) -> str:
    counts = "counts" if status in _IN_FIGURES else ("draft" if status in _NEVER_IN_FIGURES else "void")
    said: list[Any] = [counts]
    if counts == "counts":
        lines = sorted(json.dumps(_line(line), sort_keys=True) for line in document.get("LineItems") or [])
        said += [
            str(document.get("Type")),
            document_date(document).isoformat(),
            str(document.get("CurrencyCode") or ""),
            _number(document.get("CurrencyRate")),
            str(document.get("LineAmountTypes") or "").lower(),
            _number(document.get("SubTotal")),
            lines,
        ]
        if not lines:
            # Of which the revenue takes what the document states as a whole.
            said += [_number(document.get("TotalTax")), _number(document.get("Total"))]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def _line(line: Mapping[str, Any]) -> list[Any]:
    tracking = sorted([str(one.get("Name")), str(one.get("Option"))] for one in line.get("Tracking") or [])
    account = str(line.get("AccountCode") or line.get("AccountID") or "")
    return [_number(line.get("LineAmount")), _number(line.get("TaxAmount")), account, tracking]


def _payments(document: Document) -> dict[str, str]:
    paid: dict[str, Decimal] = {}
    payments = document.get("Payments")
    for payment in payments if isinstance(payments, list) else []:
        if not isinstance(payment, dict):
            continue
        try:
            day = document_date({**payment, "InvoiceID": document_key(document)}).isoformat()
            paid[day] = paid.get(day, Decimal(0)) + Decimal(_number(payment.get("Amount")) or 0)
        except PayloadNotUnderstood:
            # No figure is made from it here: the bank summary has its own say. It only cannot hint at a week.
            continue
    return {day: str(amount.normalize()) for day, amount in sorted(paid.items())}


def _number(value: object) -> str:
    """A number in one writing, whether it came as 1, 1.0 or "1.00"."""
    if value is None or value == "":
        return ""
    try:
        return format(to_decimal(value).normalize(), "f")
    except ValueError:
        raise PayloadNotUnderstood("A document has an amount that is no plain decimal number.") from None
