"""The whole of it as a person meets it: `xero-pipeline dev`, a real browser, real Dagster, a Xero over HTTP.

Twice: with the settings of a real app against the mock as a server, and in mock mode.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page, expect

from xero_pipeline.warehouse.cipher import Cipher, place
from xero_pipeline.weeks import Week
from xero_pipeline_tests.admin.chromium import complaints, is_installed, running_browser
from xero_pipeline_tests.admin.real_dagster import free_port
from xero_pipeline_tests.conftest import skip_or_fail

LATEST = Week.containing(datetime.now(ZoneInfo("Australia/Sydney")).date()).previous
KEY = "c0ffee" * 10 + "beef"
XERO_PIPELINE = [sys.executable, "-c", "from xero_pipeline.cli import main; main()"]
STARTS_WITHIN = 90.0
A_RUN_TAKES = 120_000


class Deployed:
    """A folder, its settings, and `xero-pipeline dev` running in it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.admin, self.dagster = f"http://localhost:{free_port()}", f"http://localhost:{free_port()}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XERO_", "DAGSTER_"))}
        self.environment = kept | {
            "XERO_ENCRYPTION_KEY": KEY,
            "DAGSTER_HOME": str(folder),
            "SERVER_URL": self.admin,
            "DAGSTER_URL": self.dagster,
            "PIPELINE_START_DATE": LATEST.shift(-3).start.isoformat(),
            "LATE_EDITS_SECONDS": "5",
            **settings,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*XERO_PIPELINE, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "data" / "xero.db")) as connection:
            return connection.execute(query).fetchall()

    def graphql(self, query: str) -> Any:
        return httpx.post(f"{self.dagster}/graphql", json={"query": query}).json()["data"]

    def is_switched_on(self, schedule: str) -> bool:
        selector = (
            'scheduleSelector: {repositoryLocationName: "xero_pipeline.definitions", '
            f'repositoryName: "__repository__", scheduleName: "{schedule}"}}'
        )
        query = f"{{ scheduleOrError({selector}) {{ ... on Schedule {{ scheduleState {{ status }} }} }} }}"
        found = self.graphql(query)
        return bool(found["scheduleOrError"]["scheduleState"]["status"] == "RUNNING")


@contextmanager
def process(command: list[str], deployed: Deployed, log: Path, is_up: Callable[[], bool]) -> Iterator[None]:
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
        yield
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


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


@contextmanager
def running_dev(deployed: Deployed) -> Iterator[None]:
    deployed.run("migrate")
    command = [*XERO_PIPELINE, "dev"]
    with process(command, deployed, deployed.folder / "dev.log", lambda: answers(f"{deployed.admin}/healthz")):
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not is_installed():
        skip_or_fail("no Chromium; CHROMIUM may name one")
    with running_browser() as running:
        yield running


