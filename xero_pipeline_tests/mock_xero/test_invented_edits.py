"""An organisation can have silent edits that its books make by themselves: the seed decides which and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from xero_pipeline.mock_xero import MockOrganisation, MockXero
from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.invented_edits import SilentEdit, list_silent_edits
from xero_pipeline.mock_xero.organisations import SYDNEY
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import TENANT, Client
from xero_pipeline_tests.mock_xero.conftest import UNLIMITED
from xero_pipeline_tests.mock_xero.test_edits import assert_figures_agree, list_documents

ORGANISATION = MockOrganisation(documents=10, silent_edits=True)
BEGIN = datetime(2025, 8, 31, tzinfo=UTC)
END = BEGIN + timedelta(weeks=52)


def list_edits_of_the_year(organisation: MockOrganisation = ORGANISATION) -> list[SilentEdit]:
    return [edit for edit in list_silent_edits(organisation, SYDNEY, END) if edit.made_at > BEGIN]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(BEGIN)


@pytest.fixture
def client(tmp_path: Path, clock: FakeClock) -> Iterator[Client]:
    mock = MockXero(tmp_path / "mock.db", clock, limits=UNLIMITED, organisations=(ORGANISATION,))
    client = Client(mock).sign_in()
    yield client
    client.session.close()


def test_a_year_has_a_few_edits_of_each_kind_all_in_weeks_that_were_long_over() -> None:
    edits = list_edits_of_the_year()
    kinds = Counter(edit.kind for edit in edits)
    assert kinds["retyped account"] == 1
    assert all(2 <= kinds[kind] <= 6 for kind in ("journal", "bank movement", "payroll"))
    for edit in edits:
        assert all(timedelta(weeks=6) <= edit.made_at.date() - entry.day for entry in edit.entries)
    assert len({entry.day for edit in edits for entry in edit.entries}) > 8


def test_the_seed_alone_decides_the_edits() -> None:
    assert list_edits_of_the_year(replace(ORGANISATION, name="Another", documents=80)) == list_edits_of_the_year()
    assert list_edits_of_the_year(replace(ORGANISATION, seed="another")) != list_edits_of_the_year()
    assert list_edits_of_the_year(replace(ORGANISATION, silent_edits=False)) == []


def test_each_edit_changes_its_weeks_from_its_moment_on_and_no_list_of_documents(
    client: Client, clock: FakeClock
) -> None:
    books = client.mock.books(TENANT)
    for edit in list_edits_of_the_year():
        days = [entry.day for entry in edit.entries] or [date(2025, 8, 20)]
        weeks = [Week(day + timedelta(days=(5 - day.weekday()) % 7)) for day in days]
        clock.moment = edit.made_at - timedelta(seconds=1)
        client.sign_in()
        before = [(books.profit_and_loss(week), books.bank(week), list_documents(client, week)) for week in weeks]
        clock.moment = edit.made_at
        for week, (profit, bank, documents) in zip(weeks, before, strict=True):
            assert list_documents(client, week) == documents
            if edit.account:
                assert books.chart[edit.account].type == edit.account_type
                assert books.profit_and_loss(week).net_profit == profit.net_profit
                assert books.profit_and_loss(week).gross_profit != profit.gross_profit
            else:
                credit = sum(entry.credit for entry in edit.entries if week.start <= entry.day <= week.ending)
                assert (books.profit_and_loss(week).net_profit - profit.net_profit) * 100 == credit != 0
            assert (books.bank(week) != bank) == (edit.kind == "bank movement")
            assert_figures_agree(client, week)
            assert_figures_agree(client, week.shift(1))


def test_a_bank_movement_changes_every_later_balance(client: Client, clock: FakeClock) -> None:
    books = client.mock.books(TENANT)
    operating = books.account_id(chart.OPERATING_BANK)
    edit = next(edit for edit in list_edits_of_the_year() if edit.kind == "bank movement")
    later = Week(date(2025, 8, 30))
    assert edit.entries[0].day < later.start
    clock.moment = edit.made_at - timedelta(seconds=1)
    client.sign_in()
    before = books.bank(later)[operating]
    clock.moment = edit.made_at
    after = books.bank(later)[operating]
    assert (after.opening_balance - before.opening_balance) * 100 == edit.entries[0].cash
    assert after.cash_spent == before.cash_spent
    assert after.closing_balance - before.closing_balance == Decimal(edit.entries[0].cash) / 100
    assert_figures_agree(client, later)


def test_a_type_that_a_command_gives_wins(client: Client, clock: FakeClock) -> None:
    (edit,) = [edit for edit in list_edits_of_the_year() if edit.account]
    client.mock.retype_account(TENANT, edit.account, "DEPRECIATN")
    clock.moment = END
    assert client.mock.books(TENANT).chart[edit.account].type == "DEPRECIATN"
