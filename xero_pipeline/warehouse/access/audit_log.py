"""The audit log: who did what, from where, when, and how it ended.

What succeeded has a row of its own. What failed is counted: within an hour, the same failure of the same person from
the same place is one row with a count, and so somebody who guesses cannot fill the table. Nor can somebody with many
addresses: beyond `MAX_ORIGINS` of them in an hour, the rest share one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    Table,
    Text,
    distinct,
    func,
    insert,
    select,
    update,
)

from xero_pipeline.printable import replace_control_characters
from xero_pipeline.warehouse.database.locks import compute_advisory_key
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime
from xero_pipeline.warehouse.logs.hidden_secrets import hide_secrets

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("who", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    # How often it happened between `at` and `last_at`: 1, except for a counted failure.
    Column("count", Integer, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
)

SUCCESS = "success"
COUNTING_PERIOD = timedelta(hours=1)
MAX_ORIGINS = 20
OTHER_ORIGINS = "other addresses"
UNKNOWN_PERSON_NAME = "unknown"
LONGEST_TEXT = 200


class AuditAction(StrEnum):
    """What people can do."""

    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    CONNECT = "connect"
    DISCONNECT = "disconnect"
    SYNC = "sync"
    START_SCHEDULER = "start_scheduler"
    STOP_SCHEDULER = "stop_scheduler"
    ACCEPT = "accept"
    DAGSTER_CHANGE = "dagster_change"
    ROTATE_KEY = "rotate_key"
    ADD_ACCESS = "add_access"
    REMOVE_ACCESS = "remove_access"
    END_SESSION = "end_session"
    BACKUP = "backup"
    RESTORE = "restore"
    EXPORT = "export"
    LOCKDOWN = "lockdown"


class AuditOutcome(StrEnum):
    """How an action ended. The outcome of a failed one can also be the code of its error."""

    SUCCESS = SUCCESS
    REFUSED = "refused"
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - the name of an outcome
    THROTTLED = "throttled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, in which role, and from where: an address, or `cli`."""

    who: str
    role: str
    origin: str

    @classmethod
    def stranger(cls, origin: str) -> Actor:
        """Somebody at that address who has not signed in."""
        return cls(UNKNOWN_PERSON_NAME, "none", origin)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action, as its caller records it. No field may hold a secret; what looks like one is hidden."""

    who: str
    role: str
    origin: str
    action: str
    subject: str = ""
    outcome: str = SUCCESS

    @classmethod
    def of(cls, actor: Actor, action: str, subject: str = "", outcome: str = SUCCESS) -> AuditEntry:
        return cls(actor.who, actor.role, actor.origin, action, subject, outcome)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the log."""

    id: int
    at: datetime
    who: str
    role: str
    origin: str
    action: str
    subject: str
    outcome: str
    count: int
    last_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The form of the HTTP API and of `--json`."""
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "who": self.who,
            "role": self.role,
            "origin": self.origin,
            "action": self.action,
            "subject": self.subject,
            "outcome": self.outcome,
            "count": self.count,
            "lastAt": self.last_at.isoformat(),
        }


class AuditLog:
    """The table. Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, entry: AuditEntry, now: datetime, *, count: int = 1) -> None:
        """Record an action.

        Args:
            count: how often it happened, for failures that the caller has counted.
        """
        values = {
            name: _clean(str(getattr(entry, name)))
            for name in ("who", "role", "origin", "action", "subject", "outcome")
        }
        with self._engine.begin() as connection:
            if values["outcome"] == SUCCESS or not self._count(connection, values, now, count):
                connection.execute(insert(audit_log).values(**values, at=now, count=count, last_at=now))

    def _count(self, connection: Connection, values: dict[str, str], now: datetime, count: int) -> bool:
        """Add a failure to its row of this hour, and return whether there was one. May replace the origin."""
        if connection.dialect.name == "postgresql":
            # Two processes that count the same failure for the first time must not both insert its row.
            key = compute_advisory_key("audit_log")
            connection.execute(select(func.pg_advisory_xact_lock(key)))
        is_recent = audit_log.c.at > now - COUNTING_PERIOD
        if values["who"] == UNKNOWN_PERSON_NAME:
            strangers = select(func.count(distinct(audit_log.c.origin))).where(
                is_recent, audit_log.c.who == UNKNOWN_PERSON_NAME
            )
            known = select(audit_log.c.id).where(
                is_recent, audit_log.c.who == UNKNOWN_PERSON_NAME, audit_log.c.origin == values["origin"]
            )
            is_new = connection.execute(known.limit(1)).first() is None
            if is_new and connection.execute(strangers).scalar_one() >= MAX_ORIGINS:
                values["origin"] = OTHER_ORIGINS
        same = [audit_log.c[name] == value for name, value in values.items()]
        query = select(audit_log.c.id).where(is_recent, *same).order_by(audit_log.c.id.desc()).limit(1)
        row_id = connection.execute(query).scalar_one_or_none()
        if row_id is None:
            return False
        connection.execute(
            update(audit_log).where(audit_log.c.id == row_id).values(count=audit_log.c["count"] + count, last_at=now)
        )
        return True

    def list_newest(self, limit: int) -> list[AuditRow]:
        """The newest rows, newest first."""
        query = select(audit_log).order_by(audit_log.c.at.desc(), audit_log.c.id.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [AuditRow(**row._mapping) for row in connection.execute(query)]

    def count_failures(self, action: str, outcomes: Sequence[str], since: datetime) -> int:
        """How often an action has ended with one of these outcomes in the rows that were counted up since then."""
        query = select(func.coalesce(func.sum(audit_log.c["count"]), 0)).where(
            audit_log.c.action == action, audit_log.c.outcome.in_(outcomes), audit_log.c.last_at > since
        )
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())


def _clean(text: str) -> str:
    """One printable line without anything that looks like a secret. Xero's names and headers come from elsewhere."""
    hidden: str = hide_secrets(" ".join(replace_control_characters(text).split()))
    return hidden if len(hidden) <= LONGEST_TEXT else f"{hidden[: LONGEST_TEXT - 1]}…"
