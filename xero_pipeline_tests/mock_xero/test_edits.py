"""Late edits: they change the figures of every week that they affect, consistently, and move `UpdatedDateUTC`."""

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
from xero_pipeline_tests.mock_xero.client import TENANT, Client, Json
from xero_pipeline_tests.mock_xero.conftest import UNLIMITED
from xero_pipeline_tests.mock_xero.report_parsing import read_account_lines, read_bank_rows, sum_revenue

WEEK = Week(date(2026, 11, 7))


def find_document(
    mock: MockXero, kind: DocumentKind = DocumentKind.SALE, status: DocumentStatus | None = None, week: Week = WEEK
) -> Document:
    """A document of a kind that is counted, or that has a given status."""
    return next(
        document
        for document in mock.books(TENANT).documents(week)
        if document.kind is kind and (document.status is status if status else document.status.is_counted)
    )


def list_documents(client: Client, week: Week) -> list[Json]:
    where = f"Date>=DateTime({week.start:%Y,%m,%d}) && Date<DateTime({week.shift(1).start:%Y,%m,%d})"
    params = {"where": where, "page": 1, "pageSize": 1000}
    invoices: list[Json] = client.get_json("Invoices", params)["Invoices"]
    return [*invoices, *client.get_json("CreditNotes", params)["CreditNotes"]]


def assert_figures_agree(client: Client, week: Week) -> None:
    """Assert that lists, the report on both bases, and the bank summary match the books."""
    books = client.mock.books(TENANT)
    days = {"fromDate": week.start.isoformat(), "toDate": week.ending.isoformat()}
    for cash in (False, True):
        report = client.get_json("Reports/ProfitAndLoss", {**days, "paymentsOnly": str(cash).lower()})
        amounts = {account: amount for account, (_, amount) in read_account_lines(report).items()}
        assert amounts == books.profit_and_loss(week, cash_basis=cash).lines
    assert sum_revenue(list_documents(client, week)) == sum(cell.net_revenue for cell in books.revenue(week).values())
    rows = read_bank_rows(client.get_json("Reports/BankSummary", days))
    for account, expected in books.bank(week).items():
        assert rows[account]["Opening Balance"] == expected.opening_balance
        assert rows[account]["Cash Received"] == expected.cash_received
        assert rows[account]["Closing Balance"] == expected.closing_balance


def test_an_edit_changes_the_weeks_figures_by_its_amount(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK)
    invoice = next(
        document
        for document in books.documents(WEEK)
        if document.kind is DocumentKind.SALE and document.tax is TaxTreatment.EXCLUSIVE and not document.rate
    )
    mock.edit_invoice(TENANT, invoice.id, change=Decimal("123.45"))
    after = books.profit_and_loss(WEEK)
    assert after.total_trading_income - before.total_trading_income == Decimal("123.45")
    assert after.net_profit - before.net_profit == Decimal("123.45")
    assert_figures_agree(client, WEEK)


def test_an_edit_of_a_tax_inclusive_invoice_counts_without_its_tax(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK).total_trading_income
    invoice = next(
        document
        for document in books.documents(WEEK)
        if document.kind is DocumentKind.SALE
        and document.tax is TaxTreatment.INCLUSIVE
        and document.lines[0].tax
        and document.status.is_counted
    )
    mock.edit_invoice(TENANT, invoice.id, change=Decimal("110.00"))
    change = books.profit_and_loss(WEEK).total_trading_income - before
    assert abs(change - 100) <= Decimal("0.01")
    assert_figures_agree(client, WEEK)


def test_a_voided_invoice_no_longer_counts_but_stays_in_the_list(mock: MockXero, client: Client) -> None:
    invoice = find_document(mock)
    amount = Decimal(sum(invoice.base_net(line) for line in invoice.lines)) / 100
    before = mock.books(TENANT).profit_and_loss(WEEK).total_trading_income
    mock.void_invoice(TENANT, invoice.id)
    assert before - mock.books(TENANT).profit_and_loss(WEEK).total_trading_income == amount
    listed = next(document for document in list_documents(client, WEEK) if document.get("InvoiceID") == invoice.id)
    assert listed["Status"] == "VOIDED"
    assert len(listed["LineItems"]) == len(invoice.lines)
    assert_figures_agree(client, WEEK)


