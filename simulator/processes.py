"""Simulated processes of a deployment: what kills them, what they hold, and what the system frees when they are dead.

A kill is an exception that no handler of the package catches. Python runs `finally` and `except BaseException` while it
unwinds, a killed process does not: so from the kill on, each statement, request and look at the clock raises again,
and nothing that those handlers do reaches the world. Open transactions are rolled back and locks are freed, as the
server and the operating system do.
"""

from __future__ import annotations

import contextlib
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from simulator.time import Scheduler, Task
from xero_pipeline.warehouse.errors import LockTimeout


class Killed(BaseException):
    """The process is dead."""


class Process:
    """One process: a task with a clock, steps at which it can be killed, and locks."""

    def __init__(self, name: str, machine: Machine) -> None:
        self.name = name
        self.machine = machine
        self.is_dead = False
        self.steps = 0
        self.kill_at: int | None = None
        self.task: Task | None = None
        self.transactions = 0
        # Whether a statement of it failed or it was killed: then a repeated message or refresh is allowed.
        self.was_disturbed = False
        # Whether the database failed it, and by which names it holds permits.
        self.lost_statement = False
        self.names: set[str] = set()
        self.is_landing = False

    def step(self) -> None:
        """A point at which the process can be killed. Raises `Killed` when it is, and ever after."""
        self.steps += 1
        if self.kill_at is not None and self.steps >= self.kill_at:
            self.kill()
        if self.is_dead:
            raise Killed(self.name)

    def kill(self) -> None:
        if not self.is_dead:
            self.is_dead = True
            self.was_disturbed = True
            self.machine.note("process killed")

    def now(self) -> datetime:
        if self.is_dead:
            raise Killed(self.name)
        return self.machine.now()

    def sleep(self, seconds: float) -> None:
        self.step()
        self.machine.scheduler.sleep(seconds)
        self.step()


class Machine:
    """The machine that the processes run on: its clock, its locks, and its processes."""

    def __init__(self, scheduler: Scheduler, draw: random.Random) -> None:
        self.scheduler = scheduler
        self.draw = draw
        self.skew = timedelta(0)
        self.counts: Counter[str] = Counter()
        # When something last went wrong.
        self.disturbed_at = scheduler.now()
        self.on_disaster: Callable[[], None] = lambda: None
        self.on_end: Callable[[Process], None] = lambda _process: None
        self.processes: list[Process] = []
        self.holders: dict[str, Process] = {}
        self._by_task: dict[Task, Process] = {}

    def now(self) -> datetime:
        """The time that this machine's clock shows."""
        return self.scheduler.now() + self.skew

    def note(self, disaster: str) -> None:
        """Count something that goes wrong now."""
        self.counts[disaster] += 1
        self.disturbed_at = self.scheduler.now()
        self.on_disaster()

    @property
    def current(self) -> Process | None:
        """The process that runs now; `None` outside of every process."""
        task = self.scheduler.current
        return None if task is None else self._by_task.get(task)

    def start(self, name: str, work: Callable[[Process], None], ended: Callable[[Process], None]) -> Process:
        """Start a process. `ended` is called when it has ended or is dead, outside of it."""
        process = Process(name, self)
        self.processes.append(process)

        def run() -> None:
            try:
                # A process takes a moment to start, so no two begin at the same instant.
                process.sleep(self.draw.uniform(0.05, 1.0))
                work(process)
            except Killed:
                pass
            finally:
                self._free(process)
                self.scheduler.at(self.scheduler.now(), lambda: self.on_end(process))
                self.scheduler.at(self.scheduler.now(), lambda: ended(process))

        process.task = self.scheduler.start(name, run)
        self._by_task[process.task] = process
        return process

    def kill_all(self) -> None:
        """The power is cut."""
        for process in self.processes:
            process.kill()

    def lose_locks(self) -> None:
        """The server has freed every lock. Those that show that a run is alive are taken again at once."""
        for name, holder in list(self.holders.items()):
            if not name.startswith(("run-", "process-")):
                holder.was_disturbed = True
                del self.holders[name]
                self.note("lock lost")

    def _free(self, process: Process) -> None:
        for name in [name for name, holder in self.holders.items() if holder is process]:
            del self.holders[name]
        self.processes.remove(process)
        if process.task is not None:
            self._by_task.pop(process.task, None)


class SimulatedLocks:
    """`Locks` of one process, among the processes of the simulation. The real ones have their own tests."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine = machine
        self._process = process
        self._liveness: list[str] = []

    @contextlib.contextmanager
    def hold(self, name: str, timeout: float = 60.0) -> Iterator[None]:
        process, holders = self._process, self._machine.holders
        process.step()
        give_up_at = self._machine.scheduler.now() + timedelta(seconds=timeout)
        while name in holders:
            if self._machine.scheduler.now() >= give_up_at:
                raise LockTimeout(f"The lock {name!r} was not free within {timeout:g} seconds.")
            process.sleep(0.05 if timeout < 5 else 0.5)
        holders[name] = process
        try:
            yield
        finally:
            # The locks of a dead process are freed when it has ended.
            if not process.is_dead and holders.get(name) is process:
                del holders[name]

    @contextlib.contextmanager
    def hold_free(self, names: Sequence[str]) -> Iterator[set[str]]:
        process, holders = self._process, self._machine.holders
        process.step()
        free = {name for name in names if name not in holders}
        holders.update(dict.fromkeys(free, process))
        try:
            yield free
        finally:
            if not process.is_dead:
                for name in free:
                    if holders.get(name) is process:
                        del holders[name]

    @contextlib.contextmanager
    def hold_liveness(self, name: str) -> Iterator[None]:
        with self.hold(name):
            self._process.names.add(name)
            self._liveness.append(name)
            try:
                yield
            finally:
                self._liveness.remove(name)

    def get_liveness_name(self) -> str:
        if not self._liveness:
            name = f"process-{uuid.UUID(int=self._machine.draw.getrandbits(128))}"
            self._machine.holders[name] = self._process
            self._process.names.add(name)
            self._liveness.append(name)
        return self._liveness[-1]

    def is_held(self, name: str) -> bool:
        self._process.step()
        return name in self._machine.holders

    def close(self) -> None:
        return
