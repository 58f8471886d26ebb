"""Keeps the log short when strangers send the same wrong request again and again: repeats are counted."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta

from xero_pipeline.clock import Clock, SystemClock

# A line is written at once, and then at most once in this time.
_QUIET = timedelta(minutes=1)
# More kinds of lines than the page has; a defect that makes up kinds must not fill the memory.
_MOST_KINDS = 200


class RepeatCounter:
    """Decides for each kind of line whether it is written now, and counts those that are not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._written: dict[str, datetime] = {}
        self._left_out: dict[str, int] = {}

    def count(self, kind: str) -> int | None:
        """Count one line. Returns how many like it were left out since the last one, or `None` to leave it out."""
        now = self._clock.now()
        with self._lock:
            written = self._written.get(kind)
            if written is not None and written <= now < written + _QUIET:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return None
            if len(self._written) >= _MOST_KINDS:
                self._written.clear()
            self._written[kind] = now
            return self._left_out.pop(kind, 0)


def describe_repeats(left_out: int) -> str:
    """Return the end of a line that was written again: how many like it were not."""
    return f" (and {left_out} more like it since the last such line)" if left_out else ""


class RepeatFilter(logging.Filter):
    """Lets each kind of record through once a minute, with the number of those that were left out.

    uvicorn writes a line for every request that it cannot read, and anybody can send such requests.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self._counter = RepeatCounter(clock or SystemClock())

    def filter(self, record: logging.LogRecord) -> bool:
        left_out = self._counter.count(str(record.msg))
        if left_out is None:
            return False
        record.msg = f"{record.msg}{describe_repeats(left_out)}"
        return True
