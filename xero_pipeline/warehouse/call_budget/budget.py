"""The slots of Xero's calls, counted in the database for every process of the deployment.

`SqlCallBudget` keeps what `calls.CallBudget` promises: no process takes a slot that would pass a limit,
however many ask at once. It knows limits, windows and what Xero's headers said; sending, waiting and
reading headers is `xero/http/session.py`'s matter. What is kept and how it is counted is in `counts.py`.

Three things are held together. Our own count, over rolling windows: the strictest reading of "a minute"
and "a day", since Xero does not say whether its windows roll. Xero's own count, from its answers' headers,
which also knows what other programs spend, and a smaller plan's limit. And blocks, from its 429 answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from xero_pipeline.rate_limits import CallLimits, CallPermit, DayExhausted, RateLimitHeaders, RateLimitKind, Usage, Wait
from xero_pipeline.warehouse.call_budget.counts import (
    APP_BY_MINUTE,
    APP_SCOPE,
    BY_DAY,
    BY_MINUTE,
    DAY,
    HOUR,
    KINDS,
    LEASE,
    SECOND,
    BudgetState,
    LimitWindow,
    ReportedRemaining,
    call_limits,
    call_slots,
    is_fresh,
    read_reported,
)
from xero_pipeline.warehouse.errors import DatabaseUnavailable, NotMigrated

# When to ask again while calls in progress may settle it: about as long as Xero takes for an answer.
SOON = 250
# Slots older than every window are deleted, once in so many.
PRUNE_EVERY = 100
KEPT = DAY + HOUR

# PostgreSQL's advisory locks are numbers; this one is ours: "xerocall".
_LOCK_KEY = int.from_bytes(b"xerocall", "big")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FINISH = (
    update(call_slots)
    .where(call_slots.c.id == bindparam("slot"))
    .values(finished_at=bindparam("at"))
    .returning(call_slots.c.tenant_id)
)
# The lock's turn is waited for as long as we say, whatever a server, role or database sets against long statements.
_WAIT = text("SELECT set_config('lock_timeout', '30s', true), set_config('statement_timeout', '0', true)")
_NEW_SLOT = insert(call_slots).returning(call_slots.c.id)
_CHANGE_LIMITS = update(call_limits).where(call_limits.c.scope == bindparam("whose"))


class SqlCallBudget:
    """`calls.CallBudget` over SQLite or PostgreSQL. Safe to use from several threads and processes.

    Must not be asked within a transaction of the caller's own: on SQLite both would wait for each other.

    Args:
        engine: as `database.open_engine` makes it, so that on SQLite `begin()` takes the write lock.
    """

    def __init__(self, engine: Engine, limits: CallLimits) -> None:
        if engine.dialect.name == "postgresql":
            # Whoever waited for the lock must see what the one before wrote.
            engine = engine.execution_options(isolation_level="READ COMMITTED")
        self._engine = engine
        self._limits = limits

    def acquire(self, tenant_id: str | None, now: datetime) -> CallPermit | Wait | DayExhausted:
        """Ask for one attempt's slot. Atomic across processes.

        Args:
            tenant_id: the organisation, or `None` for a call that counts for the app alone.

        Returns:
            A slot, or when to ask again: exactly, but soon where a call in progress may settle it earlier.
        """
        with self._alone() as connection:
            standing = BudgetState.read(connection, tenant_id, _floor(now))
            if tenant_id is not None:
                exhausted = self._day_exhausted(standing)
                if exhausted is not None:
                    return DayExhausted(_moment(exhausted))
            waits = list(self._waits(standing))
            if waits:
                longest, problem = max(waits, key=lambda wait: wait[0])
                return Wait(longest / SECOND, problem)
            return _give(connection, tenant_id, now)

    def release(self, permit: CallPermit, now: datetime, remaining: RateLimitHeaders) -> None:
        """The attempt is over, however it ended; what Xero's headers said corrects the count."""
        at = _floor(now)
        with self._alone() as connection:
            found = connection.execute(_FINISH, {"slot": permit.id, "at": at}).one_or_none()
            if found is None or remaining == RateLimitHeaders():
                return
            tenant_id: str | None = found.tenant_id
            said = read_reported(connection, tenant_id)
            _put(
                connection,
                APP_SCOPE,
                _news(connection, tenant_id, said, APP_BY_MINUTE, remaining.app_minute, permit, at),
            )
            if tenant_id is not None:
                minute = _news(connection, tenant_id, said, BY_MINUTE, remaining.minute, permit, at)
                day = _news(connection, tenant_id, said, BY_DAY, remaining.day, permit, at)
                _put(connection, tenant_id, minute | day)

    def block(self, tenant_id: str | None, problem: RateLimitKind, until: datetime) -> None:
        """Xero answered 429: no process may call for this organisation (or app) until then."""
        if tenant_id is None or problem is RateLimitKind.APP_MINUTE:
            scope, kind = APP_SCOPE, APP_BY_MINUTE
        else:
            scope, kind = tenant_id, KINDS.get(problem, BY_MINUTE)
        end = -_floor_of(-(until - _EPOCH))
        with self._alone() as connection:
            held = read_reported(connection, tenant_id)[f"{kind.prefix}_blocked_until"] or 0
            # The 429 says when to go on, so it takes the place of what a header said.
            _put(
                connection,
                scope,
                {
                    f"{kind.prefix}_blocked_until": max(end, held),
                    f"{kind.prefix}_left": None,
                    f"{kind.prefix}_slot": None,
                    f"{kind.prefix}_seen": None,
                },
            )

    def read_usage(self, tenant_id: str, now: datetime) -> Usage:
        """What an organisation has spent in the last 24 hours and has left, by the stricter count."""
        with _in_words(), self._engine.connect() as connection:
            standing = BudgetState.read(connection, tenant_id, _floor(now))
            return Usage(
                today=standing.started(BY_DAY),
                per_day=self._limits.per_day,
                left_today=standing.left(BY_DAY, self._limits.per_day),
                left_this_minute=standing.left(BY_MINUTE, self._limits.per_minute),
            )

    def _day_exhausted(self, standing: BudgetState) -> int | None:
        """Until when the organisation's day is spent, or `None`."""
        ends = [standing.blocked_until(BY_DAY), standing.room_at(BY_DAY, self._limits.per_day)]
        if standing.is_trusted(BY_DAY) and standing.said_left(BY_DAY) <= 0:
            ends.append(standing.seen(BY_DAY) + BY_DAY.trust)
        until = max(ends)
        return until if until > standing.at else None

    def _waits(self, standing: BudgetState) -> Iterator[tuple[int, RateLimitKind]]:
        """Every reason to wait: milliseconds and problem."""
        yield from _minute_waits(standing, APP_BY_MINUTE, self._limits.app_per_minute)
        if standing.tenant_id is None:
            return
        yield from _minute_waits(standing, BY_MINUTE, self._limits.per_minute)
        if standing.in_progress >= self._limits.in_progress:
            yield SOON, RateLimitKind.CONCURRENT
        if _day_is_being_probed(standing):
            yield SOON, RateLimitKind.DAY

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """A transaction that no other of this budget runs beside, in any process.

        One lock for all organisations, since they share the app's limit; it is held for milliseconds.
        """
        with _in_words(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(_WAIT)
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            yield connection


def _minute_waits(standing: BudgetState, kind: LimitWindow, limit: int) -> Iterator[tuple[int, RateLimitKind]]:
    end = max(standing.blocked_until(kind), standing.room_at(kind, limit))
    if end > standing.at:
        yield end - standing.at, kind.problem
    if standing.is_trusted(kind) and standing.said_left(kind) <= 0:
        rest = standing.seen(kind) + kind.trust - standing.at
        answer_is_near = standing.is_awaited(kind, after_slot=standing.said[f"{kind.prefix}_slot"])
        yield (min(SOON, rest) if answer_is_near else rest), kind.problem


def _day_is_being_probed(standing: BudgetState) -> bool:
    """Whether a day at zero, no longer trusted, is just being asked about by another call."""
    if standing.said["day_seen"] is None or standing.is_trusted(BY_DAY) or standing.seen(BY_DAY) + DAY <= standing.at:
        return False
    after = standing.seen(BY_DAY) + BY_DAY.trust
    return standing.said_left(BY_DAY) <= 0 and standing.is_awaited(BY_DAY, after=after)


def _give(connection: Connection, tenant_id: str | None, now: datetime) -> CallPermit:
    started = -_floor_of(-(now - _EPOCH))
    new = {"tenant_id": tenant_id, "started_at": started, "expires_at": started + LEASE}
    given = int(connection.execute(_NEW_SLOT, new).scalar_one())
    if given % PRUNE_EVERY == 0:
        connection.execute(delete(call_slots).where(call_slots.c.started_at < started - KEPT))
    return CallPermit(given)


def _news(
    connection: Connection,
    tenant_id: str | None,
    said: ReportedRemaining,
    kind: LimitWindow,
    left: int | None,
    slot: CallPermit,
    at: int,
) -> dict[str, Any]:
    """What of a header is to be kept: nothing where what is held is newer and stricter.

    Answers overtake each other. The one whose request began last knows most; an older one's lower count
    is still believed, since another program may have spent the difference.
    """
    if left is None:
        return {}
    held, held_slot = said[f"{kind.prefix}_left"], said[f"{kind.prefix}_slot"]
    if is_fresh(said, kind, at) and held_slot > slot.id:
        between = [*kind.whose, call_slots.c.id > slot.id, call_slots.c.id <= held_slot]
        query = select(func.count()).select_from(call_slots).where(*between)
        since = int(connection.execute(query, {"tenant_id": tenant_id}).scalar_one())
        if left - since >= held:
            return {}
    return {f"{kind.prefix}_left": left, f"{kind.prefix}_slot": slot.id, f"{kind.prefix}_seen": at}


def _put(connection: Connection, scope: str, values: dict[str, Any]) -> None:
    if not values:
        return
    # No race between the two: whoever writes holds the lock.
    if connection.execute(_CHANGE_LIMITS, {"whose": scope, **values}).rowcount == 0:
        connection.execute(insert(call_limits), {"scope": scope, **values})


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
