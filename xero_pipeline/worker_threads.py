"""Threads that work side by side, and that no ending process waits for.

The pools of `concurrent.futures` join their threads when the process ends. Here a thread may wait for Xero's limit for
minutes, and Ctrl-C has to end a command within seconds.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")

_Work = tuple["Future[Any]", contextvars.Context, Callable[[], Any]]


class WorkerThreads:
    """Runs functions in at most `most` daemon threads. Use it as a context manager."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads = 0
        self._idle = 0
        self._lock = threading.Lock()

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Run the function in a thread, with the context variables of this one."""
        future: Future[Result] = Future()
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._queue.put((future, contextvars.copy_context(), function))
        return future

    def close(self) -> None:
        """Let the threads end once they have done what was submitted. Nobody waits for them."""
        with self._lock:
            for _ in range(self._threads):
                self._queue.put(None)
            self._threads = self._most

    def __enter__(self) -> WorkerThreads:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            future, context, function = work
            if future.set_running_or_notify_cancel():
                try:
                    result = context.run(function)
                except BaseException as error:  # noqa: BLE001 - whoever waits for the result gets it
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del work, future, context, function
            with self._lock:
                self._idle += 1
