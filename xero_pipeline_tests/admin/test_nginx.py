"""The shipped nginx files, in a real nginx: what a visitor reaches, and whom the throttle counts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as open_websocket

from xero_pipeline_tests.admin.deployed import API, Page, serve_page
from xero_pipeline_tests.admin.nginx import NAME, make_ssl_context, open_https, run_nginx
from xero_pipeline_tests.admin.real_dagster import ROOT
from xero_pipeline_tests.admin.serving import serve_app
from xero_pipeline_tests.admin.test_dagster_ui import MUTATION, RecordingDagster

TOKEN = "the-admin-token-7c1f"
FILES = ["nginx.conf", "nginx-separate-ui.conf"]
PATHS = ["/", f"{API}/status", "/login", "/dagster/", "/dagster/graphql", "/openapi.json", "/auth/operator"]
SITE = f"https://{NAME}"


@dataclass
class Proxied:
    """A page behind nginx; `dagster` stands where Dagster's UI is."""

    file: str
    url: str
    page: Page
    dagster: RecordingDagster

    def open(self, **headers: str) -> httpx.Client:
        return open_https(self.url, **headers)

    @contextmanager
    def sign_in(self) -> Iterator[httpx.Client]:
        """Open a browser that has signed in."""
        with self.open() as client:
            answer = client.post("/login", data={"token": TOKEN}, headers={"Origin": SITE})
            assert answer.status_code == 303
            # The cookie is for xero.example.com, and this client knows only 127.0.0.1.
            client.headers["Cookie"] = answer.headers["set-cookie"].split(";")[0]
            yield client


