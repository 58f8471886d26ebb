"""Run several servers together: they start together and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import click

from xero_pipeline.errors import PipelineError

# How long a server may take to end after it was asked to: Dagster's code servers need several seconds.
SHUTDOWN_SECONDS = 30.0
# How long the processes that a server started may outlive it. A run's worker marks its weeks as interrupted
# in that time; a code server that Dagster left behind would never end by itself.
ORPHAN_SECONDS = 10.0


class ServerEnded(PipelineError):
    """One of the servers ended by itself, so the others were ended too."""

    code = "server_ended"


def find_tool(name: str) -> str:
    """Return the path of a command that is installed beside this interpreter."""
    return str(Path(sys.executable).parent / name)


def run_together(
    commands: Mapping[str, Sequence[str]],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: IO[bytes] | None = None,
    advice: str = "Its last lines above show why.",
    announce: Callable[[], bool] = lambda: True,
    waits: Mapping[str, Callable[[], bool]] | None = None,
) -> None:
    """Run servers until Ctrl-C, SIGTERM, or the end of one of them; then end all and wait for them.

    Each server gets its own session: Ctrl-C does not reach it directly, and its child processes end with it.

    Args:
        output: the file to which they all write; by default the terminal.
        advice: where to see why a server has ended by itself.
        announce: asked again and again until it returns true, for what is said once they are ready.
        waits: for a server that needs another one: asked again and again, and the server starts once it returns true.

    Raises:
        ServerEnded: one of them ended by itself.
    """
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    running: dict[str, subprocess.Popen[bytes]] = {}
    ended: list[str] = []
    is_announced, waits = False, waits or {}
    try:
        while not ended:
            for name, command in commands.items():
                if name not in running and (name not in waits or waits[name]()):
                    running[name] = _start(command, cwd, environment, output)
            is_announced = is_announced or announce()
            if stop.wait(0.3):
                break
            ended = [name for name, process in running.items() if process.poll() is not None]
    finally:
        _end_processes(list(running.values()))
    if ended:
        raise ServerEnded(f"{' and '.join(ended)} ended by itself.", advice=advice)


def _start(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], output: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own commands
        command,
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=_restore_signal_handlers,
    )


def _restore_signal_handlers() -> None:
    # A shell starts background jobs with SIGINT ignored, and Dagster would then ignore SIGTERM as well.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_processes(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        _signal_group(process, signal.SIGINT)
    for process in processes:
        try:
            process.wait(SHUTDOWN_SECONDS)
            _wait_for_group(process, ORPHAN_SECONDS)
        except subprocess.TimeoutExpired:
            click.echo(f"process {process.pid} does not end; killing it", err=True)
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _wait_for_group(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until no process of the server's group is left, for `seconds` at most."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)


def _signal_group(process: subprocess.Popen[bytes], signal_number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, signal_number)
    except ProcessLookupError:
        return