def test_moving_an_invoice_moves_its_amount_to_the_other_week(mock: MockXero, client: Client) -> None:
    books, other = mock.books(TENANT), WEEK.shift(-3)
    invoice = find_document(mock)
    amount = Decimal(sum(invoice.base_net(line) for line in invoice.lines)) / 100
    before = [books.profit_and_loss(week).total_trading_income for week in (WEEK, other)]
    mock.move_invoice(TENANT, invoice.id, other.start)
    after = [books.profit_and_loss(week).total_trading_income for week in (WEEK, other)]
    assert [b - a for b, a in zip(before, after, strict=True)] == [amount, -amount]
    assert invoice.id not in {document.get("InvoiceID") for document in list_documents(client, WEEK)}
    assert invoice.id in {document.get("InvoiceID") for document in list_documents(client, other)}
    assert_figures_agree(client, WEEK)
    assert_figures_agree(client, other)


def test_a_back_dated_invoice_counts_in_its_week_and_revenue_cell(mock: MockXero, client: Client) -> None:
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
    assert client.get_json(f"Invoices/{invoice_id}")["Invoices"][0]["Total"] == 1100
    assert_figures_agree(client, WEEK)


def test_a_credit_note_reduces_income(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK).total_trading_income
    note = mock.add_credit_note(TENANT, date=WEEK.ending, lines=[MockLine(Decimal("250.00"), region="East")])
    assert books.profit_and_loss(WEEK).total_trading_income == before - 250
    assert_figures_agree(client, WEEK)
    mock.void_credit_note(TENANT, note)
    assert books.profit_and_loss(WEEK).total_trading_income == before


def test_a_foreign_invoice_counts_in_base_currency_with_each_line_rounded_to_the_cent(
    mock: MockXero, client: Client
) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK).total_trading_income
    lines = [MockLine(Decimal("100.00")), MockLine(Decimal("0.01"))]
    mock.add_invoice(TENANT, date=WEEK.start, lines=lines, currency="USD", rate=Decimal("0.7500"))
    assert books.profit_and_loss(WEEK).total_trading_income - before == Decimal("133.34")
    assert_figures_agree(client, WEEK)


