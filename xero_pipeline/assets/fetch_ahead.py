"""Reads the weeks of several organisations side by side, and hands each table's weeks over in their order.

The threads fetch and read; whoever iterates lands the weeks and talks to Dagster, in one thread. No organisation waits
for another one: a week of a fast one is handed over while a slow one is still being asked. Nor does a table wait for
another one of its organisation, while fewer calls are in progress than the organisation may have.
"""

from __future__ import annotations

from collections import deque
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
# A lane reads at most so many times as many weeks ahead as its organisation may read at once, so that memory stays
# bounded.
_AHEAD = 4


@dataclass
class _Organisation:
    """Those lanes whose jobs share one limit."""

    in_progress: int = 0


@dataclass
class _Lane(Generic[Job, Result]):
    """The jobs of one organisation and table, which are handed over in their order."""

    organisation: _Organisation
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
            and self.organisation.in_progress < at_once
            and self.started - self.handed_over < at_once * _AHEAD
            and may_begin(self.jobs[self.started])
        )

    def count(self, change: int) -> None:
        self.in_progress += change
        self.organisation.in_progress += change


class FetchAhead(Generic[Job, Result]):
    """Iterate over it for the results.

    Args:
        organisations: the lanes of each, and each lane's jobs. Those of one lane begin and are handed over in their
            order.
        read: does one job, in a thread of its own. It must not raise.
        at_once: how many jobs of one organisation are done at once.
        may_begin: whether the results that a job depends on have been handed over. They are of its own organisation,
            and depend on none of its own lane.
        is_answered: whether Xero answered that job. Until it has, and after it did not, its lane does one job at a
            time: an outage should cost few calls.
    """

    def __init__(
        self,
        organisations: Sequence[Sequence[Sequence[Job]]],
        read: Callable[[Job], Result],
        *,
        at_once: int,
        is_answered: Callable[[Result], bool],
        may_begin: Callable[[Job], bool] = lambda _: True,
    ) -> None:
        self._lanes: list[_Lane[Job, Result]] = [
            _Lane(organisation, jobs)
            for lanes, organisation in ((lanes, _Organisation()) for lanes in organisations)
            for jobs in lanes
        ]
        self._most = min(MAX_AT_ONCE, at_once * max(1, len(organisations)))
        self._read = read
        self._at_once = at_once
        self._is_answered = is_answered
        self._may_begin = may_begin
        self._in_progress = 0
        self._ended: SimpleQueue[tuple[_Lane[Job, Result], int, Future[Result]]] = SimpleQueue()

    def __iter__(self) -> Iterator[Result]:
        with WorkerThreads(self._most, "xero-weeks") as threads:
            ready: deque[_Lane[Job, Result]] = deque()
            self._start_jobs(threads)
            while self._in_progress or ready:
                # Whatever has ended meanwhile, before the next result is landed, so that the threads have work.
                while not ready or not self._ended.empty():
                    if (lane := self._end_job()) is not None:
                        ready.append(lane)
                    self._start_jobs(threads)
                    if not self._in_progress:
                        break
                if ready:
                    lane = ready.popleft()
                    yield lane.results.pop(lane.handed_over)
                    lane.handed_over += 1
                    if lane.handed_over in lane.results:
                        ready.append(lane)
                    self._start_jobs(threads)

    def _end_job(self) -> _Lane[Job, Result] | None:
        """Wait for the end of a job, and return its lane if its result is the next that is handed over."""
        lane, number, future = self._ended.get()
        lane.count(-1)
        self._in_progress -= 1
        result = future.result()
        lane.results[number] = result
        lane.width = self._at_once if self._is_answered(result) else 1
        return lane if number == lane.handed_over else None

    def _start_jobs(self, threads: WorkerThreads) -> None:
        """Start jobs, first of the organisations that have the fewest in progress."""
        while self._in_progress < self._most:
            may_start = [lane for lane in self._lanes if lane.may_start(self._at_once, self._may_begin)]
            if not may_start:
                break
            lane = min(may_start, key=lambda one: one.organisation.in_progress)
            number = lane.started
            lane.started += 1
            lane.count(1)
            self._in_progress += 1
            future = threads.submit(partial(self._read, lane.jobs[number]))
            future.add_done_callback(partial(self._note_end, lane, number))

    def _note_end(self, lane: _Lane[Job, Result], number: int, future: Future[Result]) -> None:
        self._ended.put((lane, number, future))
