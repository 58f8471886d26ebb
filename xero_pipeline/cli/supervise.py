"""Several servers as one: started together, ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from xero_pipeline.errors import PipelineError

# Dagster's code servers take a while to say goodbye; after that they are not asked any more.
PATIENCE_SECONDS = 30.0


class ServerEnded(PipelineError):
    """One of the servers ended by itself, and took the others with it."""

    code = "server_ended"


def tool(name: str) -> str:
    """A command that was installed beside this interpreter."""
    return str(Path(sys.executable).parent / name)


def run_together(commands: Mapping[str, Sequence[str]], *, cwd: Path, environment: Mapping[str, str]) -> None:
    """Run servers until Ctrl-C, SIGTERM, or the end of one of them; then end all and wait for them.

    Each gets a session of its own, so that only we decide when it ends, and its whole family with it.

    Raises:
        ServerEnded: one of them ended by itself.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    running: dict[str, subprocess.Popen[bytes]] = {}
    ended: list[str] = []
    try:
        for name, command in commands.items():
            running[name] = subprocess.Popen(  # noqa: S603 - our own commands
                command, cwd=cwd, env=dict(environment), start_new_session=True, preexec_fn=_listen_to_signals
            )
        while not stop.wait(0.3):
            ended = [name for name, process in running.items() if process.poll() is not None]
            if ended:
                break
    finally:
        _end(list(running.values()))
    if ended:
        raise ServerEnded(f"{' and '.join(ended)} ended by itself.", advice="Its last lines above say why.")


def _listen_to_signals() -> None:
    # Started in the background by a shell, SIGINT would be ignored, and Dagster would copy that to SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        _signal(process, signal.SIGINT)
    for process in processes:
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            click.echo(f"process {process.pid} does not end; ending it by force", err=True)
        # Also when it ended in time: a code server that it left behind goes with its family.
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
