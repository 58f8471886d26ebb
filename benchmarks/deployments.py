"""A deployment for measurements: a folder of its own, connected to `xero_server.py`, and commands that run in it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.xero_server import get_tenant

COMMAND = [sys.executable, "-c", "from xero_pipeline.cli import main; main()"]


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Server:
    """A running `xero_server.py`."""

    url: str

    def set(self, **settings: Any) -> None:
        self._ask("/settings", json.dumps(settings).encode())

    def read_counts(self) -> dict[str, Any]:
        return dict(self._ask("/counts"))

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(self.url + path, body, timeout=30) as answer:  # noqa: S310 - our own address
            return json.load(answer)


@contextmanager
def serve_xero(**settings: Any) -> Iterator[Server]:
    port = find_free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.xero_server", str(port)])
    server = Server(f"http://127.0.0.1:{port}")
    try:
        for _ in range(100):
            try:
                server.set(**settings)
                break
            except OSError:
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Measured:
    """A command that ended: how long it took, the most memory it had in megabytes, and what it printed."""

    seconds: float
    megabytes: float
    output: str
    errors: str


@dataclass
class MeasuredDeployment:
    home: Path
    server: Server
    settings: Mapping[str, str] = field(default_factory=dict)
    key: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "DAGSTER_HOME": str(self.home),
            "XERO_MOCK_MODE": "false",
            "XERO_CLIENT_ID": "app",
            "XERO_CLIENT_SECRET": "app-secret",
            "XERO_ENCRYPTION_KEY": self.key,
            "XERO_API_URL": self.server.url,
            "XERO_IDENTITY_URL": self.server.url,
            "XERO_LOGIN_URL": self.server.url,
            "PIPELINE_START_DATE": "2014-01-04",
            "PIPELINE_TIMEZONE": "UTC",
            "XERO_CALLS_PER_MINUTE": "100000",
            "XERO_CALLS_PER_DAY": "1000000",
            **self.settings,
        }

    def connect(self, organisations: int = 1) -> None:
        """Migrate the database and store tokens, as a consent at the server would."""
        self.run("migrate")
        names = [[get_tenant(number), f"Organisation {number + 1}"] for number in range(organisations)]
        self.run_python(_CONNECT, json.dumps(names), (datetime.now(UTC) + timedelta(minutes=20)).isoformat())

    def run(self, *arguments: str, check: bool = True) -> Measured:
        """Run an `xero-pipeline` command."""
        return self._run([*COMMAND, *arguments], check=check)

    def run_python(self, program: str, *arguments: str) -> Measured:
        return self._run([sys.executable, "-c", program, *arguments], check=True)

    def _run(self, command: list[str], *, check: bool) -> Measured:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=self.home, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        megabytes = 0.0
        output, errors = "", ""
        while True:
            try:
                output, errors = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                megabytes = max(megabytes, _read_peak(process.pid))
        if check and process.returncode != 0:
            raise RuntimeError(f"{' '.join(command[-4:])} ended with {process.returncode}:\n{output}\n{errors}")
        return Measured(time.perf_counter() - began, megabytes, output, errors)


def _read_peak(pid: int) -> float:
    """The most resident memory that the process has had, in megabytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return 0.0


_CONNECT = """
import json, sys
from datetime import datetime, UTC
from xero_pipeline.grants import Connection, Tokens
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
with Deployment(load_settings()) as opened:
    now = datetime.now(UTC)
    scope = "accounting.transactions.read accounting.reports.read accounting.settings.read offline_access"
    tokens = Tokens("a" * 40, "refresh", "", "Bearer", scope, datetime.fromisoformat(sys.argv[2]), now)
    rows = [Connection(tenant, tenant, name) for tenant, name in json.loads(sys.argv[1])]
    opened.warehouse.tokens.save_consent(tokens, rows, now=now)
"""
