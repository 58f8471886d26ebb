"""xero-python's typed calls read the mock over HTTP, unchanged but for the address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import requests
from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient
from xero_python.api_client.configuration import Configuration
from xero_python.api_client.oauth2 import OAuth2Token
from xero_python.identity import IdentityApi

from xero_pipeline.mock_xero import MockOrganisation, MockXero
from xero_pipeline.mock_xero.server import create_mock_app
from xero_pipeline.weeks import Week
from xero_pipeline_tests.mock_xero.client import TENANT
from xero_pipeline_tests.mock_xero.test_server import serve, sign_in

WEEK = Week(date(2026, 11, 14))
DAYS = {"from_date": WEEK.start.isoformat(), "to_date": WEEK.ending.isoformat()}
WHERE = "Date>=DateTime(2026, 11, 08) AND Date<DateTime(2026, 11, 15)"


@dataclass
class TypedClient:
    """The two APIs of xero-python as its documentation builds them, with a token of the mock."""

    accounting: AccountingApi
    identity: IdentityApi


@pytest.fixture
def typed(mock: MockXero) -> Iterator[TypedClient]:
    with serve(create_mock_app(mock)) as address, requests.Session() as session:
        access_token = sign_in(address, session)["Authorization"].removeprefix("Bearer ")
        token = {"access_token": access_token, "token_type": "Bearer", "expires_in": 1800, "scope": ["openid"]}
        # Configuration() copies one hidden default, and takes its argument only the first time.
        configuration = Configuration()
        configuration.oauth2_token = OAuth2Token(client_id="app", client_secret="secret")
        client = ApiClient(configuration, pool_threads=1)
        client.oauth2_token_getter(lambda: {**token, "expires_at": 4_000_000_000, "refresh_token": "unused"})
        client.oauth2_token_saver(lambda _token: None)
        yield TypedClient(
            AccountingApi(client, base_url=f"{address}/api.xro/2.0"), IdentityApi(client, base_url=address)
        )
        client.rest_client.pool_manager.clear()
        client.pool.close()
        client.pool.join()


def read_column(report: Any, column: int = 1) -> dict[str, Decimal]:
    """A typed report's amounts of one column, by the text of the row's first cell."""
    rows = [row for section in report.reports[0].rows[1:] for row in section.rows or []]
    return {row.cells[0].value: Decimal(row.cells[column].value) for row in rows}


def test_the_connection_and_the_organisation(typed: TypedClient) -> None:
    (connection,) = typed.identity.get_connections()
    assert (connection.tenant_id, connection.tenant_name, connection.tenant_type) == (
        TENANT,
        "Mock Organisation",
        "ORGANISATION",
    )
    assert connection.created_date_utc.year == 2026
    (organisation,) = typed.accounting.get_organisations(TENANT).organisations
    assert organisation.organisation_id == MockOrganisation().organisation_id
    assert organisation.base_currency.value == "AUD"
    assert organisation.version == "AU"
    typed.identity.delete_connection(connection.id)
    assert typed.identity.get_connections() == []


def test_accounts_currencies_and_tracking_categories(mock: MockXero, typed: TypedClient) -> None:
    accounts = typed.accounting.get_accounts(TENANT).accounts
    chart = mock.books(TENANT).chart
    assert {account.code: account.type.value for account in accounts} == {
        code: account.type for code, account in chart.items()
    }
    banks = typed.accounting.get_accounts(TENANT, where='Type=="BANK"', order="Name DESC").accounts
    assert [bank.code for bank in banks] == ["091", "090"]
    (one,) = typed.accounting.get_account(TENANT, banks[0].account_id).accounts
    assert one.name == banks[0].name
    since = datetime(2026, 1, 1, tzinfo=UTC)
    assert typed.accounting.get_accounts(TENANT, if_modified_since=since).accounts == []
    currencies = typed.accounting.get_currencies(TENANT, order="Code ASC").currencies
    assert [currency.code.value for currency in currencies][:2] == ["AUD", "CAD"]
    categories = typed.accounting.get_tracking_categories(TENANT, include_archived=True).tracking_categories
    assert [(category.name, len(category.options)) for category in categories] == [("Revenue Type", 3), ("Region", 4)]
    (region,) = typed.accounting.get_tracking_category(TENANT, categories[1].tracking_category_id).tracking_categories
    assert [option.name for option in region.options] == ["North", "South", "East", "West"]


def test_invoices_and_credit_notes(mock: MockXero, typed: TypedClient) -> None:
    documents = {document.id: document for document in mock.books(TENANT).documents(WEEK)}
    invoices = typed.accounting.get_invoices(TENANT, where=WHERE, page=1, page_size=1000)
    notes = typed.accounting.get_credit_notes(TENANT, where=WHERE, page=1, page_size=1000)
    assert invoices.pagination.item_count == len(invoices.invoices)
    read = {invoice.invoice_id: invoice for invoice in invoices.invoices} | {
        note.credit_note_id: note for note in notes.credit_notes
    }
    assert read.keys() == documents.keys()
    for key, document in documents.items():
        assert read[key].date == document.date
        assert read[key].status == document.status.value
        assert read[key].updated_date_utc == document.updated_at
        assert len(read[key].line_items) == len(document.lines)
        assert sum(line.line_amount for line in read[key].line_items) * 100 == sum(
            line.amount for line in document.lines
        )
    first = invoices.invoices[0]
    (one,) = typed.accounting.get_invoice(TENANT, first.invoice_id).invoices
    assert one.total == first.total
    paid = typed.accounting.get_invoices(TENANT, where=WHERE, statuses=["PAID"], page=1, page_size=1000).invoices
    assert {invoice.status for invoice in paid} == {"PAID"}
    since = datetime(2026, 11, 20, tzinfo=UTC)
    changed = typed.accounting.get_invoices(TENANT, if_modified_since=since, page=1, page_size=1000).invoices
    assert changed
    assert all(invoice.updated_date_utc >= since for invoice in changed)


def test_the_profit_and_loss_and_the_bank_summary(mock: MockXero, typed: TypedClient) -> None:
    books = mock.books(TENANT)
    expected = books.profit_and_loss(WEEK)
    report = typed.accounting.get_report_profit_and_loss(TENANT, **DAYS, standard_layout=True, payments_only=False)
    amounts = read_column(report)
    assert amounts["Gross Profit"] == expected.gross_profit
    assert amounts["Net Profit"] == expected.net_profit
    regions = typed.accounting.get_tracking_categories(TENANT).tracking_categories[1]
    by_region = typed.accounting.get_report_profit_and_loss(
        TENANT, **DAYS, tracking_category_id=regions.tracking_category_id
    )
    titles = [cell.value for cell in by_region.reports[0].rows[0].cells]
    assert titles == ["", "North", "South", "East", "West", "Unassigned", "Total"]
    assert read_column(by_region, 6) == amounts
    banks = read_column(typed.accounting.get_report_bank_summary(TENANT, **DAYS), -1)
    assert sum(movement.closing_balance for movement in books.bank(WEEK).values()) == banks["Total"]
