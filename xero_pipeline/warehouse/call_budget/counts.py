"""What is kept of Xero's calls, and what it comes to at one moment.

Two tables, and `BudgetState`: the counts and headers that a decision of `call_budget.py` is made of. Every call asks
twice, under a lock that all processes share: so what a decision needs comes in two statements, built once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    bindparam,
    func,
    select,
)

from xero_pipeline.rate_limits import RateLimitKind
from xero_pipeline.warehouse.database.metadata import metadata

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

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# A process that was killed never gives its slot back; after this it no longer counts as in progress. Longer
# than one attempt can last (`xero/http/session.py`: a deadline of 120 s, and what connecting may take beyond it).
LEASE = 190 * SECOND
# How long a header's count is trusted. A minute's count is worth nothing after a minute. A day's count could
# stand for 24 hours if Xero's window rolls, or for minutes if it is fixed and about to turn, which Xero does
# not say: so after an hour at zero one call may go and find out.
MINUTE_TRUST = MINUTE
DAY_TRUST = HOUR
# A clock that was set back leaves slots in the future; beyond this they are a clock's error, not a call.
CLOCK_SKEW = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class LimitWindow:
    """One of Xero's limits: where its columns are, its rolling window, how long its header is trusted."""

    prefix: str
    problem: RateLimitKind
    window: int
    trust: int
    of_the_app: bool = False

    @property
    def whose(self) -> list[ColumnElement[bool]]:
        """The calls that count for it: the organisation's, or every one."""
        return [] if self.of_the_app else [call_slots.c.tenant_id == bindparam("tenant_id")]


BY_MINUTE = LimitWindow("minute", RateLimitKind.MINUTE, MINUTE, MINUTE_TRUST)
BY_DAY = LimitWindow("day", RateLimitKind.DAY, DAY, DAY_TRUST)
APP_BY_MINUTE = LimitWindow("app_minute", RateLimitKind.APP_MINUTE, MINUTE, MINUTE_TRUST, of_the_app=True)
KINDS = {kind.problem: kind for kind in (BY_MINUTE, BY_DAY, APP_BY_MINUTE)}

ReportedRemaining = Mapping[str, Any]
"""A row of `call_limits`: the app's columns from its own row, the others from the organisation's."""


def _number(name: str) -> BindParameter[int]:
    return bindparam(name, type_=_Moment)


def _within(kind: LimitWindow) -> list[ColumnElement[bool]]:
    """The calls of a rolling window that ends now."""
    since = call_slots.c.started_at > _number(f"{kind.prefix}_ago")
    return [*kind.whose, since, call_slots.c.started_at <= _number("ahead")]


def _in_progress(kind: LimitWindow) -> list[ColumnElement[bool]]:
    """Calls whose answer is still awaited and whose process is believed alive."""
    return [
        *kind.whose,
        call_slots.c.started_at > _number("lease_ago"),
        call_slots.c.started_at <= _number("ahead"),
        call_slots.c.finished_at.is_(None),
        call_slots.c.expires_at > _number("at"),
    ]


def _how_many(name: str, *which: ColumnElement[bool]) -> Label[int]:
    return select(func.count()).select_from(call_slots).where(*which).scalar_subquery().label(name)


def _counts(kind: LimitWindow) -> Iterator[Label[int]]:
    """The calls of the window, and those that began after the one whose header is held."""
    yield _how_many(f"{kind.prefix}_started", *_within(kind))
    yield _how_many(f"{kind.prefix}_later", *kind.whose, call_slots.c.id > _number(f"{kind.prefix}_slot"))


_APPS_COUNTS = select(*_counts(APP_BY_MINUTE))
_ALL_COUNTS = select(
    *_counts(APP_BY_MINUTE),
    *_counts(BY_MINUTE),
    *_counts(BY_DAY),
    _how_many("in_progress", *_in_progress(BY_DAY)),
)
_AWAITED = {
    kind: select(
        _how_many(
            "awaited",
            *_in_progress(kind),
            call_slots.c.id > _number("after_slot"),
            call_slots.c.started_at >= _number("after"),
        )
    )
    for kind in KINDS.values()
}
_LEAVES = {
    kind: select(call_slots.c.started_at)
    .where(*_within(kind))
    .order_by(call_slots.c.started_at)
    .offset(bindparam("too_many", type_=Integer))
    .limit(1)
    for kind in KINDS.values()
}
_LIMITS = select(call_limits).where(call_limits.c.scope.in_([bindparam("tenant_id"), APP_SCOPE]))
_NOTHING_SAID: dict[str, Any] = dict.fromkeys(call_limits.c.keys())