@pytest.fixture(params=FILES)
def proxied(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> Iterator[Proxied]:
    dagster, is_separate = RecordingDagster(), request.param != "nginx.conf"
    settings = {"SERVER_URL": SITE, "ADMIN_TOKEN": TOKEN}

    def make_separate(_: str) -> object:
        import uvicorn

        return uvicorn.Config(dagster, log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=1)

    with (
        serve_page(tmp_path, template=migrated, dagster_ui=None if is_separate else dagster, **settings) as page,
        serve_app(make_separate) as separate,  # type: ignore[arg-type]
        run_nginx(
            tmp_path / "nginx", request.param, page=page.url, dagster=separate.replace("localhost", "127.0.0.1")
        ) as url,
    ):
        # The server is not at SERVER_URL but behind it.
        yield Proxied(request.param, url, page, dagster)


def test_each_location_that_passes_something_on_sets_every_header() -> None:
    """nginx inherits no `proxy_set_header` into a block that has one of its own."""
    for file in FILES:
        blocks = re.findall(r"^    location ([^{]+?) \{(.*?)^    \}", (ROOT / "deploy" / file).read_text(), re.M | re.S)
        passing = {name: block for name, block in blocks if "proxy_pass" in block}
        assert passing
        for name, block in passing.items():
            headers = dict(re.findall(r"proxy_set_header (\S+) (\S+);", block))
            wanted = {"Host": "$host", "X-Forwarded-For": "$remote_addr", "X-Forwarded-Proto": "$scheme"}
            assert wanted.items() <= headers.items(), f"{file}: {name}"


def test_everything_needs_the_sign_in(proxied: Proxied) -> None:
    with proxied.open() as stranger:
        for path in PATHS:
            if path != "/login":
                assert stranger.get(path).status_code in {302, 303, 401, 405}, path
        assert stranger.post("/dagster/graphql", json={"query": "{version}"}).status_code == 401
        browser = stranger.get("/dagster/runs", headers={"Accept": "text/html"})
        assert "/login?next=" in browser.headers["location"]
    assert proxied.dagster.reached == []
    with proxied.sign_in() as person:
        assert person.get("/", headers={"Accept": "text/html"}).status_code == 200
        assert person.get("/dagster/runs").status_code == 200
        assert person.post("/dagster/graphql", json={}, headers={"Origin": SITE}).status_code == 200
        # As a link elsewhere leads here.
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert person.get("/dagster/runs", headers=link).status_code == 200
        assert person.get("/").headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize("origin", ["https://evil.example", f"http://{NAME}", "null"])
def test_another_site_reaches_neither_graphql_nor_the_websocket(proxied: Proxied, origin: str) -> None:
    with proxied.sign_in() as person:
        cookie = person.headers["Cookie"]
        for foreign in (
            {"Origin": origin},
            {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        ):
            for path in ("/dagster/graphql", "/dagster/report_asset_materialization/x"):
                assert person.post(path, data={"query": MUTATION}, headers=foreign).status_code == 403
        for mode in ("no-cors", "navigate"):
            image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
            assert person.get("/dagster/graphql", params={"query": MUTATION}, headers=image).status_code in {403, 405}
        assert person.get("/dagster/graphql", params={"query": MUTATION}).status_code == 405
        assert follow(proxied, cookie, origin) == 403
        assert proxied.dagster.reached == []
        assert follow(proxied, cookie, SITE) == 101
        assert follow(proxied, "", SITE) in {401, 403}
    assert proxied.dagster.reached == ["WEBSOCKET /dagster/graphql"]


def follow(proxied: Proxied, cookie: str, origin: str) -> int:
    """Open Dagster's WebSocket through nginx and return the status."""
    uri, port = f"wss://{NAME}/dagster/graphql", int(proxied.url.rsplit(":", 1)[1])
    headers = {"Cookie": cookie} if cookie else {}
    try:
        with open_websocket(
            uri,
            address=("127.0.0.1", port),
            ssl=make_ssl_context(),
            origin=origin,
            additional_headers=headers,
            proxy=None,
            subprotocols=["graphql-ws"],
        ) as socket:
            socket.send("hello")
            assert socket.recv(60) == "hello"
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize(
    ("proxied", "clients"),
    # Each guess of the thousand needs a connection of its own, and whom the page counts does not depend on the file.
    [
        ("nginx.conf", 1),
        ("nginx-separate-ui.conf", 1),
        pytest.param(
            "nginx.conf",
            1000,
            marks=pytest.mark.skipif(not os.environ.get("GUESSES"), reason="GUESSES=full runs it"),
        ),
    ],
    indirect=["proxied"],
)
def test_the_owner_gets_in_while_somebody_guesses_at_every_path(proxied: Proxied, clients: int) -> None:
    """Twenty guesses a second for a minute, from so many addresses: the clock moves with them.

    Every other guess has an X-Forwarded-For of its own. Where that were believed, it would be looked at.
    """
    served, looked_at, led_to_wait = 0, 0, 0
    with ExitStack() as stack:
        owner = stack.enter_context(proxied.open(Authorization=f"Bearer {TOKEN}"))
        only = stack.enter_context(proxied.open())
        for number in range(1200):
            path, client = PATHS[number % len(PATHS)], number % clients
            headers = {"X-Forwarded-For": f"10.{number // 100}.0.{number % 100}"} if number % 2 else {}
            address = f"127.1.{client // 250}.{client % 250 + 1}"
            with nullcontext(only) if clients == 1 else open_https(proxied.url, address=address) as guesser:
                if path == "/login":
                    answer = guesser.post(path, data={"token": f"guess-{number}"}, headers=headers)
                else:
                    answer = guesser.get(path, headers=headers | {"Authorization": f"Bearer guess-{number}"})
            # Where nginx asks first, it answers every refusal as 401 or by leading to the sign-in.
            assert answer.status_code in {303, 401, 405, 429}, path
            # These two never say whether they looked: the proxy's question knows 401 alone.
            if path != "/auth/operator" and not path.startswith("/dagster"):
                looked_at += answer.status_code == 401
                led_to_wait += answer.status_code == 429
            if number % 12 == 0:
                served += owner.get(f"{API}/status").status_code == 200
                with proxied.sign_in() as person:
                    assert person.get(f"{API}/status").status_code == 200
            proxied.page.clock.advance(seconds=1 / 20)
    assert served == 100
    assert looked_at < (20 if clients == 1 else 100) < led_to_wait
