"""A limiter for requests-ratelimiter that takes its permits from the shared `CallBudget`, with a bucket and a factory.

The budget counts for every process at once (`rate_limits.CallBudget`); this module asks it for permits and waits for
them. It replaces three parts of pyrate-limiter: counting within one process, sleeping on the machine's clock, and
waiting without end.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta

from pyrate_limiter import AbstractBucket, BucketFactory, Duration, Limiter, Rate, RateItem

from xero_pipeline.clock import Clock
from xero_pipeline.rate_limits import CallBudget, CallPermit, DayExhausted, RateLimitKind, Wait
from xero_pipeline.xero.http.retry_policy import LimitPatience, RateLimitHit
from xero_pipeline.xero.reading import list_current_readings

OnWait = Callable[[float, str], None]
"""Called before each wait with its seconds and its reason, which completes "waiting 5 s, since …"."""

APP = "app:"
"""The name of the bucket for calls that belong to no organisation. No tenant id looks like it."""

# For how many seconds an attempt waits at most for its permit, behind the deployment's other calls.
MAX_QUEUE_SECONDS = 900.0

_REASONS = {
    RateLimitKind.MINUTE: "the organisation's calls this minute are spent",
    RateLimitKind.APP_MINUTE: "the app's calls this minute are spent",
    RateLimitKind.CONCURRENT: "too many calls are in progress",
    RateLimitKind.DAY: "the organisation's calls today may be spent; another call is finding out",
}


def describe_wait(problem: RateLimitKind) -> str:
    return _REASONS[problem]


class _ThreadPermit(threading.local):
    """The permit that this thread acquired last, or the budget's refusal if it gave none."""

    permit: CallPermit | None = None
    refusal: Wait | DayExhausted | None = None


class CallPermitBucket(AbstractBucket):
    """The bucket of one organisation, or of the app. Its `put` acquires a permit; the bucket itself stores nothing."""

    is_async = False

    def __init__(self, tenant_id: str | None, budget: CallBudget, clock: Clock, thread_permit: _ThreadPermit) -> None:
        # pyrate-limiter requires a rate. The budget applies the real limits.
        self.rates = [Rate(1, Duration.SECOND)]
        self._tenant_id = tenant_id
        self._budget = budget
        self._time = clock
        self._thread_permit = thread_permit

    def now(self) -> int:
        return int(self._time.now().timestamp() * 1000)

    def put(self, item: RateItem) -> bool:
        answer = self._budget.acquire(self._tenant_id, self._time.now())
        if isinstance(answer, CallPermit):
            self._thread_permit.permit, self._thread_permit.refusal = answer, None
            self.failing_rate = None
            return True
        self._thread_permit.refusal = answer
        self.failing_rate = self.rates[0]
        return False

    def waiting(self, item: RateItem) -> int:
        refusal = self._thread_permit.refusal
        return int(refusal.seconds * 1000) if isinstance(refusal, Wait) else 0

    def leak(self, current_timestamp: int | None = None) -> int:
        return 0

    def flush(self) -> None:
        self.failing_rate = None

    def count(self) -> int:
        return 0

    def peek(self, index: int) -> RateItem | None:
        return None


class CallPermitBucketFactory(BucketFactory):
    """Makes one bucket for each name. It schedules no bucket for leaking, so pyrate-limiter starts no thread."""

    def __init__(self, budget: CallBudget, clock: Clock, thread_permit: _ThreadPermit) -> None:
        self._budget = budget
        self._clock = clock
        self._thread_permit = thread_permit
        self._buckets: dict[str, CallPermitBucket] = {}

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        return RateItem(name, int(self._clock.now().timestamp() * 1000), weight=weight)

    def get(self, item: RateItem) -> CallPermitBucket:
        bucket = self._buckets.get(item.name)
        if bucket is None:
            tenant_id = None if item.name == APP else item.name
            bucket = CallPermitBucket(tenant_id, self._budget, self._clock, self._thread_permit)
            self._buckets[item.name] = bucket
        return bucket


class CallPermitLimiter(Limiter):
    """Acquires permits. It waits on the injected clock, reports each wait, and stops when waiting cannot help."""

    def __init__(
        self, budget: CallBudget, clock: Clock, jitter: random.Random, on_wait: OnWait, patience: LimitPatience
    ) -> None:
        self._patience = patience
        self._thread_permit = _ThreadPermit()
        self._clock = clock
        self._jitter = jitter
        self._on_wait = on_wait
        self._acquired = 0
        self._count_lock = threading.Lock()
        self._budget_lock = threading.Lock()
        super().__init__(CallPermitBucketFactory(budget, clock, self._thread_permit), buffer_ms=0)

    def try_acquire(self, name: str = APP, weight: int = 1, blocking: bool = True, timeout: int | float = -1) -> bool:
        """Acquire a permit, and wait for one if necessary.

        Raises:
            RateLimitHit: the day's calls are spent, or waiting took or would take too long.
        """
        deadline = self._clock.now() + timedelta(seconds=MAX_QUEUE_SECONDS)
        while not self._try_once(name, weight):
            refusal = self._thread_permit.refusal
            now = self._clock.now()
            if isinstance(refusal, DayExhausted):
                raise RateLimitHit(RateLimitKind.DAY, max(0.0, (refusal.until - now).total_seconds()), now, status=None)
            if not isinstance(refusal, Wait):
                raise RuntimeError("the budget gave neither a permit nor a reason")
            if not blocking:
                return False
            has_patience = self._patience.spend(None if name == APP else name, refusal.seconds, now)
            if not has_patience or now >= deadline:
                raise RateLimitHit(refusal.problem, refusal.seconds, now, status=None)
            self._pause(refusal)
        with self._count_lock:
            self._acquired += 1
            for reading in list_current_readings():
                reading.calls += 1
        return True

    def _try_once(self, name: str, weight: int) -> bool:
        """Ask the budget once, one thread after the other.

        With `blocking=False`, pyrate-limiter fails without asking the budget while another thread is asking.
        """
        with self._budget_lock:
            return bool(super().try_acquire(name, weight, blocking=False))

    @property
    def acquired(self) -> int:
        """How many permits all threads have acquired so far."""
        with self._count_lock:
            return self._acquired

    def _pause(self, refusal: Wait) -> None:
        seconds = refusal.seconds
        if refusal.problem is RateLimitKind.CONCURRENT:
            # Nobody knows when a call ends, and waiting processes should not all come back at once.
            seconds *= self._jitter.uniform(0.5, 1.5)
        self._on_wait(seconds, describe_wait(refusal.problem))
        self._clock.sleep(seconds)

    def pop_permit(self) -> CallPermit | None:
        """Return the permit that this thread acquired, and forget it."""
        permit, self._thread_permit.permit = self._thread_permit.permit, None
        return permit
