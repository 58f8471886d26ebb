"""Silent edits: they change the figures of their weeks, and no list of changed documents."""

from __future__ import annotations

import sqlite3
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from xero_pipeline.mock_xero import MockXero
from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.server import create_mock_app
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import TENANT, Client
from xero_pipeline_tests.mock_xero.test_edits import WEEK, assert_figures_agree, list_documents
from xero_pipeline_tests.mock_xero.test_server import serve


def test_a_journal_changes_its_weeks_profit_and_nothing_else(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before, bank = books.profit_and_loss(WEEK), books.bank(WEEK)
    documents = list_documents(client, WEEK)
    mock.post_journal(TENANT, date=WEEK.start, account_code="469", amount=Decimal("-1000.00"))
    after = books.profit_and_loss(WEEK)
    assert after.net_profit == before.net_profit - 1000
    assert after.operating_expenses == before.operating_expenses + 1000
    assert books.bank(WEEK) == bank
    assert list_documents(client, WEEK) == documents
    assert_figures_agree(client, WEEK)
    assert_figures_agree(client, WEEK.shift(1))


def test_a_bank_movement_changes_its_week_and_every_later_balance(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    operating = books.account_id(chart.OPERATING_BANK)
    week, later = books.bank(WEEK)[operating], books.bank(WEEK.shift(2))[operating]
    mock.add_bank_movement(TENANT, date=WEEK.ending, account_code="404", amount=Decimal("-12.34"))
    assert books.bank(WEEK)[operating].cash_spent == week.cash_spent + Decimal("12.34")
    assert books.bank(WEEK.shift(2))[operating].opening_balance == later.opening_balance - Decimal("12.34")
    for number in range(-1, 6):
        assert_figures_agree(client, WEEK.shift(number))


def test_a_payroll_run_moves_its_wages_to_another_week(mock: MockXero, client: Client) -> None:
    books, other = mock.books(TENANT), WEEK.shift(-2)
    here, there = books.profit_and_loss(WEEK).net_profit, books.profit_and_loss(other).net_profit
    mock.move_payroll(TENANT, from_date=WEEK.ending, to_date=other.start, amount=Decimal("5000.00"))
    assert books.profit_and_loss(WEEK).net_profit == here + 5000
    assert books.profit_and_loss(other).net_profit == there - 5000
    assert_figures_agree(client, WEEK)
    assert_figures_agree(client, other)


def test_a_retyped_account_changes_its_category_in_every_week_and_no_net_profit(mock: MockXero, client: Client) -> None:
    books = mock.books(TENANT)
    before = [books.profit_and_loss(WEEK.shift(-number)) for number in range(3)]
    mock.retype_account(TENANT, chart.BANK_FEES, "DIRECTCOSTS")
    after = [books.profit_and_loss(WEEK.shift(-number)) for number in range(3)]
    assert [one.net_profit for one in after] == [one.net_profit for one in before]
    assert all(now.cost_of_sales > then.cost_of_sales for now, then in zip(after, before, strict=True))
    [account] = [row for row in client.get_json("Accounts", {})["Accounts"] if row["Code"] == chart.BANK_FEES]
    assert (account["Type"], account["Class"]) == ("DIRECTCOSTS", "EXPENSE")
    assert_figures_agree(client, WEEK)


@pytest.mark.parametrize(
    ("resource", "method", "body"),
    [
        ("journals", "POST", {"date": "2026-11-03", "accountCode": "469", "amount": "-10.00"}),
        ("bank-movements", "POST", {"date": "2026-11-03", "accountCode": "404", "amount": "-10.00"}),
        ("payroll", "POST", {"from": "2026-11-03", "to": "2026-10-20", "amount": "10.00"}),
        ("accounts/404", "PATCH", {"type": "DIRECTCOSTS"}),
    ],
)
def test_the_control_api_makes_each_silent_edit(
    mock: MockXero, resource: str, method: str, body: dict[str, str]
) -> None:
    before = mock.books(TENANT).profit_and_loss(WEEK)
    with serve(create_mock_app(mock, with_control_api=True)) as address:
        answer = requests.request(method, f"{address}/mock/{TENANT}/{resource}", json=body, timeout=10)
    assert (answer.status_code, answer.json()) == (200, {"done": True})
    assert mock.books(TENANT).profit_and_loss(WEEK) != before


@pytest.mark.parametrize(
    "edit",
    [
        lambda mock: mock.post_journal(TENANT, date=date(2026, 11, 3), account_code="090", amount=Decimal(1)),
        lambda mock: mock.post_journal(TENANT, date=date(2000, 1, 1), account_code="469", amount=Decimal(1)),
        lambda mock: mock.post_journal(TENANT, date=date(2026, 11, 3), account_code="469", amount=Decimal("0.001")),
        lambda mock: mock.retype_account(TENANT, "404", "BANK"),
        lambda mock: mock.retype_account(TENANT, "404", "NONSENSE"),
        lambda mock: mock.retype_account(TENANT, "404", "WAGESEXPENSE"),
        lambda mock: mock.add_bank_movement(
            TENANT, date=date(2026, 11, 3), account_code="404", amount=Decimal(1), bank="404"
        ),
    ],
)
def test_an_impossible_silent_edit_is_refused(mock: MockXero, edit: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        edit(mock)  # type: ignore[operator]


def test_a_state_file_without_these_tables_keeps_its_tokens(tmp_path: Path, clock: FakeClock) -> None:
    first = MockXero(tmp_path / "state.db", clock)
    Client(first).sign_in()
    first.close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.executescript("DROP TABLE entries; DROP TABLE account_types; PRAGMA user_version = 1")
    second = MockXero(tmp_path / "state.db", clock)
    second.post_journal(TENANT, date=Week(date(2026, 11, 7)).start, account_code="469", amount=Decimal(-1))
    with sqlite3.connect(tmp_path / "state.db") as connection:
        assert connection.execute("SELECT count(*) FROM refresh_tokens WHERE revoked = 0").fetchone() == (1,)


def test_a_type_in_the_state_file_that_xero_does_not_have_is_an_expense(
    mock: MockXero, client: Client, tmp_path: Path
) -> None:
    mock.retype_account(TENANT, chart.BANK_FEES, "DIRECTCOSTS")
    mock.close()
    with sqlite3.connect(tmp_path / "mock-xero.db") as connection:
        connection.execute("UPDATE account_types SET type = 'WAGESEXPENSE'")
    [account] = client.get_json("Accounts", {"where": f'Code=="{chart.BANK_FEES}"'})["Accounts"]
    assert (account["Type"], account["Class"]) == ("EXPENSE", "EXPENSE")
    assert_figures_agree(client, WEEK)
