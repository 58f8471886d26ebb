"""The stored calls and limits, and `BudgetState`: the counts at one moment, on which `budget.py` decides.

Every call uses the budget twice, under a lock that all processes share. So a decision reads all it needs in two
statements, which are built once.

The tables and columns keep their old name for a call permit: a "slot".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Label,
    String,
    Table,
    Text,
    bindparam,
    func,
    select,
)

from xero_pipeline.rate_limits import LONGEST_DAY_BLOCK, LONGEST_MINUTE_BLOCK, RateLimitKind
from xero_pipeline.warehouse.database.metadata import metadata

# All moments are epoch milliseconds (UTC), because plain numbers compare the same way on both databases.
_Moment = BigInteger

call_slots = Table(
    "call_slots",
    metadata,
    # SQLite generates ids only for INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("tenant_id", String(64)),
    Column("started_at", _Moment, nullable=False),
    Column("expires_at", _Moment, nullable=False),
    Column("finished_at", _Moment),
    # The liveness lock of the process that makes the call: when nobody holds it, the process is dead.
    Column("holder", Text),
    Index("ix_call_slots_tenant_id_started_at", "tenant_id", "started_at"),
    Index("ix_call_slots_started_at", "started_at"),
)

# One row for each organisation and one for the app. For each limit it has the calls left by a response's header
# (`left`), that response's permit (`slot`) and arrival (`seen`), and the end of the block that a 429 set.
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

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# A killed process never releases its permit. Its liveness lock says that it is dead (`budget.py`). Where nothing does,
# the call no longer counts as in progress after this time, which is longer than one attempt can last
# (`xero/http/session.py`: a deadline of 120 s, plus the time to connect).
LEASE = 190 * SECOND
# How long a header's count is used. A minute's count is worthless after a minute. Xero does not say whether its day
# is a rolling or a fixed window. A day's count is valid for 24 hours if it rolls, and perhaps only for minutes if it
# is fixed. So after an hour at zero, one call may test it.
MINUTE_FRESH_FOR = MINUTE
DAY_FRESH_FOR = HOUR
# After a clock was set back, stored calls lie in the future. Beyond this distance they are ignored.
CLOCK_SKEW = 10 * MINUTE
# So far in the future a header may have been seen by a process whose clock is ahead. Beyond it, it was seen now.
HEADER_SKEW = 10 * SECOND


@dataclass(frozen=True, slots=True)
class LimitWindow:
    """One of Xero's limits: its columns' prefix and its rolling window.

    `fresh_for` is how long its header's count is used, `longest_block` how long a 429 shuts calls off at most.
    """

    prefix: str
    problem: RateLimitKind
    window: int
    fresh_for: int
    longest_block: int
    is_for_app: bool = False

    @property
    def call_filter(self) -> list[ColumnElement[bool]]:
        """Selects the calls that count: every call for the app's limit, else those of the organisation."""
        return [] if self.is_for_app else [call_slots.c.tenant_id == bindparam("tenant_id")]


