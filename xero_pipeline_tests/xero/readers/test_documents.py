"""Revenue from invoices and credit notes: which documents count, in which week and cell, and with which amount."""

from __future__ import annotations

import copy
import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP
from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.readers.documents import (
    can_affect_reports,
    get_document_key,
    is_counted,
    read_document_date,
    read_updated_at,
)
from xero_pipeline.xero.readers.revenue import Revenue, read_revenue
from xero_pipeline_tests.xero.readers.report_payloads import WEEK, Json, sample

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def millis(day: date) -> str:
    return f"/Date({(day - EPOCH.date()).days * 86_400_000}+0000)/"


def line(amount: object, tax: object = "0.00", revenue_type: str | None = None, region: str | None = None) -> Json:
    tracking = [("Revenue Type", revenue_type), ("Region", region)]
    return {
        "LineAmount": amount,
        "TaxAmount": tax,
        "AccountCode": "200",
        "Tracking": [{"Name": name, "Option": option} for name, option in tracking if option is not None],
    }


def invoice(*lines: Json, key: str = "i-1", day: date = date(2026, 11, 18), **fields: Any) -> Json:
    return {
        "Type": "ACCREC",
        "InvoiceID": key,
        "InvoiceNumber": f"INV-{key}",
        "Status": "AUTHORISED",
        "DateString": f"{day.isoformat()}T00:00:00",
        "Date": millis(day),
        "LineAmountTypes": "Exclusive",
        "LineItems": list(lines),
        "CurrencyCode": "AUD",
        "UpdatedDateUTC": "/Date(1790000000000+0000)/",
    } | fields


def credit_note(*lines: Json, key: str = "c-1", **fields: Any) -> Json:
    document = invoice(*lines, key=key, **({"Type": "ACCRECCREDIT"} | fields))
    number = document.pop("InvoiceNumber")
    return document | {"CreditNoteID": document.pop("InvoiceID"), "CreditNoteNumber": number}


def read(*documents: Json, week: Week = WEEK) -> Revenue:
    return read_revenue(
        [document for document in documents if "InvoiceID" in document],
        [document for document in documents if "CreditNoteID" in document],
        week=week,
        base_currency="AUD",
        revenue_tracking="Revenue Type",
        region_tracking="Region",
    )


def cells(revenue: Revenue) -> dict[tuple[str, str], tuple[str, ...]]:
    return {
        (row.revenue_type, row.region): (
            str(row.invoiced),
            str(row.credited),
            str(row.net_revenue),
            str(row.tax),
            str(row.invoice_count),
            str(row.credit_note_count),
        )
        for row in revenue.cells.itertuples()
    }


def list_differences(revenue: Revenue) -> list[tuple[str, str, str]]:
    return [(difference.where, str(difference.stated), str(difference.computed)) for difference in revenue.differences]


def test_lines_are_added_to_their_cells_and_a_document_counts_once_in_each_cell() -> None:
    revenue = read(
        invoice(
            line("100.00", "10.00", "Residential", "North"),
            line("50.00", "5.00", "residential ", " NORTH"),
            line("7.00", "0.70", "Commercial", "South"),
        ),
        invoice(line("1.00", "0.10", "Residential", "North"), key="i-2", Status="PAID"),
        credit_note(line("30.00", "3.00", "Residential", "North")),
    )
    assert cells(revenue) == {
        ("residential", "north"): ("151.00", "30.00", "121.00", "12.10", "2", "1"),
        ("commercial", "south"): ("7.00", "0.00", "7.00", "0.70", "1", "0"),
    }
    assert revenue.documents == 3
    assert not revenue.differences
    assert {name: str(amount) for name, amount in revenue.totals.items()} == {
        "invoiced": "158.00", "credited": "30.00", "net_revenue": "128.00", "tax": "12.80",
    }  # fmt: skip


def test_an_empty_week_is_an_empty_frame_with_every_column() -> None:
    revenue = read()
    assert list(revenue.cells.columns) == [
        "revenue_type", "region", "invoiced", "credited", "net_revenue", "tax", "invoice_count", "credit_note_count",
    ]  # fmt: skip
    assert (len(revenue.cells), revenue.documents) == (0, 0)
    assert set(revenue.totals.values()) == {D("0.00")}


