"""The schema: migrations make what the tables' definitions say, and nothing runs on any but the newest."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, func, inspect, select, text

import xero_pipeline.warehouse
from xero_pipeline.warehouse.database import migrating
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.migrating import latest_revision, migrate, require_current
from xero_pipeline.warehouse.errors import DatabaseUnavailable, NotMigrated
from xero_pipeline_tests import migrated
from xero_pipeline_tests.migrated import empty_postgres, make_tables
from xero_pipeline_tests.processes import forking


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def test_migrations_and_tables_say_the_same(engine: Engine) -> None:
    for module in pkgutil.walk_packages(xero_pipeline.warehouse.__path__, "xero_pipeline.warehouse."):
        if ".migrations." in module.name:
            continue  # only Alembic can import these
        # Whichever module defines tables: all of them hang on the one metadata.
        importlib.import_module(module.name)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_what_other_tests_begin_with_is_what_migrating_makes(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrated, "_statements", {})
    for how in ("migrated indeed", "what was noted of that said again", "put aside and taken back"):
        engine = open_engine(database_url.replace("warehouse.db", f"{how}.db"))
        if engine.dialect.name == "postgresql":
            empty_postgres(database_url)
            if how != "put aside and taken back":
                execute(engine, "DROP SCHEMA IF EXISTS put_aside CASCADE")
        make_tables(engine)
        require_current(engine)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO sync_cursors VALUES ('a', 'b', 'c', '2026-11-24 01:00:00.000000')",
        "SELECT nextval(pg_get_serial_sequence('xero_sync_logs', 'id'))",
        "ALTER TABLE financial_weekly DROP COLUMN net_profit CASCADE",
        "ALTER TABLE financial_weekly DROP CONSTRAINT pk_financial_weekly",
        "ALTER TABLE financial_weekly ALTER COLUMN net_profit DROP NOT NULL",
        "CREATE INDEX another ON financial_weekly (net_profit)",
        "DROP TABLE restatements CASCADE",
        "DELETE FROM alembic_version",
    ],
)
def test_whatever_a_test_does_the_next_one_begins_with_what_migrating_makes(postgres_url: str, change: str) -> None:
    engine = open_engine(postgres_url)
    make_tables(engine)
    execute(engine, change)
    empty_postgres(postgres_url)
    assert inspect(engine).get_table_names() == []
    make_tables(engine)
    require_current(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        for table in metadata.sorted_tables:
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
        begun = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL"
        assert connection.execute(text(begun)).all() == []
    engine.dispose()


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_the_tables_have_the_promised_names_columns_and_keys(engine: Engine) -> None:
    migrate(engine)
    stamp = {"data_source", "currency", "updated_at"}
    week = ("tenant_id", "week_ending")
    promised = {
        "xero_tokens": (
            ("tenant_id",),
            {
                "tenant_name",
                "connection_id",
                "grant_id",
                "access_token",
                "refresh_token",
                "id_token",
                "token_type",
            }
            | {"expires_at", "scope", "status", "connected_at", "refreshed_at", "last_sync_at", "updated_at"},
        ),
        "xero_sync_logs": (
            ("id",),
            {"tenant_id", "sync_type", "week_ending", "status", "record_count", "api_calls", "error_log"}
            | {"dagster_run_id", "started_at", "completed_at"},
        ),
        "financial_weekly": (
            week,
            {"basis", "total_trading_income", "cost_of_sales", "gross_profit", "other_income"}
            | {"operating_expenses", "net_profit"}
            | stamp,
        ),
        "financial_weekly_lines": (
            (*week, "account_id"),
            {"account_code", "account_name", "account_type", "category", "amount"} | stamp,
        ),
        "revenue_weekly": (
            (*week, "revenue_type", "region"),
            {"invoiced", "credited", "net_revenue", "tax", "invoice_count", "credit_note_count"} | stamp,
        ),
        "cash_position_weekly": (
            (*week, "bank_account_id"),
            {"bank_account_name", "opening_balance", "cash_received", "cash_spent", "currency_gain"}
            | {"closing_balance"}
            | stamp,
        ),
    }
    inspector = inspect(engine)
    for table, (key, others) in promised.items():
        assert tuple(inspector.get_pk_constraint(table)["constrained_columns"]) == key
        assert {column["name"] for column in inspector.get_columns(table)} == {*key, *others}
    assert inspector.get_view_names() == ["weekly_summary"]


def test_a_database_that_was_not_migrated_is_refused_and_stays_as_it_is(database_url: str, engine: Engine) -> None:
    with pytest.raises(NotMigrated, match="xero-pipeline migrate"):
        require_current(engine)
    if database_url.startswith("sqlite"):
        assert not Path(database_url.removeprefix("sqlite:///")).exists()
    else:
        assert inspect(engine).get_table_names() == []


def test_a_migrated_database_is_accepted_and_migrating_again_changes_nothing(engine: Engine) -> None:
    assert migrate(engine) == latest_revision()
    require_current(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO sync_cursors VALUES ('a', 'b', 'c', '2026-11-24 01:00:00.000000')"))
    assert migrate(engine) == latest_revision()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT value FROM sync_cursors")).scalar_one() == "c"


def test_a_newer_schema_is_refused_by_both_and_says_that_this_program_is_old(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (require_current, migrate):
        with pytest.raises(NotMigrated, match=r"9999.*newer version"):
            use(engine)


@pytest.fixture
def one_more_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package's own migrations and one that makes a table and then fails."""
    folder = tmp_path / "100% migrations"
    shutil.copytree(Path(migrating.__file__).parents[1] / "migrations", folder)
    script = folder / "versions" / "9000_next.py"
    script.write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = '9000', {latest_revision()!r}\n"
        "def upgrade():\n"
        "    op.create_table('next', sa.Column('x', sa.Integer()))\n"
        "    op.execute('SELECT 1 FROM nowhere')\n"
    )
    monkeypatch.setattr(migrating, "_FOLDER", folder)
    migrating._revisions.cache_clear()
    yield script
    migrating._revisions.cache_clear()


