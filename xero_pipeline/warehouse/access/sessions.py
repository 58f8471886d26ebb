"""The sessions of the admin page: who has signed in, from where, and since when.

They are in the database, so that a session that was ended stays ended after a restart and in every process. The table
holds hashes of the cookies, so a reader of the table cannot use a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Integer,
    Row,
    Table,
    Text,
    UniqueConstraint,
    delete,
    insert,
    or_,
    select,
    update,
)

from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime
from xero_pipeline.warehouse.errors import WarehouseError

SESSION_LIFE = timedelta(hours=12)
SESSION_IDLE_LIMIT = timedelta(hours=1)
# Writing down each request would make every look at the page a write.
_TOUCH_INTERVAL = timedelta(minutes=1)

admin_sessions = Table(
    "admin_sessions",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("session_hash", Text, nullable=False),
    Column("who", Text, nullable=False),
    # What the person signed in with (`xero_pipeline/access.py`): the session ends when that is changed or removed.
    Column("credential", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("began_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    UniqueConstraint("session_hash"),
    sqlite_autoincrement=True,
)


class UnknownSession(WarehouseError):
    code = "unknown_session"
    default_advice = "It may have ended already."


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session that has neither been ended nor expired. `id` names it to people; the hash is not shown."""

    id: int
    session_hash: str
    who: str
    credential: str
    origin: str
    began_at: datetime
    last_seen_at: datetime

    @property
    def ends_at(self) -> datetime:
        """When it ends if it is not used again."""
        return min(self.began_at + SESSION_LIFE, self.last_seen_at + SESSION_IDLE_LIMIT)


class SessionStore:
    """The table of sessions. Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, session_hash: str, *, who: str, credential: str, origin: str, now: datetime) -> None:
        """Store a new session, and forget those that have expired."""
        values = {"session_hash": session_hash, "who": who, "credential": credential, "origin": origin}
        with self._engine.begin() as connection:
            connection.execute(delete(admin_sessions).where(_has_expired(now)))
            connection.execute(insert(admin_sessions).values(**values, began_at=now, last_seen_at=now))

    def find(self, session_hash: str, now: datetime) -> StoredSession | None:
        """Find a session; `None` if it was ended, is older than `SESSION_LIFE` or was idle for `SESSION_IDLE_LIMIT`."""
        query = select(admin_sessions).where(admin_sessions.c.session_hash == session_hash, ~_has_expired(now))
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _to_session(row)

    def touch(self, session: StoredSession, now: datetime) -> None:
        """Record that a person has just used the session, at most once a minute."""
        if now - session.last_seen_at < _TOUCH_INTERVAL:
            return
        with self._engine.begin() as connection:
            connection.execute(update(admin_sessions).where(admin_sessions.c.id == session.id).values(last_seen_at=now))

    def list_open(self, now: datetime) -> list[StoredSession]:
        """The sessions that have not expired, the last used first."""
        query = select(admin_sessions).where(~_has_expired(now)).order_by(admin_sessions.c.last_seen_at.desc())
        with self._engine.connect() as connection:
            return [_to_session(row) for row in connection.execute(query.order_by(admin_sessions.c.id.desc()))]

    def end(self, session_id: int) -> StoredSession:
        """End one session and return it.

        Raises:
            UnknownSession: there is none with that id.
        """
        statement = delete(admin_sessions).where(admin_sessions.c.id == session_id).returning(*admin_sessions.c)
        with self._engine.begin() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise UnknownSession("There is no session with that id.")
        return _to_session(row)

    def end_all(self) -> int:
        """End every session and return how many there were."""
        with self._engine.begin() as connection:
            return connection.execute(delete(admin_sessions)).rowcount

    def end_of_credential(self, credential: str) -> int:
        """End the sessions that began with this credential, and return how many there were."""
        with self._engine.begin() as connection:
            return connection.execute(delete(admin_sessions).where(admin_sessions.c.credential == credential)).rowcount


def _has_expired(now: datetime) -> Any:
    return or_(
        admin_sessions.c.began_at <= now - SESSION_LIFE, admin_sessions.c.last_seen_at <= now - SESSION_IDLE_LIMIT
    )


def _to_session(row: Row[Any]) -> StoredSession:
    return StoredSession(**row._mapping)
