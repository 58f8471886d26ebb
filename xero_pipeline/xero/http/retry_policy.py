"""When an attempt is made again, and after how long: what went wrong, and how much patience it gets.

Knows answers and waits, but sends nothing: `session.py` does, with tenacity. Every wait is bounded, and a
day limit is never slept on.

Sources: Xero's "OAuth 2.0 API limits"; `Retry-After` after RFC 9110, seconds or a date.
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from requests import Response
from tenacity import RetryCallState

from xero_pipeline.clock import Clock
from xero_pipeline.rate_limits import RateLimitHeaders, RateLimitKind
from xero_pipeline.xero.errors import (
    DayLimitReached,
    MinuteLimitReached,
    RateLimited,
    XeroError,
    XeroUnavailable,
)

# The longest that one fault is waited for.
LONGEST_BACKOFF = 60.0
# A minute limit lasts a minute; a server that wants more than this is not waited for.
LONGEST_LIMIT_WAIT = 300.0
# How often a minute limit, and "too many at once", are waited for before giving up.
MINUTE_WAITS = 5
CONCURRENT_WAITS = 10
# A minute limit without a readable Retry-After.
DEFAULT_LIMIT_WAIT = 60.0
# A day limit without a readable Retry-After: Xero's windows are not documented, so ask again in an hour.
DEFAULT_DAY_WAIT = 3600.0
# A 429 that does not say which limit: Xero's minute never asks for more than this.
SURELY_A_DAY = 120.0
# Nothing that Xero limits lasts longer; a larger number is nonsense.
LONGEST_RETRY_AFTER = 7 * 86400.0


class TransientError(Exception):
    """An attempt that came to nothing, though another may succeed."""

    def as_error(self, what: str) -> XeroError:
        """What it becomes when patience ends."""
        raise NotImplementedError


class TransportFailure(TransientError):
    """5xx, a time-out, a dropped or truncated answer."""

    def __init__(self, reason: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after
        self.tries = 1
        self.retry_at: datetime | None = None

    def as_error(self, what: str) -> XeroError:
        tries = f" ({self.tries} tries)" if self.tries > 1 else ""
        return XeroUnavailable(
            f"Xero could not answer {what}: {self.reason}{tries}.", status=self.status, retry_at=self.retry_at
        )


class RateLimitHit(TransientError):
    """429, or what our own count says before Xero would; then `status` is `None`."""

    def __init__(self, problem: RateLimitKind, wait: float, now: datetime, *, status: int | None = 429) -> None:
        super().__init__(problem.value)
        self.problem = problem
        self.wait = wait
        self.until = now + timedelta(seconds=wait)
        self.status = status

    def as_error(self, what: str) -> XeroError:
        if self.problem is RateLimitKind.DAY:
            return DayLimitReached(
                f"Xero's daily calls of this organisation are spent, so {what} has to wait.",
                retry_at=self.until,
                status=self.status,
            )
        if self.problem is RateLimitKind.CONCURRENT:
            return RateLimited(
                f"Too many calls to Xero are in progress at once for {what}, and waiting did not help.",
                advice="Other programs may be using this Xero app; the next sync tries again.",
                status=self.status,
                retry_at=self.until,
            )
        whose = "this app" if self.problem is RateLimitKind.APP_MINUTE else "this organisation"
        return MinuteLimitReached(
            f"Xero's calls a minute of {whose} are spent, and waiting did not help {what}.",
            status=self.status,
            retry_at=self.until,
        )


class RetryPolicy:
    """How often one call is tried, and how long it waits in between: tenacity's `stop` and `wait`.

    Faults, minute limits and "too many at once" are counted apart: a busy minute must not use up the tries
    that an outage gets.
    """

    def __init__(self, tries: int, clock: Clock, chance: random.Random) -> None:
        self._tries = tries
        self._clock = clock
        self._chance = chance
        self._counts = {"fault": 0, "minute": 0, "concurrent": 0}
        self.attempt = 0

    def begin(self) -> None:
        """Another attempt begins."""
        self.attempt += 1

    def note(self, setback: TransientError) -> None:
        """Count a setback; called once for each, as it happens."""
        self._counts[_kind(setback)] += 1
        if isinstance(setback, TransportFailure):
            setback.tries = self._counts["fault"]
            if setback.retry_after is not None:
                setback.retry_at = self._clock.now() + timedelta(seconds=setback.retry_after)

    def stop(self, state: RetryCallState) -> bool:
        setback = _setback(state)
        count = self._counts[_kind(setback)]
        if isinstance(setback, RateLimitHit):
            if setback.status is None:
                # Our own count's word, which was waited for already.
                return True
            if setback.problem is RateLimitKind.CONCURRENT:
                return count > CONCURRENT_WAITS
            return setback.problem is RateLimitKind.DAY or setback.wait > LONGEST_LIMIT_WAIT or count > MINUTE_WAITS
        assert isinstance(setback, TransportFailure)  # noqa: S101 - there are two kinds
        return count >= self._tries or (setback.retry_after or 0) > LONGEST_BACKOFF

    def wait(self, state: RetryCallState) -> float:
        setback = _setback(state)
        if isinstance(setback, RateLimitHit):
            if setback.problem is RateLimitKind.CONCURRENT:
                # Short, and not all at once: whoever was refused together must not come back together.
                return self._chance.uniform(0.5, 1.5) * setback.wait
            return setback.wait
        assert isinstance(setback, TransportFailure)  # noqa: S101 - there are two kinds
        backoff = min(LONGEST_BACKOFF, 2.0 ** min(self._counts["fault"], 10))
        return min(LONGEST_BACKOFF, max(self._chance.uniform(backoff / 2, backoff), setback.retry_after or 0))


def _kind(setback: TransientError) -> str:
    if isinstance(setback, TransportFailure):
        return "fault"
    assert isinstance(setback, RateLimitHit)  # noqa: S101 - there are two kinds
    return "concurrent" if setback.problem is RateLimitKind.CONCURRENT else "minute"


def _setback(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, TransientError)  # noqa: S101 - tenacity asks about nothing else
    return error


def read_limit(response: Response, clock: Clock) -> RateLimitHit:
    """What a 429 says: which limit, and when to go on."""
    now = clock.now()
    retry_after = read_retry_after(response, now)
    problem = _read_problem(response.headers.get("X-Rate-Limit-Problem", ""))
    if problem is None:
        problem = RateLimitKind.DAY if (retry_after or 0) > SURELY_A_DAY else RateLimitKind.MINUTE
    if problem is RateLimitKind.CONCURRENT:
        # As soon as one of five has its answer; the header, where there is one, is for the other limits.
        wait = min(retry_after or 1.0, 5.0)
    elif problem is RateLimitKind.DAY:
        wait = DEFAULT_DAY_WAIT if retry_after is None else retry_after
    else:
        wait = DEFAULT_LIMIT_WAIT if retry_after is None else retry_after
    return RateLimitHit(problem, max(1.0, wait), now)


def _read_problem(header: str) -> RateLimitKind | None:
    word = re.sub(r"[^a-z]", "", header.lower()).removesuffix("limit")
    return next((problem for problem in RateLimitKind if problem.value == word), None)


def read_retry_after(response: Response, now: datetime) -> float | None:
    """`Retry-After` as seconds from now, from a number or an HTTP date; `None` when missing or unreadable."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text):
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), LONGEST_RETRY_AFTER)


def read_rate_limit_headers(response: Response) -> RateLimitHeaders:
    """What Xero's headers say is left."""
    return RateLimitHeaders(
        minute=_read_count(response.headers.get("X-MinLimit-Remaining")),
        day=_read_count(response.headers.get("X-DayLimit-Remaining")),
        app_minute=_read_count(response.headers.get("X-AppMinLimit-Remaining")),
    )


def _read_count(text: str | None) -> int | None:
    found = re.fullmatch(r"\s*(-?\d{1,9})\s*", text or "")
    return max(0, int(found.group(1))) if found else None
