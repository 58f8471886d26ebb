"""The schema: migrations create what the tables' definitions say, and only the newest schema is accepted."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, inspect, select, text

import xero_pipeline.warehouse
from xero_pipeline.warehouse.database import migrating
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.migrating import VERSION_TABLE, latest_revision, migrate, require_current
from xero_pipeline.warehouse.errors import DatabaseUnavailable, NotMigrated
from xero_pipeline_tests import migrated
from xero_pipeline_tests.migrated import empty_postgres, make_tables
from xero_pipeline_tests.processes import get_fork_context

# Alembic leaves its own table out of the comparison, if it knows its name.
COMPARED = {"version_table": VERSION_TABLE}


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def compare(context: MigrationContext) -> list[Any]:
    """How the database differs from the defined tables. The comments are those of the data dictionary."""
    found = [*compare_metadata(context, metadata)]
    flat = [change for group in found for change in (group if isinstance(group, list) else [group])]
    return [change for change in flat if "comment" not in change[0]]


def test_migrations_create_the_defined_tables(engine: Engine) -> None:
    for module in pkgutil.walk_packages(xero_pipeline.warehouse.__path__, "xero_pipeline.warehouse."):
        if ".migrations." in module.name:
            continue  # only Alembic can import these
        # Import every module, so that all tables are registered with the metadata.
        importlib.import_module(module.name)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts=COMPARED | {"compare_type": True, "compare_server_default": True}
        )
        assert compare(context) == []


def test_the_tables_of_other_tests_equal_the_migrated_ones(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrated, "_statements", {})
    for source in ("migrated", "recorded statements", "put aside and taken back"):
        engine = open_engine(database_url.replace("warehouse.db", f"{source}.db"))
        if engine.dialect.name == "postgresql":
            empty_postgres(database_url)
            if source != "put aside and taken back":
                execute(engine, "DROP SCHEMA IF EXISTS put_aside CASCADE")
        make_tables(engine)
        require_current(engine)
        with engine.connect() as connection:
            assert compare(MigrationContext.configure(connection, opts=COMPARED)) == []
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
        "DELETE FROM xero_pipeline_alembic_version",
    ],
)
def test_every_test_begins_with_the_migrated_schema_whatever_the_previous_one_changed(
    postgres_url: str, change: str
) -> None:
    engine = open_engine(postgres_url)
    make_tables(engine)
    execute(engine, change)
    empty_postgres(postgres_url)
    assert inspect(engine).get_table_names() == []
    make_tables(engine)
    require_current(engine)
    with engine.connect() as connection:
        assert compare(MigrationContext.configure(connection, opts=COMPARED)) == []
        for table in metadata.sorted_tables:
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
        used_sequences = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL"
        assert connection.execute(text(used_sequences)).all() == []
    engine.dispose()


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_the_tables_have_the_promised_names_columns_and_keys(engine: Engine) -> None:
    migrate(engine)
    provenance = {"data_source", "currency", "updated_at"}
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
            | {"dagster_run_id", "started_at", "completed_at", "read_at", "figures_changed", "documents"},
        ),
        "financial_weekly": (
            week,
            {"basis", "total_trading_income", "cost_of_sales", "gross_profit", "other_income"}
            | {"operating_expenses", "net_profit"}
            | provenance,
        ),
        "financial_weekly_lines": (
            (*week, "account_id"),
            {"account_code", "account_name", "account_type", "category", "amount"} | provenance,
        ),
        "revenue_weekly": (
            (*week, "revenue_type", "region"),
            {"invoiced", "credited", "net_revenue", "tax", "invoice_count", "credit_note_count"} | provenance,
        ),
        "cash_position_weekly": (
            (*week, "bank_account_id"),
            {"bank_account_name", "opening_balance", "cash_received", "cash_spent", "currency_gain"}
            | {"closing_balance"}
            | provenance,
        ),
        "revenue_documents": (
            (*week, "document_id"),
            {"document_type", "document_number", "document_date", "status", "contact_id", "contact_name"}
            | {"document_currency", "currency_rate", "net", "tax", "xero_url"}
            | provenance,
        ),
        "revenue_document_lines": (
            (*week, "document_id", "line_number"),
            {"account_code", "item_code", "revenue_type", "region", "net", "tax", "document_net"} | provenance,
        ),
    }
    for table in ("financial_weekly", "financial_weekly_lines", "cash_position_weekly"):
        (tenant, _, *rest), others = promised[table]
        promised[table.replace("weekly", "monthly")] = (tenant, "month_ending", *rest), others
    inspector = inspect(engine)
    for table, (key, others) in promised.items():
        assert tuple(inspector.get_pk_constraint(table)["constrained_columns"]) == key
        assert {column["name"] for column in inspector.get_columns(table)} == {*key, *others}
    # SQLite's amounts are text, so it has views with numbers as well.
    assert sorted(name for name in inspector.get_view_names() if not name.endswith("_numeric")) == [
        "monthly_summary",
        "organisations",
        "revenue_monthly",
        "weekly_comparison",
        "weekly_summary",
    ]


def test_an_unmigrated_database_is_refused_and_not_changed(database_url: str, engine: Engine) -> None:
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


def test_both_functions_refuse_a_newer_schema_and_ask_for_a_newer_version(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE xero_pipeline_alembic_version SET version_num = '9999'"))
    for use in (require_current, migrate):
        with pytest.raises(NotMigrated, match=r"9999.*newer version"):
            use(engine)


@pytest.fixture
def failing_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package's own migrations, and another one that creates a table and then fails."""
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
    migrating._list_revisions.cache_clear()
    yield script
    migrating._list_revisions.cache_clear()


