"""The slots of Xero's calls, counted in the database for every process of the deployment.

`SqlCallBudget` keeps what `calls.CallBudget` promises: no process takes a slot that would pass a limit,
however many ask at once. It knows limits, windows and what Xero's headers said; sending, waiting and
reading headers is `xero/session.py`'s matter. The two tables are here, since nobody else reads them.

Three things are held together. Our own count, over rolling windows: the strictest reading of "a minute"
and "a day", since Xero does not say whether its windows roll. Xero's own count, from its answers' headers,
which also knows what other programs spend, and a smaller plan's limit. And blocks, from its 429 answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Index,
    Integer,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from xero_pipeline.calls import CallLimits, DayExhausted, Problem, Remaining, Slot, Usage, Wait
from xero_pipeline.warehouse.errors import DatabaseUnavailable, NotMigrated
from xero_pipeline.warehouse.metadata import metadata

# All moments are epoch milliseconds (UTC). Plain numbers compare alike on both databases.
_Moment = BigInteger

call_slots = Table(
    "call_slots",
    metadata,
    # SQLite counts up by itself only for INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("tenant_id", String(64)),
    Column("started_at", _Moment, nullable=False),
    Column("expires_at", _Moment, nullable=False),
    Column("finished_at", _Moment),
    Index("ix_call_slots_tenant_id_started_at", "tenant_id", "started_at"),
    Index("ix_call_slots_started_at", "started_at"),
)

# One row an organisation, and one for the app. For each kind of limit: what an answer's header said was
# left, the slot of that answer, when it came; and until when a 429 told us to stay away.
call_limits = Table(
    "call_limits",
    metadata,
    Column("scope", String(64), primary_key=True),
    *(
        Column(f"{kind}_{name}", _Moment)
        for kind in ("minute", "day", "app_minute")
        for name in ("left", "slot", "seen", "blocked_until")
    ),
)

APP_SCOPE = "app"

_SECOND = 1000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

# A process that was killed never gives its slot back; after this it no longer counts as in progress. Longer
# than one attempt can last (`xero/session.py`: a deadline of 120 s, and what connecting may take beyond it).
LEASE = 190 * _SECOND
# When to ask again while calls in progress may settle it: about as long as Xero takes for an answer.
SOON = 250
# How long a header's count is trusted. A minute's count is worth nothing after a minute. A day's count could
# stand for 24 hours if Xero's window rolls, or for minutes if it is fixed and about to turn, which Xero does
# not say: so after an hour at zero one call may go and find out.
MINUTE_TRUST = _MINUTE
DAY_TRUST = _HOUR
# A clock that was set back leaves slots in the future; beyond this they are a clock's error, not a call.
CLOCK_SKEW = 10 * _MINUTE
# Slots older than every window are deleted, once in so many.
PRUNE_EVERY = 100
KEPT = _DAY + _HOUR

# PostgreSQL's advisory locks are numbers; this one is ours: "xerocall".
_LOCK_KEY = int.from_bytes(b"xerocall", "big")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of Xero's limits: where its columns are, how long its header is trusted."""

    prefix: str
    problem: Problem
    trust: int


_MINUTE_KIND = _Kind("minute", Problem.MINUTE, MINUTE_TRUST)
_DAY_KIND = _Kind("day", Problem.DAY, DAY_TRUST)
_APP_KIND = _Kind("app_minute", Problem.APP_MINUTE, MINUTE_TRUST)
_KINDS = {kind.problem: kind for kind in (_MINUTE_KIND, _DAY_KIND, _APP_KIND)}

_Row = dict[str, Any]


