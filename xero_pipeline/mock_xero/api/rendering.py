"""Invoices and credit notes as Xero's JSON, and the fields by which they can be filtered."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.documents import (
    Document,
    DocumentCache,
    DocumentLine,
    DocumentStatus,
    TaxTreatment,
    cents_to_decimal,
)
from xero_pipeline.mock_xero.books.seeded_random import derive_uuid
from xero_pipeline.mock_xero.organisations import MockOrganisation

Json = dict[str, Any]

_EPOCH = dt.date(1970, 1, 1)
_TAX_TYPES = {True: "OUTPUT", False: "INPUT"}
_rendered: DocumentCache[Json] = DocumentCache(5_000)
_fields: DocumentCache[Json] = DocumentCache(10_000)


def format_day(day: dt.date) -> str:
    """A calendar date as Xero writes it: the milliseconds of its midnight, taken as UTC."""
    return f"/Date({(day - _EPOCH).days * 86_400_000}+0000)/"


def format_moment(moment: dt.datetime) -> str:
    """A moment as Xero writes it, in milliseconds."""
    return f"/Date({int(moment.timestamp() * 1000)}+0000)/"


def derive_tracking_id(tenant_id: str, category: str) -> str:
    """The TrackingCategoryID of a category, by its name."""
    return derive_uuid(tenant_id, "tracking", category)


def derive_option_id(tenant_id: str, category: str, option: str) -> str:
    """The TrackingOptionID of a category's option, by its name."""
    return derive_uuid(tenant_id, "option", category, option)


