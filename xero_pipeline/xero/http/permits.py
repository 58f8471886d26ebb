"""requests-ratelimiter's machinery over the shared `CallBudget`: a bucket, its factory and a limiter.

The counting is done elsewhere, for every process at once (`calls.CallBudget`); here it is only asked, and
waited for. Three things of pyrate-limiter's own are replaced: the counting in the process, the sleeping on
the machine's clock, and the waiting without end.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta

from pyrate_limiter import AbstractBucket, BucketFactory, Duration, Limiter, Rate, RateItem

from xero_pipeline.clock import Clock
from xero_pipeline.rate_limits import CallBudget, CallPermit, DayExhausted, RateLimitKind, Wait
from xero_pipeline.xero.http.retry_policy import LONGEST_LIMIT_WAIT, RateLimitHit

OnWait = Callable[[float, str], None]
"""Called before each wait: its seconds, and the reason in words that fit "waiting 5 s, since …"."""

APP = "app:"
"""The bucket's name for calls that belong to no organisation; no tenant id looks like it."""

# The longest that one attempt queues for its slot behind other processes of ours.
LONGEST_QUEUE = 900.0

_REASONS = {
    RateLimitKind.MINUTE: "the organisation's calls this minute are spent",
    RateLimitKind.APP_MINUTE: "the app's calls this minute are spent",
    RateLimitKind.CONCURRENT: "too many calls are in progress",
    RateLimitKind.DAY: "the organisation's calls today may be spent; another call is finding out",
}


def wait_reason(problem: RateLimitKind) -> str:
    return _REASONS[problem]


class _ThreadPermit(threading.local):
    """The slot that this thread was given last, and what the budget said when there was none."""

    slot: CallPermit | None = None
    refusal: Wait | DayExhausted | None = None


class CallPermitBucket(AbstractBucket):
    """One organisation's bucket (or the app's): it holds nothing itself, putting an item in takes a slot."""

    is_async = False

    def __init__(self, tenant_id: str | None, budget: CallBudget, clock: Clock, held: _ThreadPermit) -> None:
        # pyrate-limiter wants a rate; the true ones are the budget's.
        self.rates = [Rate(1, Duration.SECOND)]
        self._tenant_id = tenant_id
        self._budget = budget
        self._time = clock
        self._held = held

    def now(self) -> int:
        return int(self._time.now().timestamp() * 1000)

    def put(self, item: RateItem) -> bool:
        answer = self._budget.take(self._tenant_id, self._time.now())
        if isinstance(answer, CallPermit):
            self._held.slot, self._held.refusal = answer, None
            self.failing_rate = None
            return True
        self._held.refusal = answer
        self.failing_rate = self.rates[0]
        return False

    def waiting(self, item: RateItem) -> int:
        refusal = self._held.refusal
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
    """A bucket for each name. None is scheduled for leaking, so no thread is started."""

    def __init__(self, budget: CallBudget, clock: Clock, held: _ThreadPermit) -> None:
        self._budget = budget
        self._clock = clock
        self._held = held
        self._buckets: dict[str, CallPermitBucket] = {}

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        return RateItem(name, int(self._clock.now().timestamp() * 1000), weight=weight)

    def get(self, item: RateItem) -> CallPermitBucket:
        bucket = self._buckets.get(item.name)
        if bucket is None:
            tenant_id = None if item.name == APP else item.name
            bucket = self._buckets[item.name] = CallPermitBucket(tenant_id, self._budget, self._clock, self._held)
        return bucket


class CallPermitLimiter(Limiter):
    """Acquires slots: waits on our clock, tells of each wait, and gives up when waiting is hopeless."""

    def __init__(self, budget: CallBudget, clock: Clock, chance: random.Random, on_wait: OnWait) -> None:
        self._held = _ThreadPermit()
        self._clock = clock
        self._chance = chance
        self._on_wait = on_wait
        self._given = 0
        self._counting = threading.Lock()
        self._asking = threading.Lock()
        super().__init__(CallPermitBucketFactory(budget, clock, self._held), buffer_ms=0)

    def try_acquire(self, name: str = APP, weight: int = 1, blocking: bool = True, timeout: int | float = -1) -> bool:
        """Take a slot; wait for one if need be.

        Raises:
            LimitHit: the day's calls are spent, or waiting took or would take too long.
        """
        gives_up = self._clock.now() + timedelta(seconds=LONGEST_QUEUE)
        while not self._ask(name, weight):
            refusal = self._held.refusal
            now = self._clock.now()
            if isinstance(refusal, DayExhausted):
                raise RateLimitHit(RateLimitKind.DAY, max(0.0, (refusal.until - now).total_seconds()), now, status=None)
            if not isinstance(refusal, Wait):
                raise RuntimeError("the budget gave neither a slot nor a reason")
            if not blocking:
                return False
            if refusal.seconds > LONGEST_LIMIT_WAIT or now >= gives_up:
                raise RateLimitHit(refusal.problem, refusal.seconds, now, status=None)
            self._pause(refusal)
        with self._counting:
            self._given += 1
        return True

    def _ask(self, name: str, weight: int) -> bool:
        """Ask the budget once. Without waiting, pyrate-limiter gives up when another thread is just asking, and
        never comes to the budget: so one thread asks after the other."""
        with self._asking:
            return bool(super().try_acquire(name, weight, blocking=False))

    @property
    def given(self) -> int:
        """Slots given so far, to every thread."""
        with self._counting:
            return self._given

    def _pause(self, refusal: Wait) -> None:
        seconds = refusal.seconds
        if refusal.problem is RateLimitKind.CONCURRENT:
            # A guess at when a call ends: processes that queue should not all come back at once.
            seconds *= self._chance.uniform(0.5, 1.5)
        self._on_wait(seconds, wait_reason(refusal.problem))
        self._clock.sleep(seconds)

    def hand_over(self) -> CallPermit | None:
        """The slot that this thread was given, once."""
        slot, self._held.slot = self._held.slot, None
        return slot
