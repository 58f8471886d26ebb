"""The admin page as deployed: the real app, a real HTTP server and a real database, with a server in Xero's place.

Only Dagster can be a fake, in tests that are not about it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from xero_pipeline.admin.app import create_app
from xero_pipeline.admin.connection_limits import ConnectionLimits
from xero_pipeline.admin.dagster_api import DagsterDown, RunStatus, UnknownRun
from xero_pipeline.admin.dagster_ui import DagsterUi
from xero_pipeline.admin.server import configure_server
from xero_pipeline.grants import Connection, Tokens
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings, load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.admin.serving import serve_app
from xero_pipeline_tests.conftest import FakeClock

API = "/api/v1/xero"
KEY = "5f" * 32


class FakeDagster:
    """A fake that records its calls. A launched run takes the next of `statuses` each time it is read."""

    def __init__(self) -> None:
        self.down = False
        self.running = False
        self.statuses = [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCESS]
        self.launched: list[Week] = []
        self.launched_for: list[list[str]] = []
        self._runs: dict[str, Iterator[RunStatus]] = {}
        self._status: dict[str, RunStatus] = {}
        self._numbers = itertools.count(1)

    def check(self) -> None:
        if self.down:
            raise DagsterDown("Dagster at http://localhost:3000 does not answer.")

    def launch_run(self, week: Week, organisations: Sequence[str] = ()) -> str:
        self.check()
        run_id = f"run-{next(self._numbers)}"
        self.launched.append(week)
        self.launched_for.append(list(organisations))
        self._runs[run_id] = iter(self.statuses)
        self._status[run_id] = RunStatus.QUEUED
        return run_id

    def find_unfinished_run(self, week: Week) -> str | None:
        self.check()
        unfinished = [run_id for run_id, status in self._status.items() if not status.is_over]
        return next(
            (run_id for run_id in unfinished if self.launched[int(run_id.removeprefix("run-")) - 1] == week), None
        )

    def read_run_status(self, run_id: str) -> RunStatus:
        self.check()
        if run_id not in self._runs:
            raise UnknownRun("Dagster has no run with that id.")
        self._status[run_id] = next(self._runs[run_id], self._status[run_id])
        return self._status[run_id]

    def build_run_url(self, run_id: str) -> str:
        return f"http://localhost:3000/runs/{run_id}"

    def is_scheduler_running(self) -> bool:
        self.check()
        return self.running

    def start_scheduler(self) -> None:
        self.check()
        self.running = True

    def stop_scheduler(self) -> None:
        self.check()
        self.running = False

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Page:
    """A served page, with the objects behind it."""

    url: str
    settings: Settings
    deployment: Deployment
    dagster: Any
    clock: Any
    client: httpx.Client
    slept: list[float] = field(default_factory=list)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.client.post(path, **more)

    def api(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(API + path, **more)

    def browser(self, **headers: str) -> httpx.Client:
        """Open another browser with its own cookies."""
        return open_client(self.url, **headers)

    def connect(self, *tenants: tuple[str, str], grant: str = "") -> None:
        """Store a consent for these organisations (tenant id and name), as if a person had given it."""
        connections = [Connection(f"connection-{tenant}", tenant, name) for tenant, name in tenants]
        self.deployment.warehouse.tokens.save_consent(make_tokens(self.clock, grant), connections, now=self.clock.now())


def open_client(url: str, **headers: str) -> httpx.Client:
    """Open a client with its own cookies. It loads no certificates, which would take longer than most tests."""
    # The timeout is long: a sync waits for Dagster, which can take long on a busy machine.
    return httpx.Client(base_url=url, headers=headers, timeout=60, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def make_tokens(clock: Any, mark: str = "") -> Tokens:
    return Tokens(
        access_token=f"access-{mark}",
        refresh_token=f"refresh-{mark}",
        id_token="",
        token_type="Bearer",
        scope="",
        expires_at=clock.now() + timedelta(minutes=30),
        refreshed_at=clock.now(),
    )


def load_app_settings(home: Path, **overrides: Any) -> Settings:
    """Load the settings of a real Xero app whose deployment is in that folder."""
    defaults = {
        "XERO_MOCK_MODE": "false",
        "XERO_CLIENT_ID": "client-id",
        "XERO_CLIENT_SECRET": "client-secret-of-the-app",
        "XERO_ENCRYPTION_KEY": KEY,
        "DAGSTER_HOME": str(home),
        "DATABASE_URL": "sqlite:///data/xero.db",
    }
    return load_settings(**defaults | overrides)


def point_settings_at(url: str) -> dict[str, str]:
    """Return the settings that replace Xero's servers with the one at `url`."""
    return {"XERO_API_URL": url, "XERO_IDENTITY_URL": url, "XERO_LOGIN_URL": url}


@contextmanager
def open_dagster_ui(home: Path) -> Iterator[DagsterUi]:
    """Open Dagster in this process, with no code location, which would need a server of its own."""
    folder = os.getcwd()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (home / "workspace.yaml").write_text("load_from: []\n")
    dagster_ui = DagsterUi(load_app_settings(home))
    try:
        for _ in range(600):
            if dagster_ui.is_open:
                break
            threading.Event().wait(0.1)
        assert dagster_ui.is_open
        yield dagster_ui
    finally:
        dagster_ui.close()
        # Opening Dagster changes into its folder.
        os.chdir(folder)


@contextmanager
def serve_page(
    home: Path,
    *,
    template: Path | None = None,
    migrate: bool = True,
    dagster: Any = None,
    clock: Any = None,
    dagster_ui: Any = None,
    limits: ConnectionLimits | None = None,
    **overrides: Any,
) -> Iterator[Page]:
    """Serve the page, with the server that `xero-pipeline admin` runs.

    Args:
        dagster_ui: the application under `/dagster`.
        template: a migrated SQLite database to copy; without one the deployment's own database is migrated.
        overrides: settings by name.
    """
    clock, dagster, slept = clock or FakeClock(), dagster or FakeDagster(), list[float]()
    with ExitStack() as stack:
        made: dict[str, Any] = {}

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            clock.advance(seconds=seconds)

        def make(url: str) -> Any:
            settings = load_app_settings(home, **{"SERVER_URL": url} | overrides)
            if template is not None:
                settings.data_folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(template, str(settings.database_url.database))
            deployment = stack.enter_context(Deployment(settings, clock=clock))
            if template is None and migrate:
                deployment.warehouse.migrate()
            made.update(settings=settings, deployment=deployment)
            app = create_app(
                settings, clock=clock, deployment=deployment, dagster=dagster, dagster_ui=dagster_ui, sleep=sleep
            )
            return configure_server(app, settings, limits=limits, timeout_graceful_shutdown=1)

        url = stack.enter_context(serve_app(make))
        client = stack.enter_context(open_client(url))
        yield Page(url, made["settings"], made["deployment"], dagster, clock, client, slept)
