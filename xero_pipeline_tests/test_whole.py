"""The whole of it as a person meets it: `xero-pipeline dev`, a real browser, real Dagster, a Xero over HTTP.

Twice: with the settings of a real app against the mock as a server, and in mock mode.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page, expect

from xero_pipeline.warehouse.cipher import Cipher, place
from xero_pipeline_tests.admin.chromium import complaints, is_installed, running_browser
from xero_pipeline_tests.admin.real_dagster import free_port
from xero_pipeline_tests.conftest import skip_or_fail
from xero_pipeline_tests.dev import KEY, LATEST, XERO_PIPELINE, Deployed, process, running_dev

A_RUN_TAKES = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not is_installed():
        skip_or_fail("no Chromium; CHROMIUM may name one")
    with running_browser() as running:
        yield running


@contextlib.contextmanager
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
