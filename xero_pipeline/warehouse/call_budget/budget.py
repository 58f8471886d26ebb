"""The permits for calls to Xero, counted in the database for every process of the deployment.

`SqlCallBudget` implements `rate_limits.CallBudget`: no process gets a permit that would exceed a limit, however many
ask at once. `xero/http/session.py` sends, waits and reads headers. `counts.py` defines the tables and the counting.

A permit depends on three things. Our own count uses rolling windows, the strictest reading of "a minute" and "a day",
since Xero does not say whether its windows roll. Xero's count, from the headers of its responses, includes the calls
of other programs and a smaller plan's limit. Blocks come from its 429 responses.
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
    LEASE,
    SECOND,
    WINDOWS,
    BudgetState,
    LimitWindow,
    ReportedRemaining,
    call_limits,
    call_slots,
    is_fresh,
    read_reported,
)
from xero_pipeline.warehouse.database.locks import Locks
from xero_pipeline.warehouse.errors import DatabaseUnavailable, NotMigrated

# Milliseconds until the next question while a call in progress may change the result: about one response time.
RETRY_SOON = 250
# A call that takes longer than this may belong to a process that has died.
SLOW = 2 * SECOND
# Every so many permits, calls that are older than every window are deleted.
PRUNE_EVERY = 100
RETENTION = DAY + HOUR

# PostgreSQL's advisory locks are numbers. This one is "xerocall" in ASCII.
_LOCK_KEY = int.from_bytes(b"xerocall", "big")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FINISH = (
    update(call_slots)
    .where(call_slots.c.id == bindparam("permit"))
    .values(finished_at=bindparam("at"))
    .returning(call_slots.c.tenant_id)
)
_SELECT_HOLDERS = (
    select(call_slots.c.holder)
    .where(
        call_slots.c.finished_at.is_(None),
        call_slots.c.started_at > bindparam("since"),
        call_slots.c.started_at <= bindparam("until"),
        call_slots.c.holder.is_not(None),
        call_slots.c.holder != bindparam("holder"),
    )
    .distinct()
)
_FREE_HOLDER = (
    update(call_slots)
    .where(call_slots.c.holder == bindparam("dead_holder"), call_slots.c.finished_at.is_(None))
    .values(finished_at=bindparam("at"))
)
# Wait up to a minute for the lock, whatever limits a server, role or database sets for long statements. A host that is
# lost in the middle of a transaction would hold the lock until PostgreSQL notices a minute later that the line is dead,
# and no process could call meanwhile. So the server ends a session that is silent within this transaction.
_SET_TIMEOUTS = text(
    "SELECT set_config('lock_timeout', '60s', true), set_config('statement_timeout', '0', true), "
    "set_config('idle_in_transaction_session_timeout', :longest_silence, true)"
)
LONGEST_SILENCE = "10s"
_INSERT_CALL = insert(call_slots).returning(call_slots.c.id)
_UPDATE_LIMITS = update(call_limits).where(call_limits.c.scope == bindparam("row_scope"))


class SqlCallBudget:
    """`rate_limits.CallBudget` on SQLite or PostgreSQL. Safe to use from several threads and processes.

    Do not call it inside a transaction of your own: on SQLite both would wait for each other.

    Args:
        engine: from `database.engine.open_engine`, so that `begin()` takes the write lock on SQLite.
        locks: tell which processes are alive, so that the permits of a killed one are free at once. Without them,
            its permits are free when their lease ends.
    """

    def __init__(self, engine: Engine, limits: CallLimits, locks: Locks | None = None) -> None:
        if engine.dialect.name == "postgresql":
            # A process that waited for the lock must see what the previous holder wrote.
            engine = engine.execution_options(isolation_level="READ COMMITTED")
        self._engine = engine
        self._limits = limits
        self._locks = locks

    def acquire(self, tenant_id: str | None, now: datetime) -> CallPermit | Wait | DayExhausted:
        """Take the permit for one attempt. Atomic across processes.

        Args:
            tenant_id: the organisation, or `None` for a call that counts for the app alone.

        Returns:
            A permit, or when to ask again. That moment is exact, or sooner where a call in progress may free a
            permit earlier.
        """
        holder = self._locks.get_liveness_name() if self._locks else None
        answer = self._try_acquire(tenant_id, now, holder)
        if isinstance(answer, Wait) and self._free_dead_permits(now, holder):
            return self._try_acquire(tenant_id, now, holder)
        return answer

    def _try_acquire(
        self, tenant_id: str | None, now: datetime, holder: str | None
    ) -> CallPermit | Wait | DayExhausted:
        with self._begin_exclusive() as connection:
            state = self._read_state(connection, tenant_id, _to_milliseconds(now))
            if tenant_id is not None:
                exhausted_until = self._find_day_end(state)
                if exhausted_until is not None:
                    return DayExhausted(_to_datetime(exhausted_until))
            waits = list(self._list_waits(state))
            if waits:
                longest, problem = max(waits, key=lambda wait: wait[0])
                return Wait(longest / SECOND, problem)
            return _insert_permit(connection, tenant_id, now, holder)

    def _read_state(self, connection: Connection, tenant_id: str | None, at: int) -> BudgetState:
        """Read the state, after any limit was shortened that would hold for longer than it lasts."""
        state = BudgetState.read(connection, tenant_id, at)
        windows = [APP_BY_MINUTE] if tenant_id is None else list(WINDOWS.values())
        overlong = {window: columns for window in windows if (columns := state.find_overlong(window))}
        for window, columns in overlong.items():
            _write_limits(connection, APP_SCOPE if window.is_for_app else str(tenant_id), columns)
        return BudgetState.read(connection, tenant_id, at) if overlong else state

    def _free_dead_permits(self, now: datetime, holder: str | None) -> bool:
        """Release the permits whose process is dead, and return whether there were any.

        Only calls that take unusually long are looked at, because a PostgreSQL lock is tested by a new session.
        """
        if self._locks is None:
            return False
        at = _to_milliseconds(now)
        with _translate_errors(), self._engine.connect() as connection:
            holders = connection.execute(_SELECT_HOLDERS, {"holder": holder, "since": at - LEASE, "until": at - SLOW})
            dead = [name for name in holders.scalars() if not self._locks.is_held(name)]
        if dead:
            with self._begin_exclusive() as connection:
                connection.execute(_FREE_HOLDER, [{"dead_holder": name, "at": at} for name in dead])
        return bool(dead)

    def release(self, permit: CallPermit, now: datetime, remaining: RateLimitHeaders) -> None:
        """Record that the attempt is over, whether it succeeded or not, and correct the count by Xero's headers."""
        at = _to_milliseconds(now)
        with self._begin_exclusive() as connection:
            call = connection.execute(_FINISH, {"permit": permit.id, "at": at}).one_or_none()
            if call is None or remaining == RateLimitHeaders():
                return
            tenant_id: str | None = call.tenant_id
            reported = read_reported(connection, tenant_id)
            _write_limits(
                connection,
                APP_SCOPE,
                _choose_update(connection, tenant_id, reported, APP_BY_MINUTE, remaining.app_minute, permit, at),
            )
            if tenant_id is not None:
                minute = _choose_update(connection, tenant_id, reported, BY_MINUTE, remaining.minute, permit, at)
                day = _choose_update(connection, tenant_id, reported, BY_DAY, remaining.day, permit, at)
                _write_limits(connection, tenant_id, minute | day)

    def block(self, tenant_id: str | None, problem: RateLimitKind, until: datetime) -> None:
        """Record a 429 response: no process may call for this organisation (or the app) before `until`."""
        if tenant_id is None or problem is RateLimitKind.APP_MINUTE:
            scope, window = APP_SCOPE, APP_BY_MINUTE
        else:
            scope, window = tenant_id, WINDOWS.get(problem, BY_MINUTE)
        end = _round_up_to_milliseconds(until)
        with self._begin_exclusive() as connection:
            previous_end = read_reported(connection, tenant_id)[f"{window.prefix}_blocked_until"] or 0
            # The 429 says when calls may continue, so it replaces the count of an earlier header.
            _write_limits(
                connection,
                scope,
                {
                    f"{window.prefix}_blocked_until": max(end, previous_end),
                    f"{window.prefix}_left": None,
                    f"{window.prefix}_slot": None,
                    f"{window.prefix}_seen": None,
                },
            )

    def read_usage(self, tenant_id: str, now: datetime) -> Usage:
        """The calls that an organisation made in the last 24 hours, and those left by the stricter count."""
        with _translate_errors(), self._engine.connect() as connection:
            state = BudgetState.read(connection, tenant_id, _to_milliseconds(now))
            return Usage(
                today=state.count_started(BY_DAY),
                per_day=self._limits.per_day,
                left_today=state.count_left(BY_DAY, self._limits.per_day),
                left_this_minute=state.count_left(BY_MINUTE, self._limits.per_minute),
            )

    def _find_day_end(self, state: BudgetState) -> int | None:
        """Until when the organisation's daily calls are spent; `None` if they are not."""
        ends = [state.blocked_until(BY_DAY), state.find_room_at(BY_DAY, self._limits.per_day)]
        if state.is_fresh(BY_DAY) and state.count_reported_left(BY_DAY) <= 0:
            ends.append(state.seen_at(BY_DAY) + BY_DAY.fresh_for)
        until = max(ends)
        return until if until > state.at else None

    def _list_waits(self, state: BudgetState) -> Iterator[tuple[int, RateLimitKind]]:
        """Every reason to wait, as milliseconds and the limit that was reached."""
        yield from _list_minute_waits(state, APP_BY_MINUTE, self._limits.app_per_minute)
        if state.tenant_id is None:
            return
        yield from _list_minute_waits(state, BY_MINUTE, self._limits.per_minute)
        if state.in_progress >= self._limits.in_progress:
            yield RETRY_SOON, RateLimitKind.CONCURRENT
        if _is_day_being_tested(state):
            yield RETRY_SOON, RateLimitKind.DAY

    @contextmanager
    def _begin_exclusive(self) -> Iterator[Connection]:
        """A transaction that excludes every other transaction of the budget, in all processes.

        One lock serves all organisations, since they share the app's limit. It is held for milliseconds.
        """
        with _translate_errors(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(_SET_TIMEOUTS, {"longest_silence": LONGEST_SILENCE})
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            yield connection


def _list_minute_waits(state: BudgetState, window: LimitWindow, limit: int) -> Iterator[tuple[int, RateLimitKind]]:
    end = max(state.blocked_until(window), state.find_room_at(window, limit))
    if end > state.at:
        yield end - state.at, window.problem
    if state.is_fresh(window) and state.count_reported_left(window) <= 0:
        rest = state.seen_at(window) + window.fresh_for - state.at
        is_response_near = state.is_awaited(window, after_permit=state.reported[f"{window.prefix}_slot"])
        yield (min(RETRY_SOON, rest) if is_response_near else rest), window.problem


def _is_day_being_tested(state: BudgetState) -> bool:
    """Whether another call is testing a day whose count of zero is no longer fresh."""
    if state.reported["day_seen"] is None or state.is_fresh(BY_DAY) or state.seen_at(BY_DAY) + DAY <= state.at:
        return False
    after = state.seen_at(BY_DAY) + BY_DAY.fresh_for
    return state.count_reported_left(BY_DAY) <= 0 and state.is_awaited(BY_DAY, after=after)


def _insert_permit(connection: Connection, tenant_id: str | None, now: datetime, holder: str | None) -> CallPermit:
    started = _round_up_to_milliseconds(now)
    call = {"tenant_id": tenant_id, "started_at": started, "expires_at": started + LEASE, "holder": holder}
    permit_id = int(connection.execute(_INSERT_CALL, call).scalar_one())
    if permit_id % PRUNE_EVERY == 0:
        connection.execute(delete(call_slots).where(call_slots.c.started_at < started - RETENTION))
    return CallPermit(permit_id)


def _choose_update(
    connection: Connection,
    tenant_id: str | None,
    reported: ReportedRemaining,
    window: LimitWindow,
    left: int | None,
    permit: CallPermit,
    at: int,
) -> dict[str, Any]:
    """The columns to write for a header's count; none if the stored count is newer and stricter.

    Responses can overtake each other. The response to the latest request is the most accurate. The lower count of
    an older response is used all the same, since another program may have made the difference in calls.
    """
    if left is None:
        return {}
    stored_left, stored_permit = reported[f"{window.prefix}_left"], reported[f"{window.prefix}_slot"]
    if is_fresh(reported, window, at) and stored_permit > permit.id:
        between = [*window.call_filter, call_slots.c.id > permit.id, call_slots.c.id <= stored_permit]
        query = select(func.count()).select_from(call_slots).where(*between)
        calls_since = int(connection.execute(query, {"tenant_id": tenant_id}).scalar_one())
        if left - calls_since >= stored_left:
            return {}
    return {f"{window.prefix}_left": left, f"{window.prefix}_slot": permit.id, f"{window.prefix}_seen": at}


def _write_limits(connection: Connection, scope: str, values: dict[str, Any]) -> None:
    if not values:
        return
    # The caller holds the lock, so no other process can insert the row between the two statements.
    if connection.execute(_UPDATE_LIMITS, {"row_scope": scope, **values}).rowcount == 0:
        connection.execute(insert(call_limits), {"scope": scope, **values})


def _to_milliseconds(moment: datetime) -> int:
    """Whole milliseconds since the epoch, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _round_up_to_milliseconds(moment: datetime) -> int:
    return -((_EPOCH - moment) // timedelta(milliseconds=1))


def _to_datetime(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn the database's errors into the pipeline's errors."""
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