@pytest.mark.parametrize(
    ("kind", "amount", "tax", "net", "expected_tax"),
    [
        ("Exclusive", "100.00", "10.00", "100.00", "10.00"),
        ("Inclusive", "110.00", "10.00", "100.00", "10.00"),
        ("INCLUSIVE", "-110.00", "-10.00", "-100.00", "-10.00"),
        ("NoTax", "100.00", "0.00", "100.00", "0.00"),
        ("notax", "100.00", None, "100.00", "0.00"),
        ("exclusive", D("100.0"), D("10"), "100.00", "10.00"),
        ("Exclusive", 100, None, "100.00", "0.00"),
    ],
)
def test_a_line_is_net_of_tax_for_every_way_of_writing_its_amount(
    kind: str, amount: object, tax: object, net: str, expected_tax: str
) -> None:
    revenue = read(invoice(line(amount, tax), LineAmountTypes=kind))
    assert cells(revenue) == {("unallocated", "unallocated"): (net, "0.00", net, expected_tax, "1", "0")}


@pytest.mark.parametrize(
    ("tracking", "cell"),
    [
        ([], ("unallocated", "unallocated")),
        (None, ("unallocated", "unallocated")),
        ([{"Name": "Region", "Option": "North"}], ("unallocated", "north")),
        ([{"Name": " revenue TYPE ", "Option": " Retrospective "}], ("retrospective", "unallocated")),
        ([{"Name": "Revenue Type", "Option": ""}, {"Name": "Region"}], ("unallocated", "unallocated")),
        ([{"Name": "Salesperson", "Option": "Kim"}], ("unallocated", "unallocated")),
        ([{"Option": "North"}], ("unallocated", "unallocated")),
    ],
)
def test_cells_come_from_the_two_tracking_categories_by_name(tracking: Any, cell: tuple[str, str]) -> None:
    assert list(cells(read(invoice({**line("1.00"), "Tracking": tracking})))) == [cell]


@pytest.mark.parametrize(
    ("names", "notes"),
    [
        ([], []),
        (["revenue type ", "Region"], []),
        (["Region"], []),
        (["Revenue Type", "Region", "Brand"], []),
        (
            ["Service", "Region", "Brand"],
            [
                "No line has the tracking category 'Revenue Type', so all is unallocated in revenue_type; the lines "
                "have 'Brand', 'Service'. XERO_REVENUE_TRACKING says which one is meant."
            ],
        ),
        (
            ["Gebiet"],
            [
                f"No line has the tracking category '{name}', so all is unallocated in {column}; the lines have "
                f"'Gebiet'. {setting} says which one is meant."
                for name, column, setting in [
                    ("Revenue Type", "revenue_type", "XERO_REVENUE_TRACKING"),
                    ("Region", "region", "XERO_REGION_TRACKING"),
                ]
            ],
        ),
    ],
)
def test_a_tracking_category_with_another_name_in_xero_is_noted(names: list[str], notes: list[str]) -> None:
    lines = [line("10.00") | {"Tracking": [{"Name": name, "Option": "x"}]} for name in names]
    revenue = read(invoice(*lines, line("5.00")))
    assert revenue.notes == notes
    assert revenue.totals["invoiced"] == D(10 * len(names) + 5)


@pytest.mark.parametrize("status", ["DRAFT", "SUBMITTED", "VOIDED", "DELETED", "voided"])
def test_a_document_that_is_in_no_report_does_not_count(status: str) -> None:
    revenue = read(invoice(line("100.00"), Status=status), credit_note(line("5.00"), Status=status))
    assert (cells(revenue), revenue.documents) == ({}, 0)


@pytest.mark.parametrize("kind", ["ACCPAY", "ACCPAYCREDIT"])
def test_a_purchase_does_not_count_and_may_have_any_date(kind: str) -> None:
    assert cells(read(invoice(line("100.00"), Type=kind, day=date(2020, 1, 1)))) == {}


def test_the_sample_credit_notes_are_read_with_their_totals() -> None:
    week = Week(date(2019, 3, 9))
    revenue = read_revenue(
        [],
        sample("credit_notes")["CreditNotes"],
        week=week,
        base_currency="NZD",
        revenue_tracking="Revenue Type",
        region_tracking="Region",
    )
    assert cells(revenue) == {("unallocated", "unallocated"): ("0.00", "30.00", "-30.00", "-4.50", "0", "1")}
    assert list_differences(revenue) == [
        ("CN-0005, without its lines", "30.00", "0.00"),
        ("CN-0005, tax", "4.50", "0.00"),
    ]


