"""Whether and when a failed attempt is retried, by the kind of its failure.

This module reads answers and decides on waits; `session.py` sends the requests, with tenacity. Every wait is bounded.
A reached day limit is an error at once.

Sources: Xero's "OAuth 2.0 API limits"; RFC 9110 for `Retry-After`, which is a number of seconds or a date.
"""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from requests import Response
from tenacity import RetryCallState

from xero_pipeline.clock import Clock
from xero_pipeline.rate_limits import LONGEST_DAY_BLOCK, LONGEST_MINUTE_BLOCK, RateLimitHeaders, RateLimitKind
from xero_pipeline.xero.errors import (
    DayLimitReached,
    MinuteLimitReached,
    RateLimited,
    XeroError,
    XeroUnavailable,
)

# The longest wait, in seconds, after a transport failure.
MAX_BACKOFF = 60.0
# After how many waits a minute limit, and a concurrency limit, become an error.
MAX_MINUTE_WAITS = 5
MAX_CONCURRENT_WAITS = 10
# The wait for a minute limit without a readable Retry-After.
DEFAULT_LIMIT_WAIT = 60.0
# The wait for a day limit without a readable Retry-After: Xero does not document when its day ends, so try in an hour.
DEFAULT_DAY_WAIT = 3600.0
# The longest that each limit can last. A larger Retry-After is cut to this, so that no answer shuts an organisation
# off: afterwards Xero is asked again. A 429 that names no limit is a day limit if it asks for more than the minute's.
MAX_MINUTE_RETRY_AFTER = LONGEST_MINUTE_BLOCK.total_seconds()
MAX_RETRY_AFTER = LONGEST_DAY_BLOCK.total_seconds()
# For how many seconds a session waits for limits at most before an organisation's call succeeds again.
MAX_LIMIT_SECONDS = 600.0


class TransientError(Exception):
    """An attempt failed, but another attempt may succeed."""

    def to_xero_error(self, what: str) -> XeroError:
        """Return the error to raise when there is no further attempt. `what` names the request."""
        raise NotImplementedError


