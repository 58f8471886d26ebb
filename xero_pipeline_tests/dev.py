"""`xero-pipeline dev` as a person starts it: in a folder of its own, on ports of its own, with real Dagster."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.admin.real_dagster import find_free_port

LATEST = Week.containing(datetime.now(ZoneInfo("Australia/Sydney")).date()).previous
KEY = "c0ffee" * 10 + "beef"
XERO_PIPELINE = [sys.executable, "-c", "from xero_pipeline.cli import main; main()"]
STARTS_WITHIN = 90.0


class DevDeployment:
    """A folder, its settings, and `xero-pipeline dev` running in it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.admin, self.former = f"http://localhost:{find_free_port()}", f"http://localhost:{find_free_port()}"
        self.dagster = f"{self.admin}/dagster"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XERO_", "DAGSTER_"))}
        self.settings = {
            "XERO_ENCRYPTION_KEY": KEY,
            "DAGSTER_HOME": str(folder),
            "SERVER_URL": self.admin,
            "DAGSTER_URL": self.former,
            "PIPELINE_START_DATE": LATEST.shift(-3).start.isoformat(),
            "LATE_EDITS_SECONDS": "5",
            **settings,
        }
        self.environment = kept | self.settings

    def open(self) -> Deployment:
        """The same deployment in this process, for what needs no process of its own."""
        return Deployment(load_settings(**self.settings))

    def read_rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "data" / "xero.db")) as connection:
            return connection.execute(query).fetchall()

    def query_dagster(self, query: str) -> Any:
        return httpx.post(f"{self.dagster}/graphql", json={"query": query}, timeout=60).json()["data"]

    def is_switched_on(self, schedule: str) -> bool:
        selector = (
            'scheduleSelector: {repositoryLocationName: "xero_pipeline.definitions", '
            f'repositoryName: "__repository__", scheduleName: "{schedule}"}}'
        )
        query = f"{{ scheduleOrError({selector}) {{ ... on Schedule {{ scheduleState {{ status }} }} }} }}"
        found = self.query_dagster(query)
        return bool(found["scheduleOrError"]["scheduleState"]["status"] == "RUNNING")


@contextmanager
def run_process(
    command: list[str], deployed: DevDeployment, log: Path, is_up: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """A server until left; ended by Ctrl-C, as a person does."""
    with log.open("wb") as said:
        running = subprocess.Popen(
            command,
            cwd=deployed.folder,
            env=deployed.environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # As from a terminal: a shell's background job would ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        _wait(is_up, running, log)
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(60)


def _wait(is_up: Callable[[], bool], running: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until and running.poll() is None:
        if is_up():
            return
        time.sleep(0.3)
    pytest.fail(f"it does not answer: {log.read_text()[-3000:]}")


def is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


@contextmanager
def run_dev(deployed: DevDeployment) -> Iterator[subprocess.Popen[bytes]]:
    """`xero-pipeline dev` on a database that is migrated, until left."""
    with deployed.open() as opened:
        opened.warehouse.migrate()
    command = [*XERO_PIPELINE, "dev"]
    is_up = partial(is_healthy, f"{deployed.admin}/healthz")
    with run_process(command, deployed, deployed.folder / "dev.out", is_up) as running:
        yield running


def list_descendants(pid: int) -> set[int]:
    """The process itself, and all that it and its children have started."""
    found, left = set[int](), [pid]
    while left:
        found.add(parent := left.pop())
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                left += map(int, children.read_text().split())
    return found


def list_listening_ports(pids: set[int]) -> set[int]:
    """The TCP ports on which these processes listen."""
    inodes = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                inodes.add(os.readlink(file))
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    listening = "0A"
    return {
        int(line[1].rsplit(":", 1)[1], 16) for line in lines if line[3] == listening and f"socket:[{line[9]}]" in inodes
    }