def test_the_sample_invoices_are_read_week_by_week() -> None:
    documents = [*sample("invoices")["Invoices"], *sample("invoice")["Invoices"]]
    expected = {
        date(2018, 10, 20): ("40.00", "6.00", "1", 2),
        date(2018, 11, 3): ("100.00", "15.00", "1", 2),
        date(2019, 3, 9): ("148062.76", "0.00", "1", 0),
    }
    for ending, (net, tax, count, differences) in expected.items():
        week = Week(ending)
        revenue = read_revenue(
            [document for document in documents if read_document_date(document) in week],
            [],
            week=week,
            base_currency="NZD",
            revenue_tracking="Revenue Type",
            region_tracking="Region",
        )
        assert cells(revenue) == {("unallocated", "unallocated"): (net, "0.00", net, tax, count, "0")}
        assert len(revenue.differences) == differences


@pytest.mark.parametrize("day", [date(2026, 11, 14), date(2026, 11, 22)])
@pytest.mark.parametrize("status", ["AUTHORISED", "DRAFT", "VOIDED"])
def test_a_sale_outside_the_requested_week_is_an_error(day: date, status: str) -> None:
    with pytest.raises(WrongPeriod, match=day.isoformat()):
        read(invoice(line("1.00")), invoice(line("1.00"), key="i-2", day=day, Status=status))


@pytest.mark.parametrize("day", [WEEK.start, WEEK.ending])
def test_the_first_and_last_day_belong_to_the_week(day: date) -> None:
    assert read(invoice(line("1.00"), day=day)).documents == 1


@pytest.mark.parametrize(
    ("fields", "day"),
    [
        ({"DateString": "2026-11-15T00:00:00", "Date": "/Date(1794700800000+0000)/"}, date(2026, 11, 15)),
        ({"DateString": "2026-11-15", "Date": None}, date(2026, 11, 15)),
        ({"Date": "/Date(1794700800000+0000)/"}, date(2026, 11, 15)),
        ({"Date": "/Date(1794700800000)/"}, date(2026, 11, 15)),
        ({"Date": "/Date(1794700800000+1300)/"}, date(2026, 11, 15)),
        ({"Date": "/Date(1776297600000+0000)/"}, date(2026, 4, 16)),
        ({"Date": "/Date(-86400000+0000)/"}, date(1969, 12, 31)),
        ({"Date": "2026-11-15T00:00:00"}, date(2026, 11, 15)),
        ({"Date": "/Date(0+0000)/", "DateString": ""}, date(1970, 1, 1)),
    ],
)
def test_a_date_is_a_calendar_day_in_every_time_zone(fields: Json, day: date) -> None:
    assert read_document_date({"InvoiceID": "i", **fields}) == day


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Date": None, "DateString": None},
        {"DateString": "2026-11-15T00:00:00", "Date": "/Date(1794787200000+0000)/"},
        {"Date": "15/11/2026"},
        {"Date": "/Date(x)/"},
        {"Date": "/Date(99999999999999999999)/"},
        {"Date": "/Date(999999999999999)/"},
        {"DateString": "2026-02-30T00:00:00"},
        {"Date": 1794700800000},
    ],
)
def test_an_invalid_date_is_an_error(fields: Json) -> None:
    with pytest.raises(PayloadNotUnderstood):
        read_document_date({"InvoiceID": "i", **fields})


def test_the_time_of_the_last_change_is_utc_to_the_millisecond() -> None:
    def changed(text: str | None) -> datetime | None:
        return read_updated_at({"InvoiceID": "i", "UpdatedDateUTC": text})

    moment = datetime(2018, 11, 2, 16, 31, 30, 160_000, tzinfo=UTC)
    assert changed("/Date(1541176290160+0000)/") == moment
    assert changed("/Date(1541176290160+1300)/") == moment
    assert changed("2018-11-02T16:31:30.160") == moment
    assert changed("2018-11-02T16:31:30.160Z") == moment
    assert changed("2018-11-03T05:31:30.160+13:00") == moment
    assert changed("/Date(-1+0000)/") == EPOCH - timedelta(milliseconds=1)
    assert changed(None) is None
    with pytest.raises(PayloadNotUnderstood):
        changed("yesterday")


