"""The books are consistent: lists, reports and `Books` agree for any week and any range of days."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xero_pipeline.mock_xero import Books, MockOrganisation, MockXero
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import TENANT, Client, Json
from xero_pipeline_tests.mock_xero.conftest import UNLIMITED
from xero_pipeline_tests.mock_xero.report_parsing import (
    read_account_lines,
    read_bank_rows,
    read_profit,
    read_sections,
    read_values,
    sum_revenue,
)

CENT = Decimal("0.01")
WEEK = Week(date(2026, 11, 21))
FIRST_WEEK = Week(date(2015, 1, 3))

# The label of net profit in each layout.
NET_LABELS = {
    "AU": "Net Profit",
    "NZ": "Net Profit",
    "GB": "Profit on Ordinary Activities Before Taxation",
    "SG": "NET PROFIT",
    "US": "Net Income",
}

ORGANISATIONS = (
    MockOrganisation(),
    *(
        MockOrganisation(f"tenant-{layout}", f"Company {layout}", layout, currency, layout)
        for layout, currency in (("NZ", "NZD"), ("GB", "GBP"), ("SG", "SGD"), ("US", "USD"))
    ),
)

weeks = st.integers(0, (WEEK.ending - FIRST_WEEK.ending).days // 7).map(FIRST_WEEK.shift)
organisations = st.sampled_from(ORGANISATIONS)
few_examples = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def client_of_all() -> Iterator[Client]:
    """A client that is connected to five organisations, one for each layout."""
    with tempfile.TemporaryDirectory() as folder:
        mock = MockXero(Path(folder) / "mock.db", FakeClock(), limits=UNLIMITED, organisations=ORGANISATIONS)
        client = Client(mock).sign_in()
        yield client
        client.session.close()


def make_dates(week: Week) -> dict[str, str]:
    return {"fromDate": week.start.isoformat(), "toDate": week.ending.isoformat()}


def list_documents(client: Client, tenant: str, week: Week) -> list[Json]:
    after = week.shift(1).start
    where = f"Date>=DateTime({week.start:%Y, %m, %d}) AND Date<DateTime({after:%Y, %m, %d})"
    params = {"where": where, "page": 1, "pageSize": 1000}
    invoices = client.get_json("Invoices", params, tenant=tenant)["Invoices"]
    notes: list[Json] = client.get_json("CreditNotes", params, tenant=tenant)["CreditNotes"]
    return [*invoices, *notes]


@few_examples
@given(weeks, organisations)
def test_a_weeks_trading_income_is_the_revenue_of_its_documents(
    client_of_all: Client, week: Week, organisation: MockOrganisation
) -> None:
    tenant = organisation.tenant_id
    expected = client_of_all.mock.books(tenant)
    reported = sum_revenue(list_documents(client_of_all, tenant, week))
    assert reported == expected.profit_and_loss(week).total_trading_income
    assert reported == sum(cell.net_revenue for cell in expected.revenue(week).values())
    assert Decimal(150_000) < reported < Decimal(320_000)


@few_examples
@given(weeks, organisations, st.booleans())
def test_a_profit_and_loss_report_matches_the_books(
    client_of_all: Client, week: Week, organisation: MockOrganisation, cash_basis: bool
) -> None:
    tenant = organisation.tenant_id
    params = {**make_dates(week), "standardLayout": "true", "paymentsOnly": str(cash_basis).lower()}
    report = client_of_all.get_json("Reports/ProfitAndLoss", params, tenant=tenant)
    expected = client_of_all.mock.books(tenant).profit_and_loss(week, cash_basis=cash_basis)
    lines = read_account_lines(report)
    assert set(lines) == set(expected.lines)
    for account, (title, amount) in lines.items():
        negative = title == "Other Income and Expense" and account in _list_negative_expenses(
            client_of_all.mock.books(tenant)
        )
        assert amount == (-expected.lines[account] if negative else expected.lines[account])
    assert read_profit(report, "Gross Profit") == expected.gross_profit
    assert read_profit(report, NET_LABELS[organisation.layout]) == expected.net_profit


@few_examples
@given(weeks, organisations)
def test_a_sections_total_is_the_sum_of_its_rows(
    client_of_all: Client, week: Week, organisation: MockOrganisation
) -> None:
    report = client_of_all.get_json("Reports/ProfitAndLoss", make_dates(week), tenant=organisation.tenant_id)
    for title, rows in read_sections(report):
        if title:
            *details, total = rows
            assert total["RowType"] == "SummaryRow"
            assert Decimal(read_values(total)[1]) == sum(Decimal(read_values(row)[1]) for row in details)


@few_examples
@given(weeks, organisations)
def test_each_weeks_opening_balance_is_the_previous_closing_balance(
    client_of_all: Client, week: Week, organisation: MockOrganisation
) -> None:
    tenant = organisation.tenant_id
    this = read_bank_rows(client_of_all.get_json("Reports/BankSummary", make_dates(week), tenant=tenant))
    before = read_bank_rows(client_of_all.get_json("Reports/BankSummary", make_dates(week.previous), tenant=tenant))
    assert len(this) == 3
    for account, row in this.items():
        gain = row.get("Foreign Currency Gain", Decimal(0))
        assert row["Closing Balance"] == row["Opening Balance"] + row["Cash Received"] - row["Cash Spent"] + gain
        assert row["Opening Balance"] == before[account]["Closing Balance"]
        assert row["Cash Received"] >= 0
        assert row["Cash Spent"] >= 0
    for column, total in this.pop("Total").items():
        assert total == sum(row[column] for row in this.values())


@few_examples
@given(weeks, organisations)
def test_a_bank_summary_matches_the_books(client_of_all: Client, week: Week, organisation: MockOrganisation) -> None:
    tenant = organisation.tenant_id
    reported = read_bank_rows(client_of_all.get_json("Reports/BankSummary", make_dates(week), tenant=tenant))
    for account, expected in client_of_all.mock.books(tenant).bank(week).items():
        assert reported[account]["Opening Balance"] == expected.opening_balance
        assert reported[account]["Cash Received"] == expected.cash_received
        assert reported[account]["Cash Spent"] == expected.cash_spent
        assert reported[account].get("Foreign Currency Gain", 0) == expected.currency_gain
        assert reported[account]["Closing Balance"] == expected.closing_balance


@few_examples
@given(weeks, st.integers(-10, 10), st.integers(0, 80))
def test_reports_match_the_books_for_any_range_of_days(
    client_of_all: Client, week: Week, offset: int, length: int
) -> None:
    first = week.start + timedelta(days=offset)
    last = first + timedelta(days=length)
    params = {"fromDate": first.isoformat(), "toDate": last.isoformat()}
    books = client_of_all.mock.books(TENANT)
    assert (
        read_profit(client_of_all.get_json("Reports/ProfitAndLoss", params), "Net Profit")
        == books.profit_and_loss((first, last)).net_profit
    )
    reported = read_bank_rows(client_of_all.get_json("Reports/BankSummary", params))
    assert {account: row.closing_balance for account, row in books.bank((first, last)).items()} == {
        account: row["Closing Balance"] for account, row in reported.items() if account != "Total"
    }


@given(weeks)
@settings(max_examples=12, deadline=None)
def test_a_weeks_sales_and_costs_are_in_a_plausible_range(client_of_all: Client, week: Week) -> None:
    books = client_of_all.mock.books(TENANT)
    figures = books.profit_and_loss(week)
    assert Decimal(200_000) <= figures.total_trading_income <= Decimal(300_000)
    assert Decimal("0.20") < figures.cost_of_sales / figures.total_trading_income < Decimal("0.40")
    sales = [document for document in books.documents(week) if document.kind.is_sale]
    assert 55 <= len(sales) <= 125


def test_the_profits_of_seven_days_add_up_to_their_weeks(client_of_all: Client) -> None:
    books = client_of_all.mock.books(TENANT)
    days = [(WEEK.start + timedelta(days=offset),) * 2 for offset in range(7)]
    assert sum(books.profit_and_loss(day).net_profit for day in days) == books.profit_and_loss(WEEK).net_profit


def test_a_year_has_every_kind_of_document(client_of_all: Client) -> None:
    documents = client_of_all.mock.books(TENANT).documents((date(2025, 11, 23), WEEK.ending))
    assert {document.kind.value for document in documents} == {"ACCREC", "ACCPAY", "ACCRECCREDIT", "ACCPAYCREDIT"}
    assert {document.status.value for document in documents} == {
        "DRAFT",
        "SUBMITTED",
        "AUTHORISED",
        "PAID",
        "VOIDED",
        "DELETED",
    }
    assert {document.tax.value for document in documents} == {"Exclusive", "Inclusive", "NoTax"}
    assert len({document.currency for document in documents}) > 3
    lines = [line for document in documents if document.kind.is_sale for line in document.lines]
    assert {line.revenue_type for line in lines} == {"Residential", "Commercial", "Retrospective", None}
    assert {line.region for line in lines} == {"North", "South", "East", "West", None}
    assert any(line.amount < 0 for line in lines)


def test_only_a_week_with_a_currency_gain_has_its_column_and_its_line(client_of_all: Client) -> None:
    gains = 0
    for back in range(26):
        week = WEEK.shift(-back)
        titles = read_values(client_of_all.get_json("Reports/BankSummary", make_dates(week))["Reports"][0]["Rows"][0])
        lines = read_account_lines(client_of_all.get_json("Reports/ProfitAndLoss", make_dates(week)))
        expected = sum(row.currency_gain for row in client_of_all.mock.books(TENANT).bank(week).values())
        assert ("Foreign Currency Gain" in titles) == ("FXGROUPID" in lines) == (expected != 0)
        if expected:
            gains += 1
            # A gain reduces the expenses.
            assert lines["FXGROUPID"] == ("Less Operating Expenses", -expected)
    assert 0 < gains < 26


def test_cash_basis_differs_from_accruals_but_adds_up_to_about_the_same_over_a_year(client_of_all: Client) -> None:
    books = client_of_all.mock.books(TENANT)
    year = (date(2025, 1, 1), date(2025, 12, 31))
    cash_basis, accrual = (books.profit_and_loss(year, cash_basis=basis) for basis in (True, False))
    assert cash_basis.total_trading_income != accrual.total_trading_income
    # A few per cent are never paid; the rest is paid within weeks.
    assert Decimal("0.85") < cash_basis.total_trading_income / accrual.total_trading_income < Decimal("1.05")
    assert "FXGROUPID" not in cash_basis.lines


def test_nothing_is_dated_in_the_future_and_the_current_week_grows(tmp_path: Path) -> None:
    clock = FakeClock(datetime(2026, 11, 15, 20, tzinfo=UTC))
    books = MockXero(tmp_path / "mock.db", clock).books(TENANT)
    ids_by_day: list[set[str]] = []
    for _ in range(8):
        today = clock.now().astimezone(ZoneInfo("Australia/Sydney")).date()
        documents = books.documents((WEEK.start, date(2030, 1, 1)))
        assert all(document.date <= today and document.updated_at <= clock.now() for document in documents)
        assert all(document.paid_on is None or document.paid_on <= today for document in documents)
        ids_by_day.append({document.id for document in documents if document.date <= WEEK.ending})
        clock.advance(days=1)
    assert all(earlier <= later for earlier, later in pairwise(ids_by_day))
    assert len(ids_by_day[0]) < len(ids_by_day[2]) < len(ids_by_day[5])


@pytest.mark.parametrize("hour", [0, 2, 5, 23])
def test_report_and_list_agree_during_the_current_day(tmp_path: Path, hour: int) -> None:
    mock = MockXero(tmp_path / "mock.db", FakeClock(datetime(2026, 11, 18, hour, 17, tzinfo=UTC)), limits=UNLIMITED)
    client = Client(mock).sign_in()
    report = client.get_json("Reports/ProfitAndLoss", make_dates(WEEK))
    expected = mock.books(TENANT).profit_and_loss(WEEK)
    assert {account: amount for account, (_, amount) in read_account_lines(report).items()} == expected.lines
    assert sum_revenue(list_documents(client, TENANT, WEEK)) == expected.total_trading_income
    client.session.close()


def test_a_past_week_never_changes_without_an_edit(tmp_path: Path) -> None:
    clock = FakeClock(datetime(2026, 11, 21, 13, tzinfo=UTC))  # Sunday 00:00 in Sydney
    mock = MockXero(tmp_path / "mock.db", clock, limits=UNLIMITED)
    books = mock.books(TENANT)

    def reported() -> tuple[object, ...]:
        changed = {(document.id, document.updated_at) for document in books.documents(WEEK)}
        return books.profit_and_loss(WEEK), books.revenue(WEEK), books.bank(WEEK), changed

    before = reported()
    clock.advance(days=90)
    assert reported() == before


def test_a_week_before_the_books_begin_is_empty(client_of_all: Client) -> None:
    early = Week(date(2014, 12, 20))
    report = client_of_all.get_json("Reports/ProfitAndLoss", make_dates(early))
    assert read_account_lines(report) == {}
    assert read_profit(report, "Net Profit") == 0
    assert set(read_bank_rows(client_of_all.get_json("Reports/BankSummary", make_dates(early)))["Total"].values()) == {
        0
    }
    assert list_documents(client_of_all, TENANT, early) == []


def test_every_process_and_python_version_generates_the_same_books() -> None:
    """The expected figures are literals, since a change would restate every deployment's mock history."""
    script = (
        "from datetime import date\n"
        "from zoneinfo import ZoneInfo\n"
        "from xero_pipeline.mock_xero.books.ledger import Ledger\n"
        "from xero_pipeline.mock_xero.organisations import MockOrganisation\n"
        "ledger = Ledger(MockOrganisation(), ZoneInfo('Australia/Sydney'))\n"
        "documents = ledger.documents(620)\n"
        "print(len(documents), documents[0].id, sum(one.base_total for one in documents),"
        " ledger.opening(date(2026, 11, 18), '090'), ledger.opening(date(2026, 11, 18), '091'))\n"
    )
    outputs = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        outputs.add(done.stdout.strip())
    assert outputs == {"110 27d842ec-b5a1-4ada-beb5-a3b8189dafec 39271541 30013356 5143363"}


def _list_negative_expenses(books: Books) -> set[str]:
    """The accounts that the US layout shows as negative other income: depreciation and interest expense."""
    return {books.account_id("416"), books.account_id("437")}
