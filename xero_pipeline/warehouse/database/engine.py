"""Opening a database as an SQLAlchemy engine, and describing its errors in plain sentences.

The tables are in `schema.py`; `migrating.py` checks which schema a database has.
"""

from __future__ import annotations

import contextlib
import hashlib
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
# The database holds tokens, so only its owner may read it. SQLite gives its -wal and -shm files the same mode.
_OWNER_ONLY = 0o600
_BEGIN = "sqlite_begin"
APPLICATION_NAME = "xero-pipeline"
"""What PostgreSQL's list of sessions calls ours."""

# Server and client each notice within a minute that the other's machine is gone. Else a transaction of a lost host
# would keep its locks for a quarter of an hour. Keepalives ask only while nothing is on its way; the user timeout
# (milliseconds) is for the rest.
_SERVER_KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# The same by libpq's names.
_CLIENT_KEEPALIVES = {name.replace("tcp_keep", "keep"): value for name, value in _SERVER_KEEPALIVES.items()}
# PostgreSQL 12 was the first to know the last of them.
_SERVER_WITH_USER_TIMEOUT = 120_000

_dumps = partial(json.dumps, ensure_ascii=False, default=str)


class SqliteEngine(Engine):
    """An engine whose `begin()` takes SQLite's write lock at once. Use `connect()` only to read.

    A transaction that reads first and writes later can fail halfway, when another one writes in between. With
    BEGIN IMMEDIATE it waits at its start instead. `connect()` begins with a plain BEGIN: it sees one snapshot,
    and neither waits for a writer nor blocks one.
    """

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        with self.connect() as connection:
            connection.execution_options(**{_BEGIN: "IMMEDIATE"})
            with connection.begin():
                yield connection


def open_engine(url: URL | str, *, pooled: bool = True) -> Engine:
    """Make an engine for the database. It opens or creates nothing before the first connection.

    A new SQLite file and its folder are created then, and only the owner can read the file. No error of the
    engine shows the values of a statement. An error that means "the database cannot be used" becomes a
    `DatabaseUnavailable`.

    Args:
        pooled: for PostgreSQL, keep connections open for the next use. SQLite always does.

    Raises:
        DatabaseUnavailable: PostgreSQL's driver is not installed.
    """
    url = make_url(url)
    engine = _open_sqlite(url) if url.get_backend_name() == "sqlite" else _open_postgres(url, pooled=pooled)
    event.listen(engine, "handle_error", partial(_translate_error, url))
    return engine


def get_sqlite_file(engine: Engine) -> Path | None:
    """The file of an SQLite database; `None` for a PostgreSQL server."""
    return _require_file(engine.url) if engine.dialect.name == "sqlite" else None


def _open_postgres(url: URL, *, pooled: bool) -> Engine:
    pool: dict[str, Any] = {"pool_pre_ping": True} if pooled else {"poolclass": NullPool}
    defaults = {"connect_timeout": "10", "application_name": APPLICATION_NAME, "client_encoding": "utf8"}
    defaults |= _CLIENT_KEEPALIVES
    try:
        engine = create_engine(
            url,
            connect_args={name: value for name, value in defaults.items() if name not in url.query},
            # A process that waited for a lock must see what the previous holder wrote.
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            json_serializer=_dumps,
            **pool,
        )
    except ImportError:
        raise DatabaseUnavailable(
            "DATABASE_URL names PostgreSQL, but its driver psycopg is not installed.",
            advice='Install the extra "postgres": pip install "xero-pipeline[postgres]".',
        ) from None

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # A server, role or database may set others. psycopg reads dates in the ISO style only.
        settings = {"TimeZone": "UTC", "DateStyle": "ISO, YMD"} | _SERVER_KEEPALIVES
        if connection.info.server_version < _SERVER_WITH_USER_TIMEOUT:
            del settings["tcp_user_timeout"]
        connection.execute(
            "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
        )
        connection.commit()

    return engine


def _require_file(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise DatabaseUnavailable("An SQLite database must be a file: several processes share it.")
    return Path(url.database)


def _open_sqlite(url: URL) -> Engine:
    file = _require_file(url)
    plain = create_engine(
        url,
        # Opening a file is cheap. Closing it is not: the last connection that closes writes back the whole log.
        poolclass=QueuePool,
        max_overflow=50,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        hide_parameters=True,
        json_serializer=_dumps,
    )
    engine = SqliteEngine(plain.pool, plain.dialect, plain.url, hide_parameters=True)

    @event.listens_for(engine, "do_connect")
    def _create_missing_file(*_: object) -> None:
        if not file.exists():
            create_sqlite_file(file)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        # `_begin` below sends BEGIN itself, so Python's driver must not send its own.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        # PostgreSQL has such a function of its own: see `clean_organisations.py`.
        connection.create_function("row_hash", -1, _hash_values, deterministic=True)
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # The file was not created here. If it is busy, its journal mode stays as it is, which works too.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get(_BEGIN)
        if mode is not None:
            connection.exec_driver_sql(f"BEGIN {mode}")
            return
        # A plain BEGIN only notes that a transaction begins: it touches no file, so it cannot fail. SQLAlchemy would
        # take longer for it than for most queries.
        driver: Any = connection.connection.dbapi_connection
        driver.execute("BEGIN")

    return engine


def _hash_values(*values: object) -> int:
    """A number of 40 bits, so that SQLite can add up those of millions of rows."""
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=5).digest())


