"""The whole system as a person uses it: `xero-pipeline dev`, a real browser, real Dagster, Xero over HTTP.

One test runs in mock mode and restarts everything in the middle of a backfill. The other runs with the settings of a
real app, with the mock as a server.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page, expect

from xero_pipeline.mock_xero import FaultKind, MockFault
from xero_pipeline.warehouse.connections.cipher import Cipher, associated_data
from xero_pipeline_tests.admin.chromium import collect_complaints, is_installed, run_browser
from xero_pipeline_tests.admin.real_dagster import find_free_port
from xero_pipeline_tests.conftest import skip_or_fail
from xero_pipeline_tests.dev import KEY, LATEST, XERO_PIPELINE, DevDeployment, run_dev, run_process

RUN_TIMEOUT_MS = 120_000
WEEKS = 6
ASSETS = ("financial_weekly", "revenue_weekly", "cash_position_weekly")
SYNC_TYPES = ("profit_and_loss", "invoices", "bank_summary")
BACKFILL = """
mutation($p: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $p) { __typename }
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not is_installed():
        skip_or_fail("no Chromium; the variable CHROMIUM can name one")
    with run_browser() as running:
        yield running


@contextlib.contextmanager
def open_page(browser: Browser, deployed: DevDeployment) -> Iterator[Page]:
    context = browser.new_context(base_url=deployed.admin, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    problems = collect_complaints(page)
    page.goto("/")
    yield page
    context.close()
    assert problems == []


def connect(page: Page, deployed: DevDeployment) -> None:
    expect(page.locator("#state")).to_contain_text("Not connected")
    page.get_by_role("link", name="Connect").first.click()
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url(f"{deployed.admin}/**")
    expect(page.locator("#state")).to_contain_text("Connected")
    expect(page.locator("#connection")).to_contain_text("Mock Organisation")


def sync_now(page: Page, deployed: DevDeployment) -> None:
    page.get_by_role("button", name="Sync now").click()
    expect(page.locator("#sync-button .spinner")).to_be_visible()
    expect(page.locator("#run-title")).to_contain_text("is in", timeout=RUN_TIMEOUT_MS)
    link = page.locator("#run-link")
    run_id = str(link.get_attribute("href")).rsplit("/", 1)[-1]
    answer = deployed.query_dagster(f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ status jobName }} }} }}')
    assert answer["runOrError"] == {"status": "SUCCESS", "jobName": "weekly_sync"}
    for table in ASSETS:
        assert deployed.read_rows(f"SELECT count(*) FROM {table}")[0][0] > 0
    logged = deployed.read_rows("SELECT status FROM xero_sync_logs WHERE dagster_run_id = '" + run_id + "'")
    assert logged == [("success",)] * 3


def switch_scheduler_on_and_off(page: Page, deployed: DevDeployment) -> None:
    switch = page.get_by_role("switch")
    expect(switch).to_have_attribute("aria-checked", "false")
    assert not deployed.is_switched_on("daily_sync")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "true")
    assert deployed.is_switched_on("daily_sync")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    assert not deployed.is_switched_on("daily_sync")


def disconnect(page: Page, deployed: DevDeployment) -> None:
    page.locator("#disconnect").click()
    page.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
    expect(page.locator("#state")).to_contain_text("Not connected")
    assert deployed.read_rows("SELECT count(*) FROM xero_tokens") == [(0,)]
    assert deployed.read_rows("SELECT count(*) FROM financial_weekly")[0][0] > 0


def assert_no_secret_is_readable(deployed: DevDeployment, tokens: list[str]) -> None:
    for file in deployed.folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for secret in [KEY, *tokens]:
                assert secret.encode() not in content, file


def decrypt_tokens(deployed: DevDeployment) -> list[str]:
    """The usable tokens, as only the key can read them."""
    cipher = Cipher([bytes.fromhex(KEY)])
    rows = deployed.read_rows("SELECT tenant_id, access_token, refresh_token FROM xero_tokens")
    names = ("access_token", "refresh_token")
    return [
        cipher.decrypt(value, associated_data(tenant_id, name))
        for tenant_id, *values in rows
        for name, value in zip(names, values, strict=True)
    ]


def test_in_mock_mode_a_person_connects_and_syncs_and_a_backfill_continues_after_a_restart(
    browser: Browser, tmp_path: Path
) -> None:
    deployed = DevDeployment(
        tmp_path,
        XERO_MOCK_MODE="true",
        PIPELINE_START_DATE=LATEST.shift(1 - WEEKS).start.isoformat(),
        MISSING_WEEKS_SECONDS="5",
    )
    with deployed.open() as opened:
        mock = opened.backend.mock
        assert mock is not None
    with run_dev(deployed), open_page(browser, deployed) as page:
        connect(page, deployed)
        expect(page.locator("#state")).to_contain_text("Connected (Mock)")
        tokens = decrypt_tokens(deployed)
        assert len(tokens) == 2
        # Dagster starts the run of the backfill within half a minute. It must still be running when it is stopped.
        mock.add_fault(MockFault(FaultKind.DELAY, path="Reports", seconds=5, times=None))
        start_backfill(deployed)
        sync_now(page, deployed)
        switch_scheduler_on_and_off(page, deployed)
        # The sensor `missing_weeks` must leave these weeks to the backfill, before and after the restart.
        page.get_by_role("switch").click()
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
        wait_until(lambda: len(read_landed_weeks(deployed)) > len(SYNC_TYPES), "a week of the backfill has landed")
    assert len(read_landed_weeks(deployed)) < WEEKS * len(SYNC_TYPES)
    assert deployed.read_rows("SELECT count(*) FROM xero_sync_logs WHERE status = 'running'") == [(0,)]
    mock.clear_faults()
    with run_dev(deployed), open_page(browser, deployed) as page:
        # The run that was stopped, and the one with which Dagster continues it. No sensor starts another run.
        wait_until(lambda: read_backfill_statuses(deployed) == ["FAILURE", "SUCCESS"], "the backfill continued")
        assert_every_week_landed_once(deployed)
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
        disconnect(page, deployed)
    assert_no_secret_is_readable(deployed, tokens)