_MINUTE_BLOCK, _DAY_BLOCK = (block // timedelta(milliseconds=1) for block in (LONGEST_MINUTE_BLOCK, LONGEST_DAY_BLOCK))
BY_MINUTE = LimitWindow("minute", RateLimitKind.MINUTE, MINUTE, MINUTE_FRESH_FOR, _MINUTE_BLOCK)
BY_DAY = LimitWindow("day", RateLimitKind.DAY, DAY, DAY_FRESH_FOR, _DAY_BLOCK)
APP_BY_MINUTE = LimitWindow(
    "app_minute", RateLimitKind.APP_MINUTE, MINUTE, MINUTE_FRESH_FOR, _MINUTE_BLOCK, is_for_app=True
)
WINDOWS = {window.problem: window for window in (BY_MINUTE, BY_DAY, APP_BY_MINUTE)}

ReportedRemaining = Mapping[str, Any]
"""A row of `call_limits`: the app's columns come from the app's row, the others from the organisation's."""


def _bind_number(name: str) -> BindParameter[int]:
    return bindparam(name, type_=_Moment)


def _filter_started(window: LimitWindow) -> list[ColumnElement[bool]]:
    """Selects the calls of a rolling window that ends now."""
    since = call_slots.c.started_at > _bind_number(f"{window.prefix}_ago")
    return [*window.call_filter, since, call_slots.c.started_at <= _bind_number("ahead")]


def _filter_in_progress(window: LimitWindow) -> list[ColumnElement[bool]]:
    """Selects calls without a response yet, unless their lease has expired with a killed process."""
    return [
        *window.call_filter,
        call_slots.c.started_at > _bind_number("lease_ago"),
        call_slots.c.started_at <= _bind_number("ahead"),
        call_slots.c.finished_at.is_(None),
        call_slots.c.expires_at > _bind_number("at"),
    ]


def _count_calls(name: str, *conditions: ColumnElement[bool]) -> Label[int]:
    return select(func.count()).select_from(call_slots).where(*conditions).scalar_subquery().label(name)


def _count_window(window: LimitWindow) -> Iterator[Label[int]]:
    """The number of calls in the window, and of those that began after the call of the stored header."""
    yield _count_calls(f"{window.prefix}_started", *_filter_started(window))
    yield _count_calls(
        f"{window.prefix}_later", *window.call_filter, call_slots.c.id > _bind_number(f"{window.prefix}_slot")
    )


_APP_COUNTS = select(*_count_window(APP_BY_MINUTE))
_ALL_COUNTS = select(
    *_count_window(APP_BY_MINUTE),
    *_count_window(BY_MINUTE),
    *_count_window(BY_DAY),
    _count_calls("in_progress", *_filter_in_progress(BY_DAY)),
)
_COUNT_AWAITED = {
    window: select(
        _count_calls(
            "awaited",
            *_filter_in_progress(window),
            call_slots.c.id > _bind_number("after_slot"),
            call_slots.c.started_at >= _bind_number("after"),
        )
    )
    for window in WINDOWS.values()
}
_NTH_START = {
    window: select(call_slots.c.started_at)
    .where(*_filter_started(window))
    .order_by(call_slots.c.started_at)
    .offset(bindparam("too_many", type_=Integer))
    .limit(1)
    for window in WINDOWS.values()
}
_SELECT_LIMITS = select(call_limits).where(call_limits.c.scope.in_([bindparam("tenant_id"), APP_SCOPE]))
_NOTHING_REPORTED: dict[str, Any] = dict.fromkeys(call_limits.c.keys())


def read_reported(connection: Connection, tenant_id: str | None) -> ReportedRemaining:
    """What Xero's headers and 429 responses have stated for the app and for this organisation."""
    rows = {row["scope"]: dict(row) for row in connection.execute(_SELECT_LIMITS, {"tenant_id": tenant_id}).mappings()}
    app_row = rows.get(APP_SCOPE, _NOTHING_REPORTED)
    app_columns = {name: value for name, value in app_row.items() if name.startswith(APP_BY_MINUTE.prefix)}
    return {**rows.get(tenant_id, _NOTHING_REPORTED), **app_columns}


def is_fresh(reported: ReportedRemaining, window: LimitWindow, at: int) -> bool:
    """Whether a header's count is stored and recent enough to be used."""
    seen = reported[f"{window.prefix}_seen"]
    return seen is not None and seen + window.fresh_for > at


@dataclass(frozen=True, slots=True)
class BudgetState:
    """The counted calls and reported limits of one organisation, and of the app, at one moment.

    Args:
        tenant_id: `None` for the app alone. Then only `APP_BY_MINUTE` may be passed to the methods.
    """

    connection: Connection
    tenant_id: str | None
    at: int
    reported: ReportedRemaining
    counts: Mapping[Any, Any]

    @classmethod
    def read(cls, connection: Connection, tenant_id: str | None, at: int) -> BudgetState:
        reported = read_reported(connection, tenant_id)
        permits = {f"{window.prefix}_slot": reported[f"{window.prefix}_slot"] for window in WINDOWS.values()}
        counts = connection.execute(
            _APP_COUNTS if tenant_id is None else _ALL_COUNTS, {**_make_bounds(tenant_id, at), **permits}
        )
        return cls(connection, tenant_id, at, reported, counts.mappings().one())

    def count_started(self, window: LimitWindow) -> int:
        """The number of calls in the rolling window that ends now."""
        return int(self.counts[f"{window.prefix}_started"])

    def blocked_until(self, window: LimitWindow) -> int:
        """When the block of a 429 ends; 0 without one."""
        return self.reported[f"{window.prefix}_blocked_until"] or 0

    def find_overlong(self, window: LimitWindow) -> dict[str, int]:
        """The columns of a stored limit that would hold for longer than it lasts, with the values to replace them.

        Older releases stored blocks as long as a 429 asked for, and another process's clock may have been ahead.
        """
        seen = self.reported[f"{window.prefix}_seen"]
        columns = {}
        if self.blocked_until(window) > self.at + window.longest_block:
            columns[f"{window.prefix}_blocked_until"] = self.at + window.longest_block
        if seen is not None and seen > self.at + HEADER_SKEW:
            columns[f"{window.prefix}_seen"] = self.at
        return columns

    def seen_at(self, window: LimitWindow) -> int:
        """When the stored header arrived."""
        return int(self.reported[f"{window.prefix}_seen"])

    def is_fresh(self, window: LimitWindow) -> bool:
        return is_fresh(self.reported, window, self.at)

    def count_reported_left(self, window: LimitWindow) -> int:
        """The calls left by the stored header, minus our calls that began after the one that it answered.

        Xero may have counted some of those already, so simultaneous calls can make this number too low, never
        too high.
        """
        return int(self.reported[f"{window.prefix}_left"]) - int(self.counts[f"{window.prefix}_later"])

    def count_left(self, window: LimitWindow, limit: int) -> int:
        """The calls left, by the stricter of our own count and Xero's."""
        # A block that is longer than the limit lasts does not count: the next call shortens it.
        if self.at < self.blocked_until(window) <= self.at + window.longest_block:
            return 0
        own = limit - self.count_started(window)
        return max(0, min(own, self.count_reported_left(window)) if self.is_fresh(window) else own)

    def find_room_at(self, window: LimitWindow, limit: int) -> int:
        """When the rolling window has room for one more call; 0 if it has room now."""
        too_many = self.count_started(window) - limit
        if too_many < 0:
            return 0
        bounds = {**_make_bounds(self.tenant_id, self.at), "too_many": too_many}
        started = int(self.connection.execute(_NTH_START[window], bounds).scalar_one())
        # A call that another process's clock dated in the future does not fill the window for longer than a new one.
        return min(started, self.at) + window.window

    @property
    def in_progress(self) -> int:
        return int(self.counts["in_progress"])

    def is_awaited(self, window: LimitWindow, *, after_permit: int = 0, after: int = 0) -> bool:
        """Whether a call is in progress that began after that permit, and at that moment or later."""
        bounds = {**_make_bounds(self.tenant_id, self.at), "after_slot": after_permit, "after": after}
        return int(self.connection.execute(_COUNT_AWAITED[window], bounds).scalar_one()) > 0


def _make_bounds(tenant_id: str | None, at: int) -> dict[str, Any]:
    """The values that the statements compare with."""
    ago = {f"{window.prefix}_ago": at - window.window for window in WINDOWS.values()}
    return {"tenant_id": tenant_id, "at": at, "ahead": at + CLOCK_SKEW, "lease_ago": at - LEASE - CLOCK_SKEW, **ago}
