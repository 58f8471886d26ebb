"""A call budget for tests of what takes slots: unlimited unless told otherwise, and it remembers."""

from __future__ import annotations

import itertools
import threading
from datetime import datetime

from xero_pipeline.rate_limits import CallPermit, DayExhausted, RateLimitHeaders, RateLimitKind, Usage, Wait


class RememberingBudget:
    """Gives a slot to whoever asks, after the refusals it was handed."""

    def __init__(self, *refusals: Wait | DayExhausted) -> None:
        self.refusals = list(refusals)
        self.taken: list[str | None] = []
        self.given_back: list[RateLimitHeaders] = []
        self.blocks: list[tuple[str | None, RateLimitKind, datetime]] = []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def take(self, tenant_id: str | None, now: datetime) -> CallPermit | Wait | DayExhausted:
        with self._lock:
            if self.refusals:
                return self.refusals.pop(0)
            self.taken.append(tenant_id)
            return CallPermit(next(self._ids))

    def give_back(self, slot: CallPermit, now: datetime, remaining: RateLimitHeaders) -> None:
        with self._lock:
            self.given_back.append(remaining)

    def block(self, tenant_id: str | None, problem: RateLimitKind, until: datetime) -> None:
        self.blocks.append((tenant_id, problem, until))

    def usage(self, tenant_id: str, now: datetime) -> Usage:
        raise NotImplementedError

    @property
    def in_progress(self) -> int:
        return len(self.taken) - len(self.given_back)