def test_a_document_on_two_pages_counts_once_in_its_newest_state() -> None:
    old = invoice(line("100.00", None, "Residential"), UpdatedDateUTC="/Date(1790000000000+0000)/")
    new = invoice(line("70.00", None, "Commercial"), UpdatedDateUTC="/Date(1790000000001+0000)/")
    for documents in ([old, new], [new, old], [new, old, new]):
        assert list(cells(read(*documents)).items()) == [
            (("commercial", "unallocated"), ("70.00", "0.00", "70.00", "0.00", "1", "0"))
        ]
    voided = {**new, "Status": "VOIDED"}
    assert read(old, voided).documents == 0
    assert read(old, copy.deepcopy(old)).documents == 1


@pytest.mark.parametrize(
    ("rate", "net", "tax"),
    [
        ("0.7500", "133.33", "13.33"),
        (D("0.75"), "133.33", "13.33"),
        ("2", "50.00", "5.00"),
        ("1.0", "100.00", "10.00"),
        ("0.00001", "10000000.00", "1000000.00"),
    ],
)
def test_foreign_amounts_are_divided_by_the_rate_and_rounded_line_by_line(rate: object, net: str, tax: str) -> None:
    revenue = read(
        invoice(line("100.00", "10.00"), CurrencyCode="USD", CurrencyRate=rate, SubTotal="100.00", TotalTax="10.00")
    )
    assert cells(revenue) == {("unallocated", "unallocated"): (net, "0.00", net, tax, "1", "0")}
    assert not revenue.differences


def test_a_rate_that_makes_an_amount_too_large_is_an_error_that_names_the_invoice() -> None:
    document = invoice(line("100.00"), InvoiceNumber="INV-7", CurrencyCode="USD", CurrencyRate="0.00000000000000000001")
    with pytest.raises(
        PayloadNotUnderstood, match=r"INV-7 has a CurrencyRate of 1E-20, which makes its amount too large"
    ):
        read(document)


@pytest.mark.parametrize(
    ("amount", "pattern"), [("1,234.50", "9,999.99"), ("(5.20)", "(9.99)"), ("A$5", "x$9"), ("1e3", "9x9")]
)
def test_an_amount_that_cannot_be_read_is_an_error_that_shows_its_format_and_no_figure(
    amount: str, pattern: str
) -> None:
    with pytest.raises(PayloadNotUnderstood, match=re.escape(f"not a plain decimal number, but like '{pattern}'.")):
        read(invoice(line(amount)))


def test_half_a_cent_is_rounded_away_from_zero() -> None:
    lines = [line("0.01"), line("-0.01")]
    (cell,) = cells(read(invoice(lines[0], CurrencyCode="USD", CurrencyRate="2"))).values()
    assert cell[0] == "0.01"
    (cell,) = cells(read(invoice(lines[1], CurrencyCode="USD", CurrencyRate="2"))).values()
    assert cell[0] == "-0.01"


@pytest.mark.parametrize(
    "fields",
    [{"CurrencyCode": None}, {"CurrencyCode": "aud"}, {"CurrencyRate": D("1.0")}, {"CurrencyRate": "1.000000"}],
)
def test_the_base_currency_needs_neither_code_nor_rate(fields: Json) -> None:
    assert read(invoice(line("100.00"), **fields)).totals["invoiced"] == D("100.00")


def test_lines_that_do_not_add_up_to_the_document_count_and_give_a_difference() -> None:
    revenue = read(invoice(line("100.00", "10.00"), SubTotal="100.01", TotalTax="9.99"))
    assert list_differences(revenue) == [
        ("INV-i-1, lines without tax", "100.01", "100.00"),
        ("INV-i-1, tax", "9.99", "10.00"),
    ]
    assert revenue.totals["invoiced"] == D("100.00")


def test_the_total_alone_is_enough_to_check_the_lines() -> None:
    assert not read(invoice(line("100.00", "10.00"), Total="110.00")).differences
    assert list_differences(read(invoice(line("100.00", "10.00"), Total="111.00"))) == [
        ("INV-i-1, lines without tax", "101.00", "100.00")
    ]


