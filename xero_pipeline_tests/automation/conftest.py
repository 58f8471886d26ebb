"""The fixtures of the tests of `automation`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline_tests.automation.scene import DEMO, Inbox, Scene
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.plain_xero import PlainXero
from xero_pipeline_tests.servers import ScriptedServer


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    with inbox.server:
        yield inbox


@pytest.fixture
def scene(database_url: str, tmp_path: Path, clock: FakeClock, inbox: Inbox) -> Iterator[Scene]:
    """A connected deployment without problems, evaluated once; on both databases."""
    with make_scene(database_url, tmp_path, clock, inbox) as scene:
        yield scene


@pytest.fixture
def sqlite_scene(tmp_path: Path, clock: FakeClock, inbox: Inbox) -> Iterator[Scene]:
    """The same on SQLite alone, for slow tests that need no second database."""
    with make_scene(f"sqlite:///{tmp_path / 'warehouse.db'}", tmp_path, clock, inbox) as scene:
        yield scene


@contextmanager
def make_scene(database_url: str, folder: Path, clock: FakeClock, inbox: Inbox) -> Iterator[Scene]:
    token = {"access_token": "fresh", "refresh_token": "fresh-too", "expires_in": 1800, "token_type": "Bearer"}
    xero = PlainXero(token=token)
    with ScriptedServer(xero) as xero_server, dg.DagsterInstance.ephemeral() as instance:
        settings = load_settings(
            XERO_MOCK_MODE="false",
            XERO_CLIENT_ID="app",
            XERO_CLIENT_SECRET="app-secret",
            XERO_ENCRYPTION_KEY="5e" * 32,
            XERO_API_URL=xero_server.url,
            XERO_IDENTITY_URL=xero_server.url,
            XERO_LOGIN_URL=xero_server.url,
            DATABASE_URL=database_url,
            DAGSTER_HOME=str(folder),
            ALERT_URLS=inbox.address,
        )
        with Deployment(settings, clock=clock) as deployment:
            make_tables(deployment.warehouse.engine)
            scene = Scene(deployment, instance, clock, inbox, xero, xero_server)
            scene.connect(DEMO)
            scene.evaluate()
            yield scene
