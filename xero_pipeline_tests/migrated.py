"""A migrated database for tests that do not test the migrations.

Alembic takes longer to migrate than many tests run. So it migrates once for each kind of database, and afterwards the
recorded statements are executed again. `warehouse/database/test_migrating.py` tests the migrations.

With PostgreSQL these statements also take longer than many tests run. If a test has not changed the definitions of
the tables, they are emptied and put aside for the next test.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import NullPool

from xero_pipeline.warehouse.database.migrating import VERSION_TABLE, migrate

_statements: dict[str, list[str]] = {}

# The PostgreSQL schema that keeps the tables for the next test.
_ASIDE = "put_aside"
# Dropping the tables is faster than deleting more rows than this.
_MAX_DELETED_ROWS = 2_000
# A checksum of the tables' definitions. Every change except to rows writes a new version of some catalogue row.
_DEFINITION_CHECKSUM = text(
    """
    WITH ours AS (SELECT oid, xmin FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    SELECT md5(string_agg(entry, ' ' ORDER BY entry)) FROM (
        SELECT concat('class ', oid, ' ', xmin) AS entry FROM ours
        UNION ALL SELECT concat('column ', attrelid, ' ', attnum, ' ', a.xmin)
            FROM pg_attribute a JOIN ours ON attrelid = ours.oid
        UNION ALL SELECT concat('default ', d.oid, ' ', d.xmin) FROM pg_attrdef d JOIN ours ON adrelid = ours.oid
        UNION ALL SELECT concat('constraint ', c.oid, ' ', c.xmin) FROM pg_constraint c JOIN ours ON conrelid = ours.oid
        UNION ALL SELECT concat('index ', i.indexrelid, ' ', i.xmin) FROM pg_index i JOIN ours ON indrelid = ours.oid
        UNION ALL SELECT concat('trigger ', t.oid, ' ', t.xmin) FROM pg_trigger t JOIN ours ON tgrelid = ours.oid
        UNION ALL SELECT concat('rule ', r.oid, ' ', r.xmin) FROM pg_rewrite r JOIN ours ON ev_class = ours.oid
        UNION ALL SELECT concat('sequence ', seqrelid, ' ', s.xmin) FROM pg_sequence s JOIN ours ON seqrelid = ours.oid
        UNION ALL SELECT concat('function ', oid, ' ', xmin) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT concat('version ', version_num) FROM public.xero_pipeline_alembic_version
    ) AS entries
    """
)


def make_tables(engine: Engine) -> None:
    """Create the tables that `migrate` creates."""
    if inspect(engine).get_table_names():
        migrate(engine)
        return
    if engine.dialect.name == "postgresql" and _restore_tables(engine):
        return
    statements = _statements.get(engine.dialect.name)
    if statements is None:
        _statements[engine.dialect.name] = _migrate_and_record(engine)
    else:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            checksum = connection.execute(_DEFINITION_CHECKSUM).scalar_one()
            connection.execute(text(f"COMMENT ON SCHEMA public IS '{checksum}'"))


def empty_postgres(url: str) -> None:
    """End every other session of the database, as dropping it would require, and remove all tables."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        if _is_unchanged(connection) and _delete_rows(connection) <= _MAX_DELETED_ROWS:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {_ASIDE} CASCADE"))
            connection.execute(text(f"ALTER SCHEMA public RENAME TO {_ASIDE}"))
        else:
            connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


def _is_unchanged(connection: Connection) -> bool:
    checksum = connection.execute(text("SELECT obj_description('public'::regnamespace, 'pg_namespace')")).scalar_one()
    if not checksum or not inspect(connection).has_table(VERSION_TABLE):
        return False
    return bool(connection.execute(_DEFINITION_CHECKSUM).scalar_one() == checksum)


def _delete_rows(connection: Connection) -> int:
    """Delete all rows and reset the sequences. Returns the number of deleted rows."""
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    tables = inspect(connection).get_table_names()
    deleted = [connection.execute(text(f'DELETE FROM public."{name}"')) for name in tables if name != VERSION_TABLE]
    connection.execute(
        text(
            "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid"
            " WHERE relnamespace = 'public'::regnamespace"
        )
    )
    return sum(result.rowcount for result in deleted)


def _restore_tables(engine: Engine) -> bool:
    """Make the put-aside tables the current ones. Returns whether there were any."""
    with engine.begin() as connection:
        if connection.execute(text(f"SELECT to_regnamespace('{_ASIDE}')")).scalar_one() is None:
            return False
        connection.execute(text("DROP SCHEMA public"))
        connection.execute(text(f"ALTER SCHEMA {_ASIDE} RENAME TO public"))
    return True


def _migrate_and_record(engine: Engine) -> list[str]:
    statements: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.lstrip().upper().startswith(("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")):
            assert not parameters, statement
            statements.append(statement)

    event.listen(engine, "before_cursor_execute", record)
    try:
        migrate(engine)
    finally:
        event.remove(engine, "before_cursor_execute", record)
    return statements


def cut_sessions(engine: Engine) -> int:
    """End every other session of the test's database, wait until they are gone, and return their number."""
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    with engine.connect() as connection:
        ended = connection.execute(text(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"))
        return len(ended.all())
