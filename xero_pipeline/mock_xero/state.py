"""The one file in which the mock remembers: SQLite, WAL, shared by every process of a deployment.

Here is only how it is opened and what its tables are; what stands in them is the matter of the module
that reads them (`tokens.py`, `limits.py`, `faults.py`, `edits.py`, `journal.py`). No usable token or code
is ever written: only its SHA-256.
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

# As many as one thread has in use at once, and some for a second one.
_MOST_RESTING = 4
# Seconds to wait for another process that writes.
PATIENCE = 30.0

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
_NAMES = (
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
)

# Raised when the tables change: a file of another version is emptied, since all in it is made up.
VERSION = 1


# Moments are kept as whole microseconds since 1970, so that a limit or a lifetime ends to the tick.
SECOND = 1_000_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def ticks(moment: dt.datetime) -> int:
    """A moment as whole microseconds since 1970."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def moment_of(number: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=number)


def hashed(secret: str) -> str:
    """What of a token or code may be kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _OpenConnection:
    """A connection, by which process it was opened, and to which file: another may lie there by now."""

    connection: sqlite3.Connection
    pid: int
    file: int | None


# To be kept for ever: closing a connection that a fork has brought along would end the other process's.
_of_another_process: list[_OpenConnection] = []


def _close(resting: list[_OpenConnection]) -> None:
    while resting:
        one = resting.pop()
        if one.pid == os.getpid():
            one.connection.close()
        else:
            _of_another_process.append(one)


class State:
    """The file. Whoever has a transaction has a connection to itself, whichever thread it is; in between, a few rest
    for the next one, since opening one costs more than most transactions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._resting: list[_OpenConnection] = []
        weakref.finalize(self, _close, self._resting)
        self._prepare()

    def close(self) -> None:
        """Close what rests; the next transaction opens anew."""
        _close(self._resting)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that no other writer comes between; rolled back when it raises."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    def empty(self) -> None:
        with self.writing() as connection:
            for name in _NAMES:
                connection.execute(f"DELETE FROM {name}")  # noqa: S608 - names of ours

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One that rests, or a new one; after a failure it does not rest again."""
        opened = self._rested() or self._open()
        try:
            yield opened.connection
        except BaseException:
            opened.connection.close()
            raise
        if len(self._resting) < _MOST_RESTING:
            self._resting.append(opened)
        else:
            opened.connection.close()

    def _rested(self) -> _OpenConnection | None:
        try:
            opened = self._resting.pop()
        except IndexError:
            return None
        if opened.pid == os.getpid() and opened.file == self._file():
            return opened
        _close([opened])
        return self._rested()

    def _open(self) -> _OpenConnection:
        connection = self._connect()
        return _OpenConnection(connection, os.getpid(), self._file())

    def _file(self) -> int | None:
        """Which file lies there, `None` for none."""
        try:
            return self.path.stat().st_ino
        except OSError:
            return None

    def _connect(self) -> sqlite3.Connection:
        # Handed from thread to thread, but never used by two at once.
        connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        # What a power cut loses is made up anyway.
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def _prepare(self) -> None:
        with closing(self._connect()) as connection:
            if self._version(connection) == VERSION:
                return
            connection.execute("PRAGMA journal_mode = WAL")
        with self.writing() as connection:
            if self._version(connection) == VERSION:
                return
            for name in _NAMES:
                connection.execute(f"DROP TABLE IF EXISTS {name}")
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    @staticmethod
    def _version(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