@contextmanager
def opened_page(browser: Browser, deployed: Deployed) -> Iterator[Page]:
    context = browser.new_context(base_url=deployed.admin, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    found = complaints(page)
    page.goto("/")
    yield page
    context.close()
    assert found == []


def connect(page: Page, deployed: Deployed) -> None:
    expect(page.locator("#state")).to_contain_text("Not connected")
    page.get_by_role("link", name="Connect").first.click()
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{deployed.admin}/**")
    expect(page.locator("#state")).to_contain_text("Connected")
    expect(page.locator("#connection")).to_contain_text("Mock Organisation")


def sync_now(page: Page, deployed: Deployed) -> None:
    page.get_by_role("button", name="Sync now").click()
    expect(page.locator("#sync-button .spinner")).to_be_visible()
    expect(page.locator("#run-title")).to_contain_text("is in", timeout=A_RUN_TAKES)
    link = page.locator("#run-link")
    run_id = str(link.get_attribute("href")).rsplit("/", 1)[-1]
    found = deployed.graphql(f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ status jobName }} }} }}')
    assert found["runOrError"] == {"status": "SUCCESS", "jobName": "weekly_sync"}
    for table in ("financial_weekly", "revenue_weekly", "cash_position_weekly"):
        assert deployed.rows(f"SELECT count(*) FROM {table}")[0][0] > 0
    logged = deployed.rows("SELECT status FROM xero_sync_logs WHERE dagster_run_id = '" + run_id + "'")
    assert logged == [("success",)] * 3


def switch_scheduler(page: Page, deployed: Deployed) -> None:
    switch = page.get_by_role("switch")
    expect(switch).to_have_attribute("aria-checked", "false")
    assert not deployed.is_switched_on("daily_sync")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "true")
    assert deployed.is_switched_on("daily_sync")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    assert not deployed.is_switched_on("daily_sync")


def disconnect(page: Page, deployed: Deployed) -> None:
    page.locator("#disconnect").click()
    page.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
    expect(page.locator("#state")).to_contain_text("Not connected")
    assert deployed.rows("SELECT count(*) FROM xero_tokens") == [(0,)]
    assert deployed.rows("SELECT count(*) FROM financial_weekly")[0][0] > 0


def no_secret_lies_open(deployed: Deployed, tokens: list[str]) -> None:
    for file in deployed.folder.rglob("*"):
        if file.is_file():
            held = file.read_bytes()
            for secret in [KEY, *tokens]:
                assert secret.encode() not in held, file


def tokens_of(deployed: Deployed) -> list[str]:
    """The usable tokens, as only the key can read them."""
    cipher = Cipher([bytes.fromhex(KEY)])
    rows = deployed.rows("SELECT tenant_id, access_token, refresh_token FROM xero_tokens")
    names = ("access_token", "refresh_token")
    return [
        cipher.decrypt(value, place(tenant_id, name))
        for tenant_id, *values in rows
        for name, value in zip(names, values, strict=True)
    ]


def test_in_mock_mode_a_person_connects_syncs_switches_and_disconnects(browser: Browser, tmp_path: Path) -> None:
    deployed = Deployed(tmp_path, XERO_MOCK_MODE="true")
    with running_dev(deployed), opened_page(browser, deployed) as page:
        connect(page, deployed)
        expect(page.locator("#state")).to_contain_text("Connected (Mock)")
        tokens = tokens_of(deployed)
        assert len(tokens) == 2
        sync_now(page, deployed)
        switch_scheduler(page, deployed)
        disconnect(page, deployed)
    no_secret_lies_open(deployed, tokens)


def test_with_a_real_apps_settings_it_is_the_same_and_a_late_edit_shows_up_by_itself(
    browser: Browser, tmp_path: Path
) -> None:
    port = free_port()
    xero = f"http://127.0.0.1:{port}"
    deployed = Deployed(
        tmp_path,
        XERO_MOCK_MODE="false",
        XERO_CLIENT_ID="an-app",
        XERO_CLIENT_SECRET="the-secret-of-an-app",
        XERO_API_URL=xero,
        XERO_IDENTITY_URL=xero,
        XERO_LOGIN_URL=xero,
    )
    server = [*XERO_PIPELINE, "mock-xero", "--port", str(port), "--state", str(tmp_path / "xero-state.db")]
    with (
        process(server, deployed, tmp_path / "xero.log", lambda: _refuses(f"{xero}/connections")),
        running_dev(deployed),
        opened_page(browser, deployed) as page,
    ):
        connect(page, deployed)
        tokens = tokens_of(deployed)
        sync_now(page, deployed)
        switch_scheduler(page, deployed)
        page.get_by_role("switch").click()
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
        edit_in_xero(xero)
        wait_for_restatement(deployed)
        page.get_by_role("switch").click()
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "false")
        disconnect(page, deployed)
    no_secret_lies_open(deployed, tokens)


def _refuses(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 401
    except httpx.HTTPError:
        return False


def edit_in_xero(xero: str) -> None:
    """Date an invoice of 1,234.50 back into the latest week, behind everybody's back."""
    line = {"amount": "1234.50", "revenueType": "Residential", "region": "North"}
    body = {"type": "ACCREC", "date": (LATEST.start + timedelta(days=3)).isoformat(), "lines": [line]}
    answer = httpx.post(f"{xero}/mock/mock-tenant-001/documents", json=body)
    assert answer.status_code == 200, answer.text


def wait_for_restatement(deployed: Deployed) -> None:
    query = (
        "SELECT old_value, new_value FROM restatements WHERE table_name = 'financial_weekly' "
        "AND column_name = 'total_trading_income'"
    )
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if rows := deployed.rows(query):
            old, new = (int(str(value).replace(".", "")) for value in rows[0])
            assert new - old == 123450, rows
            return
        time.sleep(1)
    pytest.fail(f"nothing was restated: {json.dumps(deployed.rows('SELECT status, error_log FROM xero_sync_logs'))}")
