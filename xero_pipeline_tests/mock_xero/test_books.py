"""The books hang together: lists, reports and the truth tell one story, for any week and any range."""

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
from xero_pipeline_tests.mock_xero.asking import TENANT, Client, Json
from xero_pipeline_tests.mock_xero.conftest import WIDE
from xero_pipeline_tests.mock_xero.reading import account_lines, bank_rows, profit, revenue_of, sections, values

CENT = Decimal("0.01")
WEEK = Week(date(2026, 11, 21))
FIRST = Week(date(2015, 1, 3))

# Reports that say the same in other words: what each calls its net profit.
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

weeks = st.integers(0, (WEEK.ending - FIRST.ending).days // 7).map(FIRST.shift)
organisations = st.sampled_from(ORGANISATIONS)
relaxed = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def world() -> Iterator[Client]:
    """Five companies, and a program connected to them all."""
    with tempfile.TemporaryDirectory() as folder:
        mock = MockXero(Path(folder) / "mock.db", FakeClock(), limits=WIDE, organisations=ORGANISATIONS)
        client = Client(mock).sign_in()
        yield client
        client.session.close()


def days_of(week: Week) -> dict[str, str]:
    return {"fromDate": week.start.isoformat(), "toDate": week.ending.isoformat()}


def documents_of(client: Client, tenant: str, week: Week) -> list[Json]:
    after = week.shift(1).start
    where = f"Date>=DateTime({week.start:%Y, %m, %d}) AND Date<DateTime({after:%Y, %m, %d})"
    params = {"where": where, "page": 1, "pageSize": 1000}
    invoices = client.json("Invoices", params, tenant=tenant)["Invoices"]
    notes: list[Json] = client.json("CreditNotes", params, tenant=tenant)["CreditNotes"]
    return [*invoices, *notes]


@relaxed
@given(weeks, organisations)
def test_a_weeks_sales_income_is_the_revenue_of_its_documents(
    world: Client, week: Week, organisation: MockOrganisation
) -> None:
    tenant = organisation.tenant_id
    truth = world.mock.books(tenant)
    told = revenue_of(documents_of(world, tenant, week))
    assert told == truth.profit_and_loss(week).total_trading_income
    assert told == sum(cell.net_revenue for cell in truth.revenue(week).values())
    assert Decimal(150_000) < told < Decimal(320_000)


@relaxed
@given(weeks, organisations, st.booleans())
def test_a_profit_and_loss_report_says_what_the_books_say(
    world: Client, week: Week, organisation: MockOrganisation, cash: bool
) -> None:
    tenant = organisation.tenant_id
    params = {**days_of(week), "standardLayout": "true", "paymentsOnly": str(cash).lower()}
    report = world.json("Reports/ProfitAndLoss", params, tenant=tenant)
    truth = world.mock.books(tenant).profit_and_loss(week, cash_basis=cash)
    lines = account_lines(report)
    assert set(lines) == set(truth.lines)
    for account, (title, amount) in lines.items():
        negative = title == "Other Income and Expense" and account in _expenses(world.mock.books(tenant))
        assert amount == (-truth.lines[account] if negative else truth.lines[account])
    assert profit(report, "Gross Profit") == truth.gross_profit
    assert profit(report, NET_LABELS[organisation.layout]) == truth.net_profit


@relaxed
@given(weeks, organisations)
def test_a_sections_total_is_the_sum_of_its_rows(world: Client, week: Week, organisation: MockOrganisation) -> None:
    report = world.json("Reports/ProfitAndLoss", days_of(week), tenant=organisation.tenant_id)
    for title, rows in sections(report):
        if title:
            *details, total = rows
            assert total["RowType"] == "SummaryRow"
            assert Decimal(values(total)[1]) == sum(Decimal(values(row)[1]) for row in details)


@relaxed
@given(weeks, organisations)
def test_bank_balances_chain_from_week_to_week(world: Client, week: Week, organisation: MockOrganisation) -> None:
    tenant = organisation.tenant_id
    this = bank_rows(world.json("Reports/BankSummary", days_of(week), tenant=tenant))
    before = bank_rows(world.json("Reports/BankSummary", days_of(week.previous), tenant=tenant))
    assert len(this) == 3
    for account, row in this.items():
        gain = row.get("Foreign Currency Gain", Decimal(0))
        assert row["Closing Balance"] == row["Opening Balance"] + row["Cash Received"] - row["Cash Spent"] + gain
        assert row["Opening Balance"] == before[account]["Closing Balance"]
        assert row["Cash Received"] >= 0
        assert row["Cash Spent"] >= 0
    for column, total in this.pop("Total").items():
        assert total == sum(row[column] for row in this.values())


@relaxed
@given(weeks, organisations)
def test_a_bank_summary_says_what_the_books_say(world: Client, week: Week, organisation: MockOrganisation) -> None:
    tenant = organisation.tenant_id
    told = bank_rows(world.json("Reports/BankSummary", days_of(week), tenant=tenant))
    for account, truth in world.mock.books(tenant).bank(week).items():
        assert told[account]["Opening Balance"] == truth.opening_balance
        assert told[account]["Cash Received"] == truth.cash_received
        assert told[account]["Cash Spent"] == truth.cash_spent
        assert told[account].get("Foreign Currency Gain", 0) == truth.currency_gain
        assert told[account]["Closing Balance"] == truth.closing_balance


@relaxed
@given(weeks, st.integers(-10, 10), st.integers(0, 80))
def test_any_range_of_days_is_honoured(world: Client, week: Week, offset: int, length: int) -> None:
    first = week.start + timedelta(days=offset)
    last = first + timedelta(days=length)
    params = {"fromDate": first.isoformat(), "toDate": last.isoformat()}
    books = world.mock.books(TENANT)
    assert (
        profit(world.json("Reports/ProfitAndLoss", params), "Net Profit")
        == books.profit_and_loss((first, last)).net_profit
    )
    told = bank_rows(world.json("Reports/BankSummary", params))
    assert {account: row.closing_balance for account, row in books.bank((first, last)).items()} == {
        account: row["Closing Balance"] for account, row in told.items() if account != "Total"
    }


@given(weeks)
@settings(max_examples=12, deadline=None)
def test_a_week_has_the_sales_that_a_firm_of_this_size_has(world: Client, week: Week) -> None:
    books = world.mock.books(TENANT)
    figures = books.profit_and_loss(week)
    assert Decimal(200_000) <= figures.total_trading_income <= Decimal(300_000)
    assert Decimal("0.20") < figures.cost_of_sales / figures.total_trading_income < Decimal("0.40")
    sales = [one for one in books.documents(week) if one.kind.is_sale]
    assert 55 <= len(sales) <= 125


def test_days_add_up_to_their_week(world: Client) -> None:
    books = world.mock.books(TENANT)
    days = [(WEEK.start + timedelta(days=offset),) * 2 for offset in range(7)]
    assert sum(books.profit_and_loss(day).net_profit for day in days) == books.profit_and_loss(WEEK).net_profit


def test_a_year_has_every_kind_of_document(world: Client) -> None:
    documents = world.mock.books(TENANT).documents((date(2025, 11, 23), WEEK.ending))
    assert {one.kind.value for one in documents} == {"ACCREC", "ACCPAY", "ACCRECCREDIT", "ACCPAYCREDIT"}
    assert {one.status.value for one in documents} == {
        "DRAFT",
        "SUBMITTED",
        "AUTHORISED",
        "PAID",
        "VOIDED",
        "DELETED",
    }
    assert {one.tax.value for one in documents} == {"Exclusive", "Inclusive", "NoTax"}
    assert len({one.currency for one in documents}) > 3
    lines = [line for one in documents if one.kind.is_sale for line in one.lines]
    assert {line.revenue_type for line in lines} == {"Residential", "Commercial", "Retrospective", None}
    assert {line.region for line in lines} == {"North", "South", "East", "West", None}
    assert any(line.amount < 0 for line in lines)


def test_a_currency_gain_comes_now_and_then_and_only_then_has_its_column_and_its_line(world: Client) -> None:
    gains = 0
    for back in range(26):
        week = WEEK.shift(-back)
        titles = values(world.json("Reports/BankSummary", days_of(week))["Reports"][0]["Rows"][0])
        lines = account_lines(world.json("Reports/ProfitAndLoss", days_of(week)))
        truth = sum(row.currency_gain for row in world.mock.books(TENANT).bank(week).values())
        assert ("Foreign Currency Gain" in titles) == ("FXGROUPID" in lines) == (truth != 0)
        if truth:
            gains += 1
            # A gain makes the expenses less.
            assert lines["FXGROUPID"] == ("Less Operating Expenses", -truth)
    assert 0 < gains < 26


def test_cash_basis_tells_another_story_that_ends_the_same_way(world: Client) -> None:
    books = world.mock.books(TENANT)
    year = (date(2025, 1, 1), date(2025, 12, 31))
    cash, accrual = (books.profit_and_loss(year, cash_basis=basis) for basis in (True, False))
    assert cash.total_trading_income != accrual.total_trading_income
    # What is never paid is a few per cent; the rest moves by weeks, not years.
    assert Decimal("0.85") < cash.total_trading_income / accrual.total_trading_income < Decimal("1.05")
    assert "FXGROUPID" not in cash.lines


def test_nothing_is_dated_in_the_future_and_the_running_week_grows(tmp_path: Path) -> None:
    clock = FakeClock(datetime(2026, 11, 15, 20, tzinfo=UTC))
    books = MockXero(tmp_path / "mock.db", clock).books(TENANT)
    seen: list[set[str]] = []
    for _ in range(8):
        today = clock.now().astimezone(ZoneInfo("Australia/Sydney")).date()
        documents = books.documents((WEEK.start, date(2030, 1, 1)))
        assert all(one.date <= today and one.updated_at <= clock.now() for one in documents)
        assert all(one.paid_on is None or one.paid_on <= today for one in documents)
        seen.append({one.id for one in documents if one.date <= WEEK.ending})
        clock.advance(days=1)
    assert all(earlier <= later for earlier, later in pairwise(seen))
    assert len(seen[0]) < len(seen[2]) < len(seen[5])


@pytest.mark.parametrize("hour", [0, 2, 5, 23])
def test_a_running_day_is_told_the_same_by_report_and_list(tmp_path: Path, hour: int) -> None:
    mock = MockXero(tmp_path / "mock.db", FakeClock(datetime(2026, 11, 18, hour, 17, tzinfo=UTC)), limits=WIDE)
    client = Client(mock).sign_in()
    report = client.json("Reports/ProfitAndLoss", days_of(WEEK))
    truth = mock.books(TENANT).profit_and_loss(WEEK)
    assert {account: amount for account, (_, amount) in account_lines(report).items()} == truth.lines
    assert revenue_of(documents_of(client, TENANT, WEEK)) == truth.total_trading_income
    client.session.close()


def test_a_week_that_is_over_never_changes_by_itself(tmp_path: Path) -> None:
    clock = FakeClock(datetime(2026, 11, 21, 13, tzinfo=UTC))  # Sunday 00:00 in Sydney
    mock = MockXero(tmp_path / "mock.db", clock, limits=WIDE)
    books = mock.books(TENANT)

    def told() -> tuple[object, ...]:
        changed = {(one.id, one.updated_at) for one in books.documents(WEEK)}
        return books.profit_and_loss(WEEK), books.revenue(WEEK), books.bank(WEEK), changed

    before = told()
    clock.advance(days=90)
    assert told() == before


def test_before_the_books_begin_there_is_nothing(world: Client) -> None:
    early = Week(date(2014, 12, 20))
    report = world.json("Reports/ProfitAndLoss", days_of(early))
    assert account_lines(report) == {}
    assert profit(report, "Net Profit") == 0
    assert set(bank_rows(world.json("Reports/BankSummary", days_of(early)))["Total"].values()) == {0}
    assert documents_of(world, TENANT, early) == []


def test_every_process_and_python_makes_the_same_books() -> None:
    """The figures are written down here: a change of theirs would restate every deployment's mock history."""
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


def _expenses(books: Books) -> set[str]:
    """What stands negative among other income: depreciation, and interest paid."""
    return {books.account_id("416"), books.account_id("437")}
