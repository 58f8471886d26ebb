"""GET Invoices and CreditNotes: filters, pages and fields."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from xero_pipeline.mock_xero import DocumentKind, MockLine, MockXero
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import TENANT, Client, Json

WEEK = Week(date(2026, 11, 21))
IN_WEEK = "Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22)"


def list_documents(client: Client, where: str = IN_WEEK, container: str = "Invoices", **params: Any) -> list[Json]:
    given = {"where": where, "page": 1, "pageSize": 1000, **params}
    documents: list[Json] = client.get_json(container, given)[container]
    return documents


def test_without_a_page_a_list_has_no_lines_and_no_pagination(client: Client) -> None:
    payload = client.get_json("Invoices", {"where": IN_WEEK})
    assert "pagination" not in payload
    assert payload["Invoices"]
    assert all(record["LineItems"] == [] for record in payload["Invoices"])


def test_a_summary_has_no_lines_either(client: Client) -> None:
    assert all(record["LineItems"] == [] for record in list_documents(client, summaryOnly="true"))


def test_pages_have_a_hundred_documents_by_default_and_together_list_each_document_once(client: Client) -> None:
    where = "Date>=DateTime(2026, 10, 25) AND Date<DateTime(2026, 11, 22)"
    first = client.get_json("Invoices", {"where": where, "page": 1, "order": "InvoiceID ASC"})
    assert first["pagination"]["pageSize"] == 100
    pages = first["pagination"]["pageCount"]
    assert pages > 3
    ids = []
    for page in range(1, pages + 1):
        payload = client.get_json("Invoices", {"where": where, "page": page, "order": "InvoiceID ASC"})
        assert payload["pagination"]["page"] == page
        ids += [record["InvoiceID"] for record in payload["Invoices"]]
    assert len(ids) == first["pagination"]["itemCount"] == len(set(ids))
    assert ids == sorted(ids)
    assert client.get_json("Invoices", {"where": where, "page": pages + 1})["Invoices"] == []


@pytest.mark.parametrize("params", [{"pageSize": 1001}, {"pageSize": 0}, {"page": 0}, {"page": "x"}, {"page": "²"}])
def test_an_impossible_page_is_refused(client: Client, params: dict[str, Any]) -> None:
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
def test_every_filter_for_the_same_week_finds_the_same_documents(client: Client, mock: MockXero, where: str) -> None:
    expected = [
        record.id
        for record in mock.books(TENANT).documents(WEEK)
        if record.kind in (DocumentKind.SALE, DocumentKind.BILL)
    ]
    assert {record["InvoiceID"] for record in list_documents(client, where)} == set(expected)


def test_a_month_may_have_a_leading_zero(client: Client) -> None:
    padded = list_documents(client, "Date>=DateTime(2026, 03, 01) AND Date<DateTime(2026, 03, 08)")
    plain = list_documents(client, "Date>=DateTime(2026, 3, 1) AND Date<DateTime(2026, 3, 8)")
    assert padded == plain
    assert {record["DateString"][:7] for record in padded} == {"2026-03"}


def test_type_and_statuses_narrow_the_list(client: Client) -> None:
    documents = list_documents(client, f'{IN_WEEK} AND Type=="ACCREC"', Statuses="AUTHORISED,PAID")
    assert {record["Type"] for record in documents} == {"ACCREC"}
    assert {record["Status"] for record in documents} <= {"AUTHORISED", "PAID"}
    month = list_documents(client, "Date>=DateTime(2026, 10, 25) AND Date<DateTime(2026, 11, 22)")
    assert {"DRAFT", "VOIDED", "DELETED"} <= {record["Status"] for record in month}


def test_credit_notes_ignore_statuses(client: Client) -> None:
    where = "Date>=DateTime(2026, 9, 1) AND Date<DateTime(2026, 11, 22)"
    assert list_documents(client, where, "CreditNotes", Statuses="PAID") == list_documents(client, where, "CreditNotes")
    assert {record["Type"] for record in list_documents(client, where, "CreditNotes")} == {
        "ACCRECCREDIT",
        "ACCPAYCREDIT",
    }


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
def test_an_invalid_filter_is_refused(client: Client, where: str) -> None:
    response = client.get("Invoices", {"where": where, "page": 1})
    assert response.status_code == 400
    assert response.json()["Type"] == "QueryParseException"


def test_an_unknown_order_or_status_is_refused(client: Client) -> None:
    assert client.get("Invoices", {"order": "Colour ASC", "where": IN_WEEK}).status_code == 400
    assert client.get("Invoices", {"order": "Date UPWARDS", "where": IN_WEEK}).status_code == 400
    assert client.get("Invoices", {"Statuses": "PAYED", "where": IN_WEEK}).status_code == 400


def test_a_list_is_sorted_by_its_order(client: Client) -> None:
    dates = [record["DateString"] for record in list_documents(client, order="Date DESC,InvoiceNumber")]
    assert dates == sorted(dates, reverse=True)
    totals = [record["Total"] for record in list_documents(client, order="Total ASC")]
    assert totals == sorted(totals)


def test_filters_by_id_number_and_contact_find_their_documents(client: Client) -> None:
    first, second, *_ = list_documents(client)
    first_id, second_id = first["InvoiceID"], second["InvoiceID"]

    def list_ids(where: str = IN_WEEK, **params: str) -> list[str]:
        return [record["InvoiceID"] for record in list_documents(client, where, **params)]

    assert set(list_ids(IDs=f"{first_id},{second_id}")) == {first_id, second_id}
    assert list_ids(InvoiceNumbers=first["InvoiceNumber"]) == [first_id]
    assert first_id in list_ids(ContactIDs=first["Contact"]["ContactID"])
    assert list_ids(f'{IN_WEEK} AND InvoiceID==Guid("{first_id.upper()}")') == [first_id]


def test_a_document_is_found_by_id_or_number_with_its_lines(client: Client) -> None:
    record = list_documents(client)[0]
    for name in (record["InvoiceID"], record["InvoiceNumber"]):
        assert client.get_json(f"Invoices/{name}")["Invoices"] == [record]
    note = list_documents(client, container="CreditNotes")[0]
    assert client.get_json(f"CreditNotes/{note['CreditNoteID']}")["CreditNotes"] == [note]


@pytest.mark.parametrize(
    "path", ["Invoices/00000000-0000-4000-8000-000000000000", "Invoices/INV-9999999", "Nothing", "Reports/Nothing", ""]
)
def test_an_unknown_path_or_document_is_404_in_plain_text(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/plain")


def test_a_post_by_the_client_is_refused(client: Client) -> None:
    assert client.get("Invoices", method="POST").status_code == 405


def test_dates_are_calendar_days_and_update_times_are_moments(client: Client, mock: MockXero) -> None:
    expected = {record.id: record for record in mock.books(TENANT).documents(WEEK)}
    for record in list_documents(client):
        document = expected[record["InvoiceID"]]
        days = (document.date - date(1970, 1, 1)).days
        assert record["Date"] == f"/Date({days * 86_400_000}+0000)/"
        assert record["DateString"] == f"{document.date}T00:00:00"
        assert record["UpdatedDateUTC"] == f"/Date({int(document.updated_at.timestamp() * 1000)}+0000)/"


def test_totals_are_the_sums_of_the_lines(client: Client) -> None:
    for record in [*list_documents(client), *list_documents(client, container="CreditNotes")]:
        lines = record["LineItems"]
        assert record["TotalTax"] == sum(line["TaxAmount"] for line in lines)
        amounts = sum(line["LineAmount"] for line in lines)
        assert record["Total"] == amounts + (record["TotalTax"] if record["LineAmountTypes"] == "Exclusive" else 0)
        assert record["SubTotal"] == record["Total"] - record["TotalTax"]
        assert all(line["UnitAmount"] * line["Quantity"] == line["LineAmount"] for line in lines)
        if record["Type"].endswith("CREDIT"):
            assert record["Total"] > 0


def test_a_line_has_at_most_two_tracking_options_of_known_categories(client: Client) -> None:
    categories = {row["TrackingCategoryID"]: row for row in client.get_json("TrackingCategories")["TrackingCategories"]}
    assert {row["Name"] for row in categories.values()} == {"Revenue Type", "Region"}
    for record in list_documents(client):
        for line in record["LineItems"]:
            assert len(line["Tracking"]) <= 2
            for tracking in line["Tracking"]:
                category = categories[tracking["TrackingCategoryID"]]
                assert tracking["Name"] == category["Name"]
                assert tracking["Option"] in {option["Name"] for option in category["Options"]}


def test_some_documents_omit_the_fields_that_xero_often_omits(client: Client) -> None:
    documents = list_documents(client)
    for name in ("CurrencyRate", "DueDate"):
        assert 0 < sum(name not in record for record in documents) < len(documents)
    foreign = list_documents(
        client, 'Date>=DateTime(2026, 10, 1) AND Date<DateTime(2026, 11, 22) AND CurrencyCode!="AUD"'
    )
    assert foreign
    assert all(Decimal(record["CurrencyRate"]) not in (0, 1) for record in foreign)


def test_amounts_are_written_with_every_digit(client: Client) -> None:
    line = MockLine(Decimal("9007199254740.93"))  # too many digits for cents in a binary float
    invoice_id = client.mock.add_invoice(TENANT, date=WEEK.start, lines=[line])
    text = client.get(f"Invoices/{invoice_id}").text
    assert '"LineAmount":9007199254740.93' in text


def test_only_documents_modified_since_the_given_time_are_listed(client: Client, clock: FakeClock) -> None:
    since = {"If-Modified-Since": "2026-11-20T00:00:00"}
    documents = client.get_json("Invoices", {"page": 1, "pageSize": 1000}, headers=since)["Invoices"]
    assert documents
    assert all(record["UpdatedDateUTC"] >= "/Date(1795132800000" for record in documents)
    all_documents = list_documents(client, "Date>=DateTime(2026, 11, 1)")
    modified_ids = {
        record["InvoiceID"] for record in all_documents if record["UpdatedDateUTC"] >= "/Date(1795132800000"
    }
    assert {record["InvoiceID"] for record in documents} == modified_ids
    assert client.get_json("Accounts", headers=since)["Accounts"] == []


def test_the_books_begin_with_january_2015(client: Client) -> None:
    documents = list_documents(client, "Date<DateTime(2015, 1, 18)", order="Date ASC")
    assert documents[0]["DateString"].startswith("2014-12-2")
    assert documents[-1]["DateString"].startswith("2015-01-1")


def test_a_contacts_name_may_contain_any_printable_characters(client: Client) -> None:
    name = 'O\'Hara "& Søns" \\ 株式会社'
    line = MockLine(Decimal("1.00"))
    invoice_id = client.mock.add_invoice(TENANT, date=WEEK.start, lines=[line], contact=f"\x01{name}\x01")
    assert client.get_json(f"Invoices/{invoice_id}")["Invoices"][0]["Contact"]["Name"] == name


def test_a_client_that_does_not_accept_json_gets_xml(client: Client) -> None:
    response = client.get("Organisation", headers={"Accept": "*/*"})
    assert response.headers["Content-Type"].startswith("text/xml")
    assert "<Name>Mock Organisation</Name>" in response.text


def test_each_answer_states_the_mocks_time_in_its_body_and_in_a_header(client: Client, clock: FakeClock) -> None:
    response = client.get("Organisation")
    assert response.headers["Date"] == f"{clock.now():%a, %d %b %Y %H:%M:%S} GMT"
    assert response.json()["DateTimeUTC"] == f"/Date({int(clock.now().timestamp() * 1000)})/"
