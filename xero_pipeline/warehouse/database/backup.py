"""Backs up the database while it is in use, and restores it where nobody uses it: as a whole, or not at all.

An SQLite backup is an SQLite file of its own. A PostgreSQL backup is an archive of `pg_dump` (format "custom") of our
schema, without owners and rights. Tokens are in a backup as in the database: encrypted. The key is not.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.pool import StaticPool

from xero_pipeline.warehouse.database import postgres_tools
from xero_pipeline.warehouse.database.engine import create_sqlite_file, get_sqlite_file
from xero_pipeline.warehouse.database.migrating import (
    VERSION_TABLE,
    is_known_revision,
    latest_revision,
    read_revision,
)
from xero_pipeline.warehouse.database.postgres_tools import BackupRefused

_SQLITE_MARK = b"SQLite format 3\x00"
_POSTGRES_MARK = b"PGDMP"
_OWNER_ONLY = 0o600


@dataclass(frozen=True)
class Backup:
    """A backup that was written or restored."""

    file: Path
    size: int
    """Bytes."""
    revision: str

    @property
    def is_current(self) -> bool:
        """Whether its schema is the one that this version of the program needs."""
        return self.revision == latest_revision()


def back_up(engine: Engine, file: Path) -> Backup:
    """Write a backup that only its owner can read. It appears complete or not at all.

    Raises:
        BackupRefused: the file exists, its folder does not, or PostgreSQL's tools fail or are missing.
        DatabaseUnavailable: the database cannot be reached.
    """
    if file.exists():
        raise BackupRefused(f"{file} exists already, and a backup never overwrites.", advice="Choose another name.")
    with engine.connect() as connection:
        revision = read_revision(connection)
    if revision is None:
        raise BackupRefused("The database has no tables yet, so there is nothing to back up.")
    with _write_privately(file) as new:
        source = get_sqlite_file(engine)
        if source is None:
            postgres_tools.dump(engine, new)
        else:
            _copy_sqlite(source, new)
        size = new.stat().st_size
    return Backup(file, size, revision)


def restore(engine: Engine, file: Path, *, replace: bool = False) -> Backup:
    """Put a backup into the database, as a whole or not at all.

    Args:
        replace: the database may have rows. They are replaced by the backup's.

    Raises:
        BackupRefused: the file is no backup of this kind of database, or of a newer schema; the database has rows, or
            is in use. Nothing was changed.
        DatabaseUnavailable: the database cannot be reached.
    """
    target = get_sqlite_file(engine)
    _require_kind(file, is_sqlite=target is not None)
    if target is None:
        revision = _require_known(file, postgres_tools.read_dumped_revision(file))
        _require_room(engine, replace=replace)
        postgres_tools.restore(engine, file, revision)
    else:
        revision = _require_known(file, _check_sqlite(file))
        if target.exists() and os.path.samefile(target, file):
            raise BackupRefused(f"{file} is the database itself.")
        if target.exists():
            _require_room(engine, replace=replace)
        engine.dispose()
        _overwrite_sqlite(target, file)
    return Backup(file, file.stat().st_size, revision)


@contextlib.contextmanager
def _write_privately(file: Path) -> Iterator[Path]:
    """A new file beside `file`, which takes its place at the end of the block, or is deleted if that fails."""
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, _OWNER_ONLY))
    except OSError as error:
        raise BackupRefused(f"{file} cannot be written: {error.strerror}.", advice="Check its folder.") from None
    try:
        yield new
        with new.open("rb") as written:
            os.fsync(written.fileno())
        # A hard link fails where the name was taken meanwhile; a rename would overwrite.
        os.link(new, file)
    except FileExistsError:
        raise BackupRefused(f"{file} was written by somebody else meanwhile; it was left alone.") from None
    finally:
        new.unlink(missing_ok=True)


def _copy_sqlite(source: Path, new: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source, timeout=30)) as database,
        contextlib.closing(sqlite3.connect(new)) as copy,
    ):
        # In one step: the copy is the database of one moment, and writers need not wait.
        database.backup(copy, pages=-1)
        # So that the backup is one file: in WAL mode, as the database is, a reader would create two more.
        copy.execute("PRAGMA journal_mode = DELETE")
    _check_sqlite(new)


def _check_sqlite(file: Path) -> str | None:
    """Check that an SQLite file is whole, and return its schema's revision."""
    if Path(f"{file}-wal").exists():
        raise BackupRefused(
            f"{file} is a database in use or a copy of one, and no backup: its newest rows are in {file.name}-wal.",
            advice="Make backups with `xero-pipeline backup --to FILE`.",
        )
    try:
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            if opened.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                raise BackupRefused(f"{file} is damaged: SQLite's integrity check fails.")
            tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "xero_tokens" not in tables:
                return None
            engine = create_engine("sqlite://", creator=lambda: opened, poolclass=StaticPool)
            with engine.connect() as connection:
                return read_revision(connection)
    except sqlite3.Error as error:
        raise BackupRefused(f"{file} cannot be read: {error}.") from None