def create_sqlite_file(file: Path) -> None:
    """Create an empty database in WAL mode that only its owner can read. It appears complete or not at all."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(f"{file}.new.lock", timeout=_BUSY_SECONDS, mode=_OWNER_ONLY):
            if file.exists():
                return
            new = file.with_name(f"{file.name}.new")
            new.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, _OWNER_ONLY))
            with contextlib.closing(sqlite3.connect(new)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            new.replace(file)
        Path(f"{file}.new.lock").unlink(missing_ok=True)
    except (OSError, Timeout, sqlite3.Error) as error:
        raise DatabaseUnavailable(f"The database file {file} cannot be created: {_describe_cause(error)}.") from None


def _describe_cause(error: BaseException) -> str:
    return (error.strerror or "no reason given") if isinstance(error, OSError) else str(error)


# SQLite's error names that concern the file or the machine, not the statement.
_SQLITE_FILE_ERRORS = (
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


def _translate_error(url: URL, context: ExceptionContext) -> None:
    """Turn an error that means "the database cannot be used" into one clear line without a password or value."""
    if context.is_pre_ping:
        return
    error = context.original_exception
    if url.get_backend_name() == "sqlite":
        name = getattr(error, "sqlite_errorname", None) or ""
        if name.removeprefix("SQLITE_").split("_")[0] in _SQLITE_FILE_ERRORS:
            raise DatabaseUnavailable(
                f"The database file {url.database} cannot be used: {error}.",
                advice="Check DATABASE_URL, the disk's space and the file's permissions.",
            ) from None
        return
    # If a password contains an unescaped @, the parsed host begins with the rest of the password.
    host = (url.host or "the local socket").rpartition("@")[2]
    where = f"PostgreSQL at {host}{f':{url.port}' if url.port else ''}"
    state = getattr(error, "sqlstate", None) or ""
    if context.is_disconnect or context.connection is None:
        raise DatabaseUnavailable(f"{where} cannot be used: {_describe_failure(error)}.") from None
    if state in _CANCELLED:
        raise DatabaseUnavailable(
            f"{where} gave up: {str(error).splitlines()[0]}.",
            advice="Nothing was changed; try again. If it comes back, raise the server's statement_timeout.",
        ) from None
    if state in _NOT_ALLOWED or state.startswith(_NO_RESOURCES):
        raise DatabaseUnavailable(
            f"{where} refuses: {str(error).splitlines()[0]}.",
            advice="Ask its administrator: the user of DATABASE_URL needs tables of its own.",
        ) from None


# query_canceled, serialization_failure, deadlock_detected. Their first line contains no value.
_CANCELLED = ("57014", "40001", "40P01")
# insufficient_privilege, read_only_sql_transaction. Their first line names a table or schema but no value.
_NOT_ALLOWED = ("42501", "25006")
# The class insufficient_resources: the disk is full, or there are too many connections.
_NO_RESOURCES = "53"

_NETWORK_ERRORS = {
    # The settings ask for a verified server off loopback (`StorageSettings.database_url`). These are libpq's words.
    "root certificate file": (
        "its certificate cannot be checked, so it was given no password; name the file of its certificate authority "
        "with ?sslrootcert=/path/ca.pem in DATABASE_URL, or set ALLOW_INSECURE=database_without_tls"
    ),
    "certificate verify failed": (
        "it shows a certificate of an authority that is not trusted, so it was given no password; name the file of "
        "the right one with ?sslrootcert=/path/ca.pem in DATABASE_URL"
    ),
    "does not match host name": "its certificate is for another name than DATABASE_URL's, so it was given no password",
    "does not support ssl": (
        "it does not offer TLS, so it was given no password; switch TLS on at the server (ssl = on), or set "
        "ALLOW_INSECURE=database_without_tls"
    ),
    "authentication method requirement": "it asks for the password in clear text, and was not given it",
    "connection refused": "nothing listens there",
    "timeout": "no answer in time",
    "resolve": "there is no such host",
    "translate host name": "there is no such host",
    "no such file": "no server runs on this machine",
    "closed": "the connection was cut",
    "terminat": "the connection was cut",
    "lost": "the connection was cut",
}


def _describe_failure(error: BaseException | None) -> str:
    """The reason that the server or the network gave. The whole text is never shown, since it may hold secrets."""
    text = str(error)
    refused = re.search(r"FATAL:\s+([^\n]+)", text)
    if refused:
        return refused[1].strip()
    return next((reason for sign, reason in _NETWORK_ERRORS.items() if sign in text.lower()), "the connection failed")