@pytest.mark.parametrize("lines", [[], None, "missing"])
def test_a_document_without_lines_counts_as_unallocated_with_its_totals(lines: Any) -> None:
    document = invoice(SubTotal="40.00", TotalTax="6.00", CurrencyCode="USD", CurrencyRate="0.8")
    document["LineItems"] = lines
    if lines == "missing":
        del document["LineItems"], document["LineAmountTypes"]
    revenue = read(document)
    assert cells(revenue) == {("unallocated", "unallocated"): ("50.00", "0.00", "50.00", "7.50", "1", "0")}
    assert list_differences(revenue)[0] == ("INV-i-1, without its lines", "40.00", "0.00")


def test_a_document_without_lines_and_money_is_in_no_cell() -> None:
    revenue = read(invoice(SubTotal="0.00", TotalTax="0.00"))
    assert (cells(revenue), list_differences(revenue), revenue.documents) == ({}, [], 1)


def test_a_line_that_is_only_a_description_is_in_no_cell() -> None:
    texts: list[Json] = [
        {"Description": "Thank you"},
        {"Description": "Thank you", "LineAmount": "0.00", "TaxAmount": 0, "UnitAmount": "0.0000", "Tracking": []},
    ]
    revenue = read(invoice(*texts, line("10.00", None, "Residential", "North"), SubTotal="10.00"))
    assert list(cells(revenue)) == [("residential", "north")]
    assert not revenue.differences


def test_a_line_that_costs_nothing_counts_in_its_cell() -> None:
    revenue = read(invoice(line("0.00", None, "Residential", "North")))
    assert cells(revenue) == {("residential", "north"): ("0.00", "0.00", "0.00", "0.00", "1", "0")}


@pytest.mark.parametrize(
    "document",
    [
        invoice(line("1.00"), Status="PENDING"),
        invoice(line("1.00"), Status=None),
        invoice(line("1.00"), Type="ACCX"),
        invoice(line("1.00"), Type=""),
        invoice(line("1.00"), LineAmountTypes=None),
        invoice(line("1.00"), LineAmountTypes="Gross"),
        invoice(line("1.00"), CurrencyCode="USD"),
        invoice(line("1.00"), CurrencyCode="USD", CurrencyRate=""),
        invoice(line("1.00"), CurrencyCode="USD", CurrencyRate="0"),
        invoice(line("1.00"), CurrencyCode="USD", CurrencyRate="-0.75"),
        invoice(line("1.00"), CurrencyRate="0.75"),
        invoice(line("1,000.00")),
        invoice(line(1.5)),
        invoice(line("1.00", "ten")),
        invoice(line("1.00"), SubTotal="(1.00)"),
        invoice({"UnitAmount": "5.00", "Quantity": "2"}),
        invoice({"UnitAmount": "5.00"}),
        invoice({"LineAmount": "1.00", "Tracking": "North"}),
        invoice({"LineAmount": "1.00", "Tracking": ["North"]}),
        invoice(LineItems={"LineAmount": "1.00"}),
        invoice(LineItems=["x"]),
        invoice(LineItems=[]),
        invoice(line("1.00"), Date=None, DateString=None),
        invoice(line("1.00"), key=""),
    ],
)
def test_a_document_that_is_not_understood_is_an_error_that_shows_no_amount(document: Json) -> None:
    with pytest.raises(PayloadNotUnderstood) as error:
        read_revenue(
            [document],
            [],
            week=WEEK,
            base_currency="AUD",
            revenue_tracking="Revenue Type",
            region_tracking="Region",
        )
    assert "1.00" not in str(error.value)


def test_the_key_of_a_document_and_where_it_counts() -> None:
    assert get_document_key(invoice(key="i-9")) == "i-9"
    assert get_document_key(credit_note(key="c-9")) == "c-9"
    with pytest.raises(PayloadNotUnderstood):
        get_document_key({})
    assert is_counted(invoice(Status="Paid"))
    assert not is_counted(invoice(Type="ACCPAY"))
    assert can_affect_reports(invoice(Status="VOIDED"))
    assert not can_affect_reports(invoice(Status="DRAFT"))


