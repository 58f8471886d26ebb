"""Simulated time. Processes are threads of which one runs at a time, so that a seed decides everything.

A process runs until it waits. Waiting moves the clock to the next thing that is due: another process that has waited
long enough, or an event of the world. Nothing ever waits for real.
"""

from __future__ import annotations

import faulthandler
import heapq
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

# A simulated process that computes for so many seconds of processor time without waiting is called hung, and so is one
# that waits for real: it uses less than `_IDLE` seconds in each of `_IDLE_LOOKS` looks.
_HUNG_AFTER = 300.0
_LOOK_EVERY = 60.0
_IDLE = 0.01
_IDLE_LOOKS = 3


class Hung(Exception):
    """A process neither ended nor waited: it blocks for real."""


class Task:
    """A thread that runs only when the scheduler lets it."""

    def __init__(self, name: str, function: Callable[[], None]) -> None:
        self.name = name
        self._function = function
        self._baton = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self.is_over = False

    def __lt__(self, other: object) -> bool:  # Entries of the heap differ before this is asked.
        return id(self) < id(other)


class Scheduler:
    """Lets tasks run in the order of time. Also the clock of Xero and of the world."""

    def __init__(self, start: datetime) -> None:
        self.moment = start
        self._heap: list[tuple[datetime, int, Task | Callable[[], None]]] = []
        self._number = 0
        self._main = threading.Semaphore(0)
        self.current: Task | None = None
        self.tasks: set[Task] = set()

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        """Wait, in a task: let everything happen that is due before."""
        target = self.moment + timedelta(seconds=max(0.0, seconds))
        if not self._heap or self._heap[0][0] > target:
            self.moment = target
            return
        task = self.current
        if task is None:
            raise RuntimeError("only a task can wait")
        self._push(target, task)
        self._main.release()
        task._baton.acquire()

    def at(self, moment: datetime, event: Callable[[], None]) -> None:
        """Have an event happen at a moment, outside of every task."""
        self._push(max(moment, self.moment), event)

    def start(self, name: str, function: Callable[[], None]) -> Task:
        """Start a task now. `function` must not raise."""
        task = Task(name, function)
        self.tasks.add(task)
        self._push(self.moment, task)
        return task

    def run(self, until: datetime) -> None:
        """Let everything happen that is due until then. Raises what an event raises."""
        while self._heap and self._heap[0][0] <= until:
            moment, _, due = heapq.heappop(self._heap)
            self.moment = max(self.moment, moment)
            if isinstance(due, Task):
                self._resume(due)
            else:
                due()
        self.moment = max(self.moment, until)

    def _push(self, moment: datetime, due: Task | Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (moment, self._number, due))

    def _resume(self, task: Task) -> None:
        self.current = task
        if task._thread is None:

            def work() -> None:
                task._baton.acquire()
                try:
                    task._function()
                finally:
                    task.is_over = True
                    self.tasks.discard(task)
                    self._main.release()

            task._thread = threading.Thread(target=work, name=task.name, daemon=True)
            task._thread.start()
        task._baton.release()
        began = last = time.process_time()
        idle_looks = 0
        while not self._main.acquire(timeout=_LOOK_EVERY):
            # A machine that is busy with other things may let this process wait for long, and somebody may have
            # stopped it for a while: then it used no time until a moment ago, but does in the next look.
            used, last = time.process_time() - last, time.process_time()
            idle_looks = idle_looks + 1 if used < _IDLE else 0
            if last - began > _HUNG_AFTER or idle_looks >= _IDLE_LOOKS:
                faulthandler.dump_traceback(sys.stderr)
                raise Hung(f"{task.name} neither ends nor waits")
        self.current = None
