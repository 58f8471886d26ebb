"""One door: what a page of a foreign site reaches of `xero-pipeline dev`, and what a person does through it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import Browser, Page, WebSocket, expect, sync_playwright

from xero_pipeline_tests.admin.chromium import ARGUMENTS, CHROMIUM, is_installed
from xero_pipeline_tests.admin.foreign_page import START_SCHEDULE, attack, serve_foreign_page
from xero_pipeline_tests.conftest import skip_or_fail
from xero_pipeline_tests.dev import DevDeployment, list_descendants, list_listening_ports, run_dev

TIMEOUT_MS = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not is_installed():
        skip_or_fail("no Chromium; the variable CHROMIUM can name one")
    # A name that leads to this machine, as an attacker's name server would answer.
    rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rebound])
        yield running
        running.close()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevDeployment]:
    """`xero-pipeline dev` as the README starts it, without ADMIN_TOKEN, with an organisation that is connected."""
    one = DevDeployment(tmp_path_factory.mktemp("door"), XERO_MOCK_MODE="true")
    with run_dev(one) as running:
        ports = list_listening_ports(list_descendants(running.pid))
        assert ports == {urlsplit(one.admin).port, urlsplit(one.former).port}
        yield one


def assert_nothing_happened(deployed: DevDeployment) -> None:
    state = deployed.query_dagster(
        "{ runsOrError { ... on Runs { results { id } } } partitionBackfillsOrError { ... on PartitionBackfills "
        "{ results { id } } } repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    )
    assert state["runsOrError"]["results"] == []
    assert state["partitionBackfillsOrError"]["results"] == []
    assert len(state["repositoriesOrError"]["nodes"]) == 1, "the code server runs"
    assert not deployed.is_switched_on("daily_sync")
    assert deployed.read_rows("SELECT status FROM xero_tokens") == [("connected",)]


@pytest.fixture(scope="module")
def connected(browser: Browser, deployed: DevDeployment) -> DevDeployment:
    page = browser.new_page(base_url=deployed.admin)
    page.goto("/")
    page.get_by_role("link", name="Connect").first.click()
    page.get_by_role("button", name="Allow").click()
    expect(page.locator("#state")).to_contain_text("Connected", timeout=TIMEOUT_MS)
    page.close()
    return deployed


@pytest.mark.parametrize("host", ["evil.example", "localhost"])
def test_a_page_of_another_site_reaches_nothing(browser: Browser, connected: DevDeployment, host: str) -> None:
    """`localhost` with another port is the same site to a browser, and another origin: it sends cookies there."""
    bases = [
        base.replace("localhost", name)
        for base in (connected.admin, connected.former)
        for name in ("localhost", "127.0.0.1")
    ]
    with serve_foreign_page() as port:
        page = browser.new_page()
        page.goto(f"http://{host}:{port}/")
        found = attack(page, bases)
        page.close()
    assert found == []
    assert_nothing_happened(connected)


def test_a_name_that_was_made_to_lead_here_reaches_nothing(browser: Browser, connected: DevDeployment) -> None:
    page = browser.new_page()
    for base in (connected.admin, connected.former):
        rebound = base.replace("localhost", "evil.example")
        for path in ("/", "/dagster/", f"/dagster/graphql?query={quote(START_SCHEDULE)}"):
            answer = page.goto(rebound + path)
            assert answer is not None
            # The former port leads away from the foreign name, to the door.
            assert answer.status == 403 if base == connected.admin else answer.url.startswith(connected.admin)
    page.goto(connected.admin.replace("localhost", "evil.example") + "/")
    statuses = page.evaluate(
        """async (query) => {
          const headers = { "Content-Type": "application/json" };
          const post = { method: "POST", body: JSON.stringify({ query }), headers };
          const asked = [["/api/v1/xero/summary"], ["/dagster/"], ["/dagster/graphql", post], ["/login", post]];
          return Promise.all(asked.map(([path, options]) => fetch(path, options).then((answer) => answer.status)));
        }""",
        START_SCHEDULE,
    )
    page.close()
    assert statuses == [403] * 4
    assert_nothing_happened(connected)


def test_a_person_launches_a_backfill_through_the_door_and_watches_it_live(
    browser: Browser, connected: DevDeployment
) -> None:
    page = browser.new_page(base_url=connected.admin, viewport={"width": 1400, "height": 900})
    page.set_default_timeout(TIMEOUT_MS)
    live = collect_live_events(page)
    page.goto(f"{connected.former}/")
    page.wait_for_url(f"{connected.admin}/dagster/**")
    page.goto("/")
    page.get_by_role("link", name="Dagster").first.click()
    page.wait_for_url(f"{connected.admin}/dagster/**")
    page.goto("/dagster/locations/xero_pipeline.definitions/jobs/weekly_sync")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name=re.compile("Launch (run|backfill)")).click()
    page.get_by_role("dialog").wait_for(state="hidden")
    run_id = wait_for_run(connected)
    page.goto(f"/dagster/runs/{run_id}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=TIMEOUT_MS)
    page.close()
    assert any("RunSuccessEvent" in text or "RUN_SUCCESS" in text or "pipelineRunLogs" in text for text in live)
    assert connected.read_rows("SELECT count(*) > 0 FROM financial_weekly") == [(1,)]
    changes = connected.read_rows("SELECT who, subject, outcome FROM audit_log WHERE action = 'dagster_change'")
    [(who, subject, outcome)] = set(changes)
    assert (who, outcome) == ("local", "success")
    assert subject in {"launchPartitionBackfill", "launchPipelineExecution"}


def test_a_newcomer_sees_five_lines_and_the_rest_is_in_a_private_file(deployed: DevDeployment) -> None:
    log = deployed.folder / "data" / "dev.log"
    assert (deployed.folder / "dev.out").read_text().splitlines() == [
        f"the admin page   {deployed.admin}",
        f"Dagster's UI     {deployed.admin}/dagster",
        f"the figures      {deployed.folder / 'data' / 'xero.db'}",
        f"everything else  {log}",
        "to stop          Ctrl-C",
    ]
    assert "dagster.daemon" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def collect_live_events(page: Page) -> list[str]:
    """Return a list to which the texts are added that come over a WebSocket through the door."""
    texts: list[str] = []

    def listen(socket: WebSocket) -> None:
        assert socket.url.endswith("/dagster/graphql")
        socket.on("framereceived", lambda text: texts.append(text if isinstance(text, str) else ""))

    page.on("websocket", listen)
    return texts


def wait_for_run(deployed: DevDeployment) -> str:
    for _ in range(240):
        runs: list[dict[str, str]] = deployed.query_dagster("{ runsOrError { ... on Runs { results { id } } } }")[
            "runsOrError"
        ]["results"]
        if runs:
            return runs[0]["id"]
        threading.Event().wait(0.5)
    pytest.fail(
        f"no run was launched: {json.dumps(deployed.query_dagster('{ partitionBackfillsOrError { __typename } }'))}"
    )
