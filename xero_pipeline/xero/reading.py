"""A reading: requests whose answers belong together, such as those of one week, and what is known about all of them.

A reading belongs to the thread that began it, so several threads can read side by side over one session.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime


@dataclass
class Reading:
    """The requests of one reading so far.

    Attributes:
        calls: the HTTP attempts that took a permit, retries included.
        began_at: when Xero worked on the first answer, by Xero's clock; `None` if Xero did not say. Every edit before
            that moment is in every answer of the reading.
    """

    calls: int = 0
    began_at: datetime | None = None


_current: ContextVar[tuple[Reading, ...]] = ContextVar("readings", default=())


@contextmanager
def begin_reading() -> Iterator[Reading]:
    """Begin a reading that ends with the block. A reading inside another one counts for both."""
    reading = Reading()
    token = _current.set((*_current.get(), reading))
    try:
        yield reading
    finally:
        _current.reset(token)


def list_current_readings() -> tuple[Reading, ...]:
    """Return the readings of this thread, the outermost first."""
    return _current.get()


def record_answer_time(moment: datetime | None) -> None:
    """Record when Xero worked on an answer, for each reading whose first answer it is."""
    for reading in _current.get():
        reading.began_at = reading.began_at or moment
