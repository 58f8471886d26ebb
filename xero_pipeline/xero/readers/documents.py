"""Reads what invoices and credit notes have in common: their ids, dates, types and amounts. Pure.

`revenue.py` reads their lines.

Source: Xero's `Invoices` and `CreditNotes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.money import to_decimal
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.reports import describe_format

Document = Mapping[str, Any]

_TYPES = {
    "ACCREC", "ACCPAY", "ACCRECCREDIT", "ACCPAYCREDIT",
    "ARPREPAYMENT", "APPREPAYMENT", "AROVERPAYMENT", "APOVERPAYMENT",
}  # fmt: skip
_SALES = {"ACCREC", "ACCRECCREDIT"}
_COUNTED = {"AUTHORISED", "PAID"}
_STATUSES = _COUNTED | {"DRAFT", "SUBMITTED", "VOIDED", "DELETED"}
_JSON_DATE = re.compile(r"/Date\((-?\d{1,15})([+-]\d{4})?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def get_document_key(document: Document) -> str:
    """Return the document's id in its one spelling. No edit changes it."""
    for name in ("InvoiceID", "CreditNoteID"):
        if document.get(name):
            return normalise_id(str(document[name]))
    raise PayloadNotUnderstood("A document has neither InvoiceID nor CreditNoteID.")


def get_document_name(document: Document) -> str:
    """Return the document's number, by which people know it, or else its id."""
    return str(document.get("InvoiceNumber") or document.get("CreditNoteNumber") or get_document_key(document))


def read_document_date(document: Document) -> date:
    """Read the document's calendar date. Xero writes it as midnight without a time zone, so no zone shifts it.

    Raises:
        PayloadNotUnderstood: there is no date, or `Date` and `DateString` disagree.
    """
    dates = set()
    if document.get("DateString"):
        dates.add(_parse_iso_date(str(document["DateString"]), document))
    if document.get("Date"):
        text = str(document["Date"])
        is_json_date = text.startswith("/Date(")
        dates.add(_parse_json_date(text, document).date() if is_json_date else _parse_iso_date(text, document))
    if len(dates) != 1:
        problem = "two different dates" if dates else "no date"
        raise PayloadNotUnderstood(f"{get_document_name(document)} has {problem}.")
    return dates.pop()


def read_updated_at(document: Document) -> datetime | None:
    """Read when the document was last changed, in UTC; `None` if Xero does not say."""
    if not document.get("UpdatedDateUTC"):
        return None
    text = str(document["UpdatedDateUTC"])
    if text.startswith("/Date("):
        return _parse_json_date(text, document)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise PayloadNotUnderstood(
            f"{get_document_name(document)} has an UpdatedDateUTC that is not a date and time."
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def is_counted(document: Document) -> bool:
    """Return whether the document is revenue: a sales invoice or a customer's credit note, authorised or paid.

    Raises:
        PayloadNotUnderstood: its type or status is unknown.
    """
    return read_keyword(document, "Type", _TYPES) in _SALES and read_keyword(document, "Status", _STATUSES) in _COUNTED


def is_sale(document: Document) -> bool:
    """Return whether the document is a sales invoice or a customer's credit note, whatever its status."""
    return read_keyword(document, "Type", _TYPES) in _SALES


def is_credit_note(document: Document) -> bool:
    """Return whether the document is a customer's credit note."""
    return read_keyword(document, "Type", _TYPES) == "ACCRECCREDIT"


def can_affect_reports(document: Document) -> bool:
    """Return whether the document is or was in Xero's figures: a draft never was, a voided one may have been."""
    return read_keyword(document, "Status", _STATUSES) not in {"DRAFT", "SUBMITTED"}


def read_amount(document: Document, row: Mapping[str, Any], name: str) -> Decimal | None:
    """Read an amount of the document or of one of its rows; `None` where it is not stated."""
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        return to_decimal(value)
    except ValueError:
        raise PayloadNotUnderstood(
            f"{get_document_name(document)} has a {name} that is not a plain decimal number{describe_format(value)}."
        ) from None


def read_keyword(document: Document, name: str, known: set[str]) -> str:
    """Read a field that has one of the `known` values, in capitals."""
    keyword = str(document.get(name) or "").strip().upper()
    if keyword not in known:
        raise PayloadNotUnderstood(f"{get_document_name(document)} has an unknown {name} {keyword[:40]!r}.")
    return keyword


def _parse_iso_date(text: str, document: Document) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise PayloadNotUnderstood(f"{get_document_name(document)} has a date that cannot be read.") from None


def _parse_json_date(text: str, document: Document) -> datetime:
    match = _JSON_DATE.fullmatch(text)
    if not match:
        raise PayloadNotUnderstood(f"{get_document_name(document)} has a date that cannot be read.")
    # The milliseconds are UTC; the offset is only that of the zone in which the document was shown.
    try:
        return _EPOCH + timedelta(milliseconds=int(match[1]))
    except OverflowError:
        raise PayloadNotUnderstood(f"{get_document_name(document)} has a date that cannot be read.") from None
