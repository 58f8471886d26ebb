"""A migrated database for tests that are about something else.

Alembic takes longer for it than many a test. So it does it once for each kind of database; from then on the
same statements are executed again. That migrating itself is right is `warehouse/database/test_migrating.py`'s matter.

PostgreSQL takes longer than many a test for these statements, too: there, tables that a test leaves as they were
made are put aside, emptied, for the next one.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import NullPool

from xero_pipeline.warehouse.database.migrating import migrate

_statements: dict[str, list[str]] = {}

# The schema in which tables wait for the next test.
_ASIDE = "put_aside"
# More rows than these are quicker dropped than deleted.
_MANY = 2_000
# Changes with whatever is done to the tables but to their rows: each row of the catalogue is written anew then.
_AS_IT_STANDS = text(
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
        UNION ALL SELECT concat('version ', version_num) FROM public.alembic_version
    ) AS entries
    """
)


def make_tables(engine: Engine) -> None:
    """Make of a database what `migrate` makes of it."""
    if inspect(engine).get_table_names():
        migrate(engine)
        return
    if engine.dialect.name == "postgresql" and _take_back(engine):
        return
    known = _statements.get(engine.dialect.name)
    if known is None:
        _statements[engine.dialect.name] = _migrate_and_note(engine)
    else:
        with engine.begin() as connection:
            for statement in known:
                connection.exec_driver_sql(statement)
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            made = connection.execute(_AS_IT_STANDS).scalar_one()
            connection.execute(text(f"COMMENT ON SCHEMA public IS '{made}'"))


def empty_postgres(url: str) -> None:
    """Cut whoever still holds the database, as dropping it would, and leave nothing in it."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        if _is_as_made(connection) and _delete_rows(connection) <= _MANY:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {_ASIDE} CASCADE"))
            connection.execute(text(f"ALTER SCHEMA public RENAME TO {_ASIDE}"))
        else:
            connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


def _is_as_made(connection: Connection) -> bool:
    said = connection.execute(text("SELECT obj_description('public'::regnamespace, 'pg_namespace')")).scalar_one()
    if not said or connection.execute(text("SELECT to_regclass('public.alembic_version')")).scalar_one() is None:
        return False
    return bool(connection.execute(_AS_IT_STANDS).scalar_one() == said)


def _delete_rows(connection: Connection) -> int:
    """Leave the tables as they were made: no rows, and numbers that begin anew. Answers how many rows there were."""
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    tables = inspect(connection).get_table_names()
    deleted = [connection.execute(text(f'DELETE FROM public."{name}"')) for name in tables if name != "alembic_version"]
    connection.execute(
        text(
            "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid"
            " WHERE relnamespace = 'public'::regnamespace"
        )
    )
    return sum(result.rowcount for result in deleted)


def _take_back(engine: Engine) -> bool:
    """Put the tables that are put aside where they belong; answers whether there were any."""
    with engine.begin() as connection:
        if connection.execute(text(f"SELECT to_regnamespace('{_ASIDE}')")).scalar_one() is None:
            return False
        connection.execute(text("DROP SCHEMA public"))
        connection.execute(text(f"ALTER SCHEMA {_ASIDE} RENAME TO public"))
    return True


def _migrate_and_note(engine: Engine) -> list[str]:
    noted: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.lstrip().upper().startswith(("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")):
            assert not parameters, statement
            noted.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        migrate(engine)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return noted


def cut_sessions(engine: Engine) -> int:
    """End every other session of the test's database, and wait until they are gone; answers how many."""
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    with engine.connect() as connection:
        ended = connection.execute(text(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"))
        return len(ended.all())
