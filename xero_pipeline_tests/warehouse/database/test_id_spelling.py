"""The migration to one spelling of Xero's ids: no row is lost, none is there twice, no figure is restated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from xero_pipeline.warehouse.database import migrating
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.migrating import migrate

ONE, TWO = "0f2e4b1a-9c3d-4e5f-8a7b-6c5d4e3f2a1b", "aaaaaaaa-9c3d-4e5f-8a7b-6c5d4e3f2a1b"
PROVENANCE = "'xero_api', 'AUD', '2026-11-24 01:00:00.000000'"


@pytest.fixture
def older(database_url: str) -> Iterator[Engine]:
    """A database as the version before left it."""
    engine = open_engine(database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(migrating.__file__).parents[1] / "migrations"))
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "version_table": migrating.VERSION_TABLE}
        command.upgrade(config, "0006")
    yield engine
    engine.dispose()


def insert_line(engine: Engine, week: str, account_id: str, amount: int) -> None:
    execute(
        engine,
        f"INSERT INTO financial_weekly_lines VALUES ('T-1', '{week}', '{account_id}', '200', 'Sales', 'REVENUE', "
        f"'trading_income', {amount}, {PROVENANCE})",
    )


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def read(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_ids_in_other_capitals_are_written_in_lower_case(older: Engine) -> None:
    for week in ("2026-11-14", "2026-11-21"):
        insert_line(older, week, ONE.upper(), 700)
        insert_line(older, week, TWO, 800)
        insert_line(older, week, "FXGROUPID", 900)
    execute(
        older,
        f"INSERT INTO cash_position_weekly VALUES ('T-1', '2026-11-21', '{ONE.upper()}', 'Cheque', 0, 0, 0, 0, 0, "
        f"{PROVENANCE})",
    )
    execute(
        older,
        "INSERT INTO restatements (tenant_id, week_ending, table_name, row_key, row_name, column_name, restated_at) "
        f"VALUES ('T-1', '2026-11-21', 'cash_position_weekly', '{ONE.upper()}', 'Cheque', 'cash_spent', "
        "'2026-11-24 01:00:00.000000'), ('T-1', '2026-11-21', 'revenue_weekly', 'Retail / North', 'Retail / North', "
        "'tax', '2026-11-24 01:00:00.000000')",
    )
    execute(
        older,
        f"INSERT INTO synced_documents VALUES ('T-1', '{ONE.upper()}', '2026-11-21', 'x', '{{}}', "
        "'2026-11-24 01:00:00.000000')",
    )
    migrate(older)
    query = "SELECT account_id, count(*) FROM financial_weekly_lines GROUP BY account_id"
    assert sorted(read(older, query)) == sorted([(ONE, 2), (TWO, 2), ("FXGROUPID", 2)])
    assert read(older, "SELECT tenant_id, bank_account_id FROM cash_position_weekly") == [("T-1", ONE)]
    assert read(older, "SELECT row_key FROM restatements ORDER BY id") == [(ONE,), ("Retail / North",)]
    assert read(older, "SELECT document_id FROM synced_documents") == [(ONE,)]


def test_a_row_that_somebody_inserted_in_another_spelling_stays_visible(older: Engine) -> None:
    insert_line(older, "2026-11-21", ONE, 700)
    insert_line(older, "2026-11-21", ONE.upper(), 800)
    insert_line(older, "2026-11-21", TWO.upper(), 900)
    insert_line(older, "2026-11-21", TWO.title(), 1000)
    migrate(older)
    ids = [str(row[0]) for row in read(older, "SELECT account_id FROM financial_weekly_lines")]
    assert sorted(account_id.lower() for account_id in ids) == [ONE, ONE, TWO, TWO]
    assert {ONE, ONE.upper(), TWO} <= set(ids)
