"""Reads what people know an invoice or credit note by: its number, contact, status and currency. Pure.

No figure depends on these fields. `revenue.py` reads what figures depend on.

Source: Xero's `Invoices` and `CreditNotes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.documents import Document, get_document_name


@dataclass(frozen=True, slots=True)
class DocumentHeading:
    """What a document is called. A text is `None` where Xero does not state it.

    `rate` is how many units of `currency` one unit of the base currency is worth.
    """

    number: str | None
    status: str
    contact_id: str | None
    contact_name: str | None
    currency: str
    rate: Decimal


def read_document_heading(document: Document, *, currency: str, rate: Decimal) -> DocumentHeading:
    """Read the heading of a document whose currency and rate have been read.

    Raises:
        PayloadNotUnderstood: its contact is no object.
    """
    contact = document.get("Contact") or {}
    if not isinstance(contact, Mapping):
        raise PayloadNotUnderstood(f"{get_document_name(document)} has a Contact that is not an object.")
    contact_id = read_text(contact, "ContactID")
    return DocumentHeading(
        number=read_text(document, "InvoiceNumber") or read_text(document, "CreditNoteNumber"),
        status=str(document.get("Status") or "").strip().upper(),
        contact_id=normalise_id(contact_id) if contact_id else None,
        contact_name=read_text(contact, "Name"),
        currency=currency,
        rate=rate,
    )


def read_text(row: Mapping[str, Any], name: str) -> str | None:
    """Read a text without surrounding spaces; `None` where there is none.

    JSON can write characters that PostgreSQL stores in no text: the NUL, and half of a surrogate pair. They are
    replaced by a question mark.
    """
    value = row.get(name)
    if value is None:
        return None
    return str(value).replace("\x00", "?").encode("utf-8", "replace").decode().strip() or None
