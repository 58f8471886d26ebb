"""The plain values with which a session asks a shared budget for a call permit, and the budget's interface.

`xero/http/session.py` asks before every HTTP attempt. `warehouse/call_budget/budget.py` counts the calls of every
process of the deployment. Both import this module, so it knows neither HTTP nor SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

# How long a limit shuts calls off at most, whatever a 429 asks for. Afterwards Xero is asked again.
LONGEST_MINUTE_BLOCK = timedelta(minutes=2)
LONGEST_DAY_BLOCK = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many calls the deployment allows itself. The first three limits are for each organisation."""

    per_minute: int = 55
    per_day: int = 4800
    in_progress: int = 5
    app_per_minute: int = 9500


class RateLimitKind(StrEnum):
    """Which limit was reached, in the words of Xero's `X-Rate-Limit-Problem` header."""

    MINUTE = "minute"
    DAY = "day"
    CONCURRENT = "concurrent"
    APP_MINUTE = "appminute"


@dataclass(frozen=True, slots=True)
class CallPermit:
    """The right to make one HTTP attempt. It is released when the attempt is over."""

    id: int


@dataclass(frozen=True, slots=True)
class Wait:
    """No permit is free now. Ask again after `seconds`."""

    seconds: float
    problem: RateLimitKind


@dataclass(frozen=True, slots=True)
class DayExhausted:
    """The organisation's daily calls are spent until this moment."""

    until: datetime


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """The calls left by Xero's own headers; `None` where a header was missing."""

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
    """The call permits of every process of the deployment. `tenant_id` is `None` for calls of the app itself."""

    def acquire(self, tenant_id: str | None, now: datetime) -> CallPermit | Wait | DayExhausted:
        """Take the permit for one attempt, or learn when to ask again. Atomic across processes."""
        ...

    def release(self, permit: CallPermit, now: datetime, remaining: RateLimitHeaders) -> None:
        """End the attempt, whether it succeeded or not, and correct the count by Xero's headers."""
        ...

    def block(self, tenant_id: str | None, problem: RateLimitKind, until: datetime) -> None:
        """Record a 429: no process may call for this organisation (or this app) before `until`."""
        ...

    def read_usage(self, tenant_id: str, now: datetime) -> Usage:
        """How many calls an organisation has spent and has left."""
        ...
