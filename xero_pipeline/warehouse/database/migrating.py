"""Which schema a database has, and bringing it to the newest one. What that is stands in `migrations/`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from xero_pipeline.warehouse.database.engine import sqlite_file
from xero_pipeline.warehouse.errors import NotMigrated

_FOLDER = Path(__file__).parents[1] / "migrations"
# PostgreSQL's advisory locks are numbers; this one is ours, "xeromigr" in ASCII.
_LOCK = 0x7865726F6D696772
_AS_LONG_AS_IT_TAKES = text(
    "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout')"
)


def migrate(engine: Engine) -> str:
    """Bring the database to the newest schema; answers which that is.

    In one transaction, which a second process waits for and then finds nothing left to do.

    Raises:
        NotMigrated: the database was made by a newer version of this program.
        DatabaseUnavailable: it cannot be reached.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Waiting for another one, or for whoever uses a table, takes as long as it takes.
            connection.execute(_AS_LONG_AS_IT_TAKES)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        _refuse_newer(_current(connection))
        config = Config()
        # Alembic reads it as a configuration file would, where a percent sign has a meaning.
        config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return latest_revision()


def require_current(engine: Engine) -> None:
    """See to it that the database can be used as it is.

    Raises:
        NotMigrated: its schema is older or newer than this program's, or there is none.
        DatabaseUnavailable: it cannot be reached.
    """
    file = sqlite_file(engine)
    if file is not None and not file.exists():
        raise NotMigrated(f"There is no database file {file} yet.")
    with engine.connect() as connection:
        current = _current(connection)
    if current is None:
        raise NotMigrated("The database has no tables yet.")
    _refuse_newer(current)
    if current != latest_revision():
        raise NotMigrated(f"The database is at schema {current}, and this version needs {latest_revision()}.")


@lru_cache(maxsize=1)
def _revisions() -> tuple[str, ...]:
    """Every revision, the newest first."""
    scripts = ScriptDirectory(str(_FOLDER))
    return tuple(script.revision for script in scripts.walk_revisions())


def latest_revision() -> str:
    """The schema that this version of the program needs."""
    return _revisions()[0]


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(current: str | None) -> None:
    if current is not None and current not in _revisions():
        raise NotMigrated(
            f"The database is at schema {current}, which this version of xero-pipeline does not know.",
            advice="It was made by a newer version: install that one.",
        )