def test_an_older_schema_is_refused_until_it_is_migrated(engine: Engine, request: pytest.FixtureRequest) -> None:
    older = migrate(engine)
    script = request.getfixturevalue("failing_migration")
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
    request.getfixturevalue("failing_migration")
    with pytest.raises(Exception, match="nowhere"):
        migrate(engine)
    assert sorted(inspect(engine).get_table_names()) == before


def migrate_as_releases_up_to_1_0_0(engine: Engine, revision: str) -> None:
    """Migrate to that revision with Alembic's usual name of the version table."""
    config = Config()
    config.set_main_option("script_location", str(migrating._FOLDER))
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "version_table": "alembic_version"}
        command.upgrade(config, revision)


def read_versions(engine: Engine, table: str) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT version_num FROM {table} ORDER BY 1")).scalars())


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005"])
def test_the_version_of_an_older_release_is_carried_over(engine: Engine, revision: str) -> None:
    migrate_as_releases_up_to_1_0_0(engine, revision)
    execute(engine, "INSERT INTO sync_cursors VALUES ('a', 'b', 'c', '2026-11-24 01:00:00.000000')")
    with pytest.raises(NotMigrated, match=f"at schema {revision}, .*xero-pipeline migrate"):
        require_current(engine)
    assert migrate(engine) == latest_revision()
    require_current(engine)
    assert read_versions(engine, VERSION_TABLE) == [latest_revision()]
    assert "alembic_version" not in inspect(engine).get_table_names()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT value FROM sync_cursors")).scalar_one() == "c"


@pytest.mark.parametrize("others", ["29b539ebc72a", "0001", "0004"])
def test_another_programs_version_is_left_alone_even_if_it_is_named_as_one_of_ours(engine: Engine, others: str) -> None:
    execute(engine, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    execute(engine, f"INSERT INTO alembic_version VALUES ('{others}')")
    with pytest.raises(NotMigrated, match="has no tables yet"):
        require_current(engine)
    for _ in range(2):
        assert migrate(engine) == latest_revision()
        require_current(engine)
        assert read_versions(engine, "alembic_version") == [others]


@pytest.mark.parametrize("others", ["29b539ebc72a", "0001"])
def test_of_a_version_table_that_two_programs_share_only_our_row_is_taken(engine: Engine, others: str) -> None:
    migrate_as_releases_up_to_1_0_0(engine, "0003")
    execute(engine, f"INSERT INTO alembic_version VALUES ('{others}')")
    assert migrate(engine) == latest_revision()
    assert read_versions(engine, "alembic_version") == [others]
    require_current(engine)


def test_dagsters_storage_can_be_in_the_same_database(postgres_url: str) -> None:
    storage = pytest.importorskip("dagster_postgres").DagsterPostgresStorage
    engine = open_engine(postgres_url)
    address = postgres_url.replace("+psycopg", "")
    migrate_as_releases_up_to_1_0_0(engine, "0003")
    assert migrate(engine) == latest_revision()
    dagsters = storage(address, should_autocreate_tables=True)
    assert dagsters.run_storage.get_run_ids() == []
    assert migrate(engine) == latest_revision()
    require_current(engine)
    assert len(read_versions(engine, "alembic_version")) == 1
    for part in (dagsters.event_log_storage, dagsters.run_storage, dagsters.schedule_storage):
        part.dispose()
    engine.dispose()


def migrate_at_once(url: str, barrier: Barrier) -> None:
    engine = open_engine(url)
    barrier.wait(timeout=60)
    migrate(engine)
    require_current(engine)
    engine.dispose()


def test_processes_that_migrate_at_the_same_time_all_succeed(database_url: str) -> None:
    barrier = get_fork_context().Barrier(3)
    children = [get_fork_context().Process(target=migrate_at_once, args=(database_url, barrier)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0, 0, 0]


def test_a_missing_server_is_unavailable_and_not_unmigrated() -> None:
    engine = open_engine("postgresql+psycopg://someone:s3cret@127.0.0.1:1/books")
    for use in (require_current, migrate):
        with pytest.raises(DatabaseUnavailable) as caught:
            use(engine)
        assert "s3cret" not in str(caught.value)
    engine.dispose()


def test_a_servers_limits_for_long_statements_do_not_stop_a_migration(postgres_url: str) -> None:
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


def test_the_revisions_are_those_of_alembic_in_its_order() -> None:
    scripts = ScriptDirectory(str(Path(migrating.__file__).parents[1] / "migrations"))
    assert list(migrating._list_revisions()) == [script.revision for script in scripts.walk_revisions()]