def test_an_older_schema_is_refused_until_it_is_migrated(engine: Engine, request: pytest.FixtureRequest) -> None:
    older = migrate(engine)
    script = request.getfixturevalue("one_more_migration")
    with pytest.raises(NotMigrated, match=f"at schema {older}.*needs 9000.*xero-pipeline migrate"):
        require_current(engine)
    script.write_text(script.read_text().replace("nowhere", "next"))
    assert migrate(engine) == "9000"
    require_current(engine)


def test_a_migration_that_fails_halfway_leaves_the_schema_as_it_was(
    engine: Engine, request: pytest.FixtureRequest
) -> None:
    migrate(engine)
    before = sorted(inspect(engine).get_table_names())
    request.getfixturevalue("one_more_migration")
    with pytest.raises(Exception, match="nowhere"):
        migrate(engine)
    assert sorted(inspect(engine).get_table_names()) == before


def migrate_at_once(url: str, barrier: Barrier) -> None:
    engine = open_engine(url)
    barrier.wait(timeout=60)
    migrate(engine)
    require_current(engine)
    engine.dispose()


def test_processes_that_migrate_at_once_all_succeed(database_url: str) -> None:
    barrier = forking().Barrier(3)
    children = [forking().Process(target=migrate_at_once, args=(database_url, barrier)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0, 0, 0]


def test_a_server_that_is_not_there_is_unavailable_rather_than_unmigrated() -> None:
    engine = open_engine("postgresql+psycopg://someone:s3cret@127.0.0.1:1/books")
    for use in (require_current, migrate):
        with pytest.raises(DatabaseUnavailable) as caught:
            use(engine)
        assert "s3cret" not in str(caught.value)
    engine.dispose()


def test_what_a_server_sets_against_long_statements_does_not_cut_migrating_short(postgres_url: str) -> None:
    strict = open_engine(f"{postgres_url}?options=-c%20statement_timeout%3D100%20-c%20lock_timeout%3D100")
    holder = open_engine(postgres_url)
    with ThreadPoolExecutor() as pool:
        with holder.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrating._LOCK})
            migrated = pool.submit(migrate, strict)
            with pytest.raises(TimeoutError):
                migrated.result(0.5)
        assert migrated.result(30) == latest_revision()
    strict.dispose()
    holder.dispose()