class TransportFailure(TransientError):
    """The attempt ended with 5xx, a time-out, or a dropped or truncated answer."""

    def __init__(self, reason: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after
        self.tries = 1
        self.retry_at: datetime | None = None

    def to_xero_error(self, what: str) -> XeroError:
        tries = f" ({self.tries} tries)" if self.tries > 1 else ""
        return XeroUnavailable(
            f"Xero could not answer {what}: {self.reason}{tries}.", status=self.status, retry_at=self.retry_at
        )


class RateLimitHit(TransientError):
    """Xero answered 429, or the deployment's own budget refused the call (then `status` is `None`)."""

    def __init__(self, problem: RateLimitKind, wait: float, now: datetime, *, status: int | None = 429) -> None:
        super().__init__(problem.value)
        self.problem = problem
        self.wait = wait
        self.until = now + timedelta(seconds=wait)
        self.status = status

    def to_xero_error(self, what: str) -> XeroError:
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


class LimitPatience:
    """For how long a session still waits for limits, in all of its calls.

    One call waits a few minutes for a minute limit, and a run makes thousands of calls. So the waits of a limit that
    never ends are added up over the calls: the run then gives up, as in an outage. They are counted for each
    organisation since its last call that Xero answered otherwise, and for all since any such call. Calls that wait side
    by side wait once. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waited: dict[str | None, _WaitedTime] = {}
        self._waited_by_all = _WaitedTime()

    def begin(self, tenant_id: str | None) -> None:
        """Xero has refused a call of the organisation because of a limit: from now on each wait counts."""
        with self._lock:
            self._waited.setdefault(tenant_id, _WaitedTime())

    def reset(self, tenant_id: str | None) -> None:
        """Xero has answered a call of the organisation with something else than a limit."""
        with self._lock:
            self._waited.pop(tenant_id, None)
            self._waited_by_all = _WaitedTime()

    def spend(self, tenant_id: str | None, seconds: float, now: datetime) -> bool:
        """Count a wait from `now` on, and return whether there is patience for it. Without it, nothing is counted."""
        with self._lock:
            waited = self._waited.get(tenant_id)
            if waited is None:
                return True
            until = now + timedelta(seconds=seconds)
            if max(waited.add_up(now, until), self._waited_by_all.add_up(now, until)) > MAX_LIMIT_SECONDS:
                return False
            for time in (waited, self._waited_by_all):
                time.seconds, time.until = time.add_up(now, until), max(until, time.until or until)
            return True


@dataclass
class _WaitedTime:
    """Time that was waited, overlapping waits counted once."""

    seconds: float = 0.0
    until: datetime | None = None

    def add_up(self, begins: datetime, ends: datetime) -> float:
        """The seconds that have been waited after another wait."""
        if self.until is not None:
            begins = max(begins, self.until)
        return self.seconds + max(0.0, (ends - begins).total_seconds())


class RetryPolicy:
    """How often one call is tried, and how long it waits in between: tenacity's `stop` and `wait`.

    Transport failures, minute limits and concurrency limits are counted separately, so that a busy minute does not
    use up the tries for an outage.
    """

    def __init__(
        self, tries: int, clock: Clock, jitter: random.Random, patience: LimitPatience, tenant_id: str | None
    ) -> None:
        self._tries = tries
        self._clock = clock
        self._jitter = jitter
        self._patience = patience
        self._tenant_id = tenant_id
        self._counts = {"transport": 0, "minute": 0, "concurrent": 0}
        self.attempt = 0

    def begin_attempt(self) -> None:
        """Count another attempt."""
        self.attempt += 1

    def record_failure(self, failure: TransientError) -> None:
        """Count a failed attempt. Call this once for each failure, when it happens."""
        self._counts[_kind_of(failure)] += 1
        if isinstance(failure, TransportFailure):
            failure.tries = self._counts["transport"]
            if failure.retry_after is not None:
                failure.retry_at = self._clock.now() + timedelta(seconds=failure.retry_after)

    def stop(self, state: RetryCallState) -> bool:
        failure = _failure_of(state)
        count = self._counts[_kind_of(failure)]
        if isinstance(failure, RateLimitHit):
            if failure.status is None:
                # The deployment's own budget refused, and the limiter has already waited for it.
                return True
            most = MAX_CONCURRENT_WAITS if failure.problem is RateLimitKind.CONCURRENT else MAX_MINUTE_WAITS
            if failure.problem is RateLimitKind.DAY or count > most:
                return True
            return not self._patience.spend(self._tenant_id, failure.wait, self._clock.now())
        assert isinstance(failure, TransportFailure)  # noqa: S101 - there are two kinds
        return count >= self._tries or (failure.retry_after or 0) > MAX_BACKOFF

    def wait(self, state: RetryCallState) -> float:
        failure = _failure_of(state)
        if isinstance(failure, RateLimitHit):
            if failure.problem is RateLimitKind.CONCURRENT:
                # A short, random wait, so that calls that were refused together do not come back together.
                return self._jitter.uniform(0.5, 1.5) * failure.wait
            return failure.wait
        assert isinstance(failure, TransportFailure)  # noqa: S101 - there are two kinds
        backoff = min(MAX_BACKOFF, 2.0 ** min(self._counts["transport"], 10))
        return min(MAX_BACKOFF, max(self._jitter.uniform(backoff / 2, backoff), failure.retry_after or 0))


def _kind_of(failure: TransientError) -> str:
    if isinstance(failure, TransportFailure):
        return "transport"
    assert isinstance(failure, RateLimitHit)  # noqa: S101 - there are two kinds
    return "concurrent" if failure.problem is RateLimitKind.CONCURRENT else "minute"


def _failure_of(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, TransientError)  # noqa: S101 - tenacity asks about no other error
    return error


def read_rate_limit(response: Response, clock: Clock) -> RateLimitHit:
    """Read from a 429 which limit was reached and how long to wait."""
    now = clock.now()
    retry_after = read_retry_after(response, now)
    problem = _read_problem(response.headers.get("X-Rate-Limit-Problem", ""))
    if problem is None:
        problem = RateLimitKind.DAY if (retry_after or 0) > MAX_MINUTE_RETRY_AFTER else RateLimitKind.MINUTE
    if problem is RateLimitKind.CONCURRENT:
        # This limit ends as soon as one of the five calls has its answer; a long Retry-After is for the other limits.
        wait = min(retry_after or 1.0, 5.0)
    elif problem is RateLimitKind.DAY:
        wait = DEFAULT_DAY_WAIT if retry_after is None else retry_after
    else:
        wait = DEFAULT_LIMIT_WAIT if retry_after is None else min(retry_after, MAX_MINUTE_RETRY_AFTER)
    return RateLimitHit(problem, max(1.0, wait), now)


def _read_problem(header: str) -> RateLimitKind | None:
    word = re.sub(r"[^a-z]", "", header.lower()).removesuffix("limit")
    return next((problem for problem in RateLimitKind if problem.value == word), None)


def read_retry_after(response: Response, now: datetime) -> float | None:
    """Read `Retry-After`, a number or an HTTP date, as seconds from now; `None` when missing or unreadable."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,300}(\.\d{1,9})?", text):
        return min(float(text), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), MAX_RETRY_AFTER)


def read_rate_limit_headers(response: Response) -> RateLimitHeaders:
    """Read from Xero's headers how many calls are left."""
    return RateLimitHeaders(
        minute=_read_count(response.headers.get("X-MinLimit-Remaining")),
        day=_read_count(response.headers.get("X-DayLimit-Remaining")),
        app_minute=_read_count(response.headers.get("X-AppMinLimit-Remaining")),
    )


def _read_count(text: str | None) -> int | None:
    match = re.fullmatch(r"\s*(-?\d{1,9})\s*", text or "")
    return max(0, int(match.group(1))) if match else None
