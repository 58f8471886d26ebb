"""The bank summary: columns found by their header, totals apart from accounts, figures compared with each other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.readers.bank_summary import BankSummary, read_bank_summary
from xero_pipeline_tests.xero.readers.report_payloads import WEEK, Json, sample, section

HEADER = ("Bank Accounts", "Opening Balance", "Cash Received", "Cash Spent", "Closing Balance")
WITH_GAIN = (*HEADER[:4], "FX Gain", HEADER[4])
COLUMNS = [
    "bank_account_id",
    "bank_account_name",
    "opening_balance",
    "cash_received",
    "cash_spent",
    "currency_gain",
    "closing_balance",
]


def header(*names: object) -> Json:
    return {"RowType": "Header", "Cells": [{"Value": name} for name in names]}


def account(account_id: str, *values: object, name: str | None = None, at: int = 0) -> Json:
    cells: list[Json] = [{"Value": value} for value in values]
    attributes = [{"Value": account_id, "Id": "accountID"}]
    cells.insert(at, {"Value": account_id.title() if name is None else name, "Attributes": attributes})
    return {"RowType": "Row", "Cells": cells}


def total(*values: object) -> Json:
    return {"RowType": "SummaryRow", "Cells": [{"Value": value} for value in ("Total", *values)]}


def payload(*rows: Json) -> Json:
    title = "From 15 November 2026 to 21 November 2026"
    return {"Reports": [{"ReportTitles": ["Bank Summary", "Example", title], "Rows": list(rows)}]}


def read(names: Sequence[object], *rows: Json) -> BankSummary:
    return read_bank_summary(payload(header(*names), section("", *rows)), week=WEEK)


def amounts(summary: BankSummary) -> list[tuple[str, ...]]:
    return [tuple(str(row[name]) for name in COLUMNS[2:]) for row in summary.accounts.to_dict("records")]


def test_the_sample_is_read_for_the_week_in_its_title() -> None:
    report = sample("bank_summary")
    with pytest.raises(WrongPeriod, match="2019-04-30"):
        read_bank_summary(report, week=WEEK)
    report["Reports"][0]["ReportTitles"][-1] = "From 15 November 2026 to 21 November 2026"
    summary = read_bank_summary(report, week=WEEK)
    assert list(summary.accounts.columns) == COLUMNS
    assert summary.accounts["bank_account_id"].tolist() == ["03f9cf1e-2deb-4bf1-b0a8-b57f08672eb8"]
    assert summary.accounts["bank_account_name"].tolist() == ["Big City Bank"]
    assert amounts(summary) == [("0.00", "110.00", "100.00", "0.00", "10.00")]
    assert not summary.differences


@pytest.mark.parametrize(
    "name", ["Currency Gain", "FX Gain/Loss", "Exchange difference", "Bank Revaluation", "Foreign currency", "", "Plus"]
)
def test_the_column_of_a_multi_currency_organisation_is_found_under_any_header(name: str) -> None:
    summary = read(
        (*HEADER[:4], name, HEADER[4]),
        account("usd", "100.00", "50.00", "20.00", "-3.21", "126.79"),
        account("aud", "1.00", "0.00", "0.00", "0.00", "1.00"),
        total("101.00", "50.00", "20.00", "-3.21", "127.79"),
    )
    assert amounts(summary) == [
        ("100.00", "50.00", "20.00", "-3.21", "126.79"),
        ("1.00", "0.00", "0.00", "0.00", "1.00"),
    ]
    assert not summary.differences
    noted_columns = {"": ["A column without a header"], "Plus": ["The column 'Plus'"]}.get(name, [])
    assert [note.split(" was taken for the currency gain")[0] for note in summary.notes] == noted_columns


def test_a_currency_gain_may_be_blank() -> None:
    summary = read(
        WITH_GAIN, account("aud", "1.00", "0.00", "0.00", "", "1.00"), total("1.00", "0.00", "0.00", "", "1.00")
    )
    assert amounts(summary) == [("1.00", "0.00", "0.00", "0.00", "1.00")]
    assert not summary.differences


def test_columns_are_found_by_their_header_in_any_order_and_format() -> None:
    summary = read(
        ("closing  balance", "CASH SPENT", "Bank Accounts", " Opening balance", "CashReceived"),
        account("cheque", "130.00", "20.00", "100.00", "50.00", at=2, name="Cheque"),
    )
    assert amounts(summary) == [("100.00", "50.00", "20.00", "0.00", "130.00")]
    assert summary.accounts["bank_account_name"].tolist() == ["Cheque"]
    assert not summary.differences


def test_the_account_may_be_named_by_account_in_any_cell() -> None:
    row = account("x", "1.00", "0", "0", "1.00")
    row["Cells"][0].pop("Attributes")
    row["Cells"][2]["Attributes"] = [{"Id": "ACCOUNT", "Value": "x-1"}]
    assert read(HEADER, row).accounts["bank_account_id"].tolist() == ["x-1"]


@pytest.mark.parametrize(
    "rows",
    [
        [header(*HEADER)],
        [header(*HEADER), section("")],
        [header(*HEADER), section("", total("0.00", "0.00", "0.00", "0.00"))],
    ],
)
def test_a_report_without_accounts_is_an_empty_frame(rows: list[Json]) -> None:
    summary = read_bank_summary(payload(*rows), week=WEEK)
    assert list(summary.accounts.columns) == COLUMNS
    assert len(summary.accounts) == 0
    assert not summary.differences


@pytest.mark.parametrize("rows", ["missing", None, [], [section("", total("0.00", "0.00", "0.00", "0.00"))]])
def test_a_report_without_rows_or_without_a_header_is_refused(rows: Any) -> None:
    """It deleted the week's bank rows with `success`; even a week without figures has a header."""
    report = payload()
    report["Reports"][0]["Rows"] = rows
    if rows == "missing":
        del report["Reports"][0]["Rows"]
    with pytest.raises(PayloadNotUnderstood, match="no header or no rows"):
        read_bank_summary(report, week=WEEK)


