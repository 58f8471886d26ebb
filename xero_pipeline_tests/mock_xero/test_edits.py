"""Late edits: they change every week they touch, everywhere alike, and `UpdatedDateUTC` tells of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xero_pipeline.mock_xero import (
    Document,
    DocumentKind,
    DocumentStatus,
    MockLine,
    MockOrganisation,
    MockXero,
    TaxTreatment,
)
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.asking import TENANT, Client, Json
from xero_pipeline_tests.mock_xero.conftest import WIDE
from xero_pipeline_tests.mock_xero.reading import account_lines, bank_rows, revenue_of

WEEK = Week(date(2026, 11, 7))


def some(
    mock: MockXero, kind: DocumentKind = DocumentKind.SALE, status: DocumentStatus | None = None, week: Week = WEEK
) -> Document:
    """A document of that kind that counts, or that has that status."""
    return next(
        one
        for one in mock.books(TENANT).documents(week)
        if one.kind is kind and (one.status is status if status else one.status.counts)
    )


def documents_of(client: Client, week: Week) -> list[Json]:
    where = f"Date>=DateTime({week.start:%Y,%m,%d}) && Date<DateTime({week.shift(1).start:%Y,%m,%d})"
    params = {"where": where, "page": 1, "pageSize": 1000}
    invoices: list[Json] = client.json("Invoices", params)["Invoices"]
    return [*invoices, *client.json("CreditNotes", params)["CreditNotes"]]


def assert_one_story(client: Client, week: Week) -> None:
    """Lists, both bases of the report, and the bank summary say what the books say."""
    books = client.mock.books(TENANT)
    days = {"fromDate": week.start.isoformat(), "toDate": week.ending.isoformat()}
    for cash in (False, True):
        report = client.json("Reports/ProfitAndLoss", {**days, "paymentsOnly": str(cash).lower()})
        told = {account: amount for account, (_, amount) in account_lines(report).items()}
        assert told == books.profit_and_loss(week, cash_basis=cash).lines
    assert revenue_of(documents_of(client, week)) == sum(cell.net_revenue for cell in books.revenue(week).values())
    rows = bank_rows(client.json("Reports/BankSummary", days))
    for account, truth in books.bank(week).items():
        assert rows[account]["Opening Balance"] == truth.opening_balance
        assert rows[account]["Cash Received"] == truth.cash_received
        assert rows[account]["Closing Balance"] == truth.closing_balance


def test_an_edit_changes_the_weeks_figures_by_just_that(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK)
    invoice = next(
        one
        for one in books.documents(WEEK)
        if one.kind is DocumentKind.SALE and one.tax is TaxTreatment.EXCLUSIVE and not one.rate
    )
    mock.edit_invoice(TENANT, invoice.id, change=Decimal("123.45"))
    after = books.profit_and_loss(WEEK)
    assert after.total_trading_income - before.total_trading_income == Decimal("123.45")
    assert after.net_profit - before.net_profit == Decimal("123.45")
    assert_one_story(client, WEEK)


def test_an_inclusive_edit_counts_without_its_tax(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK).total_trading_income
    invoice = next(
        one
        for one in books.documents(WEEK)
        if one.kind is DocumentKind.SALE
        and one.tax is TaxTreatment.INCLUSIVE
        and one.lines[0].tax
        and one.status.counts
    )
    mock.edit_invoice(TENANT, invoice.id, change=Decimal("110.00"))
    change = books.profit_and_loss(WEEK).total_trading_income - before
    assert abs(change - 100) <= Decimal("0.01")
    assert_one_story(client, WEEK)


def test_a_void_takes_the_invoice_out_but_leaves_it_in_the_list(mock: MockXero, client: Client) -> None:
    invoice = some(mock)
    amount = Decimal(sum(invoice.base_net(line) for line in invoice.lines)) / 100
    before = mock.books(TENANT).profit_and_loss(WEEK).total_trading_income
    mock.void_invoice(TENANT, invoice.id)
    assert before - mock.books(TENANT).profit_and_loss(WEEK).total_trading_income == amount
    listed = next(one for one in documents_of(client, WEEK) if one.get("InvoiceID") == invoice.id)
    assert listed["Status"] == "VOIDED"
    assert len(listed["LineItems"]) == len(invoice.lines)
    assert_one_story(client, WEEK)


def test_a_move_takes_the_amount_from_one_week_to_another(mock: MockXero, client: Client) -> None:
    books, other = mock.books(TENANT), WEEK.shift(-3)
    invoice = some(mock)
    amount = Decimal(sum(invoice.base_net(line) for line in invoice.lines)) / 100
    before = [books.profit_and_loss(week).total_trading_income for week in (WEEK, other)]
    mock.move_invoice(TENANT, invoice.id, other.start)
    after = [books.profit_and_loss(week).total_trading_income for week in (WEEK, other)]
    assert [b - a for b, a in zip(before, after, strict=True)] == [amount, -amount]
    assert invoice.id not in {one.get("InvoiceID") for one in documents_of(client, WEEK)}
    assert invoice.id in {one.get("InvoiceID") for one in documents_of(client, other)}
    assert_one_story(client, WEEK)
    assert_one_story(client, other)


def test_a_new_invoice_dated_back_lands_in_its_week_and_cell(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.revenue(WEEK)["residential", "north"]
    invoice_id = mock.add_invoice(
        TENANT,
        date=WEEK.start,
        lines=[MockLine(Decimal("1000.00"), revenue_type="Residential", region="North")],
    )
    after = books.revenue(WEEK)["residential", "north"]
    assert after.invoiced - before.invoiced == 1000
    assert after.tax - before.tax == 100
    assert after.invoice_count == before.invoice_count + 1
    assert client.json(f"Invoices/{invoice_id}")["Invoices"][0]["Total"] == 1100
    assert_one_story(client, WEEK)


def test_a_credit_note_is_taken_off(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK).total_trading_income
    note = mock.add_credit_note(TENANT, date=WEEK.ending, lines=[MockLine(Decimal("250.00"), region="East")])
    assert books.profit_and_loss(WEEK).total_trading_income == before - 250
    assert_one_story(client, WEEK)
    mock.void_credit_note(TENANT, note)
    assert books.profit_and_loss(WEEK).total_trading_income == before


def test_a_foreign_invoice_counts_in_base_currency_each_line_to_the_cent(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK).total_trading_income
    lines = [MockLine(Decimal("100.00")), MockLine(Decimal("0.01"))]
    mock.add_invoice(TENANT, date=WEEK.start, lines=lines, currency="USD", rate=Decimal("0.7500"))
    assert books.profit_and_loss(WEEK).total_trading_income - before == Decimal("133.34")
    assert_one_story(client, WEEK)


def test_a_bill_is_a_cost_and_no_revenue(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK)
    mock.add_invoice(
        TENANT, kind=DocumentKind.BILL, date=WEEK.start, lines=[MockLine(Decimal("80.00"), account_code="310")]
    )
    after = books.profit_and_loss(WEEK)
    assert after.cost_of_sales - before.cost_of_sales == 80
    assert after.total_trading_income == before.total_trading_income
    assert_one_story(client, WEEK)


def test_a_payment_moves_the_bank_and_every_balance_after_it(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    bank = books.account_id("090")
    before = books.bank(WEEK)[bank], books.bank(WEEK.shift(2))[bank]
    mock.add_invoice(TENANT, date=WEEK.start, lines=[MockLine(Decimal("500.00"))], paid_on=WEEK.ending)
    after = books.bank(WEEK)[bank], books.bank(WEEK.shift(2))[bank]
    assert after[0].cash_received - before[0].cash_received == 550
    assert after[0].opening_balance == before[0].opening_balance
    assert after[1].opening_balance - before[1].opening_balance == 550
    assert_one_story(client, WEEK)
    assert_one_story(client, WEEK.shift(2))


def test_a_void_takes_its_payment_with_it(mock: MockXero, client: Client) -> None:
    paid = some(mock, status=DocumentStatus.PAID, week=WEEK.shift(-8))
    assert paid.paid_on is not None
    later = Week.containing(paid.paid_on)
    mock.void_invoice(TENANT, paid.id)
    assert_one_story(client, later)
    assert_one_story(client, later.shift(1))


def test_an_edit_shows_as_modified_from_its_moment_on(mock: MockXero, client: Client, clock: FakeClock) -> None:
    invoice = some(mock, week=WEEK.shift(-30))
    clock.advance(minutes=20)
    mock.edit_invoice(TENANT, invoice.id, change=Decimal("1.00"))

    def modified(since: str) -> list[str]:
        found = client.json("Invoices", {"page": 1}, headers={"If-Modified-Since": since})["Invoices"]
        return [one["InvoiceID"] for one in found]

    assert modified(f"{clock.now():%Y-%m-%dT%H:%M:%S}") == [invoice.id]
    assert modified(f"{clock.now() + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}") == []
    listed = client.json(f"Invoices/{invoice.id}")["Invoices"][0]
    assert listed["UpdatedDateUTC"] == f"/Date({int(clock.now().timestamp() * 1000)}+0000)/"


def test_an_edits_lines_have_new_ids(mock: MockXero, client: Client, clock: FakeClock) -> None:
    invoice = some(mock)

    def ids() -> set[str]:
        return {line["LineItemID"] for line in client.json(f"Invoices/{invoice.id}")["Invoices"][0]["LineItems"]}

    before = ids()
    clock.advance(seconds=1)
    mock.edit_invoice(TENANT, invoice.id, change=Decimal("1.00"))
    assert not before & ids()


def test_what_cannot_be_is_refused_and_changes_nothing(mock: MockXero, client: Client) -> None:
    invoice, line = some(mock), MockLine(Decimal("1.00"))
    before = mock.books(TENANT).profit_and_loss(WEEK)
    attempts: list[tuple[type[Exception], Callable[[], object]]] = [
        (KeyError, lambda: mock.void_invoice(TENANT, "00000000-0000-4000-8000-000000000000")),
        (KeyError, lambda: mock.void_invoice(TENANT, "no id at all")),
        (KeyError, lambda: mock.void_credit_note(TENANT, invoice.id)),
        (KeyError, lambda: mock.void_invoice("no-such-tenant", invoice.id)),
        (ValueError, lambda: mock.edit_invoice(TENANT, invoice.id, lines=[])),
        (ValueError, lambda: mock.edit_invoice(TENANT, invoice.id, change=Decimal("0.001"))),
        (ValueError, lambda: mock.edit_invoice(TENANT, invoice.id, lines=[MockLine(Decimal(1), account_code="9")])),
        (ValueError, lambda: mock.add_invoice(TENANT, date=WEEK.start, lines=[line], currency="USD")),
        (ValueError, lambda: mock.add_invoice(TENANT, date=WEEK.start, lines=[line], rate=Decimal(1))),
        (ValueError, lambda: mock.add_invoice(TENANT, date=WEEK.start, lines=[line], kind=DocumentKind.SALE_CREDIT)),
        (ValueError, lambda: mock.add_invoice(TENANT, date=WEEK.ending, lines=[line], paid_on=WEEK.start)),
    ]
    for error, attempt in attempts:
        with pytest.raises(error):
            attempt()
    assert mock.books(TENANT).profit_and_loss(WEEK) == before


def test_reset_brings_the_books_back(mock: MockXero, client: Client) -> None:
    before = mock.books(TENANT).profit_and_loss(WEEK)
    mock.void_invoice(TENANT, some(mock).id)
    mock.reset()
    assert mock.books(TENANT).profit_and_loss(WEEK) == before
    assert client.get("Organisation").status_code == 401


def test_where_payments_touch_documents_a_paid_invoice_shows_as_modified(tmp_path: Path, clock: FakeClock) -> None:
    organisation = MockOrganisation(payments_touch_documents=True)
    mock = MockXero(tmp_path / "mock.db", clock, limits=WIDE, organisations=(organisation,))
    client = Client(mock).sign_in()
    today = mock.books(TENANT).today
    since = {"If-Modified-Since": f"{clock.now() - timedelta(days=2):%Y-%m-%dT%H:%M:%S}"}
    found = client.json("Invoices", {"page": 1, "pageSize": 1000}, headers=since)["Invoices"]
    old = [one for one in found if one["DateString"] < f"{today - timedelta(days=7)}"]
    assert old
    assert {one["Status"] for one in old} == {"PAID"}
    assert len(old) < len(found)
    client.session.close()


actions = st.lists(
    st.tuples(
        st.sampled_from(["edit", "void", "delete", "move", "add", "credit", "pay", "draft"]),
        st.integers(0, 70),
        st.integers(-9, 1),
        st.decimals(-500, 5000, places=2),
    ),
    min_size=2,
    max_size=5,
)


# Each example goes on from what the ones before it edited.
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions)
def test_whatever_is_edited_the_quick_figures_are_the_true_ones(
    mock: MockXero, client: Client, acts: list[tuple[str, int, int, Decimal]]
) -> None:
    touched = {WEEK}
    for act, at, shift, amount in acts:
        week = WEEK.shift(shift)
        sales = [one for one in mock.books(TENANT).documents(week) if one.kind is DocumentKind.SALE]
        document = sales[at % len(sales)]
        touched |= {week, Week.containing(document.paid_on or document.date)}
        line = MockLine(amount, revenue_type="Commercial")
        if act == "edit":
            mock.edit_invoice(TENANT, document.id, change=amount)
        elif act == "void":
            mock.void_invoice(TENANT, document.id)
        elif act == "delete":
            mock.delete_invoice(TENANT, document.id)
        elif act == "move":
            mock.move_invoice(TENANT, document.id, week.start - timedelta(days=at))
            touched.add(Week.containing(week.start - timedelta(days=at)))
        elif act == "add":
            mock.add_invoice(TENANT, date=week.start, lines=[line])
        elif act == "credit":
            mock.add_credit_note(TENANT, date=week.start, lines=[line], paid_on=week.ending)
        elif act == "pay":
            mock.edit_invoice(TENANT, document.id, status=DocumentStatus.PAID)
        else:
            mock.edit_invoice(TENANT, document.id, status=DocumentStatus.DRAFT)
    for week in touched:
        assert_one_story(client, week)
