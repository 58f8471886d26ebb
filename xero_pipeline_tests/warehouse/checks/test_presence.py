"""Gaps, freshness and doubles where the tables or the log are not as one would think."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import text

from xero_pipeline.warehouse.checks.presence import adds_up_in_xero, fresh, no_duplicates, no_gaps
from xero_pipeline.warehouse.checks.revenue import revenue_matches_income
from xero_pipeline.warehouse.checks.snapshot import LandedWeek, WarehouseSnapshot, read_snapshot
from xero_pipeline.warehouse.checks.totals import lines_add_up
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import financial_weekly, financial_weekly_lines, revenue_weekly
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.warehouse.checks.books_given import LATEST, MIDDLE, TENANT, WEEKS, by_hand, land_books
from xero_pipeline_tests.warehouse.figures.figures_given import account, cash, cell, land_cash, land_revenue, revenue

ALL = (financial_weekly, financial_weekly_lines, revenue_weekly)


def gaps(warehouse: Warehouse, kind: SyncType = SyncType.INVOICES) -> list[Week]:
    return [finding.week for finding in no_gaps(read_snapshot(warehouse.engine), kind)]


def test_a_week_that_landed_without_a_row_is_no_gap(warehouse: Warehouse) -> None:
    land_books(warehouse)
    land_revenue(warehouse, revenue(), week=MIDDLE)
    assert gaps(warehouse) == []


def test_a_week_that_only_failed_is_a_gap(warehouse: Warehouse) -> None:
    land_books(warehouse, [week for week in WEEKS if week != MIDDLE])
    log_id = warehouse.log.start(TENANT, SyncType.INVOICES, MIDDLE, None)
    warehouse.log.fail(log_id, api_calls=1, error_log={"error": "xero_unavailable"})
    for kind in SyncType:
        assert gaps(warehouse, kind) == [MIDDLE]


def test_a_later_failure_takes_nothing_from_a_week_that_landed(warehouse: Warehouse) -> None:
    land_books(warehouse)
    log_id = warehouse.log.start(TENANT, SyncType.INVOICES, MIDDLE, None)
    warehouse.log.fail(log_id, api_calls=1, error_log={"error": "xero_unavailable"})
    assert gaps(warehouse) == []


def test_a_kind_that_began_later_than_the_others_lacks_the_weeks_before(warehouse: Warehouse) -> None:
    land_books(warehouse)
    by_hand(
        warehouse.engine,
        "DELETE FROM cash_position_weekly WHERE week_ending < :week",
        "DELETE FROM xero_sync_logs WHERE sync_type = 'bank_summary' AND week_ending < :week",
    )
    assert gaps(warehouse, SyncType.BANK_SUMMARY) == [week for week in WEEKS if week < MIDDLE]
    assert gaps(warehouse) == []


def test_a_gap_of_one_organisation_is_not_filled_by_another(warehouse: Warehouse) -> None:
    land_books(warehouse)
    land_books(warehouse, [week for week in WEEKS if week != MIDDLE], "org-2")
    found = no_gaps(read_snapshot(warehouse.engine), SyncType.INVOICES)
    assert [(finding.tenant_id, finding.week) for finding in found] == [("org-2", MIDDLE)]


def test_a_kind_of_which_nothing_ever_landed_has_no_gaps(warehouse: Warehouse) -> None:
    land_books(warehouse)
    by_hand(warehouse.engine, "DELETE FROM xero_sync_logs WHERE sync_type = 'invoices'", "DELETE FROM revenue_weekly")
    assert gaps(warehouse) == []


def test_an_empty_latest_week_is_fresh(warehouse: Warehouse) -> None:
    land_books(warehouse, WEEKS[:-1])
    due = {TENANT: LATEST}
    assert [one.week for one in fresh(read_snapshot(warehouse.engine), SyncType.INVOICES, due)] == [LATEST]
    land_revenue(warehouse, revenue(), week=LATEST)
    assert fresh(read_snapshot(warehouse.engine), SyncType.INVOICES, due) == []
    assert fresh(read_snapshot(warehouse.engine), SyncType.INVOICES, {TENANT: LATEST.shift(1)}) != []
    assert fresh(read_snapshot(warehouse.engine), SyncType.INVOICES, {}) == []


def test_the_newest_landing_says_whether_a_week_adds_up(warehouse: Warehouse) -> None:
    land_books(warehouse)
    land_revenue(warehouse, revenue(), week=MIDDLE, status="partial")
    assert [f.week for f in adds_up_in_xero(read_snapshot(warehouse.engine), SyncType.INVOICES)] == [MIDDLE]
    land_revenue(warehouse, revenue(), week=MIDDLE)
    assert adds_up_in_xero(read_snapshot(warehouse.engine), SyncType.INVOICES) == []


@pytest.mark.parametrize(
    "error_log",
    [
        None,
        [],
        {},
        "words",
        {"differences": None},
        {"differences": [1, "two", {}]},
        [{"where": "Net Profit", "stated": "not a number", "found": None}],
    ],
)
def test_a_partial_week_is_told_whatever_its_log_says(error_log: object) -> None:
    nothing: dict[SyncType, dict[tuple[str, Week], int]] = {kind: {} for kind in SyncType}
    landed = {kind: {(TENANT, MIDDLE): LandedWeek("partial", 2, error_log)} for kind in SyncType}
    (finding,) = adds_up_in_xero(WarehouseSnapshot({}, nothing, landed), SyncType.PROFIT_AND_LOSS)
    assert finding.key == (TENANT, MIDDLE)
    assert finding.sentence.endswith(".")


def test_each_difference_that_xero_states_is_a_finding(warehouse: Warehouse) -> None:
    land_books(warehouse)
    by_hand(
        warehouse.engine,
        'UPDATE xero_sync_logs SET status = \'partial\', error_log = \'{"notes": ["x"], "differences": '
        '[{"where": "a", "stated": "2.00", "found": "1.50"}, {"where": "b", "stated": "1", "found": "-1"}]}\' '
        "WHERE week_ending = :week AND sync_type = 'bank_summary'",
    )
    found = adds_up_in_xero(read_snapshot(warehouse.engine), SyncType.BANK_SUMMARY)
    assert [(finding.row, dict(finding.amounts)) for finding in found] == [
        ("a", {"stated": Decimal("2.00"), "found": Decimal("1.50")}),
        ("b", {"stated": Decimal("1.00"), "found": Decimal("-1.00")}),
    ]


def test_a_row_that_is_there_twice_without_a_primary_key_is_told_once(postgres_url: str, clock: FakeClock) -> None:
    """Somebody loaded a backup over the tables: every row is there twice, letter for letter."""
    warehouse = Warehouse.open(postgres_url, [bytes(32)], clock)
    make_tables(warehouse.engine)
    land_books(warehouse)
    with warehouse.engine.begin() as connection:
        for table in ALL:
            connection.execute(text(f"ALTER TABLE {table.name} DROP CONSTRAINT pk_{table.name}"))
            connection.execute(
                text(f"INSERT INTO {table.name} SELECT * FROM {table.name} WHERE week_ending = :w"),
                {"w": MIDDLE.ending},
            )
    held = read_snapshot(warehouse.engine, *ALL)
    found = no_duplicates(held, *ALL)
    assert len(found) == 1 + 6 + 2
    assert {finding.week for finding in found} == {MIDDLE}
    assert lines_add_up(held) == []
    assert revenue_matches_income(held) == []
    warehouse.close()


def test_options_that_differ_within_are_two_of_xeros_and_no_duplicate(warehouse: Warehouse) -> None:
    land_revenue(warehouse, revenue(cell("big shop", "north", "1.00"), cell("big  shop", "north", "1.00")))
    assert no_duplicates(read_snapshot(warehouse.engine, *ALL), *ALL) == []


def test_a_warehouse_that_never_landed_anything_fails_nothing(warehouse: Warehouse) -> None:
    held = read_snapshot(warehouse.engine, *ALL)
    for kind in SyncType:
        assert no_gaps(held, kind) == []
        assert adds_up_in_xero(held, kind) == []
    assert no_duplicates(held, *ALL) == []


def test_bank_accounts_count_each(warehouse: Warehouse) -> None:
    """A week lacks an account that landed; that a week later has fewer accounts by itself is no gap."""
    for week in WEEKS[:3]:
        land_cash(warehouse, cash(account("a", "0.00"), account("b", "0.00")), week=week)
    land_cash(warehouse, cash(account("a", "0.00")), week=WEEKS[2])
    assert gaps(warehouse, SyncType.BANK_SUMMARY) == []
    by_hand(
        warehouse.engine, f"DELETE FROM cash_position_weekly WHERE bank_account_id = 'a' AND week_ending = '{WEEKS[1]}'"
    )
    assert gaps(warehouse, SyncType.BANK_SUMMARY) == [WEEKS[1]]
