"""Named locks that hold across processes, and on PostgreSQL across machines. Not here: what they guard.

SQLite: a locked file in the folder `<database>.locks`, which the operating system frees when the process
dies. PostgreSQL: a session's advisory lock on a connection of its own, which the server frees when that
connection ends; it reaches no further than one database, and needs a real session (no pooler that hands a
session's statements to several).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from xero_pipeline.warehouse.database.engine import open_engine, sqlite_file
from xero_pipeline.warehouse.errors import DatabaseUnavailable, LockTimeout

_LOCK_NOT_AVAILABLE = "55P03"

# How often a lock that says "I live" is looked after, and how soon it is taken again where it was lost.
_LOOK_AFTER = 2.0
_TAKE_AGAIN = 0.5
_LOST = (DBAPIError, DatabaseUnavailable, LockTimeout)


class Locks:
    """The locks of one deployment.

    Threads exclude each other like processes do. A lock is not re-entrant: who holds a name and asks for it
    again waits for itself and gets `LockTimeout`.
    """

    def __init__(self, engine: Engine) -> None:
        file = sqlite_file(engine)
        self._folder = None if file is None else Path(f"{file}.locks")
        # Not from the engine's pool: the waiting would use up the connections that the holder needs.
        self._server = open_engine(engine.url, pooled=False) if file is None else None

    @contextlib.contextmanager
    def hold(self, name: str, timeout: float = 60.0) -> Iterator[None]:
        """Hold the lock of that name for the block.

        Args:
            timeout: seconds to wait for whoever holds it.

        Raises:
            LockTimeout: it was not free in time.
        """
        if self._server is None:
            with self._hold_file(name, timeout):
                yield
        else:
            with self._hold_session(self._server, name, timeout):
                yield

    @contextlib.contextmanager
    def live(self, name: str) -> Iterator[None]:
        """Show every other process, for the block, that who has that name lives; nobody else ever has it.

        A server that is restarted, or cuts the session, frees the lock of one who lives: it is taken again, some
        three seconds later.
        """
        if self._server is None:
            with self._hold_file(name, timeout=60.0, once=True):
                yield
            return
        with self._hold_session(self._server, name, timeout=60.0) as session:
            ended = threading.Event()
            keeper = threading.Thread(
                target=self._keep, args=(self._server, name, session, ended), name=f"keeps {name}", daemon=True
            )
            keeper.start()
            try:
                yield
            finally:
                ended.set()
                keeper.join()

    def lives(self, name: str) -> bool:
        """Whether somebody is in the block of `live` with that name."""
        try:
            if self._server is None:
                with self._hold_file(name, timeout=0, once=True):
                    return False
            with self._hold_session(self._server, name, timeout=0):
                return False
        except LockTimeout:
            return True

    def _keep(self, server: Engine, name: str, session: Connection, ended: threading.Event) -> None:
        """Use the session until it is lost, then another one, until the block has ended."""

        def look_after(session: Connection) -> None:
            while not ended.wait(_LOOK_AFTER):
                session.execute(text("SELECT 1"))

        with contextlib.suppress(*_LOST):
            look_after(session)
        while not ended.wait(_TAKE_AGAIN):
            with contextlib.suppress(*_LOST), self._hold_session(server, name, timeout=10.0) as another:
                look_after(another)

    @contextlib.contextmanager
    def _hold_file(self, name: str, timeout: float, once: bool = False) -> Iterator[None]:
        """Hold a file's lock. `once`: the name is not used again, so leave no file behind."""
        assert self._folder is not None  # noqa: S101
        # The hash tells apart what the readable part no longer does.
        readable = re.sub(r"[^A-Za-z0-9-]+", "_", name)[:60]
        file = self._folder / f"{readable}.{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = FileLock(file, timeout=timeout, mode=0o600, thread_local=False)
            lock.acquire()
        except Timeout:
            raise _timed_out(name, timeout) from None
        except OSError as error:
            raise DatabaseUnavailable(
                f"The lock file {file} cannot be used: {error.strerror}.",
                advice="Check the folder's permissions.",
            ) from None
        try:
            yield
        finally:
            if once:
                # Before the release: whoever waits notices that what it then gets is no longer the file.
                file.unlink(missing_ok=True)
            lock.release()

    @contextlib.contextmanager
    def _hold_session(self, engine: Engine, name: str, timeout: float) -> Iterator[Connection]:
        key = advisory_key(f"lock:{name}")
        with engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            _wait_and_hold_as_long_as_we_say(connection)
            _notice_a_dead_holder(connection)
            connection.execute(text(f"SET lock_timeout = {max(1, round(timeout * 1000))}"))
            try:
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                    raise _timed_out(name, timeout) from None
                raise
            try:
                yield connection
            finally:
                # The end of the connection frees it, too; a connection that is gone has freed it already.
                if not connection.invalidated:
                    with contextlib.suppress(DBAPIError, DatabaseUnavailable):
                        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})

    def close(self) -> None:
        if self._server is not None:
            self._server.dispose()


def advisory_key(name: str) -> int:
    """The number that stands for a name among PostgreSQL's advisory locks."""
    digest = hashlib.sha256(f"xero-pipeline:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _wait_and_hold_as_long_as_we_say(connection: Connection) -> None:
    """Undo what a server, role or database sets against long statements and idle sessions: waiting for a lock is
    the one, holding it the other. Not every version has every setting."""
    connection.execute(
        text(
            "SELECT set_config(name, '0', false) FROM pg_settings"
            " WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_session_timeout')"
        )
    )


def _notice_a_dead_holder(connection: Connection) -> None:
    """Let the server find out within a minute that the holder's machine is gone, not after hours."""
    for setting, value in (
        ("tcp_keepalives_idle", 30),
        ("tcp_keepalives_interval", 10),
        ("tcp_keepalives_count", 3),
    ):
        connection.execute(text(f"SET {setting} = {value}"))


def _timed_out(name: str, timeout: float) -> LockTimeout:
    return LockTimeout(f"The lock {name!r} was not free within {timeout:g} seconds.")