def start_backfill(deployed: DevDeployment) -> None:
    """Start a backfill of all weeks but the latest, as Dagster's UI does."""
    params = {
        "partitionNames": [LATEST.shift(-n).key for n in range(1, WEEKS)],
        "assetSelection": [{"path": [asset]} for asset in ASSETS],
    }
    request = {"query": BACKFILL, "variables": {"p": params}}
    answer = httpx.post(f"{deployed.dagster}/graphql", json=request, timeout=60).json()
    assert answer["data"]["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", answer


def read_backfill_statuses(deployed: DevDeployment) -> list[str]:
    """The statuses of the backfill's runs. Every other run was started by a person, for the latest week."""
    answer = deployed.query_dagster("{ runsOrError { ... on Runs { results { status tags { key value } } } } }")
    runs: list[tuple[str, dict[str, str]]] = [
        (run["status"], {tag["key"]: tag["value"] for tag in run["tags"]}) for run in answer["runsOrError"]["results"]
    ]
    assert {tags["source"] for _, tags in runs if "source" in tags} <= {"admin"}
    return sorted(status for status, tags in runs if "dagster/backfill" in tags)


def read_landed_weeks(deployed: DevDeployment) -> set[tuple[str, str]]:
    return set(deployed.read_rows("SELECT sync_type, week_ending FROM xero_sync_logs WHERE status = 'success'"))


def assert_every_week_landed_once(deployed: DevDeployment) -> None:
    assert read_landed_weeks(deployed) == {(kind, str(LATEST.shift(-n))) for kind in SYNC_TYPES for n in range(WEEKS)}
    stats: Any = deployed.query_dagster(
        "{ assetNodes { assetKey { path } partitionStats { numMaterialized numFailed } } }"
    )
    weekly = [node["partitionStats"] for node in stats["assetNodes"] if node["assetKey"]["path"][-1] in ASSETS]
    assert weekly == [{"numMaterialized": WEEKS, "numFailed": 0}] * len(ASSETS)
    assert deployed.read_rows("SELECT count(*), count(DISTINCT week_ending) FROM financial_weekly") == [(WEEKS, WEEKS)]
    assert deployed.read_rows("SELECT count(*) FROM restatements") == [(0,)]
    # A restart does not cause an alert.
    assert deployed.read_rows("SELECT title FROM alerts WHERE kind <> 'connected'") == []


def wait_until(condition: Callable[[], bool], description: str) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"this did not happen: {description}")
        time.sleep(0.3)


def test_with_the_settings_of_a_real_app_it_works_and_a_late_edit_is_found_automatically(
    browser: Browser, tmp_path: Path
) -> None:
    port = find_free_port()
    xero = f"http://127.0.0.1:{port}"
    deployed = DevDeployment(
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
        run_process(server, deployed, tmp_path / "xero.log", lambda: _requires_sign_in(f"{xero}/connections")),
        run_dev(deployed),
        open_page(browser, deployed) as page,
    ):
        connect(page, deployed)
        tokens = decrypt_tokens(deployed)
        sync_now(page, deployed)
        switch_scheduler_on_and_off(page, deployed)
        page.get_by_role("switch").click()
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
        edit_in_xero(xero)
        wait_for_restatement(deployed)
        page.get_by_role("switch").click()
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "false")
        disconnect(page, deployed)
    assert_no_secret_is_readable(deployed, tokens)


def _requires_sign_in(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 401
    except httpx.HTTPError:
        return False


def edit_in_xero(xero: str) -> None:
    """Enter an invoice of 1,234.50 at Xero, dated in the latest week."""
    line = {"amount": "1234.50", "revenueType": "Residential", "region": "North"}
    body = {"type": "ACCREC", "date": (LATEST.start + timedelta(days=3)).isoformat(), "lines": [line]}
    answer = httpx.post(f"{xero}/mock/mock-tenant-001/documents", json=body)
    assert answer.status_code == 200, answer.text


def wait_for_restatement(deployed: DevDeployment) -> None:
    query = (
        "SELECT old_value, new_value FROM restatements WHERE table_name = 'financial_weekly' "
        "AND column_name = 'total_trading_income'"
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if rows := deployed.read_rows(query):
            old, new = (int(str(value).replace(".", "")) for value in rows[0])
            assert new - old == 123450, rows
            return
        time.sleep(1)
    log = deployed.read_rows("SELECT status, error_log FROM xero_sync_logs")
    pytest.fail(f"nothing was restated: {json.dumps(log)}")