def _overwrite_sqlite(target: Path, file: Path) -> None:
    """Replace the content of the database. SQLite's journal brings the old one back if this process dies."""
    if not target.exists():
        create_sqlite_file(target)
    with (
        contextlib.closing(sqlite3.connect(target, timeout=0, isolation_level=None)) as database,
        contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as backup,
    ):
        try:
            # Every process that has a WAL database open holds a lock on it, so leaving WAL tells that nobody has.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = DELETE")
            backup.backup(database, pages=-1)
            database.execute("PRAGMA locking_mode = NORMAL")
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise _build_in_use(str(target)) from None
            raise BackupRefused(f"{target} cannot be written: {error}. Nothing was changed.") from None


def _build_in_use(where: str) -> BackupRefused:
    return BackupRefused(
        f"{where} is in use, and was not changed.",
        advice="Stop every process of the deployment (the admin page, Dagster, a sync) and try again.",
    )


def _require_kind(file: Path, *, is_sqlite: bool) -> None:
    try:
        with file.open("rb") as opened:
            mark = opened.read(16)
    except OSError as error:
        raise BackupRefused(f"{file} cannot be read: {error.strerror}.") from None
    kinds = {True: "an SQLite", False: "a PostgreSQL"}
    found = True if mark.startswith(_SQLITE_MARK) else False if mark.startswith(_POSTGRES_MARK) else None
    if found is None:
        raise BackupRefused(f"{file} is no backup of `xero-pipeline backup`.")
    if found is not is_sqlite:
        raise BackupRefused(
            f"{file} is the backup of {kinds[found]} database, and DATABASE_URL names {kinds[is_sqlite]} one."
        )


def _require_known(file: Path, revision: str | None) -> str:
    if revision is None:
        raise BackupRefused(f"{file} is no backup of this pipeline's database: it has none of its tables.")
    if not is_known_revision(revision):
        raise BackupRefused(
            f"{file} is at schema {shorten(revision)}, which this version of xero-pipeline does not know.",
            advice="A newer version wrote it: restore it with that version.",
        )
    return revision


def _require_room(engine: Engine, *, replace: bool) -> None:
    """Refuse a database that has rows, unless they may be replaced."""
    tables = [name for name in inspect(engine).get_table_names() if name != VERSION_TABLE]
    with engine.connect() as connection:
        quote = engine.dialect.identifier_preparer.quote
        filled = [
            name
            for name in tables
            if connection.execute(text(f"SELECT 1 FROM {quote(name)} LIMIT 1")).first()  # noqa: S608
        ]
    if filled and not replace:
        raise BackupRefused(
            f"The database has rows ({', '.join(filled[:3])}{' …' if len(filled) > 3 else ''}), and was not changed.",
            advice="Back it up, then add --replace to put the backup in place of everything it holds.",
        )


def shorten(revision: str) -> str:
    """A revision for a message: it comes from a file that anybody may have made."""
    return re.sub(r"[^\w.-]", "", revision)[:40]
