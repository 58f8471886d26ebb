"""A document as Xero writes it: JSON objects of invoices and credit notes, and the fields to filter by."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.documents import Document, DocumentLine, DocumentStatus, TaxTreatment, in_units
from xero_pipeline.mock_xero.books.seeded_random import steady_uuid
from xero_pipeline.mock_xero.organisations import MockOrganisation

Json = dict[str, Any]

_EPOCH = dt.date(1970, 1, 1)
_TAX_TYPES = {True: "OUTPUT", False: "INPUT"}


def day_text(day: dt.date) -> str:
    """A calendar date as Xero writes it: milliseconds of its midnight, whatever the zone."""
    return f"/Date({(day - _EPOCH).days * 86_400_000}+0000)/"


def moment_text(moment: dt.datetime) -> str:
    """A true moment, to the millisecond."""
    return f"/Date({int(moment.timestamp() * 1000)}+0000)/"


class Renderer:
    """Writes one organisation's documents."""

    def __init__(self, organisation: MockOrganisation) -> None:
        self._organisation = organisation
        self._chart = chart.chart_of(organisation)
        self._tracking = {
            name: steady_uuid(organisation.tenant_id, "tracking", name)
            for name in (chart.REVENUE_TRACKING, chart.REGION_TRACKING)
        }

    def document(self, document: Document, *, with_lines: bool) -> Json:
        """One document; a list without `page` has no lines, and no payments."""
        net, tax = _sums(document)
        total = net + tax
        paid = total if document.status is DocumentStatus.PAID else 0
        standing = document.status.counts or document.status in (DocumentStatus.DRAFT, DocumentStatus.SUBMITTED)
        left = in_units(total - paid if standing else 0)
        json: Json = {"Type": document.kind.value}
        if document.kind.is_credit:
            json |= {"CreditNoteID": document.id, "CreditNoteNumber": document.number, "ID": document.id}
            json |= {"RemainingCredit": left, "Allocations": []}
        else:
            json |= {"InvoiceID": document.id, "InvoiceNumber": document.number}
            json |= {"AmountDue": left, "AmountPaid": in_units(paid), "AmountCredited": in_units(0)}
            json |= {"CreditNotes": [], "Prepayments": [], "Overpayments": [], "IsDiscounted": False}
            json |= {"SentToContact": document.status.counts, "HasErrors": False}
        json |= self._heading(document, paid)
        if not document.kind.is_credit and _now_and_then(document, 7):
            del json["DueDate"], json["DueDateString"]
        if document.rate is not None or not _now_and_then(document, 5):
            json["CurrencyRate"] = document.rate if document.rate is not None else Decimal("1.0000000000")
        lines = [self._line(document, line, at) for at, line in enumerate(document.lines)]
        json |= {
            "LineItems": lines if with_lines else [],
            "SubTotal": in_units(net),
            "TotalTax": in_units(tax),
            "Total": in_units(total),
        }
        return json

    def fields(self, document: Document) -> Json:
        """What a `where` may speak of."""
        net, tax = _sums(document)
        container = "CreditNote" if document.kind.is_credit else "Invoice"
        midnight = dt.time(0)
        total = in_units(net + tax)
        paid = document.status is DocumentStatus.PAID
        return {
            "Type": document.kind.value,
            "Status": document.status.value,
            "Date": dt.datetime.combine(document.date, midnight),
            "DueDate": dt.datetime.combine(document.due, midnight),
            "UpdatedDateUTC": document.updated_at.replace(tzinfo=None),
            f"{container}ID": document.id,
            f"{container}Number": document.number,
            "Reference": _reference(document),
            "CurrencyCode": document.currency,
            "Contact.Name": document.contact,
            "Contact.ContactID": self._contact_id(document),
            "Contact.ContactNumber": "",
            "SubTotal": in_units(net),
            "TotalTax": in_units(tax),
            "Total": total,
            "AmountDue": in_units(0) if paid else total,
            "AmountPaid": total if paid else in_units(0),
        }

    def _heading(self, document: Document, paid: int) -> Json:
        json: Json = {
            "Reference": _reference(document),
            "Payments": [self._payment(document, paid)] if paid else [],
            "HasAttachments": False,
            "Contact": self._contact(document),
            "DateString": f"{document.date}T00:00:00",
            "Date": day_text(document.date),
            "DueDateString": f"{document.due}T00:00:00",
            "DueDate": day_text(document.due),
            "Status": document.status.value,
            "LineAmountTypes": document.tax.value,
            "UpdatedDateUTC": moment_text(document.updated_at),
            "CurrencyCode": document.currency,
        }
        if document.kind.is_credit:
            del json["DueDate"], json["DueDateString"]
        if paid and document.paid_on is not None:
            json["FullyPaidOnDate"] = day_text(document.paid_on)
        return json

    def _contact_id(self, document: Document) -> str:
        return steady_uuid(self._organisation.tenant_id, "contact", document.contact)

    def _contact(self, document: Document) -> Json:
        return {
            "ContactID": self._contact_id(document),
            "Name": document.contact,
            "Addresses": [],
            "Phones": [],
            "ContactGroups": [],
            "ContactPersons": [],
            "HasValidationErrors": False,
        }

    def _payment(self, document: Document, paid: int) -> Json:
        return {
            "PaymentID": steady_uuid(document.id, "payment"),
            "Date": day_text(document.paid_on or document.date),
            "Amount": in_units(paid),
            "Reference": "",
            "CurrencyRate": document.rate if document.rate is not None else Decimal("1.0000000000"),
            "HasAccount": False,
            "HasValidationErrors": False,
        }

    def _line(self, document: Document, line: DocumentLine, at: int) -> Json:
        taxed = bool(line.tax)
        # Edited lines are written anew, with new ids, as at Xero.
        json: Json = {
            "Description": line.description,
            "UnitAmount": in_units(line.amount // line.quantity),
            "TaxType": _TAX_TYPES[document.kind.is_sale] if taxed else "EXEMPTOUTPUT",
            "TaxAmount": in_units(line.tax),
            "LineAmount": in_units(line.amount),
            "Tracking": [
                self._tracked(name, option)
                for name, option in (
                    (chart.REVENUE_TRACKING, line.revenue_type),
                    (chart.REGION_TRACKING, line.region),
                )
                if option is not None
            ],
            "Quantity": Decimal(f"{line.quantity}.0000"),
            "LineItemID": steady_uuid(document.id, document.updated_at, at),
            "ValidationErrors": [],
        }
        if document.tax is TaxTreatment.NONE:
            json["TaxType"] = "NONE"
        if document.status is not DocumentStatus.DRAFT:
            json["AccountCode"] = line.account_code
            json["AccountID"] = self._chart[line.account_code].id
        return json

    def _tracked(self, name: str, option: str) -> Json:
        json = {"Name": name, "Option": option, "TrackingCategoryID": self._tracking[name]}
        if name == chart.REVENUE_TRACKING:
            json["TrackingOptionID"] = steady_uuid(self._organisation.tenant_id, "option", name, option)
        return json


def _sums(document: Document) -> tuple[int, int]:
    """Without tax, and the tax; in the document's currency, cents."""
    return sum(map(document.net, document.lines)), sum(line.tax for line in document.lines)


def _now_and_then(document: Document, every: int) -> bool:
    """True for one document in so many: Xero leaves some fields out, of some documents."""
    return int(document.id[:8], 16) % every == 0


def _reference(document: Document) -> str:
    return "" if _now_and_then(document, 3) else f"PO {int(document.id[:6], 16) % 10_000:04d}"
