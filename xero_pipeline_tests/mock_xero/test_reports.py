"""The reports have the documented structure, in every layout."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from xero_pipeline.mock_xero import MockOrganisation, MockXero
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import TENANT, Client
from xero_pipeline_tests.mock_xero.conftest import UNLIMITED
from xero_pipeline_tests.mock_xero.report_parsing import (
    find_account,
    read_bank_rows,
    read_profit,
    read_sections,
    read_values,
)

WEEK = {"fromDate": "2026-11-15", "toDate": "2026-11-21"}
# A week with interest and depreciation: everything that a report can show except a currency gain.
FULL = {"fromDate": "2026-10-25", "toDate": "2026-10-31"}


def sign_in_to_layout(folder: Path, clock: FakeClock, layout: str) -> Client:
    organisation = MockOrganisation(layout=layout, country=layout)
    return Client(MockXero(folder / "mock.db", clock, limits=UNLIMITED, organisations=(organisation,))).sign_in()


@pytest.fixture(params=["AU", "NZ", "GB", "SG", "US"])
def any_client(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Client]:
    client = sign_in_to_layout(tmp_path, clock, request.param)
    yield client
    client.session.close()


def test_the_envelope_has_xeros_fields(client: Client) -> None:
    payload = client.get_json("Reports/ProfitAndLoss", WEEK)
    assert list(payload) == ["Id", "Status", "ProviderName", "DateTimeUTC", "Reports"]
    assert payload["Status"] == "OK"
    report = payload["Reports"][0]
    assert list(report) == [
        "ReportID",
        "ReportName",
        "ReportType",
        "ReportTitles",
        "ReportDate",
        "UpdatedDateUTC",
        "Fields",
        "Rows",
    ]
    assert report["ReportTitles"] == ["Profit & Loss", "Mock Organisation", "15 November 2026 to 21 November 2026"]
    assert report["ReportDate"] == "24 November 2026"
    assert read_values(report["Rows"][0]) == ["", "21 Nov 26"]


def test_a_bank_summary_has_its_own_titles_and_attributes(client: Client) -> None:
    report = client.get_json("Reports/BankSummary", WEEK)["Reports"][0]
    assert report["ReportTitles"] == [
        "Bank Summary",
        "Mock Organisation",
        "From 15 November 2026 to 21 November 2026",
    ]
    header, section = report["Rows"]
    assert read_values(header) == ["Bank Accounts", "Opening Balance", "Cash Received", "Cash Spent", "Closing Balance"]
    assert section["Title"] == ""
    assert [row["RowType"] for row in section["Rows"]] == ["Row", "Row", "SummaryRow"]
    for row in section["Rows"][:2]:
        name, opening, received, spent, closing = row["Cells"]
        account = name["Attributes"][0]["Value"]
        assert name["Attributes"] == [{"Value": account, "Id": "accountID"}]
        assert received["Attributes"] == spent["Attributes"] == [{"Value": account, "Id": "account"}]
        assert "Attributes" not in opening
        assert "Attributes" not in closing
    assert read_values(section["Rows"][2])[0] == "Total"


def test_an_australian_report_is_laid_out_as_documented(client: Client) -> None:
    titles = [title for title, _ in read_sections(client.get_json("Reports/ProfitAndLoss", FULL))]
    assert titles == [
        " Trading Income",
        "Less Cost of Sales",
        "",
        "Plus Other Income",
        "Less Operating Expenses",
        "",
        "",
    ]


def test_every_value_is_a_text_with_two_decimals(any_client: Client) -> None:
    for path in ("Reports/ProfitAndLoss", "Reports/BankSummary"):
        for _, rows in read_sections(any_client.get_json(path, FULL)):
            for row in rows:
                for value in read_values(row)[1:]:
                    assert value == str(Decimal(value).quantize(Decimal("0.01")))


def test_only_detail_rows_carry_an_account_and_it_is_in_the_chart(any_client: Client) -> None:
    accounts = {account["AccountID"]: account for account in any_client.get_json("Accounts")["Accounts"]}
    for title, rows in read_sections(any_client.get_json("Reports/ProfitAndLoss", FULL)):
        for row in rows:
            account = find_account(row)
            is_detail = row["RowType"] == "Row" and bool(title)
            assert (account is not None) == is_detail
            assert account is None or account in accounts or account == "FXGROUPID"


def test_gross_and_net_profit_are_rows_in_sections_without_a_title(any_client: Client) -> None:
    untitled = [rows for title, rows in read_sections(any_client.get_json("Reports/ProfitAndLoss", FULL)) if not title]
    assert [len(rows) for rows in untitled] == [1, 0, 1]
    assert all(row["RowType"] == "Row" for rows in untitled for row in rows)


def test_a_sparse_layout_omits_empty_titles_and_rows(tmp_path: Path, clock: FakeClock) -> None:
    client = sign_in_to_layout(tmp_path, clock, "SG")
    rows = client.get_json("Reports/ProfitAndLoss", FULL)["Reports"][0]["Rows"]
    assert any("Title" not in row for row in rows[1:])
    assert any("Rows" not in row for row in rows[1:])
    client.session.close()


def test_the_american_layout_has_negative_expenses_among_other_income(tmp_path: Path, clock: FakeClock) -> None:
    client = sign_in_to_layout(tmp_path, clock, "US")
    report = client.get_json("Reports/ProfitAndLoss", FULL)
    amounts = {read_values(row)[0]: Decimal(read_values(row)[1]) for _, rows in read_sections(report) for row in rows}
    assert amounts["Depreciation"] < 0
    assert amounts["Interest Expense"] < 0
    assert amounts["Interest Income"] > 0
    assert amounts["Rent" if "Rent" in amounts else "Wages and Salaries"] > 0
    below = amounts["Total Other Income and Expense"]
    assert amounts["Gross Profit"] - amounts["Total Operating Expenses"] + below == amounts["Net Income"]
    client.session.close()


def test_without_dates_a_report_covers_the_current_month(client: Client) -> None:
    report = client.get_json("Reports/ProfitAndLoss")["Reports"][0]
    assert report["ReportTitles"][2] == "1 November 2026 to 30 November 2026"


def test_with_periods_each_column_covers_the_same_days_of_an_earlier_month(client: Client) -> None:
    report = client.get_json("Reports/ProfitAndLoss", {**WEEK, "periods": 2, "timeframe": "MONTH"})
    assert read_values(report["Reports"][0]["Rows"][0]) == ["", "21 Nov 26", "21 Oct 26", "21 Sep 26"]
    net = next(
        read_values(row) for _, rows in read_sections(report) for row in rows if read_values(row)[0] == "Net Profit"
    )
    for value, month in zip(net[1:], ("11", "10", "09"), strict=True):
        alone = client.get_json("Reports/ProfitAndLoss", {"fromDate": f"2026-{month}-15", "toDate": f"2026-{month}-21"})
        assert read_profit(alone, "Net Profit") == Decimal(value)


def test_payments_only_reports_on_a_cash_basis(client: Client) -> None:
    cash, accrual = (
        client.get_json("Reports/ProfitAndLoss", {**WEEK, "paymentsOnly": only}) for only in ("true", "false")
    )
    assert read_profit(cash, "Net Profit") != read_profit(accrual, "Net Profit")


@pytest.mark.parametrize("path", ["Reports/ProfitAndLoss", "Reports/BankSummary"])
@pytest.mark.parametrize(
    "params",
    [
        {"fromDate": "2026-11-31", "toDate": "2026-12-01"},
        {"fromDate": "soon", "toDate": "2026-11-21"},
        {"fromDate": "2026-11-21", "toDate": "2026-11-15"},
        {"fromDate": "2025-01-01", "toDate": "2026-11-15"},
    ],
)
def test_impossible_dates_are_refused(client: Client, path: str, params: dict[str, Any]) -> None:
    response = client.get(path, params)
    assert response.status_code == 400
    assert response.json()["Elements"][0]["ValidationErrors"][0]["Message"]


def test_a_timeframe_of_weeks_and_a_twelfth_period_are_refused(client: Client) -> None:
    assert client.get("Reports/ProfitAndLoss", {**WEEK, "timeframe": "WEEK", "periods": 1}).status_code == 400
    assert client.get("Reports/ProfitAndLoss", {**WEEK, "timeframe": "MONTH", "periods": 12}).status_code == 400


def test_the_organisation_and_its_accounts_are_listed(client: Client) -> None:
    (organisation,) = client.get_json("Organisation")["Organisations"]
    assert (organisation["Name"], organisation["BaseCurrency"]) == ("Mock Organisation", "AUD")
    accounts = client.get_json("Accounts")["Accounts"]
    types = {account["Type"] for account in accounts}
    assert {"BANK", "REVENUE", "SALES", "OTHERINCOME", "DIRECTCOSTS", "EXPENSE", "OVERHEADS"} <= types
    assert "DEPRECIATN" in types
    assert {account["Code"]: account["Type"] for account in accounts if account["Code"] in ("477", "478")} == {
        "477": "EXPENSE",
        "478": "EXPENSE",
    }
    assert {account["Class"] for account in accounts} == {"ASSET", "LIABILITY", "EQUITY", "REVENUE", "EXPENSE"}
    banks = client.get_json("Accounts", {"where": 'Type=="BANK"'})["Accounts"]
    summary = read_bank_rows(client.get_json("Reports/BankSummary", WEEK))
    assert {account["AccountID"] for account in banks} == set(summary) - {"Total"}
    assert [account["CurrencyCode"] for account in banks] == ["AUD", "USD"]


def list_tracking(client: Client) -> dict[str, dict[str, str]]:
    """By category: its TrackingCategoryID under "", and its options' ids."""
    return {
        category["Name"]: {
            "": category["TrackingCategoryID"],
            **{option["Name"]: option["TrackingOptionID"] for option in category["Options"]},
        }
        for category in client.get_json("TrackingCategories")["TrackingCategories"]
    }


