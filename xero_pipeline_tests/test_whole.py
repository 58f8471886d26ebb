"""The whole of it as a person meets it: `xero-pipeline dev`, a real browser, real Dagster, a Xero over HTTP.

Twice: in mock mode, where it is restarted while a backfill is half done, and with the settings of a real app
against the mock as a server.
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
from xero_pipeline_tests.admin.chromium import complaints, is_installed, running_browser
from xero_pipeline_tests.admin.real_dagster import free_port
from xero_pipeline_tests.conftest import skip_or_fail
from xero_pipeline_tests.dev import KEY, LATEST, XERO_PIPELINE, Deployed, process, running_dev

A_RUN_TAKES = 120_000
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
    for table in ASSETS:
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
        cipher.decrypt(value, associated_data(tenant_id, name))
        for tenant_id, *values in rows
        for name, value in zip(names, values, strict=True)
    ]


def test_in_mock_mode_a_person_connects_syncs_and_restarts_it_in_a_backfill_that_goes_on_by_itself(
    browser: Browser, tmp_path: Path
) -> None:
    deployed = Deployed(
        tmp_path,
        XERO_MOCK_MODE="true",
        PIPELINE_START_DATE=LATEST.shift(1 - WEEKS).start.isoformat(),
        MISSING_WEEKS_SECONDS="5",
    )
    with deployed.opened() as opened:
        mock = opened.chosen.mock
        assert mock is not None
    with running_dev(deployed), opened_page(browser, deployed) as page:
        connect(page, deployed)
        expect(page.locator("#state")).to_contain_text("Connected (Mock)")
        tokens = tokens_of(deployed)
        assert len(tokens) == 2
        # The backfill's run, which Dagster starts in half a minute, has to last until it is cut off in its middle.
        mock.add_fault(MockFault(FaultKind.DELAY, path="Reports", seconds=1, times=None))
        start_backfill(deployed)
        sync_now(page, deployed)
        switch_scheduler(page, deployed)
        # What fills gaps by itself must see that somebody has these weeks in hand, before and after.
        page.get_by_role("switch").click()
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
        wait(lambda: len(landed(deployed)) > len(SYNC_TYPES), "something of the backfill has landed")
    assert len(landed(deployed)) < WEEKS * len(SYNC_TYPES)
    assert deployed.rows("SELECT count(*) FROM xero_sync_logs WHERE status = 'running'") == [(0,)]
    mock.clear_faults()
    with running_dev(deployed), opened_page(browser, deployed) as page:
        # The run that was cut off, and the one that Dagster makes of it; nobody else takes the weeks up.
        wait(lambda: backfill_runs(deployed) == ["FAILURE", "SUCCESS"], "the run went on")
        every_week_is_there_once(deployed)
        expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
        disconnect(page, deployed)
    no_secret_lies_open(deployed, tokens)


def start_backfill(deployed: Deployed) -> None:
    """Of all weeks but the latest, as Dagster's UI does."""
    asked = {
        "partitionNames": [LATEST.shift(-n).key for n in range(1, WEEKS)],
        "assetSelection": [{"path": [asset]} for asset in ASSETS],
    }
    question = {"query": BACKFILL, "variables": {"p": asked}}
    answer = httpx.post(f"{deployed.dagster}/graphql", json=question, timeout=60).json()
    assert answer["data"]["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", answer


def backfill_runs(deployed: Deployed) -> list[str]:
    """How its runs stand; nothing but a person, here the one who wanted the latest week, started any other."""
    found = deployed.graphql("{ runsOrError { ... on Runs { results { status tags { key value } } } } }")
    runs: list[tuple[str, dict[str, str]]] = [
        (run["status"], {tag["key"]: tag["value"] for tag in run["tags"]}) for run in found["runsOrError"]["results"]
    ]
    assert {tags["source"] for _, tags in runs if "source" in tags} <= {"admin"}
    return sorted(status for status, tags in runs if "dagster/backfill" in tags)


def landed(deployed: Deployed) -> set[tuple[str, str]]:
    return set(deployed.rows("SELECT sync_type, week_ending FROM xero_sync_logs WHERE status = 'success'"))


def every_week_is_there_once(deployed: Deployed) -> None:
    assert landed(deployed) == {(kind, str(LATEST.shift(-n))) for kind in SYNC_TYPES for n in range(WEEKS)}
    stats: Any = deployed.graphql("{ assetNodes { partitionStats { numMaterialized numFailed } } }")
    assert [node["partitionStats"] for node in stats["assetNodes"]] == [
        {"numMaterialized": WEEKS, "numFailed": 0}
    ] * len(ASSETS)
    assert deployed.rows("SELECT count(*), count(DISTINCT week_ending) FROM financial_weekly") == [(WEEKS, WEEKS)]
    assert deployed.rows("SELECT count(*) FROM restatements") == [(0,)]
    # A restart is no news.
    assert deployed.rows("SELECT title FROM alerts") == []


def wait(until: Callable[[], bool], what: str) -> None:
    last = time.monotonic() + 180
    while not until():
        if time.monotonic() > last:
            pytest.fail(f"it did not come to pass that {what}")
        time.sleep(0.3)


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
