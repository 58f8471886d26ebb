"""What becomes of a difference: what is searched, what is read again, and what is left over in the end."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from xero_pipeline.money import ZERO
from xero_pipeline.reconciliation import comparison, episode
from xero_pipeline.reconciliation.blocks import list_blocks
from xero_pipeline.reconciliation.comparison import Reading
from xero_pipeline.warehouse.logs.reconciliations import ReconciliationKind
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import WeekRange
from xero_pipeline_tests.ledger_xero import COSTS, RENT, SALES, WAGES, Posting
from xero_pipeline_tests.reconciliation.ledger_books import LedgerBooks, make_weeks


@pytest.fixture
def books(sqlite_warehouse: Warehouse) -> LedgerBooks:
    """A block of twelve weeks."""
    return LedgerBooks(sqlite_warehouse, make_weeks(12))


def move_wages(books: LedgerBooks, number: int, to: int) -> None:
    wages = next(one for one in books.xero.postings if one.account == WAGES and one.day in books.weeks[number])
    wages.day += timedelta(weeks=to - number)


def test_a_number_of_invoices_that_never_agrees_is_not_searched_again(books: LedgerBooks) -> None:
    books.client.extra_invoices = 1
    assert books.reconcile()["documents"].is_left_over
    assert books.reread
    assert books.reconcile()["documents"].is_left_over
    assert books.reread == []
    assert len(books.list_asked("invoices")) == 1


def test_without_calls_to_ask_about_each_block_the_number_of_invoices_is_not_called_equal(books: LedgerBooks) -> None:
    del books.xero.invoices[next(iter(books.xero.invoices))]
    reconciler = books.make_reconciler(may_ask=lambda: False)
    (documents,) = reconciler.compare(list_blocks(books.weeks), [ReconciliationKind.DOCUMENTS])
    assert not documents.is_equal


def test_what_is_known_is_left_out_of_the_search_for_what_is_new(books: LedgerBooks) -> None:
    books.xero.residue = Decimal("0.07")
    assert books.reconcile()["profit_and_loss"].is_left_over
    books.post(8, SALES, "10.00")
    row = books.reconcile()["profit_and_loss"]
    assert {week for week, _ in books.reread} == {books.weeks[8]}
    assert row.is_left_over
    assert [figure["difference"] for figure in row.difference["figures"]] == ["0.07"]


def test_a_known_difference_hides_no_payroll_that_has_moved(books: LedgerBooks) -> None:
    books.xero.residue = Decimal("0.07")
    books.reconcile()
    move_wages(books, 1, 4)
    books.reconcile()
    assert {week for week, _ in books.reread} == {books.weeks[1], books.weeks[4]}


def test_currency_gains_are_not_searched(books: LedgerBooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "CURRENCY_GAINS", RENT)
    books.xero.residue = Decimal("0.07")
    assert books.reconcile()["profit_and_loss"].is_left_over
    assert books.reread == []
    books.post(8, SALES, "10.00")
    books.reconcile()
    assert {week for week, _ in books.reread} == {books.weeks[8]}


def test_a_part_that_never_adds_up_is_left_over_and_is_no_difference_of_the_block(books: LedgerBooks) -> None:
    # Over a part of the block, Xero states another rent than the weeks add up to. The whole block is equal.
    books.client.part_residue = Decimal("0.50")
    row = books.reconcile()["profit_and_loss"]
    assert books.reread
    assert row.is_left_over
    assert row.difference["difference"] == "0.00"
    assert {figure["last_week"] for figure in row.difference["figures"]} == {str(books.weeks[5])}
    assert books.reconcile()["profit_and_loss"].is_left_over
    assert books.reread == [], "the part is known"
    books.client.part_residue = Decimal(0)
    books.xero.residue = Decimal("0.50")
    books.reconcile()
    assert books.reread, "what was known of the part is not known of the block"


def test_a_known_difference_stays_left_over_while_weeks_are_read_for_another_kind(books: LedgerBooks) -> None:
    books.client.extra_invoices = 1
    books.reconcile()
    week = books.weeks[5]
    books.post(5, SALES, "10.00")
    books.failing = {(week, "financial_weekly")}
    rows = books.reconcile()
    assert rows["documents"].is_left_over
    assert not rows["profit_and_loss"].is_left_over, "its week has not landed"


def test_the_bank_is_searched_once_the_weeks_of_the_other_kinds_have_been_read(books: LedgerBooks) -> None:
    books.post(5, SALES, "10.00", "10.00")
    done: set[Reading] = set()
    blocks = list_blocks(books.weeks)
    for _ in range(2):
        comparisons = books.make_reconciler(list_done=lambda _comparison, done=done: done).compare(blocks)
        bank = next(one for one in comparisons if one.kind is ReconciliationKind.BANK_SUMMARY)
        assert bank.is_searched is bool(done)
        assert not bank.is_left_over(done)
        done |= {reading for one in comparisons for reading in one.list_readings()}
    assert books.weeks[5] in bank.weeks_to_read


def test_balances_are_read_again_beside_a_movement_that_never_agrees(books: LedgerBooks) -> None:
    books.client.extra_received = Decimal("3.00")
    assert books.reconcile()["bank_summary"].is_left_over
    books.xero.postings.append(Posting(books.weeks[0].start - timedelta(days=30), SALES, ZERO, Decimal("9.00")))
    row = books.reconcile()["bank_summary"]
    assert {week for week, _ in books.reread} == set(books.weeks)
    assert {figure["figure"] for figure in row.difference["figures"]} == {"cash_received", "closing_balance"}


def test_old_balances_after_the_block_say_nothing_about_the_block(books: LedgerBooks) -> None:
    books.xero.postings.append(Posting(books.weeks[0].start - timedelta(days=30), SALES, ZERO, Decimal("9.00")))
    books.land(books.weeks[8:9], ["cash_position_weekly"])
    books.land(books.weeks[9:10], ["cash_position_weekly"])
    first = WeekRange(books.weeks[0], books.weeks[4])
    assert books.reconcile([first])["bank_summary"].is_proven


def test_what_was_not_read_in_all_rounds_is_not_left_over(books: LedgerBooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode, "MAX_ROUNDS", 0)
    books.post(5, SALES, "10.00")
    row = books.reconcile()["profit_and_loss"]
    assert not row.is_proven
    assert not row.is_left_over


def test_what_was_read_again_is_compared_again_whatever_it_was_read_for(books: LedgerBooks) -> None:
    def enter_money_unseen(_plans: object) -> None:
        # Somebody enters money in an older week while the weeks are read again.
        if not books.reread:
            books.post(2, SALES, "0.00", "5.00")

    books.post(8, SALES, "10.00")
    books.before_reading = enter_money_unseen
    assert books.reconcile()["bank_summary"].status.value == "mended"
    assert {(week, asset) for week, asset in books.reread if week == books.weeks[2]}


def test_a_block_whose_weeks_could_not_be_read_again_differs_though_its_total_is_equal(books: LedgerBooks) -> None:
    move_wages(books, 4, 7)
    books.failing = {(books.weeks[4], "financial_weekly")}
    row = books.reconcile()["profit_and_loss"]
    assert not row.is_proven
    assert not row.is_left_over
    books.failing = set()
    assert books.reconcile()["profit_and_loss"].status.value == "mended"
    books.xero.types[COSTS] = "EXPENSE"
    books.failing = {(week, "financial_weekly") for week in books.weeks}
    assert not books.reconcile()["profit_and_loss"].is_proven
