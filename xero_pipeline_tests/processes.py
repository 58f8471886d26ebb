"""The processes of a test: real ones, forked from a parent that has imported everything once for all tests.

Started anew, each would spend seconds on its imports before it does the few milliseconds that a test is about.
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

_PATIENCE = 60.0
_IMPORTED = [
    "xero_pipeline.definitions",
    "sqlalchemy.dialects.postgresql.psycopg",
    "psycopg",
    "xero_pipeline_tests.conftest",
    "xero_pipeline_tests.xero.refreshing",
    "xero_pipeline_tests.frozen",
]


@cache
def forking() -> ForkServerContext:
    """What `multiprocessing.get_context` answers, with that parent behind it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        # It must find the same modules as this process, and begin no threads: a fork does not take them along.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        forkserver.ensure_running()
    return context


class Started:
    """A process that does one thing, and how that ended."""

    def __init__(self, task: Callable[..., None], *arguments: Any) -> None:
        self._said, said = forking().Pipe(duplex=False)
        # A daemon, so that one which a failed test leaves behind does not hold up the end.
        self._process = forking().Process(target=_tell, args=(said, task, *arguments), daemon=True)
        self._process.start()
        said.close()

    def kill(self) -> None:
        """End it with no chance to tidy up."""
        self._process.kill()

    def outcome(self) -> str:
        """Wait for it to end: `ok`, what went wrong in a line, or the signal that ended it."""
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        assert code is not None, "it does not end"
        said = signal.Signals(-code).name if code < 0 else str(self._said.recv())
        self._said.close()
        self._process.close()
        return said


def _tell(said: Connection, task: Callable[..., None], *arguments: Any) -> None:
    try:
        task(*arguments)
        said.send("ok")
    except BaseException as error:  # noqa: BLE001 - it is told to the test
        said.send(f"{type(error).__name__}: {error}")


def appears(file: Path) -> None:
    """Wait until another process has made that file."""
    until = time.monotonic() + _PATIENCE
    while not file.exists():
        assert time.monotonic() < until, f"{file.name} did not appear"
        time.sleep(0.02)
