"""The engine: how a database is opened, and what goes wrong with one, in words.

What is in it is `schema.py`'s matter, which schema it must have `migrating.py`'s.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.pool import NullPool, QueuePool

from xero_pipeline.warehouse.errors import DatabaseUnavailable

_BUSY_SECONDS = 30
# Only the owner may read a database with tokens in it; SQLite gives its -wal and -shm files the same mode.
_PRIVATE = 0o600
_BEGIN = "sqlite_begin"

_dumps = partial(json.dumps, ensure_ascii=False, default=str)


class SqliteEngine(Engine):
    """An engine whose `begin()` takes SQLite's write lock at once, and whose `connect()` only reads.

    A transaction that begins by reading and then writes could lose against another one halfway; with
    BEGIN IMMEDIATE it waits at its start instead. `connect()` begins with a plain BEGIN: it sees one
    snapshot, waits for no writer and hinders none. So whoever writes uses `begin()`.
    """

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        with self.connect() as connection:
            connection.execution_options(**{_BEGIN: "IMMEDIATE"})
            with connection.begin():
                yield connection


def open_engine(url: URL | str, *, pooled: bool = True) -> Engine:
    """An engine for the database. Nothing is opened or made before the first connection.

    A new SQLite file is made with its folder, readable by its owner alone. No error of the engine shows the
    values of a statement, and one that means that the database cannot be used is a `DatabaseUnavailable`.

    Args:
        pooled: PostgreSQL: keep connections for the next use, as SQLite always does.

    Raises:
        DatabaseUnavailable: PostgreSQL's driver is not installed.
    """
    url = make_url(url)
    engine = _open_sqlite(url) if url.get_backend_name() == "sqlite" else _open_postgres(url, pooled=pooled)
    event.listen(engine, "handle_error", partial(_explain, url))
    return engine


def sqlite_file(engine: Engine) -> Path | None:
    """The file of an SQLite database, `None` for a server."""
    return _file(engine.url) if engine.dialect.name == "sqlite" else None


def _open_postgres(url: URL, *, pooled: bool) -> Engine:
    pool: dict[str, Any] = {"pool_pre_ping": True} if pooled else {"poolclass": NullPool}
    defaults = {"connect_timeout": "10", "application_name": "xero-pipeline", "client_encoding": "utf8"}
    try:
        engine = create_engine(
            url,
            connect_args={name: value for name, value in defaults.items() if name not in url.query},
            # Whoever waited for a lock must see what the one before wrote.
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            json_serializer=_dumps,
            **pool,
        )
    except ImportError:
        raise DatabaseUnavailable(
            "DATABASE_URL names PostgreSQL, and its driver psycopg is not installed.",
            advice='Install the extra "postgres": pip install "xero-pipeline[postgres]".',
        ) from None

    @event.listens_for(engine, "connect")
    def _in_utc(connection: Any, _record: object) -> None:
        connection.execute("SET TIME ZONE 'UTC'")
        connection.commit()

    return engine


def _file(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise DatabaseUnavailable("An SQLite database must be a file: several processes share it.")
    return Path(url.database)


def _open_sqlite(url: URL) -> Engine:
    file = _file(url)
    plain = create_engine(
        url,
        # Opening a file is cheap, closing it is not: the last one to close writes the whole log back.
        poolclass=QueuePool,
        max_overflow=50,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        hide_parameters=True,
        json_serializer=_dumps,
    )
    engine = SqliteEngine(plain.pool, plain.dialect, plain.url, hide_parameters=True)

    @event.listens_for(engine, "do_connect")
    def _make_file(*_: object) -> None:
        if not file.exists():
            _make_sqlite_file(file)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        # SQLAlchemy says BEGIN itself, below; Python's driver is not to do it behind its back.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # A file from elsewhere. Whoever finds it busy leaves it as it is, which works as well.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, '')}".strip())

    return engine


def _make_sqlite_file(file: Path) -> None:
    """An empty database in WAL mode, private to its owner; there at once or not at all."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.new.lock", timeout=_BUSY_SECONDS, mode=_PRIVATE):
            if file.exists():
                return
            new = file.with_name(f"{file.name}.new")
            new.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE))
            with contextlib.closing(sqlite3.connect(new)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            new.replace(file)
        Path(f"{file}.new.lock").unlink(missing_ok=True)
    except (OSError, Timeout, sqlite3.Error) as error:
        raise DatabaseUnavailable(f"The database file {file} cannot be made: {_reason(error)}.") from None


def _reason(error: BaseException) -> str:
    return (error.strerror or "no reason given") if isinstance(error, OSError) else str(error)


# SQLite's errors that say something about the file or the machine, not about the statement.
_SQLITE_TROUBLE = (
    "BUSY",
    "LOCKED",
    "CANTOPEN",
    "READONLY",
    "IOERR",
    "FULL",
    "CORRUPT",
    "NOTADB",
    "PERM",
    "PROTOCOL",
)


def _explain(url: URL, context: ExceptionContext) -> None:
    """Turn an error that means "no database" into one clear line without a password or a value."""
    if context.is_pre_ping:
        return
    error = context.original_exception
    if url.get_backend_name() == "sqlite":
        name = getattr(error, "sqlite_errorname", None) or ""
        if name.removeprefix("SQLITE_").split("_")[0] in _SQLITE_TROUBLE:
            raise DatabaseUnavailable(
                f"The database file {url.database} cannot be used: {error}.",
                advice="Check DATABASE_URL, the disk's space and the file's permissions.",
            ) from None
        return
    # Behind an @ that a password holds as it is, the host begins with the rest of the password.
    host = (url.host or "the local socket").rpartition("@")[2]
    where = f"PostgreSQL at {host}{f':{url.port}' if url.port else ''}"
    state = getattr(error, "sqlstate", None) or ""
    if context.is_disconnect or context.connection is None:
        raise DatabaseUnavailable(f"{where} cannot be used: {_why(error)}.") from None
    if state in _CUT_SHORT:
        raise DatabaseUnavailable(
            f"{where} gave up: {str(error).splitlines()[0]}.",
            advice="Nothing was changed; try again. If it comes back, raise the server's statement_timeout.",
        ) from None
    if state in _NOT_ALLOWED or state.startswith(_NO_ROOM):
        said = str(error).splitlines()[0]
        raise DatabaseUnavailable(
            f"{where} refuses: {said}.",
            advice="Ask its administrator: the user of DATABASE_URL needs tables of its own.",
        ) from None


# query_canceled, serialization_failure, deadlock_detected: their first line holds no value either.
_CUT_SHORT = ("57014", "40001", "40P01")
# insufficient_privilege, read_only_sql_transaction: their first line names a table or schema, no value.
_NOT_ALLOWED = ("42501", "25006")
# insufficient_resources: the disk is full, or there are too many connections.
_NO_ROOM = "53"

_NETWORK = {
    "connection refused": "nothing listens there",
    "timeout": "no answer in time",
    "resolve": "there is no such host",
    "translate host name": "there is no such host",
    "no such file": "no server runs on this machine",
    "closed": "the connection was cut",
    "terminat": "the connection was cut",
    "lost": "the connection was cut",
}


def _why(error: BaseException | None) -> str:
    """What the server or the network said, as far as it can be shown: never the whole text."""
    said = str(error)
    refused = re.search(r"FATAL:\s+([^\n]+)", said)
    if refused:
        return refused[1].strip()
    return next((words for sign, words in _NETWORK.items() if sign in said.lower()), "the connection failed")