def test_a_wrong_closing_balance_is_a_difference() -> None:
    summary = read(HEADER, account("cheque", "100.00", "50.00", "20.00", "131.00"))
    assert [
        (difference.where, str(difference.stated), str(difference.computed)) for difference in summary.differences
    ] == [("closing balance of Cheque", "131.00", "130.00")]
    assert amounts(summary) == [("100.00", "50.00", "20.00", "0.00", "131.00")]


def test_totals_are_compared_with_the_accounts_in_each_column() -> None:
    summary = read(
        HEADER,
        account("a", "100.00", "50.00", "20.00", "130.00"),
        account("b", "1.00", "2.00", "3.00", "0.00"),
        total("101.00", "52.01", "23.00", "130.00"),
    )
    assert [
        (difference.where, str(difference.stated), str(difference.computed)) for difference in summary.differences
    ] == [("total of cash received", "52.01", "52.00")]


def test_a_total_without_accounts_is_a_difference() -> None:
    summary = read(HEADER, total("100.00", "0.00", "0.00", "100.00"))
    assert [str(difference.stated) for difference in summary.differences] == ["100.00", "100.00"]


def test_each_section_may_have_a_total_and_the_report_one_for_all() -> None:
    first = section("AUD", account("a", "1.00", "0.00", "0.00", "1.00"), total("1.00", "0.00", "0.00", "1.00"))
    second = section("USD", account("b", "2.00", "0.00", "0.00", "2.00"), total("2.00", "0.00", "0.00", "2.00"))
    everything = section("", total("3.00", "0.00", "0.00", "3.00"))
    good = read_bank_summary(payload(header(*HEADER), first, second, everything), week=WEEK)
    assert len(good.accounts) == 2
    assert not good.differences
    first["Rows"][1]["Cells"][1]["Value"] = "1.50"
    bad = read_bank_summary(payload(header(*HEADER), first, second, everything), week=WEEK)
    assert [(str(difference.stated), str(difference.computed)) for difference in bad.differences] == [("1.50", "1.00")]


@pytest.mark.parametrize("missing", range(5))
def test_a_missing_column_is_an_error_that_names_it(missing: int) -> None:
    names = [name for index, name in enumerate(HEADER) if index != missing]
    with pytest.raises(PayloadNotUnderstood, match=f"(?i){HEADER[missing]}"):
        read(names, account("a", "1.00", "0.00", "0.00"))


