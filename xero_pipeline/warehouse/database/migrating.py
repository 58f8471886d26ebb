"""Checking which schema a database has, and migrating it to the newest one, which `migrations/` defines.

The version is in a table of our own name, `VERSION_TABLE`. Alembic's usual name, `alembic_version`, is also that of
every other program that uses Alembic, such as Dagster's storage. Releases up to 1.0.0 kept our version there.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, delete, insert, inspect, select, text

from xero_pipeline.warehouse.data_dictionary.comments import write_comments
from xero_pipeline.warehouse.database.engine import get_sqlite_file
from xero_pipeline.warehouse.database.sessions import require_own_sessions
from xero_pipeline.warehouse.errors import NotMigrated

VERSION_TABLE = "xero_pipeline_alembic_version"
# As Alembic defines them.
_versions, _old_versions = (
    Table(name, MetaData(), Column("version_num", String(32), primary_key=True))
    for name in (VERSION_TABLE, "alembic_version")
)
# A table that each revision created, for those revisions that were ever stored in the old version table.
_TABLES_BY_REVISION = {
    "0001": "xero_tokens",
    "0002": "synced_documents",
    "0003": "alerts",
    "0004": "reconciliations",
    "0005": "access_tokens",
}
_FOLDER = Path(__file__).parents[1] / "migrations"
# PostgreSQL's advisory locks are numbers. This one is "xeromigr" in ASCII.
_LOCK = 0x7865726F6D696772
_DISABLE_TIMEOUTS = text(
    "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout')"
)


def migrate(engine: Engine) -> str:
    """Migrate the database to the newest schema and return its revision.

    Everything happens in one transaction. A second process waits for it and then has nothing left to do.

    Raises:
        NotMigrated: the database was made by a newer version of this program.
        DatabaseUnavailable: it cannot be reached, or only through a pooler that splits sessions.
    """
    # Imported here: it takes a third of a second, and every command checks the schema.
    from alembic import command
    from alembic.config import Config

    require_own_sessions(engine)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Wait without a limit for another migration, or for a process that uses a table.
            connection.execute(_DISABLE_TIMEOUTS)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        _refuse_unknown(read_revision(connection))
        _move_old_version(connection)
        config = Config()
        # Alembic parses the value like a configuration file, where a percent sign must be doubled.
        config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
        config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
        command.upgrade(config, "head")
        write_comments(connection)
    return latest_revision()


def require_current(engine: Engine) -> None:
    """Check that the database has the schema that this version needs.

    Raises:
        NotMigrated: its schema is older or newer than this program's, or there is none.
        DatabaseUnavailable: it cannot be reached, or only through a pooler that splits sessions.
    """
    file = get_sqlite_file(engine)
    if file is not None and not file.exists():
        raise NotMigrated(f"There is no database file {file} yet.")
    require_own_sessions(engine)
    with engine.connect() as connection:
        current = read_revision(connection)
    if current is None:
        raise NotMigrated("The database has no tables yet.")
    _refuse_unknown(current)
    if current != latest_revision():
        raise NotMigrated(f"The database is at schema {current}, but this version needs {latest_revision()}.")


@lru_cache(maxsize=1)
def _list_revisions() -> tuple[str, ...]:
    """Every revision, newest first. Each has its file, which begins with its number."""
    files = (_FOLDER / "versions").glob("[0-9]*_*.py")
    return tuple(sorted((file.name.partition("_")[0] for file in files), reverse=True))


def latest_revision() -> str:
    """The schema revision that this version of the program needs."""
    return _list_revisions()[0]


def is_known_revision(revision: str) -> bool:
    """Whether this version of the program knows that schema: it is not a newer version's."""
    return revision in _list_revisions()


def read_revision(connection: Connection) -> str | None:
    """The schema revision of a database; `None` if it has no tables."""
    return _read_own_revision(connection) or _read_old_revision(connection)


def _read_own_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(select(_versions.c.version_num)).scalar()


def _read_old_revision(connection: Connection) -> str | None:
    """Our revision in the old version table; `None` if there is none that is ours.

    Another program's revision may have the same name as one of ours. Ours is the newest one whose tables are there,
    with those of every revision before it.
    """
    tables = set(inspect(connection).get_table_names())
    if _old_versions.name not in tables:
        return None
    stored = set(connection.execute(select(_old_versions.c.version_num)).scalars())
    ours = None
    for revision, table in _TABLES_BY_REVISION.items():
        if table not in tables:
            break
        ours = revision if revision in stored else ours
    return ours


def _move_old_version(connection: Connection) -> None:
    """Move our version into our own table. Another program's rows stay, and so does the old table if it has any."""
    old = _read_old_revision(connection)
    if old is None or _read_own_revision(connection) is not None:
        return
    _versions.create(connection, checkfirst=True)
    connection.execute(insert(_versions).values(version_num=old))
    connection.execute(delete(_old_versions).where(_old_versions.c.version_num == old))
    if connection.execute(select(_old_versions)).first() is None:
        _old_versions.drop(connection)


def _refuse_unknown(current: str | None) -> None:
    if current is not None and current not in _list_revisions():
        raise NotMigrated(
            f"The database is at schema {current}, which this version of xero-pipeline does not know.",
            advice="A newer version created it: install that version.",
        )
