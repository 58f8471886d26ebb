"""Balances that do not hang together give away a payment that was dated back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pandas as pd
import pytest

from xero_pipeline.warehouse.figures.balances import weeks_with_old_balances
from xero_pipeline.warehouse.figures.weekly import replace_cash
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables

LAST = Week(date(2026, 11, 21))
WEEKS = [LAST.shift(-4), LAST.shift(-3), LAST.shift(-2), LAST.shift(-1), LAST]


class Book:
    """Weeks of one bank account, read by runs."""

    def __init__(self, warehouse: Warehouse, clock: FakeClock) -> None:
        self._warehouse = warehouse
        self._clock = clock

    def read(self, run: str, weeks: Sequence[Week], opening: str, move: str) -> None:
        """Land these weeks, each moving the balance by as much, as that run would."""
        balance = Decimal(opening)
        for week in weeks:
            self._clock.advance(seconds=1)
            log_id = self._warehouse.log.start("t", "bank_summary", week, run)
            row = {
                "bank_account_id": "a",
                "bank_account_name": "Bank",
                "opening_balance": balance,
                "cash_received": Decimal(move),
                "cash_spent": Decimal("0.00"),
                "currency_gain": Decimal("0.00"),
                "closing_balance": balance + Decimal(move),
            }
            frame = pd.DataFrame([row], dtype=object)
            self._warehouse.land(
                lambda connection, stamp, frame=frame: replace_cash(connection, stamp, frame),
                tenant_id="t",
                week=week,
                currency="AUD",
                data_source="xero_mock",
                run_id=run,
                log_id=log_id,
                status="success",
                api_calls=1,
            )
            balance += Decimal(move)

    @property
    def old(self) -> tuple[Week, Week] | None:
        return weeks_with_old_balances(self._warehouse.engine, "t")


@pytest.fixture
def book(database_url: str, clock: FakeClock) -> Book:
    warehouse = Warehouse.open(database_url, [b"k" * 32], clock)
    make_tables(warehouse.engine)
    yield Book(warehouse, clock)  # type: ignore[misc]
    warehouse.close()


def test_weeks_that_hang_together_are_left_alone(book: Book) -> None:
    book.read("first", WEEKS, "100.00", "10.00")
    assert book.old is None


def test_after_a_week_was_read_anew_with_another_closing_every_later_one_is_old(book: Book) -> None:
    book.read("first", WEEKS, "100.00", "10.00")
    book.read("edit", [WEEKS[1]], "110.00", "25.00")
    assert book.old == (WEEKS[2], WEEKS[-1])
    book.read("balances", WEEKS[2:], "135.00", "10.00")
    assert book.old is None


def test_a_week_that_was_read_before_the_one_after_it_is_the_old_one(book: Book) -> None:
    book.read("first", WEEKS, "100.00", "10.00")
    book.read("daily", WEEKS[3:], "135.00", "10.00")
    assert book.old == (WEEKS[2], WEEKS[2])


def test_two_weeks_of_one_run_are_as_xero_has_them_whether_they_fit_or_not(book: Book) -> None:
    book.read("first", WEEKS[:3], "100.00", "10.00")
    book.read("first", WEEKS[3:], "999.00", "10.00")
    assert book.old is None


def test_a_gap_breaks_no_chain(book: Book) -> None:
    book.read("first", WEEKS[:2], "100.00", "10.00")
    book.read("second", WEEKS[3:], "500.00", "10.00")
    assert book.old is None


def test_weeks_that_do_not_fit_in_xero_either_come_to_rest(book: Book) -> None:
    book.read("first", WEEKS[:2], "100.00", "10.00")
    book.read("second", WEEKS[2:], "500.00", "10.00")
    read: list[tuple[Week, Week]] = []
    while (old := book.old) is not None:
        read.append(old)
        assert len(read) < 4
        first, opening = (WEEKS[1], "110.00") if old[0] == WEEKS[1] else (WEEKS[2], "500.00")
        book.read(f"again-{len(read)}", [week for week in WEEKS if old[0] <= week <= old[1]], opening, "10.00")
        assert old[0] == first
    assert read == [(WEEKS[1], WEEKS[1])]
