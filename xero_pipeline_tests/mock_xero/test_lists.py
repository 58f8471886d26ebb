"""GET Invoices and CreditNotes: filters, pages, shapes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from xero_pipeline.mock_xero import DocumentKind, MockLine, MockXero
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.asking import TENANT, Client, Json

WEEK = Week(date(2026, 11, 21))
IN_WEEK = "Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22)"


def listed(client: Client, where: str = IN_WEEK, container: str = "Invoices", **params: Any) -> list[Json]:
    given = {"where": where, "page": 1, "pageSize": 1000, **params}
    found: list[Json] = client.json(container, given)[container]
    return found


def test_without_a_page_a_list_has_no_lines_and_no_pagination(client: Client) -> None:
    payload = client.json("Invoices", {"where": IN_WEEK})
    assert "pagination" not in payload
    assert payload["Invoices"]
    assert all(one["LineItems"] == [] for one in payload["Invoices"])


def test_a_summary_has_no_lines_either(client: Client) -> None:
    assert all(one["LineItems"] == [] for one in listed(client, summaryOnly="true"))


def test_pages_hold_a_hundred_by_default_and_together_everything_once(client: Client) -> None:
    where = "Date>=DateTime(2026, 10, 25) AND Date<DateTime(2026, 11, 22)"
    first = client.json("Invoices", {"where": where, "page": 1, "order": "InvoiceID ASC"})
    assert first["pagination"]["pageSize"] == 100
    pages = first["pagination"]["pageCount"]
    assert pages > 3
    ids = []
    for page in range(1, pages + 1):
        payload = client.json("Invoices", {"where": where, "page": page, "order": "InvoiceID ASC"})
        assert payload["pagination"]["page"] == page
        ids += [one["InvoiceID"] for one in payload["Invoices"]]
    assert len(ids) == first["pagination"]["itemCount"] == len(set(ids))
    assert ids == sorted(ids)
    assert client.json("Invoices", {"where": where, "page": pages + 1})["Invoices"] == []


@pytest.mark.parametrize("params", [{"pageSize": 1001}, {"pageSize": 0}, {"page": 0}, {"page": "x"}, {"page": "²"}])
def test_a_page_that_cannot_be_is_refused(client: Client, params: dict[str, Any]) -> None:
    response = client.get("Invoices", {"where": IN_WEEK, "page": 1, **params})
    assert response.status_code == 400
    assert response.json()["Type"] == "ValidationException"


@pytest.mark.parametrize(
    "where",
    [
        "Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22)",
        "Date >= DateTime(2026,11,15) && Date < DateTime(2026,11,22)",
        "(Date>=DateTime(2026, 11, 15)) and (Date<=DateTime(2026, 11, 21))",
        "Date>DateTime(2026, 11, 14) AND Date<DateTime(2026, 11, 21, 0, 0, 1)",
        'Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22) AND (Type=="ACCREC" OR Type=="ACCPAY")',
        'Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22) AND Status!="NONE"',
    ],
)
def test_every_way_to_name_the_week_names_the_same_documents(client: Client, mock: MockXero, where: str) -> None:
    truth = [one.id for one in mock.books(TENANT).documents(WEEK) if one.kind in (DocumentKind.SALE, DocumentKind.BILL)]
    assert {one["InvoiceID"] for one in listed(client, where)} == set(truth)


def test_a_zero_in_front_of_a_month_does_no_harm(client: Client) -> None:
    padded = listed(client, "Date>=DateTime(2026, 03, 01) AND Date<DateTime(2026, 03, 08)")
    plain = listed(client, "Date>=DateTime(2026, 3, 1) AND Date<DateTime(2026, 3, 8)")
    assert padded == plain
    assert {one["DateString"][:7] for one in padded} == {"2026-03"}


def test_type_and_statuses_narrow_the_list(client: Client) -> None:
    found = listed(client, f'{IN_WEEK} AND Type=="ACCREC"', Statuses="AUTHORISED,PAID")
    assert {one["Type"] for one in found} == {"ACCREC"}
    assert {one["Status"] for one in found} <= {"AUTHORISED", "PAID"}
    month = listed(client, "Date>=DateTime(2026, 10, 25) AND Date<DateTime(2026, 11, 22)")
    assert {"DRAFT", "VOIDED", "DELETED"} <= {one["Status"] for one in month}


def test_credit_notes_take_no_notice_of_statuses(client: Client) -> None:
    where = "Date>=DateTime(2026, 9, 1) AND Date<DateTime(2026, 11, 22)"
    assert listed(client, where, "CreditNotes", Statuses="PAID") == listed(client, where, "CreditNotes")
    assert {one["Type"] for one in listed(client, where, "CreditNotes")} == {"ACCRECCREDIT", "ACCPAYCREDIT"}


@pytest.mark.parametrize(
    "where",
    [
        "Colour==1",
        'Date>="2026-11-15"',
        "Date>=DateTime(2026, 13, 1)",
        "Date>=DateTime(2026)",
        "Date>=",
        "Date",
        "AND",
        "(Date>=DateTime(2026, 11, 15)",
        'Contact.Name.Contains("x")',
        "Date>=DateTime(2026, 11, 15);",
        "Total==Contact",
    ],
)
def test_a_filter_that_xero_does_not_know_is_refused(client: Client, where: str) -> None:
    response = client.get("Invoices", {"where": where, "page": 1})
    assert response.status_code == 400
    assert response.json()["Type"] == "QueryParseException"


def test_an_unknown_order_or_status_is_refused(client: Client) -> None:
    assert client.get("Invoices", {"order": "Colour ASC", "where": IN_WEEK}).status_code == 400
    assert client.get("Invoices", {"order": "Date UPWARDS", "where": IN_WEEK}).status_code == 400
    assert client.get("Invoices", {"Statuses": "PAYED", "where": IN_WEEK}).status_code == 400


def test_an_order_is_followed(client: Client) -> None:
    dates = [one["DateString"] for one in listed(client, order="Date DESC,InvoiceNumber")]
    assert dates == sorted(dates, reverse=True)
    totals = [one["Total"] for one in listed(client, order="Total ASC")]
    assert totals == sorted(totals)


def test_filters_by_id_number_and_contact_find_their_documents(client: Client) -> None:
    one, two, *_ = listed(client)
    assert {row["InvoiceID"] for row in listed(client, IDs=f"{one['InvoiceID']},{two['InvoiceID']}")} == {
        one["InvoiceID"],
        two["InvoiceID"],
    }
    assert [row["InvoiceID"] for row in listed(client, InvoiceNumbers=one["InvoiceNumber"])] == [one["InvoiceID"]]
    assert one["InvoiceID"] in {row["InvoiceID"] for row in listed(client, ContactIDs=one["Contact"]["ContactID"])}
    by_guid = listed(client, f'{IN_WEEK} AND InvoiceID==Guid("{one["InvoiceID"].upper()}")')
    assert [row["InvoiceID"] for row in by_guid] == [one["InvoiceID"]]


def test_one_document_is_found_by_id_or_number_with_its_lines(client: Client) -> None:
    one = listed(client)[0]
    for name in (one["InvoiceID"], one["InvoiceNumber"]):
        assert client.json(f"Invoices/{name}")["Invoices"] == [one]
    note = listed(client, container="CreditNotes")[0]
    assert client.json(f"CreditNotes/{note['CreditNoteID']}")["CreditNotes"] == [note]


@pytest.mark.parametrize(
    "path", ["Invoices/00000000-0000-4000-8000-000000000000", "Invoices/INV-9999999", "Nothing", "Reports/Nothing", ""]
)
def test_what_there_is_not_is_404_in_plain_text(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/plain")


def test_a_change_by_the_client_is_not_taken(client: Client) -> None:
    assert client.get("Invoices", method="POST").status_code == 405


def test_dates_are_calendar_days_and_updates_true_moments(client: Client, mock: MockXero) -> None:
    truth = {one.id: one for one in mock.books(TENANT).documents(WEEK)}
    for one in listed(client):
        document = truth[one["InvoiceID"]]
        days = (document.date - date(1970, 1, 1)).days
        assert one["Date"] == f"/Date({days * 86_400_000}+0000)/"
        assert one["DateString"] == f"{document.date}T00:00:00"
        assert one["UpdatedDateUTC"] == f"/Date({int(document.updated_at.timestamp() * 1000)}+0000)/"


def test_totals_are_the_sums_of_the_lines(client: Client) -> None:
    for one in [*listed(client), *listed(client, container="CreditNotes")]:
        lines = one["LineItems"]
        assert one["TotalTax"] == sum(line["TaxAmount"] for line in lines)
        amounts = sum(line["LineAmount"] for line in lines)
        assert one["Total"] == amounts + (one["TotalTax"] if one["LineAmountTypes"] == "Exclusive" else 0)
        assert one["SubTotal"] == one["Total"] - one["TotalTax"]
        assert all(line["UnitAmount"] * line["Quantity"] == line["LineAmount"] for line in lines)
        if one["Type"].endswith("CREDIT"):
            assert one["Total"] > 0


def test_a_line_has_at_most_two_trackings_each_by_its_category(client: Client) -> None:
    categories = {row["TrackingCategoryID"]: row for row in client.json("TrackingCategories")["TrackingCategories"]}
    assert {row["Name"] for row in categories.values()} == {"Revenue Type", "Region"}
    for one in listed(client):
        for line in one["LineItems"]:
            assert len(line["Tracking"]) <= 2
            for tracking in line["Tracking"]:
                category = categories[tracking["TrackingCategoryID"]]
                assert tracking["Name"] == category["Name"]
                assert tracking["Option"] in {option["Name"] for option in category["Options"]}


def test_some_documents_leave_out_what_xero_often_leaves_out(client: Client) -> None:
    found = listed(client)
    for name in ("CurrencyRate", "DueDate"):
        assert 0 < sum(name not in one for one in found) < len(found)
    foreign = listed(client, 'Date>=DateTime(2026, 10, 1) AND Date<DateTime(2026, 11, 22) AND CurrencyCode!="AUD"')
    assert foreign
    assert all(Decimal(one["CurrencyRate"]) not in (0, 1) for one in foreign)


def test_amounts_are_written_digit_for_digit(client: Client) -> None:
    line = MockLine(Decimal("9007199254740.93"))  # more digits than a binary float tells apart in cents
    invoice_id = client.mock.add_invoice(TENANT, date=WEEK.start, lines=[line])
    text = client.get(f"Invoices/{invoice_id}").text
    assert '"LineAmount":9007199254740.93' in text


def test_only_what_was_modified_since_is_listed(client: Client, clock: FakeClock) -> None:
    since = {"If-Modified-Since": "2026-11-20T00:00:00"}
    found = client.json("Invoices", {"page": 1, "pageSize": 1000}, headers=since)["Invoices"]
    assert found
    assert all(one["UpdatedDateUTC"] >= "/Date(1795132800000" for one in found)
    everything = listed(client, "Date>=DateTime(2026, 11, 1)")
    fresh = {one["InvoiceID"] for one in everything if one["UpdatedDateUTC"] >= "/Date(1795132800000"}
    assert {one["InvoiceID"] for one in found} == fresh
    assert client.json("Accounts", headers=since)["Accounts"] == []


def test_the_books_begin_with_january_2015(client: Client) -> None:
    found = listed(client, "Date<DateTime(2015, 1, 18)", order="Date ASC")
    assert found[0]["DateString"].startswith("2014-12-2")
    assert found[-1]["DateString"].startswith("2015-01-1")


def test_a_contact_of_any_name_arrives_as_it_was_written(client: Client) -> None:
    name = 'O\'Hara "& Søns" \\ 株式会社'
    line = MockLine(Decimal("1.00"))
    invoice_id = client.mock.add_invoice(TENANT, date=WEEK.start, lines=[line], contact=f"\x01{name}\x01")
    assert client.json(f"Invoices/{invoice_id}")["Invoices"][0]["Contact"]["Name"] == name


def test_json_is_what_a_client_gets_that_asks_for_it_and_xml_who_does_not(client: Client) -> None:
    response = client.get("Organisation", headers={"Accept": "*/*"})
    assert response.headers["Content-Type"].startswith("text/xml")
    assert "<Name>Mock Organisation</Name>" in response.text