def read_columns(report: Any) -> dict[str, dict[str, Decimal]]:
    """By column title: the amounts by the text of the row's first cell."""
    _, *titles = read_values(report["Reports"][0]["Rows"][0])
    rows = [read_values(row) for _, rows in read_sections(report) for row in rows]
    return {title: {row[0]: Decimal(row[column]) for row in rows} for column, title in enumerate(titles, 1)}


@pytest.mark.parametrize("only", ["false", "true"])
def test_a_tracking_category_gives_a_column_for_each_option(client: Client, only: str) -> None:
    tracking = list_tracking(client)
    params = {**FULL, "paymentsOnly": only}
    (plain,) = read_columns(client.get_json("Reports/ProfitAndLoss", params)).values()
    for category, ids in tracking.items():
        columns = read_columns(client.get_json("Reports/ProfitAndLoss", {**params, "trackingCategoryID": ids[""]}))
        *options, _, _ = columns
        assert options == list(ids)[1:]
        assert list(columns)[-2:] == ["Unassigned", "Total"]
        assert columns["Total"] == plain
        for row, amount in plain.items():
            assert sum(columns[title][row] for title in [*options, "Unassigned"]) == amount, (category, row)
        # Wages have no tracking category, and each option has sales.
        assert columns["Unassigned"]["Wages and Salaries"] == plain["Wages and Salaries"]
        assert all(columns[title]["Total Trading Income"] > 0 for title in options)


