"""A call's slot, as plain values: what the session asks for and what a shared budget answers.

`xero/http/session.py` asks before every HTTP attempt; `warehouse/call_budget/budget.py` counts for every process of
the deployment. This is what they say to each other, so it knows neither HTTP nor SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many calls we allow ourselves. The first three are for each organisation."""

    per_minute: int = 55
    per_day: int = 4800
    in_progress: int = 5
    app_per_minute: int = 9500


class RateLimitKind(StrEnum):
    """Xero's `X-Rate-Limit-Problem`."""

    MINUTE = "minute"
    DAY = "day"
    CONCURRENT = "concurrent"
    APP_MINUTE = "appminute"


@dataclass(frozen=True, slots=True)
class CallPermit:
    """Leave for one HTTP attempt; given back when its answer is there."""

    id: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: ask again after so many seconds."""

    seconds: float
    problem: RateLimitKind


@dataclass(frozen=True, slots=True)
class DayExhausted:
    """Not today: the organisation's calls are spent until then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """What Xero's own headers say is left; `None` where a header was missing."""

    minute: int | None = None
    day: int | None = None
    app_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """An organisation's calls of the last 24 hours, and what is left of the day."""

    today: int
    per_day: int
    left_today: int
    left_this_minute: int


class CallBudget(Protocol):
    """The slots of every process on the deployment. `tenant_id` is `None` for calls of the app itself."""

    def take(self, tenant_id: str | None, now: datetime) -> CallPermit | Wait | DayExhausted:
        """Ask for one attempt's slot. Atomic across processes."""
        ...

    def give_back(self, slot: CallPermit, now: datetime, remaining: RateLimitHeaders) -> None:
        """The attempt is over, however it ended; what Xero's headers said corrects the count."""
        ...

    def block(self, tenant_id: str | None, problem: RateLimitKind, until: datetime) -> None:
        """Xero answered 429: no process may call for this organisation (or app) until then."""
        ...

    def usage(self, tenant_id: str, now: datetime) -> Usage:
        """What an organisation has spent and has left."""
        ...
