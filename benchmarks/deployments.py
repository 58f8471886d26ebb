"""A deployment for measurements: a folder of its own, connected to `xero_server.py`, and commands that run in it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.processes import Measured, run_measured
from benchmarks.xero_server import MATERIALS, RENT, SALES, WAGES, Books, get_last_weeks, get_tenant

REPOSITORY = Path(__file__).resolve().parents[1]
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
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.xero_server", str(port)], cwd=REPOSITORY)
    server = Server(f"http://127.0.0.1:{port}")
    try:
        for _ in range(100):
            try:
                server.set(**settings)
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise RuntimeError(f"the server for measurements does not answer at {server.url}")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
            "PYTHONPATH": str(REPOSITORY),
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
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

    def connect(self, organisations: int = 1, *, expires_in: float = 1200) -> None:
        """Migrate the database and store tokens, as a consent at the server would.

        Args:
            expires_in: seconds until the access token expires.
        """
        self.run("migrate")
        names = [[get_tenant(number), f"Organisation {number + 1}"] for number in range(organisations)]
        self.run_python(_CONNECT, json.dumps(names), (datetime.now(UTC) + timedelta(seconds=expires_in)).isoformat())

    def run(self, *arguments: str, check: bool = True, timeout: float = 600) -> Measured:
        """Run an `xero-pipeline` command."""
        return self._run([*COMMAND, *arguments], check=check, timeout=timeout)

    def run_python(self, program: str, *arguments: str, timeout: float = 600) -> Measured:
        return self._run([sys.executable, "-c", program, *arguments], check=True, timeout=timeout)

    def run_module(self, module: str, *arguments: str, timeout: float = 600) -> Measured:
        """Run a module of the benchmarks in this deployment's folder."""
        return self._run([sys.executable, "-W", "ignore", "-m", module, *arguments], check=True, timeout=timeout)

    def _run(self, command: list[str], *, check: bool, timeout: float) -> Measured:
        return run_measured(command, folder=self.home, environment=self.environment, timeout=timeout, check=check)

    def find_differences(self, weeks: int, books: Books, organisations: int = 1) -> list[str]:
        """Compare every figure that has landed in SQLite for the newest weeks with the books."""
        _, end = get_last_weeks(weeks)
        endings = [end - timedelta(days=1 + 7 * back) for back in range(weeks)]
        with closing(sqlite3.connect(self.home / "data" / "xero.db")) as database:
            landed = {(tenant, week): figures for tenant, week, *figures in database.execute(_FIGURES)}
        found = (
            [f"{len(landed)} weeks landed, not {organisations * weeks}"] if len(landed) != organisations * weeks else []
        )
        for ending in endings:
            sums = books.sum_week(ending)
            expected = [sums[SALES], sums[MATERIALS], sums[RENT] + sums[WAGES], books.get_balance(ending)]
            for number in range(organisations):
                figures = landed.get((get_tenant(number), ending.isoformat()))
                if figures is None or [Decimal(one) for one in figures] != [one.quantize(CENT) for one in expected]:
                    found.append(f"organisation {number + 1}, week ending {ending}: {figures}, not {expected}")
        return found


CENT = Decimal("0.01")
_FIGURES = """
SELECT p.tenant_id, p.week_ending, total_trading_income, cost_of_sales, operating_expenses, closing_balance
FROM financial_weekly p JOIN cash_position_weekly c ON c.tenant_id = p.tenant_id AND c.week_ending = p.week_ending
"""
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
