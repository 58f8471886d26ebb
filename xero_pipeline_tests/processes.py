"""Real processes for tests, forked from one parent that has imported all modules.

A newly started process would spend seconds on its imports, while the part that a test needs takes milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

_TIMEOUT = 60.0
_PRELOADED_MODULES = [
    "xero_pipeline.definitions",
    "sqlalchemy.dialects.postgresql.psycopg",
    "psycopg",
    "xero_pipeline_tests.conftest",
    "xero_pipeline_tests.xero.refreshing",
    "xero_pipeline_tests.frozen",
]


@cache
def get_fork_context() -> ForkServerContext:
    """The `multiprocessing` context whose processes are forked from that parent."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED_MODULES)
    with pytest.MonkeyPatch.context() as patch:
        # The parent must find the same modules as this process. It must start no threads, since a fork lacks them.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        forkserver.ensure_running()
    return context


class StartedProcess:
    """A process that executes one task and reports how it ended."""

    def __init__(self, task: Callable[..., None], *arguments: Any) -> None:
        self._receiver, sender = get_fork_context().Pipe(duplex=False)
        # It is a daemon, so that the tests can end although a failed one has left it behind.
        self._process = get_fork_context().Process(target=_execute, args=(sender, task, *arguments), daemon=True)
        self._process.start()
        sender.close()

    def kill(self) -> None:
        """End it without any cleanup."""
        self._process.kill()

    def wait_for_outcome(self) -> str:
        """Wait until it ends. Returns `ok`, an error in one line, or the signal that ended it."""
        self._process.join(_TIMEOUT)
        code = self._process.exitcode
        assert code is not None, "the process does not end"
        outcome = signal.Signals(-code).name if code < 0 else str(self._receiver.recv())
        self._receiver.close()
        self._process.close()
        return outcome


def _execute(sender: Connection, task: Callable[..., None], *arguments: Any) -> None:
    try:
        task(*arguments)
        sender.send("ok")
    except BaseException as error:  # noqa: BLE001 - the test reports it
        sender.send(f"{type(error).__name__}: {error}")


def wait_for_file(file: Path) -> None:
    """Wait until another process has created that file."""
    deadline = time.monotonic() + _TIMEOUT
    while not file.exists():
        assert time.monotonic() < deadline, f"{file.name} did not appear"
        time.sleep(0.02)
