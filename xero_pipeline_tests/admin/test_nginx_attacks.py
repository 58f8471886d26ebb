"""A foreign site in a real browser attacks the shipped nginx files, while a signed-in person uses Dagster's UI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import BrowserContext, expect, sync_playwright

from xero_pipeline.admin.dagster_ui import DagsterUi
from xero_pipeline_tests.admin.chromium import ARGUMENTS, CHROMIUM, is_installed
from xero_pipeline_tests.admin.deployed import Page, open_dagster_ui, serve_page
from xero_pipeline_tests.admin.foreign_page import READ, START_SCHEDULE, attack, serve_foreign_page
from xero_pipeline_tests.admin.nginx import NAME, run_nginx
from xero_pipeline_tests.admin.serving import serve_app
from xero_pipeline_tests.conftest import skip_or_fail

TOKEN = "the-admin-token-7c1f"
SITE = f"https://{NAME}"
TIMEOUT_MS = 60_000


class WatchedDagster:
    """Dagster itself, behind a list of what reaches it: the method, the path and the page that sent it."""

    def __init__(self, dagster_ui: DagsterUi) -> None:
        self._dagster_ui = dagster_ui
        self.reached: list[tuple[str, str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        sender = headers.get("origin") or headers.get("sec-fetch-site", "")
        self.reached.append((scope.get("method", "WEBSOCKET"), scope["path"], sender))
        await self._dagster_ui(scope, receive, send)

    def list_senders(self) -> set[str]:
        """Who sent what is more than a link that a person follows: the origins."""
        return {sender for method, path, sender in self.reached if method != "GET" or "graphql" in path}


@pytest.fixture(scope="module")
def dagster_ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterUi]:
    with open_dagster_ui(tmp_path_factory.mktemp("dagster")) as opened:
        yield opened


@contextmanager
def run_browser_of_a_person(port: int) -> Iterator[BrowserContext]:
    """A browser to which the names of this test lead: to nginx, or to the foreign page's port."""
    if not is_installed():
        skip_or_fail("no Chromium; the variable CHROMIUM can name one")
    names = [f"MAP {NAME} 127.0.0.1:{port}", f"MAP rebound.example 127.0.0.1:{port}"]
    names += ["MAP evil.example 127.0.0.1", "MAP other.example.com 127.0.0.1"]
    with sync_playwright() as playwright:
        rules = f"--host-resolver-rules={','.join(names)}"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules])
        context = browser.new_context(ignore_https_errors=True)
        context.set_default_timeout(TIMEOUT_MS)
        yield context
        browser.close()


@pytest.mark.parametrize("file", ["nginx.conf", "nginx-separate-ui.conf"])
def test_a_foreign_site_reaches_nothing_while_a_person_uses_dagster(
    tmp_path: Path, migrated: Path, dagster_ui: DagsterUi, file: str
) -> None:
    """`other.example.com` is the same site to a browser, and another origin: it sends cookies there."""
    dagster, is_separate = WatchedDagster(dagster_ui), file != "nginx.conf"
    config = {"log_level": "warning", "ws": "websockets-sansio", "lifespan": "off", "timeout_graceful_shutdown": 1}
    with (
        serve_page(
            tmp_path,
            template=migrated,
            dagster_ui=None if is_separate else dagster,
            SERVER_URL=SITE,
            ADMIN_TOKEN=TOKEN,
        ) as page,
        serve_app(lambda _url: uvicorn.Config(dagster, **config)) as separate,  # type: ignore[arg-type]
        run_nginx(tmp_path / "nginx", file, page=page.url, dagster=separate.replace("localhost", "127.0.0.1")) as url,
        run_browser_of_a_person(int(url.rsplit(":", 1)[1])) as browser,
        serve_foreign_page(tmp_path / "nginx") as port,
    ):
        page.connect(("t-1", "Alpha"))
        person = browser.new_page()
        sign_in(person)
        foreign = browser.new_page()
        for host in ("evil.example", "other.example.com"):
            foreign.goto(f"https://{host}:{port}/")
            assert attack(foreign, [SITE]) == []
        assert ask_from_a_rebound_name(foreign) == [401] * 3
        # The person goes on, by POST and by WebSocket.
        person.goto(f"{SITE}/dagster/runs")
        expect(person.get_by_text("No runs found")).to_be_visible()
        browser.close()
        assert dagster.list_senders() == {SITE}
        assert {method for method, _, _ in dagster.reached} >= {"POST", "WEBSOCKET"}
        assert_nothing_happened(page)


def sign_in(person: Any) -> None:
    person.goto(f"{SITE}/login?next=/dagster/")
    person.locator("input[type=password]").fill(TOKEN)
    with person.expect_websocket():
        person.locator("button[type=submit]").click()
    person.wait_for_url(f"{SITE}/dagster/**")


def ask_from_a_rebound_name(foreign: Any) -> list[int]:
    """Ask under a name of the attacker's that leads to nginx: no cookie belongs to it. Returns the statuses."""
    foreign.goto("https://rebound.example/")
    assert foreign.url.startswith("https://rebound.example/login")
    statuses: list[int] = foreign.evaluate(
        """async (queries) => {
          const headers = { "Content-Type": "application/json" };
          const posts = queries.map((query) => ({ method: "POST", body: JSON.stringify({ query }), headers }));
          const asked = [["/api/v1/xero/summary"], ...posts.map((post) => ["/dagster/graphql", post])];
          return Promise.all(asked.map(([path, options]) => fetch(path, options).then((answer) => answer.status)));
        }""",
        [READ, START_SCHEDULE],
    )
    return statuses


def assert_nothing_happened(page: Page) -> None:
    assert page.dagster.launched == []
    assert not page.dagster.running
    assert [one.tenant_id for one in page.deployment.warehouse.tokens.list_connected()] == ["t-1"]
    rows = page.deployment.warehouse.audit.list_newest(100)
    changes = {row.subject for row in rows if row.action == "dagster_change"}
    assert changes == set()
    assert {(row.action, row.outcome) for row in rows} == {("sign_in", "success")}
