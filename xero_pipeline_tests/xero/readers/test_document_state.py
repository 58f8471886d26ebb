"""Edits that change a figure differ from edits that only change Xero's time stamp."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import pytest

from xero_pipeline.weeks import Week
from xero_pipeline.xero.readers.document_state import read_document_state

INVOICE: dict[str, Any] = {
    "Type": "ACCREC",
    "InvoiceID": "i-1",
    "Status": "AUTHORISED",
    "DateString": "2026-11-18T00:00:00",
    "UpdatedDateUTC": "/Date(1795000000000+0000)/",
    "LineAmountTypes": "Exclusive",
    "CurrencyCode": "AUD",
    "LineItems": [
        {
            "LineAmount": 100.0,
            "TaxAmount": "10.00",
            "AccountCode": "200",
            "Tracking": [{"Name": "Region", "Option": "N"}],
        },
        {"LineAmount": "5", "TaxAmount": 0, "AccountCode": "200", "Tracking": []},
    ],
}


def figures(**changed: Any) -> str:
    invoice = copy.deepcopy(INVOICE) | changed
    for line in invoice["LineItems"]:
        if isinstance(line["LineAmount"], float):
            line["LineAmount"] = str(line["LineAmount"])
    return read_document_state(invoice).figures


BASE = figures()


@pytest.mark.parametrize(
    "changed",
    [
        {"UpdatedDateUTC": "/Date(1796000000000+0000)/"},
        {"Status": "PAID", "Payments": [{"Date": "/Date(1795000000000+0000)/", "Amount": "115.00"}]},
        {"SentToContact": True, "HasAttachments": True, "Reference": "another"},
        {"LineItems": list(reversed(INVOICE["LineItems"]))},
        {"LineItems": [{**line, "LineItemID": "new", "Description": "reworded"} for line in INVOICE["LineItems"]]},
    ],
)
def test_an_edit_that_changes_no_figure_keeps_the_digest(changed: dict[str, Any]) -> None:
    assert figures(**changed) == BASE


@pytest.mark.parametrize(
    "changed",
    [
        {"Status": "VOIDED"},
        {"Status": "DRAFT"},
        {"DateString": "2026-11-19T00:00:00"},
        {"LineAmountTypes": "Inclusive"},
        {"CurrencyCode": "USD", "CurrencyRate": "0.65"},
        {"LineItems": INVOICE["LineItems"][:1]},
        {"LineItems": [{**line, "Tracking": []} for line in INVOICE["LineItems"]]},
        {"LineItems": [{**line, "AccountCode": "260"} for line in INVOICE["LineItems"]]},
    ],
)
def test_an_edit_that_changes_a_figure_changes_the_digest(changed: dict[str, Any]) -> None:
    assert figures(**changed) != BASE


@pytest.mark.parametrize("changed", [{"SubTotal": "101"}, {"TotalTax": "11.00"}, {"Total": "112.00"}])
def test_without_lines_the_digest_depends_on_the_documents_totals(changed: dict[str, Any]) -> None:
    document = {"LineItems": [], "SubTotal": "100.00", "TotalTax": "10.00", "Total": "110.00"}
    assert figures(**document | changed) != figures(**document)
    assert figures(**document, Status="PAID") == figures(**document)


def test_a_backdated_payment_changes_its_week() -> None:
    paid = [{"Date": "/Date(1793836800000+0000)/", "Amount": "40.00"}, {"DateString": "2026-11-20", "Amount": "75.00"}]
    state = read_document_state(INVOICE | {"LineItems": [], "Payments": paid})
    assert state.payments == {"2026-11-05": "4E+1", "2026-11-20": "75"}
    assert state.find_changed_payment_weeks({"2026-11-20": "75"}) == {Week(date(2026, 11, 7))}
    assert state.find_changed_payment_weeks(state.payments) == set()


def test_a_payment_that_cannot_be_read_changes_no_week() -> None:
    odd = [{"Amount": "1.00"}, {"Date": "yesterday", "Amount": "1.00"}, {"DateString": "2026-11-20", "Amount": "much"}]
    assert read_document_state(INVOICE | {"LineItems": [], "Payments": odd}).payments == {}


@pytest.mark.parametrize("odd", [[None], "no", {"Date": "x"}, ["x", 5]])
def test_invalid_payments_are_ignored(odd: object) -> None:
    assert read_document_state(INVOICE | {"Payments": odd}).payments == {}
