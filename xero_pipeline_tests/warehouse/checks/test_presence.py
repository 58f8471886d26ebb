"""Gaps, freshness and duplicates with unusual tables or an unusual sync log."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import text

from xero_pipeline.warehouse.checks.presence import (
    check_adds_up_in_xero,
    check_fresh,
    check_no_duplicates,
    check_no_gaps,
)
from xero_pipeline.warehouse.checks.revenue import check_revenue_matches_income
from xero_pipeline.warehouse.checks.snapshot import LandedWeek, WarehouseSnapshot, read_snapshot
from xero_pipeline.warehouse.checks.totals import check_lines_add_up
from xero_pipeline.warehouse.logs.sync_log import WEEKLY_TYPES, SyncType
from xero_pipeline.warehouse.schema import financial_weekly, financial_weekly_lines, revenue_weekly
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.warehouse.checks.books_given import LATEST, MIDDLE, TENANT, WEEKS, execute_by_hand, land_books
from xero_pipeline_tests.warehouse.figures.figures_given import account, cash, cell, land_cash, land_revenue, revenue

ALL = (financial_weekly, financial_weekly_lines, revenue_weekly)


def gaps(warehouse: Warehouse, kind: SyncType = SyncType.INVOICES) -> list[Week]:
    return [violation.week for violation in check_no_gaps(read_snapshot(warehouse.engine), kind)]


def test_a_week_that_landed_without_a_row_is_no_gap(warehouse: Warehouse) -> None:
    land_books(warehouse)
    land_revenue(warehouse, revenue(), week=MIDDLE)
    assert gaps(warehouse) == []


def test_a_week_that_only_failed_is_a_gap(warehouse: Warehouse) -> None:
    land_books(warehouse, [week for week in WEEKS if week != MIDDLE])
    log_id = warehouse.log.start(TENANT, SyncType.INVOICES, MIDDLE, None)
    warehouse.log.fail(log_id, api_calls=1, error_log={"error": "xero_unavailable"})
    for kind in WEEKLY_TYPES:
        assert gaps(warehouse, kind) == [MIDDLE]


def test_a_landed_week_stays_landed_after_a_later_failure(warehouse: Warehouse) -> None:
    land_books(warehouse)
    log_id = warehouse.log.start(TENANT, SyncType.INVOICES, MIDDLE, None)
    warehouse.log.fail(log_id, api_calls=1, error_log={"error": "xero_unavailable"})
    assert gaps(warehouse) == []


def test_a_kind_that_began_later_than_the_others_has_gaps_before(warehouse: Warehouse) -> None:
    land_books(warehouse)
    execute_by_hand(
        warehouse.engine,
        "DELETE FROM cash_position_weekly WHERE week_ending < :week",
        "DELETE FROM xero_sync_logs WHERE sync_type = 'bank_summary' AND week_ending < :week",
    )
    assert gaps(warehouse, SyncType.BANK_SUMMARY) == [week for week in WEEKS if week < MIDDLE]
    assert gaps(warehouse) == []


def test_a_gap_of_one_organisation_is_not_filled_by_another(warehouse: Warehouse) -> None:
    land_books(warehouse)
    land_books(warehouse, [week for week in WEEKS if week != MIDDLE], "org-2")
    violations = check_no_gaps(read_snapshot(warehouse.engine), SyncType.INVOICES)
    assert [(violation.tenant_id, violation.week) for violation in violations] == [("org-2", MIDDLE)]


def test_a_kind_that_never_landed_has_no_gaps(warehouse: Warehouse) -> None:
    land_books(warehouse)
    execute_by_hand(
        warehouse.engine, "DELETE FROM xero_sync_logs WHERE sync_type = 'invoices'", "DELETE FROM revenue_weekly"
    )
    assert gaps(warehouse) == []


def test_an_empty_latest_week_is_fresh(warehouse: Warehouse) -> None:
    land_books(warehouse, WEEKS[:-1])
    due = {TENANT: LATEST}
    assert [violation.week for violation in check_fresh(read_snapshot(warehouse.engine), SyncType.INVOICES, due)] == [
        LATEST
    ]
    land_revenue(warehouse, revenue(), week=LATEST)
    assert check_fresh(read_snapshot(warehouse.engine), SyncType.INVOICES, due) == []
    assert check_fresh(read_snapshot(warehouse.engine), SyncType.INVOICES, {TENANT: LATEST.shift(1)}) != []
    assert check_fresh(read_snapshot(warehouse.engine), SyncType.INVOICES, {}) == []


def test_the_newest_landing_decides_whether_a_week_adds_up(warehouse: Warehouse) -> None:
    land_books(warehouse)
    land_revenue(warehouse, revenue(), week=MIDDLE, status="partial")
    assert [f.week for f in check_adds_up_in_xero(read_snapshot(warehouse.engine), SyncType.INVOICES)] == [MIDDLE]
    land_revenue(warehouse, revenue(), week=MIDDLE)
    assert check_adds_up_in_xero(read_snapshot(warehouse.engine), SyncType.INVOICES) == []


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
def test_a_partial_week_is_reported_whatever_its_error_log_contains(error_log: object) -> None:
    nothing: dict[SyncType, dict[tuple[str, Week], int]] = {kind: {} for kind in WEEKLY_TYPES}
    landed = {kind: {(TENANT, MIDDLE): LandedWeek("partial", 2, error_log)} for kind in WEEKLY_TYPES}
    (violation,) = check_adds_up_in_xero(WarehouseSnapshot({}, nothing, landed), SyncType.PROFIT_AND_LOSS)
    assert violation.key == (TENANT, MIDDLE)
    assert violation.sentence.endswith(".")


def test_each_difference_in_the_sync_log_is_a_violation(warehouse: Warehouse) -> None:
    land_books(warehouse)
    execute_by_hand(
        warehouse.engine,
        'UPDATE xero_sync_logs SET status = \'partial\', error_log = \'{"notes": ["x"], "differences": '
        '[{"where": "a", "stated": "2.00", "found": "1.50"}, {"where": "b", "stated": "1", "found": "-1"}]}\' '
        "WHERE week_ending = :week AND sync_type = 'bank_summary'",
    )
    violations = check_adds_up_in_xero(read_snapshot(warehouse.engine), SyncType.BANK_SUMMARY)
    assert [(violation.row, dict(violation.amounts)) for violation in violations] == [
        ("a", {"stated": Decimal("2.00"), "found": Decimal("1.50")}),
        ("b", {"stated": Decimal("1.00"), "found": Decimal("-1.00")}),
    ]


def test_a_row_that_occurs_twice_without_a_primary_key_is_reported_once(postgres_url: str, clock: FakeClock) -> None:
    """Somebody has loaded a backup over the tables, so every row occurs twice with the same spelling."""
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
    snapshot = read_snapshot(warehouse.engine, *ALL)
    violations = check_no_duplicates(snapshot, *ALL)
    assert len(violations) == 1 + 6 + 2
    assert {violation.week for violation in violations} == {MIDDLE}
    assert check_lines_add_up(snapshot) == []
    assert check_revenue_matches_income(snapshot) == []
    warehouse.close()


def test_options_that_differ_within_are_two_of_xeros_and_no_duplicate(warehouse: Warehouse) -> None:
    land_revenue(warehouse, revenue(cell("big shop", "north", "1.00"), cell("big  shop", "north", "1.00")))
    assert check_no_duplicates(read_snapshot(warehouse.engine, *ALL), *ALL) == []


def test_an_empty_warehouse_violates_no_rule(warehouse: Warehouse) -> None:
    snapshot = read_snapshot(warehouse.engine, *ALL)
    for kind in WEEKLY_TYPES:
        assert check_no_gaps(snapshot, kind) == []
        assert check_adds_up_in_xero(snapshot, kind) == []
    assert check_no_duplicates(snapshot, *ALL) == []


def test_each_missing_bank_account_is_a_gap(warehouse: Warehouse) -> None:
    """A week without one of its landed accounts has a gap. A later week that landed with fewer accounts has none."""
    for week in WEEKS[:3]:
        land_cash(warehouse, cash(account("a", "0.00"), account("b", "0.00")), week=week)
    land_cash(warehouse, cash(account("a", "0.00")), week=WEEKS[2])
    assert gaps(warehouse, SyncType.BANK_SUMMARY) == []
    execute_by_hand(
        warehouse.engine, f"DELETE FROM cash_position_weekly WHERE bank_account_id = 'a' AND week_ending = '{WEEKS[1]}'"
    )
    assert gaps(warehouse, SyncType.BANK_SUMMARY) == [WEEKS[1]]