class SqlCallBudget:
    """`calls.CallBudget` over SQLite or PostgreSQL. Safe to use from several threads and processes.

    Must not be asked within a transaction of the caller's own: on SQLite both would wait for each other.
    """

    def __init__(self, engine: Engine, limits: CallLimits) -> None:
        if engine.dialect.name == "postgresql":
            # Whoever waited for the lock must see what the one before wrote.
            engine = engine.execution_options(isolation_level="READ COMMITTED")
        self._engine = engine
        self._limits = limits

    def take(self, tenant_id: str | None, now: datetime) -> Slot | Wait | DayExhausted:
        """Ask for one attempt's slot. Atomic across processes.

        Args:
            tenant_id: the organisation, or `None` for a call that counts for the app alone.

        Returns:
            A slot, or when to ask again: exactly, but soon where a call in progress may settle it earlier.
        """
        at = _floor(now)
        with self._alone() as connection:
            if tenant_id is not None:
                exhausted = self._day_exhausted(connection, tenant_id, at)
                if exhausted is not None:
                    return DayExhausted(_moment(exhausted))
            waits = list(self._waits(connection, tenant_id, at))
            if waits:
                longest, problem = max(waits, key=lambda wait: wait[0])
                return Wait(longest / _SECOND, problem)
            return self._give(connection, tenant_id, now)

    def give_back(self, slot: Slot, now: datetime, remaining: Remaining) -> None:
        """The attempt is over, however it ended; what Xero's headers said corrects the count."""
        at = _floor(now)
        with self._alone() as connection:
            found = connection.execute(
                update(call_slots)
                .where(call_slots.c.id == slot.id)
                .values(finished_at=at)
                .returning(call_slots.c.tenant_id)
            ).one_or_none()
            if found is None:
                return
            tenant_id: str | None = found.tenant_id
            self._see(connection, APP_SCOPE, None, _APP_KIND, remaining.app_minute, slot, at)
            if tenant_id is not None:
                self._see(connection, tenant_id, tenant_id, _MINUTE_KIND, remaining.minute, slot, at)
                self._see(connection, tenant_id, tenant_id, _DAY_KIND, remaining.day, slot, at)

    def block(self, tenant_id: str | None, problem: Problem, until: datetime) -> None:
        """Xero answered 429: no process may call for this organisation (or app) until then."""
        if tenant_id is None or problem is Problem.APP_MINUTE:
            scope, kind = APP_SCOPE, _APP_KIND
        else:
            scope, kind = tenant_id, _KINDS.get(problem, _MINUTE_KIND)
        end = -_floor_of(-(until - _EPOCH))
        with self._alone() as connection:
            row = _limits_of(connection, scope)
            # The 429 says when to go on, so it takes the place of what a header said.
            _put(
                connection,
                scope,
                {
                    f"{kind.prefix}_blocked_until": max(end, row[f"{kind.prefix}_blocked_until"] or 0),
                    f"{kind.prefix}_left": None,
                    f"{kind.prefix}_slot": None,
                    f"{kind.prefix}_seen": None,
                },
            )

    def usage(self, tenant_id: str, now: datetime) -> Usage:
        """What an organisation has spent in the last 24 hours and has left, by the stricter count."""
        at = _floor(now)
        with _in_words(), self._engine.connect() as connection:
            today = _count(connection, _within(tenant_id, at, _DAY))
            minute = _count(connection, _within(tenant_id, at, _MINUTE))
            row = _limits_of(connection, tenant_id)
            return Usage(
                today=today,
                per_day=self._limits.per_day,
                left_today=_left(connection, tenant_id, row, _DAY_KIND, at, self._limits.per_day - today),
                left_this_minute=_left(connection, tenant_id, row, _MINUTE_KIND, at, self._limits.per_minute - minute),
            )

    def _day_exhausted(self, connection: Connection, tenant_id: str, at: int) -> int | None:
        """Until when the organisation's day is spent, or `None`."""
        row = _limits_of(connection, tenant_id)
        ends = [row["day_blocked_until"] or 0]
        ends.append(_room_at(connection, tenant_id, at, _DAY, self._limits.per_day))
        if _trusted(row, _DAY_KIND, at) and _said_left(connection, tenant_id, row, _DAY_KIND) <= 0:
            ends.append(row["day_seen"] + _DAY_KIND.trust)
        until = max(ends)
        return until if until > at else None

    def _waits(self, connection: Connection, tenant_id: str | None, at: int) -> Iterator[tuple[int, Problem]]:
        """Every reason to wait: milliseconds and problem."""
        yield from self._minute_waits(connection, None, _APP_KIND, at, self._limits.app_per_minute)
        if tenant_id is None:
            return
        yield from self._minute_waits(connection, tenant_id, _MINUTE_KIND, at, self._limits.per_minute)
        if _count(connection, _in_progress(tenant_id, at)) >= self._limits.in_progress:
            yield SOON, Problem.CONCURRENT
        if self._day_is_being_probed(connection, tenant_id, at):
            yield SOON, Problem.DAY

    def _minute_waits(
        self, connection: Connection, tenant_id: str | None, kind: _Kind, at: int, limit: int
    ) -> Iterator[tuple[int, Problem]]:
        row = _limits_of(connection, APP_SCOPE if tenant_id is None else tenant_id)
        end = max(row[f"{kind.prefix}_blocked_until"] or 0, _room_at(connection, tenant_id, at, _MINUTE, limit))
        if end > at:
            yield end - at, kind.problem
        if _trusted(row, kind, at) and _said_left(connection, tenant_id, row, kind) <= 0:
            rest = row[f"{kind.prefix}_seen"] + kind.trust - at
            newer = call_slots.c.id > row[f"{kind.prefix}_slot"]
            waiting_for_answer = _count(connection, [*_in_progress(tenant_id, at), newer]) > 0
            yield (min(SOON, rest) if waiting_for_answer else rest), kind.problem

    def _day_is_being_probed(self, connection: Connection, tenant_id: str, at: int) -> bool:
        """Whether a day at zero, no longer trusted, is just being asked about by another call."""
        row = _limits_of(connection, tenant_id)
        if row["day_seen"] is None or _trusted(row, _DAY_KIND, at) or row["day_seen"] + _DAY <= at:
            return False
        if _said_left(connection, tenant_id, row, _DAY_KIND) > 0:
            return False
        probing = call_slots.c.started_at >= row["day_seen"] + _DAY_KIND.trust
        return _count(connection, [*_in_progress(tenant_id, at), probing]) > 0

    def _give(self, connection: Connection, tenant_id: str | None, now: datetime) -> Slot:
        started = -_floor_of(-(now - _EPOCH))
        given = connection.execute(
            insert(call_slots)
            .values(tenant_id=tenant_id, started_at=started, expires_at=started + LEASE)
            .returning(call_slots.c.id)
        ).scalar_one()
        if given % PRUNE_EVERY == 0:
            connection.execute(delete(call_slots).where(call_slots.c.started_at < started - KEPT))
        return Slot(given)

    def _see(
        self,
        connection: Connection,
        scope: str,
        tenant_id: str | None,
        kind: _Kind,
        left: int | None,
        slot: Slot,
        at: int,
    ) -> None:
        """Keep what a header said, unless what is held is newer and stricter.

        Answers overtake each other. The one whose request began last knows most; an older one's lower count
        is still believed, since another program may have spent the difference.
        """
        if left is None:
            return
        row = _limits_of(connection, scope)
        seen: _Row = {f"{kind.prefix}_left": left, f"{kind.prefix}_slot": slot.id, f"{kind.prefix}_seen": at}
        if _trusted(row, kind, at) and row[f"{kind.prefix}_slot"] > slot.id:
            held = _said_left(connection, tenant_id, row, kind)
            if _said_left(connection, tenant_id, seen, kind) >= held:
                return
        _put(connection, scope, seen)

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """A transaction that no other of this budget runs beside, in any process.

        One lock for all organisations, since they share the app's limit; it is held for milliseconds.
        """
        with _in_words(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL lock_timeout = '30s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            else:
                # SQLite takes its write lock with the first statement that could write, whatever it finds.
                connection.execute(delete(call_slots).where(call_slots.c.id < 0))
            yield connection


def _within(tenant_id: str | None, at: int, window: int) -> list[ColumnElement[bool]]:
    """The calls of a rolling window that ends now; `None`: of all organisations and the app."""
    recent = [call_slots.c.started_at > at - window, call_slots.c.started_at <= at + CLOCK_SKEW]
    return recent if tenant_id is None else [call_slots.c.tenant_id == tenant_id, *recent]


def _in_progress(tenant_id: str | None, at: int) -> list[ColumnElement[bool]]:
    """Calls whose answer is still awaited and whose process is believed alive."""
    return [
        *_within(tenant_id, at, LEASE + CLOCK_SKEW),
        call_slots.c.finished_at.is_(None),
        call_slots.c.expires_at > at,
    ]


def _count(connection: Connection, which: list[ColumnElement[bool]]) -> int:
    return int(connection.execute(select(func.count()).select_from(call_slots).where(*which)).scalar_one())


def _room_at(connection: Connection, tenant_id: str | None, at: int, window: int, limit: int) -> int:
    """When a rolling window has room for one more call; 0 when it has room now."""
    calls = _within(tenant_id, at, window)
    too_many = _count(connection, calls) - limit
    if too_many < 0:
        return 0
    leaves = select(call_slots.c.started_at).where(*calls).order_by(call_slots.c.started_at).offset(too_many).limit(1)
    return int(connection.execute(leaves).scalar_one()) + window


def _trusted(row: _Row, kind: _Kind, at: int) -> bool:
    seen = row[f"{kind.prefix}_seen"]
    return seen is not None and seen + kind.trust > at


def _said_left(connection: Connection, tenant_id: str | None, row: _Row, kind: _Kind) -> int:
    """What a header's count comes to now: less every call of ours that began after the one it answered.

    Whether Xero had counted those in is not known; calls in flight at once make us cautious, not wrong.
    """
    later = [call_slots.c.id > row[f"{kind.prefix}_slot"]]
    if tenant_id is not None:
        later.append(call_slots.c.tenant_id == tenant_id)
    return int(row[f"{kind.prefix}_left"]) - _count(connection, later)


def _left(connection: Connection, tenant_id: str, row: _Row, kind: _Kind, at: int, own: int) -> int:
    if (row[f"{kind.prefix}_blocked_until"] or 0) > at:
        return 0
    said = _said_left(connection, tenant_id, row, kind) if _trusted(row, kind, at) else own
    return max(0, min(own, said))


def _limits_of(connection: Connection, scope: str) -> _Row:
    found = connection.execute(select(call_limits).where(call_limits.c.scope == scope)).mappings().one_or_none()
    return dict(found) if found is not None else dict.fromkeys(call_limits.c.keys())


def _put(connection: Connection, scope: str, values: _Row) -> None:
    # No race between the two: whoever writes holds the lock.
    changed = connection.execute(update(call_limits).where(call_limits.c.scope == scope).values(values))
    if changed.rowcount == 0:
        connection.execute(insert(call_limits).values(scope=scope, **values))


def _floor_of(since_epoch: timedelta) -> int:
    return since_epoch // timedelta(milliseconds=1)


def _floor(moment: datetime) -> int:
    return _floor_of(moment - _EPOCH)


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


@contextmanager
def _in_words() -> Iterator[None]:
    """The database's own errors, as ours."""
    try:
        yield
    except ProgrammingError as error:
        raise NotMigrated("The database has no table for the call budget.") from error
    except OperationalError as error:
        if "no such table" in str(error.orig):
            raise NotMigrated("The database has no table for the call budget.") from error
        raise DatabaseUnavailable("The call budget could not be read or written.") from error
    except DBAPIError as error:
        raise DatabaseUnavailable("The call budget could not be read or written.") from error