def test_a_tracking_option_gives_its_column_alone_and_two_categories_each_combination(client: Client) -> None:
    types, regions = list_tracking(client).values()
    one = {**FULL, "trackingCategoryID": types[""], "trackingOptionID": types["Commercial"]}
    both = {**one, "trackingCategoryID2": regions[""], "trackingOptionID2": regions["North"]}
    (commercial,) = read_columns(client.get_json("Reports/ProfitAndLoss", one)).values()
    ((title, north),) = read_columns(client.get_json("Reports/ProfitAndLoss", both)).items()
    assert title == "Commercial, North"
    label = "Total Trading Income"
    documents = client.mock.books(TENANT).documents((date(2026, 10, 25), date(2026, 10, 31)))
    lines = [
        (line.region, document.credit_sign * document.base_net(line))
        for document in documents
        if document.kind.is_sale and document.status.is_counted
        for line in document.lines
        if line.revenue_type == "Commercial"
    ]
    assert commercial[label] * 100 == sum(amount for _, amount in lines)
    assert north[label] * 100 == sum(amount for region, amount in lines if region == "North")
    second = {**FULL, "trackingCategoryID": types[""], "trackingCategoryID2": regions[""]}
    columns = read_columns(client.get_json("Reports/ProfitAndLoss", second))
    assert len(columns) == 4 * 5 + 1
    assert columns["Commercial, North"][label] == north[label]
    assert columns["Total"] == read_columns(client.get_json("Reports/ProfitAndLoss", FULL))["31 Oct 26"]


def test_wrong_tracking_parameters_are_refused(client: Client) -> None:
    types, regions = list_tracking(client).values()
    for params, message in (
        ({"trackingOptionID": types["Commercial"]}, "TrackingCategoryID1 must be provided"),
        ({"trackingOptionID2": types["Commercial"]}, "TrackingCategoryID2 must be provided"),
        ({"trackingCategoryID": types["Commercial"]}, "not a tracking category"),
        ({"trackingCategoryID": types[""], "trackingOptionID": regions["North"]}, "not an option"),
        ({"trackingCategoryID": types[""], "periods": 2}, "periods"),
    ):
        refused = client.get("Reports/ProfitAndLoss", {**FULL, **params})
        assert refused.status_code == 400
        assert message in refused.json()["Elements"][0]["ValidationErrors"][0]["Message"]
