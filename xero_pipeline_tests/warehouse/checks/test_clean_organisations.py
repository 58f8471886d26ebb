"""What is summed up of rows that are not read again: every change of them changes the sum."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update

from xero_pipeline.assets.check_evaluation import evaluate_checks
from xero_pipeline.assets.checks import CHECK_GROUPS
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.checks.clean_organisations import compute_fingerprints, list_clean, save_clean
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.warehouse.checks.books_given import LATEST, TENANT, connect, execute_by_hand, land_books
from xero_pipeline_tests.warehouse.figures.figures_given import KEY

TABLES = {table.name: table for group in CHECK_GROUPS for table in group.tables}


@pytest.fixture
def warehouse(database_url: str, clock: Any) -> Iterator[Warehouse]:
    opened = Warehouse.open(database_url, [KEY], clock)
    make_tables(opened.engine)
    connect(opened)
    land_books(opened)
    yield opened
    opened.close()


def read_fingerprint(engine: Engine, rules: str = "rules") -> str:
    with engine.connect() as connection:
        return compute_fingerprints(connection, rules, list(TABLES.values()))[TENANT]


def test_a_change_of_any_column_of_any_row_changes_the_fingerprint(warehouse: Warehouse) -> None:
    found = [read_fingerprint(warehouse.engine), read_fingerprint(warehouse.engine, "other rules")]
    for table in TABLES.values():
        row = read_first_key(warehouse.engine, table)
        if row is None:
            continue
        key = [column == value for column, value in zip(table.primary_key, row, strict=True)]
        for column in table.columns:
            with warehouse.engine.begin() as connection:
                value = connection.execute(select(column).where(*key)).scalar_one()
            # `basis` and `category` have a few values each, which the database enforces.
            if column.primary_key or value is None or column.name in ("basis", "category"):
                continue
            change = (
                value + "x" if isinstance(value, str) else value + (timedelta(1) if isinstance(value, datetime) else 1)
            )
            with warehouse.engine.begin() as connection:
                connection.execute(update(table).where(*key).values({column.name: change}))
            found.append(read_fingerprint(warehouse.engine))
    assert len(set(found)) == len(found)
    assert len(found) > 25


def read_first_key(engine: Engine, table: Any) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(*table.primary_key).order_by(*table.primary_key).limit(1)).one_or_none()


def test_what_somebody_changes_by_hand_changes_the_fingerprint(warehouse: Warehouse) -> None:
    spend = "UPDATE cash_position_weekly SET cash_spent = '{}' WHERE week_ending = :{}"
    changes = [
        (spend.format("1.00", "week"), spend.format("2.00", "next")),
        # The weeks exchange the amounts, so all sums over them stay as they are.
        (spend.format("2.00", "week"), spend.format("1.00", "next")),
        ("UPDATE xero_sync_logs SET status = 'partial' WHERE week_ending = :week",),
        ("DELETE FROM revenue_weekly WHERE week_ending = :week",),
        ("DELETE FROM xero_sync_logs WHERE week_ending = :week",),
    ]
    found = {read_fingerprint(warehouse.engine)}
    for statements in changes:
        execute_by_hand(warehouse.engine, *statements)
        found.add(read_fingerprint(warehouse.engine))
    assert len(found) == 1 + len(changes)


def test_an_organisation_is_clean_only_with_the_fingerprint_that_was_saved_last(warehouse: Warehouse) -> None:
    now = warehouse.clock.now()
    save_clean(warehouse.engine, "checks", {TENANT: "a", "other": "b"}, [TENANT, "other"], now)
    save_clean(warehouse.engine, "checks", {TENANT: "c"}, [TENANT], now)
    with warehouse.engine.connect() as connection:
        assert list_clean(connection, "checks", {TENANT: "c", "other": "z"}) == {TENANT}
        assert list_clean(connection, "other checks", {TENANT: "c"}) == set()


@contextmanager
def collect_statements(engine: Engine) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_the_checks_of_a_run_do_not_read_again_what_they_found_in_order(warehouse: Warehouse, tmp_path: Path) -> None:
    settings = load_settings(XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(tmp_path))
    (group,) = [group for group in CHECK_GROUPS if group.step == "financial_weekly_checks"]

    def read_amounts() -> list[str]:
        with collect_statements(warehouse.engine) as statements:
            assert all(result.passed for result in evaluate_checks(group, group.rules, settings, warehouse, [LATEST]))
        # The hash of a row names its columns, too.
        return [one for one in statements if "financial_weekly_lines.amount" in one and "row_hash" not in one]

    (whole,) = read_amounts()
    assert "NOT IN" not in whole
    assert "week_ending >=" not in whole
    without_clean, recent = read_amounts()
    assert "NOT IN" in without_clean
    assert "week_ending >=" in recent