class Renderer:
    """Renders one organisation's documents."""

    def __init__(self, organisation: MockOrganisation) -> None:
        self._organisation = organisation
        self._chart = chart.get_chart(organisation)
        self._tracking = {name: derive_tracking_id(organisation.tenant_id, name) for name in chart.TRACKING}

    def render(self, document: Document, *, with_lines: bool) -> Json:
        """A document's JSON; `with_lines` is false in a list without `page`, which has no lines. Do not change it."""
        key = (self._organisation.tenant_id, with_lines)
        json = _rendered.get(document, key)
        return json or _rendered.keep(document, key, self._render(document, with_lines=with_lines))

    def _render(self, document: Document, *, with_lines: bool) -> Json:
        net, tax = _sum_lines(document)
        total = net + tax
        paid = total if document.status is DocumentStatus.PAID else 0
        is_open = document.status.is_counted or document.status in (DocumentStatus.DRAFT, DocumentStatus.SUBMITTED)
        outstanding = cents_to_decimal(total - paid if is_open else 0)
        json: Json = {"Type": document.kind.value}
        if document.kind.is_credit:
            json |= {"CreditNoteID": document.id, "CreditNoteNumber": document.number, "ID": document.id}
            json |= {"RemainingCredit": outstanding, "Allocations": []}
        else:
            json |= {"InvoiceID": document.id, "InvoiceNumber": document.number}
            json |= {
                "AmountDue": outstanding,
                "AmountPaid": cents_to_decimal(paid),
                "AmountCredited": cents_to_decimal(0),
            }
            json |= {"CreditNotes": [], "Prepayments": [], "Overpayments": [], "IsDiscounted": False}
            json |= {"SentToContact": document.status.is_counted, "HasErrors": False}
        json |= self._render_heading(document, paid)
        if not document.kind.is_credit and _is_nth(document, 7):
            del json["DueDate"], json["DueDateString"]
        if document.rate is not None or not _is_nth(document, 5):
            json["CurrencyRate"] = document.rate if document.rate is not None else Decimal("1.0000000000")
        lines = [self._render_line(document, line, index) for index, line in enumerate(document.lines)]
        json |= {
            "LineItems": lines if with_lines else [],
            "SubTotal": cents_to_decimal(net),
            "TotalTax": cents_to_decimal(tax),
            "Total": cents_to_decimal(total),
        }
        return json

    def fields(self, document: Document) -> Json:
        """The fields that a `where` or `order` may name, with the document's values. Do not change them."""
        key = self._organisation.tenant_id
        return _fields.get(document, key) or _fields.keep(document, key, self._list_fields(document))

    def _list_fields(self, document: Document) -> Json:
        net, tax = _sum_lines(document)
        container = "CreditNote" if document.kind.is_credit else "Invoice"
        midnight = dt.time(0)
        total = cents_to_decimal(net + tax)
        paid = document.status is DocumentStatus.PAID
        return {
            "Type": document.kind.value,
            "Status": document.status.value,
            "Date": dt.datetime.combine(document.date, midnight),
            "DueDate": dt.datetime.combine(document.due, midnight),
            "UpdatedDateUTC": document.updated_at.replace(tzinfo=None),
            f"{container}ID": document.id,
            f"{container}Number": document.number,
            "Reference": _make_reference(document),
            "CurrencyCode": document.currency,
            "Contact.Name": document.contact,
            "Contact.ContactID": self._derive_contact_id(document),
            "Contact.ContactNumber": "",
            "SubTotal": cents_to_decimal(net),
            "TotalTax": cents_to_decimal(tax),
            "Total": total,
            "AmountDue": cents_to_decimal(0) if paid else total,
            "AmountPaid": total if paid else cents_to_decimal(0),
        }

    def _render_heading(self, document: Document, paid: int) -> Json:
        json: Json = {
            "Reference": _make_reference(document),
            "Payments": [self._render_payment(document, paid)] if paid else [],
            "HasAttachments": False,
            "Contact": self._render_contact(document),
            "DateString": f"{document.date}T00:00:00",
            "Date": format_day(document.date),
            "DueDateString": f"{document.due}T00:00:00",
            "DueDate": format_day(document.due),
            "Status": document.status.value,
            "LineAmountTypes": document.tax.value,
            "UpdatedDateUTC": format_moment(document.updated_at),
            "UpdatedDateUTCString": f"{document.updated_at:%Y-%m-%dT%H:%M:%SZ}",
            "CurrencyCode": document.currency,
        }
        if document.kind.is_credit:
            del json["DueDate"], json["DueDateString"]
        if paid and document.paid_on is not None:
            json["FullyPaidOnDate"] = format_day(document.paid_on)
        return json

    def _derive_contact_id(self, document: Document) -> str:
        return derive_uuid(self._organisation.tenant_id, "contact", document.contact)

    def _render_contact(self, document: Document) -> Json:
        return {
            "ContactID": self._derive_contact_id(document),
            "Name": document.contact,
            "Addresses": [],
            "Phones": [],
            "ContactGroups": [],
            "ContactPersons": [],
            "HasValidationErrors": False,
        }

    def _render_payment(self, document: Document, paid: int) -> Json:
        return {
            "PaymentID": derive_uuid(document.id, "payment"),
            "Date": format_day(document.paid_on or document.date),
            "Amount": cents_to_decimal(paid),
            "Reference": "",
            "CurrencyRate": document.rate if document.rate is not None else Decimal("1.0000000000"),
            "HasAccount": False,
            "HasValidationErrors": False,
        }

    def _render_line(self, document: Document, line: DocumentLine, index: int) -> Json:
        taxed = bool(line.tax)
        # An edit gives every line a new id, as at Xero.
        json: Json = {
            "Description": line.description,
            "UnitAmount": cents_to_decimal(line.amount // line.quantity),
            "TaxType": _TAX_TYPES[document.kind.is_sale] if taxed else "EXEMPTOUTPUT",
            "TaxAmount": cents_to_decimal(line.tax),
            "LineAmount": cents_to_decimal(line.amount),
            "Tracking": [
                self._render_tracking(name, option)
                for name, option in (
                    (chart.REVENUE_TRACKING, line.revenue_type),
                    (chart.REGION_TRACKING, line.region),
                )
                if option is not None
            ],
            "Quantity": Decimal(f"{line.quantity}.0000"),
            "LineItemID": derive_uuid(document.id, document.updated_at, index),
            "ValidationErrors": [],
        }
        if document.tax is TaxTreatment.NONE:
            json["TaxType"] = "NONE"
        if document.status is not DocumentStatus.DRAFT:
            json["AccountCode"] = line.account_code
            json["AccountID"] = self._chart[line.account_code].id
        return json

    def _render_tracking(self, name: str, option: str) -> Json:
        json = {"Name": name, "Option": option, "TrackingCategoryID": self._tracking[name]}
        if name == chart.REVENUE_TRACKING:
            json["TrackingOptionID"] = derive_option_id(self._organisation.tenant_id, name, option)
        return json


def _sum_lines(document: Document) -> tuple[int, int]:
    """The net amount and the tax, in cents of the document's currency."""
    return sum(map(document.net, document.lines)), sum(line.tax for line in document.lines)


def _is_nth(document: Document, divisor: int) -> bool:
    """Whether this is one of every `divisor` documents: Xero omits some fields from some documents."""
    return int(document.id[:8], 16) % divisor == 0


def _make_reference(document: Document) -> str:
    return "" if _is_nth(document, 3) else f"PO {int(document.id[:6], 16) % 10_000:04d}"
