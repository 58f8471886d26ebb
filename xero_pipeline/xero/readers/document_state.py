"""A digest of the parts of a document that figures depend on, to tell edits that change a figure from others. Pure.

Xero changes `UpdatedDateUTC` with every payment, e-mail and attachment. By that alone, every old week would look
edited as its invoices are paid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.money import to_decimal
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.documents import Document, get_document_key, read_document_date, read_updated_at

_IN_FIGURES = {"AUTHORISED", "PAID"}
_NEVER_IN_FIGURES = {"DRAFT", "SUBMITTED"}
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DocumentState:
    """The parts of one document that figures depend on.

    `figures` is a digest of what reports are made from: date, lines, rate, and whether the document counts. Drafts,
    voided documents and counted ones have different digests. `payments` holds the amount paid on each day, in the
    document's currency, as text.
    """

    key: str
    week: Week
    figures: str
    payments: Mapping[str, str]
    edited_at: datetime

    def find_changed_payment_weeks(self, before: Mapping[str, str]) -> set[Week]:
        """Return the weeks in which payments were made, changed or removed, compared with the earlier `payments`."""
        days = {day for day in {*before, *self.payments} if before.get(day) != self.payments.get(day)}
        return {Week.containing(date.fromisoformat(day)) for day in days}


def read_document_state(document: Document) -> DocumentState:
    """Read a document's state. Without an edit date, the document counts as never edited.

    Raises:
        PayloadNotUnderstood: it has no id, no date, or an amount that is not a number.
    """
    status = str(document.get("Status") or "").upper()
    return DocumentState(
        key=get_document_key(document),
        week=Week.containing(read_document_date(document)),
        figures=_compute_digest(document, status),
        payments=_sum_payments(document),
        edited_at=read_updated_at(document) or _LONG_AGO,
    )


def _compute_digest(document: Document, status: str) -> str:
    counts = "counts" if status in _IN_FIGURES else ("draft" if status in _NEVER_IN_FIGURES else "void")
    parts: list[Any] = [counts]
    if counts == "counts":
        lines = sorted(json.dumps(_list_line_parts(line), sort_keys=True) for line in document.get("LineItems") or [])
        parts += [
            str(document.get("Type")),
            read_document_date(document).isoformat(),
            str(document.get("CurrencyCode") or ""),
            _normalise_number(document.get("CurrencyRate")),
            str(document.get("LineAmountTypes") or "").lower(),
            _normalise_number(document.get("SubTotal")),
            lines,
        ]
        if not lines:
            # Without lines, the revenue is read from the document's totals.
            parts += [_normalise_number(document.get("TotalTax")), _normalise_number(document.get("Total"))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _list_line_parts(line: Mapping[str, Any]) -> list[Any]:
    tracking = sorted([str(option.get("Name")), str(option.get("Option"))] for option in line.get("Tracking") or [])
    account = str(line.get("AccountCode") or normalise_id(str(line.get("AccountID") or "")))
    return [_normalise_number(line.get("LineAmount")), _normalise_number(line.get("TaxAmount")), account, tracking]


def _sum_payments(document: Document) -> dict[str, str]:
    paid: dict[str, Decimal] = {}
    payments = document.get("Payments")
    for payment in payments if isinstance(payments, list) else []:
        if not isinstance(payment, dict):
            continue
        try:
            day = read_document_date({**payment, "InvoiceID": get_document_key(document)}).isoformat()
            paid[day] = paid.get(day, Decimal(0)) + Decimal(_normalise_number(payment.get("Amount")) or 0)
        except PayloadNotUnderstood:
            # No figure depends on this payment (cash comes from the bank summary). Only its week stays unknown.
            continue
    return {day: str(amount.normalize()) for day, amount in sorted(paid.items())}


def _normalise_number(value: object) -> str:
    """Write a number in one way, whether Xero sent 1, 1.0 or "1.00"."""
    if value is None or value == "":
        return ""
    try:
        return format(to_decimal(value).normalize(), "f")
    except ValueError:
        raise PayloadNotUnderstood("A document has an amount that is not a plain decimal number.") from None
