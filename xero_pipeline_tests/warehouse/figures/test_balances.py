"""Balances that differ between two weeks reveal a back-dated payment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pandas as pd
import pytest

from xero_pipeline.warehouse.figures.balances import find_weeks_with_old_balances
from xero_pipeline.warehouse.figures.weekly import replace_cash
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables

LAST = Week(date(2026, 11, 21))
WEEKS = [LAST.shift(-4), LAST.shift(-3), LAST.shift(-2), LAST.shift(-1), LAST]


class Book:
    """The weeks of one bank account, as runs have read them."""

    def __init__(self, warehouse: Warehouse, clock: FakeClock) -> None:
        self._warehouse = warehouse
        self._clock = clock

    def read(self, run: str, weeks: Sequence[Week], opening: str, move: str) -> None:
        """Land these weeks as that run. Each week changes the balance by `move`."""
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
                lambda connection, provenance, frame=frame: replace_cash(connection, provenance, frame),
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
    def old_weeks(self) -> tuple[Week, Week] | None:
        return find_weeks_with_old_balances(self._warehouse.engine, "t")


@pytest.fixture
def book(database_url: str, clock: FakeClock) -> Book:
    warehouse = Warehouse.open(database_url, [b"k" * 32], clock)
    make_tables(warehouse.engine)
    yield Book(warehouse, clock)  # type: ignore[misc]
    warehouse.close()


def test_weeks_whose_balances_agree_are_not_read_again(book: Book) -> None:
    book.read("first", WEEKS, "100.00", "10.00")
    assert book.old_weeks is None


def test_every_week_after_one_that_was_read_again_with_another_closing_balance_is_old(book: Book) -> None:
    book.read("first", WEEKS, "100.00", "10.00")
    book.read("edit", [WEEKS[1]], "110.00", "25.00")
    assert book.old_weeks == (WEEKS[2], WEEKS[-1])
    book.read("balances", WEEKS[2:], "135.00", "10.00")
    assert book.old_weeks is None


def test_of_two_weeks_that_differ_the_one_read_first_is_old(book: Book) -> None:
    book.read("first", WEEKS, "100.00", "10.00")
    book.read("daily", WEEKS[3:], "135.00", "10.00")
    assert book.old_weeks == (WEEKS[2], WEEKS[2])


def test_two_weeks_that_one_run_has_read_are_accepted_even_if_they_differ(book: Book) -> None:
    book.read("first", WEEKS[:3], "100.00", "10.00")
    book.read("first", WEEKS[3:], "999.00", "10.00")
    assert book.old_weeks is None


def test_a_missing_week_makes_no_week_old(book: Book) -> None:
    book.read("first", WEEKS[:2], "100.00", "10.00")
    book.read("second", WEEKS[3:], "500.00", "10.00")
    assert book.old_weeks is None


def test_weeks_that_differ_in_xero_too_are_not_read_for_ever(book: Book) -> None:
    book.read("first", WEEKS[:2], "100.00", "10.00")
    book.read("second", WEEKS[2:], "500.00", "10.00")
    read: list[tuple[Week, Week]] = []
    while (old := book.old_weeks) is not None:
        read.append(old)
        assert len(read) < 4
        first, opening = (WEEKS[1], "110.00") if old[0] == WEEKS[1] else (WEEKS[2], "500.00")
        book.read(f"again-{len(read)}", [week for week in WEEKS if old[0] <= week <= old[1]], opening, "10.00")
        assert old[0] == first
    assert read == [(WEEKS[1], WEEKS[1])]
