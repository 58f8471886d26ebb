"""Reads the weeks of several organisations side by side, and hands each organisation's weeks over in their order.

The threads fetch and read; whoever iterates lands the weeks and talks to Dagster, in one thread. No organisation waits
for another one: a week of a fast one is handed over while a slow one is still being asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Generic, TypeVar

from xero_pipeline.worker_threads import WorkerThreads

Job = TypeVar("Job")
Result = TypeVar("Result")

# All organisations together read at most so many weeks at once.
MAX_AT_ONCE = 100
# An organisation reads at most so many times as many weeks ahead as it reads at once, so that memory stays bounded.
_AHEAD = 4


@dataclass
class _Lane(Generic[Job, Result]):
    """One organisation's jobs, which are handed over in their order."""

    jobs: Sequence[Job]
    width: int = 1
    started: int = 0
    in_progress: int = 0
    handed_over: int = 0
    results: dict[int, Result] = field(default_factory=dict)

    def may_start(self, at_once: int, may_begin: Callable[[Job], bool]) -> bool:
        return (
            self.started < len(self.jobs)
            and self.in_progress < self.width
            and self.started - self.handed_over < at_once * _AHEAD
            and may_begin(self.jobs[self.started])
        )


class FetchAhead(Generic[Job, Result]):
    """Iterate over it for the results.

    Args:
        lanes: each organisation's jobs. Those of one lane begin and are handed over in their order.
        read: does one job, in a thread of its own. It must not raise.
        at_once: how many jobs of one lane are done at once.
        may_begin: whether the results that a job depends on have been handed over. They are of its own lane, and
            before it.
        is_answered: whether Xero answered that job. Until it has, and after it did not, its lane does one job at a
            time: an outage should cost few calls.
    """

    def __init__(
        self,
        lanes: Sequence[Sequence[Job]],
        read: Callable[[Job], Result],
        *,
        at_once: int,
        is_answered: Callable[[Result], bool],
        may_begin: Callable[[Job], bool] = lambda _: True,
    ) -> None:
        self._lanes: list[_Lane[Job, Result]] = [_Lane(jobs) for jobs in lanes]
        self._read = read
        self._at_once = at_once
        self._is_answered = is_answered
        self._may_begin = may_begin
        self._ended: SimpleQueue[tuple[_Lane[Job, Result], int, Future[Result]]] = SimpleQueue()

    def __iter__(self) -> Iterator[Result]:
        most = min(MAX_AT_ONCE, self._at_once * max(1, len(self._lanes)))
        with WorkerThreads(most, "xero-weeks") as threads:
            in_progress = self._start_jobs(threads, most)
            while in_progress:
                lane, number, future = self._ended.get()
                lane.in_progress -= 1
                in_progress -= 1
                result = future.result()
                lane.results[number] = result
                lane.width = self._at_once if self._is_answered(result) else 1
                # Before the results are landed, so that the threads have work meanwhile.
                in_progress += self._start_jobs(threads, most - in_progress)
                while lane.handed_over in lane.results:
                    yield lane.results.pop(lane.handed_over)
                    lane.handed_over += 1
                in_progress += self._start_jobs(threads, most - in_progress)

    def _start_jobs(self, threads: WorkerThreads, room: int) -> int:
        """Start jobs, first in the lanes that have the fewest in progress, and return how many."""
        started = 0
        while started < room:
            ready = [lane for lane in self._lanes if lane.may_start(self._at_once, self._may_begin)]
            if not ready:
                break
            lane = min(ready, key=lambda one: one.in_progress)
            number = lane.started
            lane.started += 1
            lane.in_progress += 1
            started += 1
            future = threads.submit(partial(self._read, lane.jobs[number]))
            future.add_done_callback(partial(self._note_end, lane, number))
        return started

    def _note_end(self, lane: _Lane[Job, Result], number: int, future: Future[Result]) -> None:
        self._ended.put((lane, number, future))