def test_a_bill_is_a_cost_and_not_revenue(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = books.profit_and_loss(WEEK)
    mock.add_invoice(
        TENANT, kind=DocumentKind.BILL, date=WEEK.start, lines=[MockLine(Decimal("80.00"), account_code="310")]
    )
    after = books.profit_and_loss(WEEK)
    assert after.cost_of_sales - before.cost_of_sales == 80
    assert after.total_trading_income == before.total_trading_income
    assert_figures_agree(client, WEEK)


def test_a_payment_changes_the_bank_and_every_later_balance(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    bank = books.account_id("090")
    before = books.bank(WEEK)[bank], books.bank(WEEK.shift(2))[bank]
    mock.add_invoice(TENANT, date=WEEK.start, lines=[MockLine(Decimal("500.00"))], paid_on=WEEK.ending)
    after = books.bank(WEEK)[bank], books.bank(WEEK.shift(2))[bank]
    assert after[0].cash_received - before[0].cash_received == 550
    assert after[0].opening_balance == before[0].opening_balance
    assert after[1].opening_balance - before[1].opening_balance == 550
    assert_figures_agree(client, WEEK)
    assert_figures_agree(client, WEEK.shift(2))


def test_voiding_an_invoice_removes_its_payment(mock: MockXero, client: Client) -> None:
    paid = find_document(mock, status=DocumentStatus.PAID, week=WEEK.shift(-8))
    assert paid.paid_on is not None
    later = Week.containing(paid.paid_on)
    mock.void_invoice(TENANT, paid.id)
    assert_figures_agree(client, later)
    assert_figures_agree(client, later.shift(1))


def test_an_edited_invoice_is_listed_as_modified_since_its_edit(
    mock: MockXero, client: Client, clock: FakeClock
) -> None:
    invoice = find_document(mock, week=WEEK.shift(-30))
    clock.advance(minutes=20)
    mock.edit_invoice(TENANT, invoice.id, change=Decimal("1.00"))

    def list_modified(since: str) -> list[str]:
        listed = client.get_json("Invoices", {"page": 1}, headers={"If-Modified-Since": since})["Invoices"]
        return [document["InvoiceID"] for document in listed]

    assert list_modified(f"{clock.now():%Y-%m-%dT%H:%M:%S}") == [invoice.id]
    assert list_modified(f"{clock.now() + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}") == []
    listed = client.get_json(f"Invoices/{invoice.id}")["Invoices"][0]
    assert listed["UpdatedDateUTC"] == f"/Date({int(clock.now().timestamp() * 1000)}+0000)/"


def test_an_edit_gives_the_lines_new_ids(mock: MockXero, client: Client, clock: FakeClock) -> None:
    invoice = find_document(mock)

    def ids() -> set[str]:
        return {line["LineItemID"] for line in client.get_json(f"Invoices/{invoice.id}")["Invoices"][0]["LineItems"]}

    before = ids()
    clock.advance(seconds=1)
    mock.edit_invoice(TENANT, invoice.id, change=Decimal("1.00"))
    assert not before & ids()


def test_an_impossible_edit_is_refused_and_changes_nothing(mock: MockXero, client: Client) -> None:
    invoice, line = find_document(mock), MockLine(Decimal("1.00"))
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


def test_reset_restores_the_original_books_and_ends_tokens(mock: MockXero, client: Client) -> None:
    before = mock.books(TENANT).profit_and_loss(WEEK)
    mock.void_invoice(TENANT, find_document(mock).id)
    mock.reset()
    assert mock.books(TENANT).profit_and_loss(WEEK) == before
    assert client.get("Organisation").status_code == 401


def test_with_payments_touch_documents_a_paid_invoice_is_listed_as_modified(tmp_path: Path, clock: FakeClock) -> None:
    organisation = MockOrganisation(payments_touch_documents=True)
    mock = MockXero(tmp_path / "mock.db", clock, limits=UNLIMITED, organisations=(organisation,))
    client = Client(mock).sign_in()
    today = mock.books(TENANT).today
    since = {"If-Modified-Since": f"{clock.now() - timedelta(days=2):%Y-%m-%dT%H:%M:%S}"}
    listed = client.get_json("Invoices", {"page": 1, "pageSize": 1000}, headers=since)["Invoices"]
    old = [document for document in listed if document["DateString"] < f"{today - timedelta(days=7)}"]
    assert old
    assert {document["Status"] for document in old} == {"PAID"}
    assert len(old) < len(listed)
    client.session.close()


edits = st.lists(
    st.tuples(
        st.sampled_from(["edit", "void", "delete", "move", "add", "credit", "pay", "draft"]),
        st.integers(0, 70),
        st.integers(-9, 1),
        st.decimals(-500, 5000, places=2),
    ),
    min_size=2,
    max_size=5,
)


# Each example continues with the edits of the examples before it.
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits)
def test_after_any_edits_the_mocks_answers_match_the_books(
    mock: MockXero, client: Client, chosen_edits: list[tuple[str, int, int, Decimal]]
) -> None:
    touched = {WEEK}
    for edit, index, shift, amount in chosen_edits:
        week = WEEK.shift(shift)
        sales = [document for document in mock.books(TENANT).documents(week) if document.kind is DocumentKind.SALE]
        document = sales[index % len(sales)]
        touched |= {week, Week.containing(document.paid_on or document.date)}
        line = MockLine(amount, revenue_type="Commercial")
        if edit == "edit":
            mock.edit_invoice(TENANT, document.id, change=amount)
        elif edit == "void":
            mock.void_invoice(TENANT, document.id)
        elif edit == "delete":
            mock.delete_invoice(TENANT, document.id)
        elif edit == "move":
            mock.move_invoice(TENANT, document.id, week.start - timedelta(days=index))
            touched.add(Week.containing(week.start - timedelta(days=index)))
        elif edit == "add":
            mock.add_invoice(TENANT, date=week.start, lines=[line])
        elif edit == "credit":
            mock.add_credit_note(TENANT, date=week.start, lines=[line], paid_on=week.ending)
        elif edit == "pay":
            mock.edit_invoice(TENANT, document.id, status=DocumentStatus.PAID)
        else:
            mock.edit_invoice(TENANT, document.id, status=DocumentStatus.DRAFT)
    for week in touched:
        assert_figures_agree(client, week)
