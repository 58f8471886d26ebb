"""Named locks between processes, and with PostgreSQL between machines. The callers decide what a lock guards.

With SQLite a lock is a locked file in the folder `<database>.locks`; the operating system frees it when the
process dies. With PostgreSQL it is a session-level advisory lock on its own connection; the server frees it when
that connection ends. It holds within one database, and it needs a real session: a pooler that spreads one
session's statements over several connections breaks it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from xero_pipeline.warehouse.database.engine import get_sqlite_file, open_engine
from xero_pipeline.warehouse.errors import DatabaseUnavailable, LockTimeout

_LOCK_NOT_AVAILABLE = "55P03"

# Seconds between two tests of a liveness lock's session, and before a lost lock is taken again.
_CHECK_INTERVAL = 2.0
_RETRY_INTERVAL = 0.5
_LOST_ERRORS = (DBAPIError, DatabaseUnavailable, LockTimeout)


class Locks:
    """The locks of one deployment.

    Threads exclude each other like processes do. A lock is not re-entrant: a thread that asks again for a name
    that it holds waits for itself and gets `LockTimeout`.
    """

    def __init__(self, engine: Engine) -> None:
        file = get_sqlite_file(engine)
        self._folder = None if file is None else Path(f"{file}.locks")
        # Guards the two below: the liveness locks that this process holds, and the one that `get_liveness_name` took.
        self._liveness_lock = threading.RLock()
        self._liveness_names: list[str] = []
        self._own_liveness = contextlib.ExitStack()
        # Waiting callers must not use up the engine's pool, because the lock's holder needs connections from it.
        self._server = open_engine(engine.url, pooled=False) if file is None else None

    @contextlib.contextmanager
    def hold(self, name: str, timeout: float = 60.0) -> Iterator[None]:
        """Hold the lock of that name for the block.

        Args:
            timeout: seconds to wait until it is free.

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
    def hold_free(self, names: Sequence[str]) -> Iterator[set[str]]:
        """Hold those of the locks that are free for the block, and yield their names. Waits for none."""
        if self._server is None:
            with contextlib.ExitStack() as held:
                free = set()
                for name in names:
                    with contextlib.suppress(LockTimeout):
                        held.enter_context(self._hold_file(name, timeout=0))
                        free.add(name)
                yield free
            return
        with self._open_session(self._server) as session:
            statement = text("SELECT pg_try_advisory_lock(:key)")
            yield {name for name in names if session.execute(statement, {"key": _compute_lock_key(name)}).scalar_one()}
            # Closing the session frees its locks.

    @contextlib.contextmanager
    def hold_liveness(self, name: str) -> Iterator[None]:
        """Hold a lock for the block, so that other processes see that its holder is alive (`is_held`).

        Each name is used by one holder only, and once. A PostgreSQL server that restarts or ends the session
        frees the lock although its holder is alive; a thread takes it again some three seconds later.
        """
        if self._server is None:
            with self._hold_file(name, timeout=60.0, delete_file=True), self._note_liveness(name):
                yield
            return
        with self._hold_session(self._server, name, timeout=60.0) as session:
            ended = threading.Event()
            renewer = threading.Thread(
                target=self._renew, args=(self._server, name, session, ended), name=f"renews {name}", daemon=True
            )
            renewer.start()
            try:
                with self._note_liveness(name):
                    yield
            finally:
                ended.set()
                renewer.join()

    @contextlib.contextmanager
    def _note_liveness(self, name: str) -> Iterator[None]:
        with self._liveness_lock:
            self._liveness_names.append(name)
        try:
            yield
        finally:
            with self._liveness_lock:
                self._liveness_names.remove(name)

    def get_liveness_name(self) -> str:
        """The name of a liveness lock that this process holds: a run's, or else one that it takes until `close`."""
        with self._liveness_lock:
            if not self._liveness_names:
                self._own_liveness.enter_context(self.hold_liveness(f"process-{uuid.uuid4()}"))
            return self._liveness_names[-1]

    def is_held(self, name: str) -> bool:
        """Whether some process holds the lock of that name, for example in the block of `hold_liveness`."""
        try:
            if self._server is None:
                with self._hold_file(name, timeout=0, delete_file=True):
                    return False
            with self._hold_session(self._server, name, timeout=0):
                return False
        except LockTimeout:
            return True

    def _renew(self, server: Engine, name: str, session: Connection, ended: threading.Event) -> None:
        """Test the session that holds the lock, and take the lock in a new one when it is lost, until `ended`."""

        def watch(session: Connection) -> None:
            while not ended.wait(_CHECK_INTERVAL):
                session.execute(text("SELECT 1"))

        with contextlib.suppress(*_LOST_ERRORS):
            watch(session)
        while not ended.wait(_RETRY_INTERVAL):
            with contextlib.suppress(*_LOST_ERRORS), self._hold_session(server, name, timeout=10.0) as new_session:
                watch(new_session)

    @contextlib.contextmanager
    def _hold_file(self, name: str, timeout: float, delete_file: bool = False) -> Iterator[None]:
        """Lock a file for the block. `delete_file` is for a name that is not used again."""
        assert self._folder is not None  # noqa: S101
        # Two names can have the same readable part; the hash distinguishes them.
        readable = re.sub(r"[^A-Za-z0-9-]+", "_", name)[:60]
        file = self._folder / f"{readable}.{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = FileLock(file, timeout=timeout, mode=0o600, thread_local=False)
            lock.acquire()
        except Timeout:
            raise _make_timeout(name, timeout) from None
        except OSError as error:
            raise DatabaseUnavailable(
                f"The lock file {file} cannot be used: {error.strerror}.",
                advice="Check the folder's permissions.",
            ) from None
        try:
            yield
        finally:
            if delete_file:
                # Delete it before the release, so that a waiting process notices that its file is gone.
                file.unlink(missing_ok=True)
            lock.release()

    @contextlib.contextmanager
    def _open_session(self, engine: Engine) -> Iterator[Connection]:
        """Open a connection of its own, which the server does not end."""
        with engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            _disable_server_timeouts(connection)
            yield connection

    @contextlib.contextmanager
    def _hold_session(self, engine: Engine, name: str, timeout: float) -> Iterator[Connection]:
        key = _compute_lock_key(name)
        with self._open_session(engine) as connection:
            connection.execute(text(f"SET lock_timeout = {max(1, round(timeout * 1000))}"))
            try:
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                    raise _make_timeout(name, timeout) from None
                raise
            try:
                yield connection
            finally:
                # Closing the connection frees the lock, too. A lost connection has freed it already.
                if not connection.invalidated:
                    with contextlib.suppress(DBAPIError, DatabaseUnavailable):
                        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})

    def close(self) -> None:
        self._own_liveness.close()
        if self._server is not None:
            self._server.dispose()


def _compute_lock_key(name: str) -> int:
    return compute_advisory_key(f"lock:{name}")


def compute_advisory_key(name: str) -> int:
    """The number of a named lock among PostgreSQL's advisory locks: a signed 64-bit hash of the name."""
    digest = hashlib.sha256(f"xero-pipeline:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _disable_server_timeouts(connection: Connection) -> None:
    """Undo the limits that a server, role or database sets for long statements and idle sessions.

    Waiting for a lock is one long statement, and holding it is an idle session. Not every version has every setting.
    """
    connection.execute(
        text(
            "SELECT set_config(name, '0', false) FROM pg_settings"
            " WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_session_timeout')"
        )
    )


def _make_timeout(name: str, timeout: float) -> LockTimeout:
    return LockTimeout(f"The lock {name!r} was not free within {timeout:g} seconds.")
