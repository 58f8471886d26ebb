"""One look at the database or at Dagster for everybody who asks at the same time.

A part that hangs would otherwise take one of the page's threads for each asker, and nobody could be served any more.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from xero_pipeline.errors import PipelineError

Result = TypeVar("Result")


class CheckTimedOut(PipelineError):
    """The look did not end in time."""

    code = "timed_out"


@dataclass(frozen=True)
class _Look(Generic[Result]):
    future: Future[Result]
    overdue_at: float
    """On the monotonic clock. From then on, nobody waits for this look."""


class SharedCheck(Generic[Result]):
    """A check that runs at most once at a time, in a thread of its own, for all who ask meanwhile."""

    def __init__(self, name: str, check: Callable[[], Result], *, seconds: float) -> None:
        """
        Args:
            name: who does not answer in time, as the error calls it.
            check: the look itself. It may hang.
            seconds: how long it may take.
        """
        self._name = name
        self._check = check
        self._seconds = seconds
        self._lock = threading.Lock()
        self._look: _Look[Result] | None = None

    def ask(self) -> Result:
        """Return the result, from any thread.

        Raises:
            CheckTimedOut: it did not end in time. While it hangs, everybody else is told so at once.
        """
        look = self._join()
        try:
            return look.future.result(self._get_seconds_left(look))
        except TimeoutError:
            if look.future.done():
                return look.future.result()
            raise self._build_error() from None

    async def ask_async(self) -> Result:
        """As `ask`, from an event loop, and without a thread for the wait."""
        look = self._join()
        seconds = self._get_seconds_left(look)
        if not look.future.done() and seconds > 0:
            # `wait` leaves the look alone if it takes too long or the asker goes away: others wait for it as well.
            ended = asyncio.wrap_future(look.future)
            # Somebody who no longer waits does not read its error; asyncio would log that.
            ended.add_done_callback(lambda future: future.cancelled() or future.exception())
            await asyncio.wait([ended], timeout=seconds)
        if not look.future.done():
            raise self._build_error()
        return look.future.result()

    def forget(self) -> None:
        """Let the next asker begin a new look, because what the present one sees has just been changed."""
        with self._lock:
            self._look = None

    def _join(self) -> _Look[Result]:
        with self._lock:
            if self._look is None or self._look.future.done():
                self._look = _Look(Future(), time.monotonic() + self._seconds)
                # A daemon thread: a look that hangs must not keep the process alive.
                arguments = (self._look.future,)
                threading.Thread(target=self._run, args=arguments, name="check", daemon=True).start()
            return self._look

    def _run(self, future: Future[Result]) -> None:
        try:
            result = self._check()
        except BaseException as error:  # noqa: BLE001 - whoever asked gets it
            future.set_exception(error)
        else:
            future.set_result(result)

    def _get_seconds_left(self, look: _Look[Result]) -> float:
        return max(0.0, look.overdue_at - time.monotonic())

    def _build_error(self) -> CheckTimedOut:
        return CheckTimedOut(f"{self._name} did not answer within {self._seconds:g} seconds.")
