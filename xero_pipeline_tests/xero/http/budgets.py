"""A call budget for tests: it grants every permit, except for scripted refusals, and records its calls."""

from __future__ import annotations

import itertools
import threading
from datetime import datetime

from xero_pipeline.rate_limits import CallPermit, DayExhausted, RateLimitHeaders, RateLimitKind, Usage, Wait


class RecordingBudget:
    """Grants every permit after the refusals that it was given, and records what it was called with."""

    def __init__(self, *refusals: Wait | DayExhausted) -> None:
        self.refusals = list(refusals)
        self.acquired: list[str | None] = []
        self.released: list[RateLimitHeaders] = []
        self.blocks: list[tuple[str | None, RateLimitKind, datetime]] = []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def acquire(self, tenant_id: str | None, now: datetime) -> CallPermit | Wait | DayExhausted:
        with self._lock:
            if self.refusals:
                return self.refusals.pop(0)
            self.acquired.append(tenant_id)
            return CallPermit(next(self._ids))

    def release(self, permit: CallPermit, now: datetime, remaining: RateLimitHeaders) -> None:
        with self._lock:
            self.released.append(remaining)

    def block(self, tenant_id: str | None, problem: RateLimitKind, until: datetime) -> None:
        self.blocks.append((tenant_id, problem, until))

    def read_usage(self, tenant_id: str, now: datetime) -> Usage:
        raise NotImplementedError

    @property
    def in_progress(self) -> int:
        return len(self.acquired) - len(self.released)