LINES = st.tuples(
    st.integers(-(10**8), 10**8),
    st.integers(-(10**7), 10**7),
    st.sampled_from(["Residential", "Commercial", "Retrospective", None]),
    st.sampled_from(["North", "South", None]),
)
DOCUMENTS = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["AUTHORISED", "PAID", "DRAFT", "VOIDED"]),
        st.sampled_from(["Exclusive", "Inclusive", "NoTax"]),
        st.sampled_from([None, "0.7512", "1.2345"]),
        st.integers(0, 6),
        st.lists(LINES, min_size=1, max_size=4),
    ),
    max_size=8,
)


def money(cents: int) -> D:
    return D(cents).scaleb(-2)


@given(DOCUMENTS, st.booleans(), st.booleans())
@settings(deadline=None)
def test_revenue_is_the_sum_of_its_lines_to_the_cent(documents: list[Any], as_text: bool, with_text: bool) -> None:
    def write(amount: D) -> object:
        return str(amount) if as_text else amount

    payloads, expected = [], {"invoiced": D(0), "credited": D(0), "tax": D(0)}
    counts: dict[tuple[str, str], list[int]] = {}
    for number, (credit, status, kind, rate, day, rows) in enumerate(documents):
        lines, taxes, nets = [], [], []
        for net_cents, tax_cents, revenue_type, region in rows:
            net, tax = money(net_cents), D(0) if kind == "NoTax" else money(tax_cents)
            lines.append(line(write(net + tax if kind == "Inclusive" else net), write(tax), revenue_type, region))
            nets.append(net)
            taxes.append(tax)
        make = credit_note if credit else invoice
        currency = {"CurrencyCode": "USD", "CurrencyRate": write(D(rate))} if rate else {}
        document = make(
            *lines,
            key=f"d-{number}",
            day=WEEK.start + timedelta(days=day),
            Status=status,
            LineAmountTypes=kind,
            SubTotal=write(sum(nets, D(0))),
            TotalTax=write(sum(taxes, D(0))),
            **currency,
        )
        if not with_text:
            del document["DateString"]
        payloads.append(document)
        if status in {"AUTHORISED", "PAID"}:
            cent, divisor = D("0.01"), D(rate or 1)
            expected["credited" if credit else "invoiced"] += sum(
                (net / divisor).quantize(cent, ROUND_HALF_UP) for net in nets
            )
            taxed = sum((tax / divisor).quantize(cent, ROUND_HALF_UP) for tax in taxes)
            expected["tax"] += -taxed if credit else taxed
            for cell in {((t or "unallocated").lower(), (r or "unallocated").lower()) for _, _, t, r in rows}:
                counts.setdefault(cell, [0, 0])[credit] += 1
    revenue = read(*payloads)
    assert not revenue.differences
    assert {name: revenue.totals[name] for name in expected} == expected
    assert revenue.totals["net_revenue"] == expected["invoiced"] - expected["credited"]
    for row in revenue.cells.itertuples():
        assert row.net_revenue == row.invoiced - row.credited
        assert [row.invoice_count, row.credit_note_count] == counts.pop((row.revenue_type, row.region))
    assert not counts


@pytest.mark.parametrize(
    "tracking",
    [
        {"Name": "Region", "Option": 7},
        {"Name": "Region", "Option": ["North"]},
        {"Name": "Region", "Option": True},
        {"Name": {}, "Option": "North"},
    ],
)
def test_a_tracking_option_that_is_no_text_is_refused_by_the_documents_number(tracking: Json) -> None:
    bad = invoice({**line("1.00"), "Tracking": [tracking]}, key="i-7")
    with pytest.raises(PayloadNotUnderstood, match=r"^INV-i-7 has a line whose tracking (Name|Option) is not a text\."):
        read(invoice(line("5.00")), bad)


def test_a_document_whose_id_is_written_in_two_ways_counts_once() -> None:
    documents = [
        invoice(line("5.00"), key=key)
        for key in ("0F2E4B1A-9C3D-4E5F-8A7B-6C5D4E3F2A1B", "0f2e4b1a-9c3d-4e5f-8a7b-6c5d4e3f2a1b")
    ]
    assert (read(*documents).documents, read(*documents).totals["invoiced"]) == (1, D("5.00"))
