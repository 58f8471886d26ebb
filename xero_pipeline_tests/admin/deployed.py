"""The admin page as it is deployed: the real app behind a real HTTP server, over a real database, talking to
whatever stands in Xero's place. Only Dagster may be a stand-in, where a test is not about it.
"""

from __future__ import annotations

import itertools
import shutil
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from xero_pipeline.admin.app import create_app
from xero_pipeline.admin.dagster_api import DagsterDown, RunStatus, UnknownRun
from xero_pipeline.grants import Connection, Tokens
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings, load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.admin.serving import serving
from xero_pipeline_tests.conftest import FakeClock

API = "/api/v1/xero"
KEY = "5f" * 32


class StandInDagster:
    """Remembers what it was told. A run that is launched goes through `course`, one step a look."""

    def __init__(self) -> None:
        self.down = False
        self.running = False
        self.course = [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCESS]
        self.launched: list[Week] = []
        self.only: list[list[str]] = []
        self._runs: dict[str, Iterator[RunStatus]] = {}
        self._status: dict[str, RunStatus] = {}
        self._numbers = itertools.count(1)

    def check(self) -> None:
        if self.down:
            raise DagsterDown("Dagster at http://localhost:3000 does not answer.")

    def launch(self, week: Week, organisations: Sequence[str] = ()) -> str:
        self.check()
        run_id = f"run-{next(self._numbers)}"
        self.launched.append(week)
        self.only.append(list(organisations))
        self._runs[run_id] = iter(self.course)
        self._status[run_id] = RunStatus.QUEUED
        return run_id

    def under_way(self, week: Week) -> str | None:
        self.check()
        going = [run_id for run_id, status in self._status.items() if not status.over]
        return next((one for one in going if self.launched[int(one.removeprefix("run-")) - 1] == week), None)

    def run_status(self, run_id: str) -> RunStatus:
        self.check()
        if run_id not in self._runs:
            raise UnknownRun("Dagster knows no run with that id.")
        self._status[run_id] = next(self._runs[run_id], self._status[run_id])
        return self._status[run_id]

    def run_url(self, run_id: str) -> str:
        return f"http://localhost:3000/runs/{run_id}"

    def scheduler_running(self) -> bool:
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
    """A served page, and what a test may look at behind it."""

    url: str
    settings: Settings
    deployment: Deployment
    dagster: Any
    clock: Any
    client: httpx.Client
    paused: list[float] = field(default_factory=list)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.client.post(path, **more)

    def api(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(API + path, **more)

    def browser(self, **headers: str) -> httpx.Client:
        """Another browser, with cookies of its own."""
        return a_browser(self.url, **headers)

    def connect(self, *tenants: tuple[str, str], grant: str = "") -> None:
        """Keep a consent for these organisations (tenant id and name), as if somebody had given it."""
        connections = [Connection(f"connection-{tenant}", tenant, name) for tenant, name in tenants]
        self.deployment.warehouse.tokens.save_consent(some_tokens(self.clock, grant), connections, now=self.clock.now())


def a_browser(url: str, **headers: str) -> httpx.Client:
    """A client with cookies of its own. No certificates: reading them would take longer than most tests."""
    # Patient: a run that is asked for waits for Dagster, which a busy machine may keep for long.
    return httpx.Client(base_url=url, headers=headers, timeout=60, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def some_tokens(clock: Any, mark: str = "") -> Tokens:
    return Tokens(
        access_token=f"access-{mark}",
        refresh_token=f"refresh-{mark}",
        id_token="",
        token_type="Bearer",
        scope="",
        expires_at=clock.now() + timedelta(minutes=30),
        refreshed_at=clock.now(),
    )


def real_app(home: Path, **overrides: Any) -> Settings:
    """The settings of a real Xero app, whose deployment lives in that folder."""
    given = {
        "XERO_MOCK_MODE": "false",
        "XERO_CLIENT_ID": "client-id",
        "XERO_CLIENT_SECRET": "client-secret-of-the-app",
        "XERO_ENCRYPTION_KEY": KEY,
        "DAGSTER_HOME": str(home),
        "DATABASE_URL": "sqlite:///data/xero.db",
    }
    return load_settings(**given | overrides)


def at_xero(url: str) -> dict[str, str]:
    """The settings that lead to another server than Xero's."""
    return {"XERO_API_URL": url, "XERO_IDENTITY_URL": url, "XERO_LOGIN_URL": url}


@contextmanager
def deployed(
    home: Path,
    *,
    template: Path | None = None,
    migrate: bool = True,
    dagster: Any = None,
    clock: Any = None,
    **overrides: Any,
) -> Iterator[Page]:
    """Serve the page.

    Args:
        template: a migrated SQLite database to begin with; without one the deployment's own is migrated.
        overrides: settings by their own name.
    """
    clock, dagster, paused = clock or FakeClock(), dagster or StandInDagster(), list[float]()
    with ExitStack() as stack:
        made: dict[str, Any] = {}

        async def pause(seconds: float) -> None:
            paused.append(seconds)
            clock.advance(seconds=seconds)

        def make(url: str) -> Any:
            settings = real_app(home, **{"SERVER_URL": url} | overrides)
            if template is not None:
                settings.data_folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(template, str(settings.database_url.database))
            deployment = stack.enter_context(Deployment(settings, clock=clock))
            if template is None and migrate:
                deployment.warehouse.migrate()
            made.update(settings=settings, deployment=deployment)
            return create_app(settings, clock=clock, deployment=deployment, dagster=dagster, pause=pause)

        url = stack.enter_context(serving(make))
        client = stack.enter_context(a_browser(url))
        yield Page(url, made["settings"], made["deployment"], dagster, clock, client, paused)
