"""The mock's state file: SQLite in WAL mode, shared by every process of a deployment.

This module opens the file and defines its tables. The modules that use a table read and write its rows:
`identity/tokens.py`, `identity/consent.py`, `identity/connections.py`, `api/limits.py`, `faults.py`,
`books/edits.py`, `books/silent_edits.py` and `request_log.py`. Tokens and codes are stored only as SHA-256, so none is
usable.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

# Idle connections to keep: as many as one thread uses at once, and some for a second thread.
_MAX_IDLE = 4
# Seconds to wait while another process writes.
BUSY_TIMEOUT = 30.0

_TABLES = """
CREATE TABLE codes (
    hash TEXT PRIMARY KEY, client_id TEXT NOT NULL, redirect_uri TEXT NOT NULL, scope TEXT NOT NULL,
    challenge TEXT NOT NULL, event TEXT NOT NULL, issued INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE access_tokens (
    hash TEXT PRIMARY KEY, client_id TEXT NOT NULL, scope TEXT NOT NULL, custom INTEGER NOT NULL,
    expires INTEGER NOT NULL);
CREATE TABLE refresh_tokens (
    hash TEXT PRIMARY KEY, client_id TEXT NOT NULL, scope TEXT NOT NULL, issued INTEGER NOT NULL,
    used INTEGER, revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE connections (
    id TEXT PRIMARY KEY, client_id TEXT NOT NULL, tenant_id TEXT NOT NULL, event TEXT NOT NULL,
    created INTEGER NOT NULL, updated INTEGER NOT NULL, UNIQUE (client_id, tenant_id));
CREATE TABLE documents (
    tenant_id TEXT NOT NULL, id TEXT NOT NULL, updated INTEGER NOT NULL, day TEXT NOT NULL,
    base_day TEXT, paid_on TEXT, bank TEXT, cash INTEGER NOT NULL DEFAULT 0,
    base_paid_on TEXT, base_bank TEXT, base_cash INTEGER NOT NULL DEFAULT 0,
    payload TEXT NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE TABLE faults (id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT NOT NULL, seen INTEGER NOT NULL DEFAULT 0);
CREATE TABLE calls (id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, at INTEGER NOT NULL);
CREATE INDEX calls_of_tenant ON calls (tenant_id, at);
CREATE INDEX calls_of_app ON calls (at);
CREATE TABLE in_progress (id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, at INTEGER NOT NULL, pid INTEGER NOT NULL);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, query TEXT NOT NULL,
    tenant_id TEXT NOT NULL, status INTEGER NOT NULL, broken TEXT NOT NULL, pid INTEGER NOT NULL);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_ADDED_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, day TEXT NOT NULL, account TEXT, credit INTEGER NOT NULL,
    bank TEXT, cash INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS account_types (
    tenant_id TEXT NOT NULL, code TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY (tenant_id, code));
"""
_TABLE_NAMES = (
    "codes",
    "access_tokens",
    "refresh_tokens",
    "connections",
    "documents",
    "faults",
    "calls",
    "in_progress",
    "requests",
    "counters",
    "entries",
    "account_types",
)

# Raise it when the tables change. A file of an unknown version is emptied, since all data in it is made up. To version
# 1 the tables of version 2 are added, so that its tokens stay valid.
VERSION = 2


# Moments are stored as whole microseconds since 1970, so that limits and lifetimes end exactly.
SECOND = 1_000_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def to_microseconds(moment: dt.datetime) -> int:
    """A moment as whole microseconds since 1970, rounded down."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def from_microseconds(number: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=number)


def hash_secret(secret: str) -> str:
    """The SHA-256 of a token or code, which may be stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _OpenConnection:
    """A connection, the process that opened it, and its file's inode: the path may hold another file by now."""

    connection: sqlite3.Connection
    pid: int
    inode: int | None


# Connections inherited through a fork. They are referenced for ever, since closing one here would break the
# connection of the process that opened it.
_inherited: list[_OpenConnection] = []


def _close_all(connections: list[_OpenConnection]) -> None:
    while connections:
        opened = connections.pop()
        if opened.pid == os.getpid():
            opened.connection.close()
        else:
            _inherited.append(opened)


class State:
    """The state file. Each transaction has a connection of its own, in any thread.

    A few idle connections are kept for later transactions, since opening one costs more than most transactions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._idle: list[_OpenConnection] = []
        weakref.finalize(self, _close_all, self._idle)
        self._create_tables()

    def close(self) -> None:
        """Close the idle connections; the next transaction opens a new one."""
        _close_all(self._idle)

    @contextmanager
    def begin_write(self) -> Iterator[sqlite3.Connection]:
        """Run one write transaction; it is rolled back on an exception, and no other writer can interleave."""
        with self._borrow_connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def begin_read(self) -> Iterator[sqlite3.Connection]:
        """Run one read transaction, which sees one consistent state."""
        with self._borrow_connection() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    def clear(self) -> None:
        with self.begin_write() as connection:
            for name in _TABLE_NAMES:
                connection.execute(f"DELETE FROM {name}")  # noqa: S608 - fixed table names

    @contextmanager
    def _borrow_connection(self) -> Iterator[sqlite3.Connection]:
        """Lend an idle connection or a new one; after an exception it is closed and not kept."""
        opened = self._take_idle() or self._open()
        try:
            yield opened.connection
        except BaseException:
            opened.connection.close()
            raise
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(opened)
        else:
            opened.connection.close()

    def _take_idle(self) -> _OpenConnection | None:
        try:
            opened = self._idle.pop()
        except IndexError:
            return None
        if opened.pid == os.getpid() and opened.inode == self._read_inode():
            return opened
        _close_all([opened])
        return self._take_idle()

    def _open(self) -> _OpenConnection:
        connection = self._connect()
        return _OpenConnection(connection, os.getpid(), self._read_inode())

    def _read_inode(self) -> int | None:
        """The inode of the file at the path, `None` if there is none."""
        try:
            return self.path.stat().st_ino
        except OSError:
            return None

    def _connect(self) -> sqlite3.Connection:
        # Threads pass a connection on, but two never use it at once.
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        # A power cut may lose data, which is acceptable because all of it is made up.
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def _create_tables(self) -> None:
        with closing(self._connect()) as connection:
            if self._read_version(connection) == VERSION:
                return
            connection.execute("PRAGMA journal_mode = WAL")
        with self.begin_write() as connection:
            if self._read_version(connection) == VERSION:
                return
            tables = _ADDED_TABLES
            if self._read_version(connection) != 1:
                tables = _TABLES + _ADDED_TABLES
                for name in _TABLE_NAMES:
                    connection.execute(f"DROP TABLE IF EXISTS {name}")
            for statement in filter(str.strip, tables.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    @staticmethod
    def _read_version(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
