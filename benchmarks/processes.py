"""A command as a process of its own: how long it took, the most memory it had, what it printed; ended after a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class MeasuredCommandError(Exception):
    """A command that failed, or that was ended because it took too long."""


@dataclass(frozen=True)
class Measured:
    """A command that ended: seconds of the wall clock, the most resident megabytes, and what it printed.

    `cpu_seconds` are those of the process and of the children that it waited for.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float
    output: str
    errors: str


def run_measured(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout: float,
    check: bool = True,
) -> Measured:
    """Run a command in a folder, and end it with all of its children after `timeout` seconds.

    The peak of the memory is the kernel's (`ru_maxrss`). A child is never shown with less than this process has when it
    starts it, so this process imports nothing large.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            list(command), cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=output, stderr=errors, start_new_session=True,
        )  # fmt: skip
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            end()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    name = " ".join(argument.strip().partition("\n")[0][:60] for argument in command[-6:])
    if is_late.is_set():
        raise MeasuredCommandError(f"{name} was ended after {timeout:.0f} seconds: {_get_tail(texts)}")
    if check and process.returncode != 0:
        raise MeasuredCommandError(f"{name} ended with {process.returncode}: {_get_tail(texts)}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, *texts)


def _get_tail(texts: list[str]) -> str:
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-5:])[-800:]