def read_reported(connection: Connection, tenant_id: str | None) -> ReportedRemaining:
    """What headers and 429s said, of the app and of this organisation."""
    found = connection.execute(_LIMITS, {"tenant_id": tenant_id}).mappings()
    rows = {row["scope"]: dict(row) for row in found}
    app = rows.get(APP_SCOPE, _NOTHING_SAID)
    apps = {name: value for name, value in app.items() if name.startswith(APP_BY_MINUTE.prefix)}
    return {**rows.get(tenant_id, _NOTHING_SAID), **apps}


def is_fresh(said: ReportedRemaining, kind: LimitWindow, at: int) -> bool:
    """Whether a header is held that is not too old."""
    seen = said[f"{kind.prefix}_seen"]
    return seen is not None and seen + kind.trust > at


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What the calls of one organisation, and of the app, come to at one moment.

    Args:
        tenant_id: `None` for the app alone; then only `APP_BY_MINUTE` may be asked about.
    """

    connection: Connection
    tenant_id: str | None
    at: int
    said: ReportedRemaining
    counts: Mapping[Any, Any]

    @classmethod
    def read(cls, connection: Connection, tenant_id: str | None, at: int) -> BudgetState:
        said = read_reported(connection, tenant_id)
        slots = {f"{kind.prefix}_slot": said[f"{kind.prefix}_slot"] for kind in KINDS.values()}
        counts = connection.execute(
            _APPS_COUNTS if tenant_id is None else _ALL_COUNTS, {**_bounds(tenant_id, at), **slots}
        )
        return cls(connection, tenant_id, at, said, counts.mappings().one())

    def started(self, kind: LimitWindow) -> int:
        """The calls of the rolling window that ends now."""
        return int(self.counts[f"{kind.prefix}_started"])

    def blocked_until(self, kind: LimitWindow) -> int:
        return self.said[f"{kind.prefix}_blocked_until"] or 0

    def seen(self, kind: LimitWindow) -> int:
        """When the header came that is held."""
        return int(self.said[f"{kind.prefix}_seen"])

    def is_trusted(self, kind: LimitWindow) -> bool:
        return is_fresh(self.said, kind, self.at)

    def said_left(self, kind: LimitWindow) -> int:
        """What a header's count comes to now: less every call of ours that began after the one it answered.

        Whether Xero had counted those in is not known; calls in flight at once make us cautious, not wrong.
        """
        return int(self.said[f"{kind.prefix}_left"]) - int(self.counts[f"{kind.prefix}_later"])

    def left(self, kind: LimitWindow, limit: int) -> int:
        """How many calls are left, by the stricter count."""
        if self.blocked_until(kind) > self.at:
            return 0
        own = limit - self.started(kind)
        return max(0, min(own, self.said_left(kind)) if self.is_trusted(kind) else own)

    def room_at(self, kind: LimitWindow, limit: int) -> int:
        """When the rolling window has room for one more call; 0 when it has room now."""
        too_many = self.started(kind) - limit
        if too_many < 0:
            return 0
        bounds = {**_bounds(self.tenant_id, self.at), "too_many": too_many}
        return int(self.connection.execute(_LEAVES[kind], bounds).scalar_one()) + kind.window

    @property
    def in_progress(self) -> int:
        return int(self.counts["in_progress"])

    def is_awaited(self, kind: LimitWindow, *, after_slot: int = 0, after: int = 0) -> bool:
        """Whether a call is in progress that began after that slot, and at that moment or later."""
        bounds = {**_bounds(self.tenant_id, self.at), "after_slot": after_slot, "after": after}
        return int(self.connection.execute(_AWAITED[kind], bounds).scalar_one()) > 0


def _bounds(tenant_id: str | None, at: int) -> dict[str, Any]:
    """What the statements compare with."""
    ago = {f"{kind.prefix}_ago": at - kind.window for kind in KINDS.values()}
    return {"tenant_id": tenant_id, "at": at, "ahead": at + CLOCK_SKEW, "lease_ago": at - LEASE - CLOCK_SKEW, **ago}