GOOD = account("a", "1.00", "0.00", "0.00", "1.00")


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ((*HEADER, "Cash Spent"), [account("a", "1.00", "0.00", "0.00", "1.00", "0.00")]),
        ((*HEADER, "FX Gain", "Exchange Gain"), [account("a", "1.00", "0.00", "0.00", "1.00", "0.00", "0.00")]),
        ((*HEADER, "Statement Balance"), [account("a", "1.00", "0.00", "0.00", "1.00", "7.00")]),
        ((*HEADER, ""), [account("a", "1.00", "0.00", "0.00", "1.00", "7.00")]),
        (HEADER, [account("a", "1.00", "0.00", "0.00", "1.00", "7.00")]),
        (HEADER, [GOOD, account("A", "2.00", "0.00", "0.00", "2.00")]),
        (HEADER, [account("a", "1.00", "0.00", "", "1.00")]),
        (HEADER, [account("a", "1.00", "0.00", "0.00")]),
        (HEADER, [account("a")]),
        (HEADER, [account("a", "1,000.00", "0.00", "0.00", "1,000.00")]),
        (HEADER, [account("a", "(1.00)", "0.00", "0.00", "(1.00)")]),
        (HEADER, [account("a", "1.001", "0.00", "0.00", "1.001")]),
        (HEADER, [account("", "1.00", "0.00", "0.00", "1.00")]),
        (HEADER, [{"RowType": "Row", "Cells": total("1.00", "0.00", "0.00", "1.00")["Cells"]}]),
        (HEADER, [header("Bank Accounts", "Closing Balance"), GOOD]),
    ],
)
def test_a_report_that_is_not_understood_is_an_error(names: Sequence[str], rows: list[Json]) -> None:
    with pytest.raises(PayloadNotUnderstood):
        read(names, *rows)


def test_accounts_without_a_header_are_an_error() -> None:
    with pytest.raises(PayloadNotUnderstood, match="header"):
        read_bank_summary(payload(section("", GOOD)), week=WEEK)


def test_blank_rows_are_no_accounts() -> None:
    blank: list[Json] = [{"RowType": "Row"}, {"RowType": "Row", "Cells": [{"Value": ""}, {}, {"Value": None}]}]
    assert len(read(HEADER, *blank, GOOD).accounts) == 1


CENTS = st.integers(-(10**9), 10**9)


def money(cents: int) -> str:
    return str(D(cents).scaleb(-2))


@given(
    accounts=st.lists(st.tuples(CENTS, CENTS, CENTS, CENTS), max_size=6),
    order=st.permutations(range(6)),
    gain=st.sampled_from(["Currency Gain/(Loss)", "FX", "Whatever", None]),
    with_total=st.booleans(),
    as_numbers=st.booleans(),
    week=st.integers(0, 200),
)
@settings(deadline=None)
def test_every_consistent_summary_is_read_exactly(
    accounts: list[tuple[int, int, int, int]],
    order: list[int],
    gain: str | None,
    with_total: bool,
    as_numbers: bool,
    week: int,
) -> None:
    requested = Week(WEEK.ending).shift(-week)
    truth = [(o, r, s, g if gain else 0, o + r - s + (g if gain else 0)) for o, r, s, g in accounts]
    indexes = [index for index in order if gain is not None or index != 4]

    def arrange(values: list[Any]) -> list[Any]:
        return [values[index] for index in indexes]

    def cell(cents: int) -> Any:
        return {"Value": D(money(cents)) if as_numbers else money(cents)}

    names = ["Bank Accounts", "Opening Balance", "Cash Received", "Cash Spent", gain, "Closing Balance"]
    rows = []
    for number, row in enumerate(truth):
        name = {"Value": f"Account {number}", "Attributes": [{"Id": "accountID", "Value": f"id-{number}"}]}
        rows.append({"RowType": "Row", "Cells": arrange([name, *map(cell, row)])})
    if with_total:
        sums = [sum(row[index] for row in truth) for index in range(5)]
        rows.append({"RowType": "SummaryRow", "Cells": arrange([{"Value": "Total"}, *map(cell, sums)])})
    report = payload(header(*arrange(names)), section(None, *rows))
    period = f"From {requested.start:%d %B %Y} to {requested.ending:%d %B %Y}"
    report["Reports"][0]["ReportTitles"][-1] = period
    before = copy.deepcopy(report)
    summary = read_bank_summary(report, week=requested)
    assert report == before
    assert not summary.differences
    assert amounts(summary) == [tuple(money(cents) for cents in row) for row in truth]
    assert summary.accounts["bank_account_id"].tolist() == [f"id-{number}" for number in range(len(truth))]
