"""What becomes of a difference: what is searched, what is read again, and what is left over in the end."""

from __future__ import annotations

import pytest

from xero_pipeline.reconciliation.blocks import list_blocks
from xero_pipeline.warehouse.logs.reconciliations import ReconciliationKind
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.reconciliation.ledger_books import LedgerBooks, make_weeks


@pytest.fixture
def books(sqlite_warehouse: Warehouse) -> LedgerBooks:
    """A block of twelve weeks."""
    return LedgerBooks(sqlite_warehouse, make_weeks(12))


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
    (comparison,) = reconciler.compare(list_blocks(books.weeks), [ReconciliationKind.DOCUMENTS])
    assert not comparison.is_equal
