"""Dagster's UI behind the page's door: who is let in, and what reaches it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_websocket

from xero_pipeline.admin import dagster_ui as under_test
from xero_pipeline.admin.dagster_api import DagsterApi, DagsterDown
from xero_pipeline.admin.dagster_ui import DagsterUi, DagsterUiTransport, FormerPort
from xero_pipeline_tests.admin.deployed import Page, load_app_settings, open_dagster_ui, serve_page
from xero_pipeline_tests.admin.serving import serve_app

TOKEN = "the-admin-token-7c1f"
MUTATION = "mutation { wipeAssets }"


class RecordingDagster:
    """An application in Dagster's place: it notes what reaches it, and answers a WebSocket's texts with their echo."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(f"{scope.get('method', 'WEBSOCKET')} {scope['path']}")
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "subprotocol": "graphql-ws"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})
            return
        length = 0
        while True:
            message = await receive()
            length += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": str(length).encode()})


@pytest.fixture
def dagster() -> RecordingDagster:
    return RecordingDagster()


@pytest.fixture
def page(tmp_path: Path, migrated: Path, dagster: RecordingDagster) -> Iterator[Page]:
    with serve_page(tmp_path, template=migrated, dagster_ui=dagster) as served:
        yield served


@pytest.fixture
def closed(tmp_path: Path, migrated: Path, dagster: RecordingDagster) -> Iterator[Page]:
    with serve_page(tmp_path, template=migrated, dagster_ui=dagster, ADMIN_TOKEN=TOKEN) as served:
        yield served


def follow(page: Page, path: str = "/dagster/graphql", **headers: str) -> ClientConnection:
    address = page.url.replace("http://", "ws://") + path
    return open_websocket(address, additional_headers=headers, subprotocols=["graphql-ws"], proxy=None)  # type: ignore[list-item]


def read_refusal(page: Page, path: str = "/dagster/graphql", **headers: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        follow(page, path, **headers)
    return refused.value.response.status_code


# ---- who is let in ----------------------------------------------------------------------------------------


def test_whoever_has_not_signed_in_does_not_reach_dagster(closed: Page, dagster: RecordingDagster) -> None:
    for path in ("/dagster", "/dagster/", "/dagster/runs", "/dagster/static/js/main.js"):
        assert closed.get(path).status_code == 401
        assert (
            closed.get(path, headers={"Accept": "text/html"}).headers["location"].startswith("/login?next=%2Fdagster")
        )
    assert closed.post("/dagster/graphql", json={"query": "{version}"}).status_code == 401
    assert read_refusal(closed) == 403
    assert dagster.reached == []
    closed.post("/login", data={"token": TOKEN})
    assert closed.get("/dagster/runs").status_code == 200
    assert closed.post("/dagster/graphql", json={"query": "{version}"}).status_code == 200
    cookies = "; ".join(f"{name}={value}" for name, value in closed.client.cookies.items())
    with follow(closed, Cookie=cookies, Origin=closed.url) as socket:
        socket.send("hello")
        assert socket.recv(60) == "hello"
    assert dagster.reached == ["GET /dagster/runs", "POST /dagster/graphql", "WEBSOCKET /dagster/graphql"]
    assert read_refusal(closed, Cookie=cookies, Origin="http://localhost:1") == 403
    with follow(closed, Authorization=f"Bearer {TOKEN}"):
        pass


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:3001", "10.0.0.1"])
def test_a_rebound_name_does_not_reach_dagster(page: Page, dagster: RecordingDagster, host: str) -> None:
    for path in ("/dagster/", "/dagster/runs", "/dagster/logs/a.err"):
        assert page.get(path, headers={"Host": host}).status_code == 403
    answer = page.post("/dagster/graphql", json={"query": "{version}"}, headers={"Host": host})
    assert answer.status_code == 403
    assert dagster.reached == []


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://localhost.evil.example"]
)
def test_a_page_of_another_site_sends_nothing_to_dagster(page: Page, dagster: RecordingDagster, origin: str) -> None:
    foreign = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    for path in ("/dagster/graphql", "/dagster/report_asset_materialization/financial_weekly"):
        for body in ({"json": {"query": MUTATION}}, {"data": {"query": MUTATION}}, {"content": MUTATION}):
            assert page.post(path, headers=foreign, **body).status_code == 403
    assert read_refusal(page, Origin=origin) == 403
    assert dagster.reached == []


@pytest.mark.parametrize("path", ["/dagster/graphql", "/dagster/graphql/", "/dagster/%67raphql"])
def test_graphql_is_not_answered_by_get(page: Page, dagster: RecordingDagster, path: str) -> None:
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        answer = page.client.request(method, path, params={"query": MUTATION}, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert dagster.reached == []


@pytest.mark.parametrize("path", ["/", "/dagster", "/dagster/", "/dagster/other", "/api/v1/xero/status", "/mock-xero/"])
def test_no_other_address_answers_a_websocket(page: Page, dagster: RecordingDagster, path: str) -> None:
    assert read_refusal(page, path, Origin=page.url) == 403
    assert dagster.reached == []


def test_a_websocket_ends_with_the_session_that_opened_it(closed: Page) -> None:
    closed.post("/login", data={"token": TOKEN})
    cookies = "; ".join(f"{name}={value}" for name, value in closed.client.cookies.items())
    with follow(closed, Cookie=cookies) as socket:
        socket.send("one")
        assert socket.recv(60) == "one"
        closed.post("/logout")
        closed.clock.advance(seconds=10)
        socket.send("two")
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv(60)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1008


# ---- what reaches Dagster, and what it answers ------------------------------------------------------------


def test_a_body_that_is_too_long_does_not_fill_the_memory(page: Page, dagster: RecordingDagster) -> None:
    too_long = bytes(5 * 1024 * 1024)
    assert page.post("/dagster/graphql", content=too_long).status_code == 413
    assert dagster.reached == []
    sent = page.post("/dagster/graphql", content=iter([too_long[:1_000_000]] * 6))
    assert int(sent.text) <= 4 * 1024 * 1024
    assert page.post("/dagster/graphql", content=bytes(3_000_000)).text == "3000000"


def test_dagsters_own_policy_stays_and_is_made_stricter(page: Page, dagster: RecordingDagster) -> None:
    dagster.headers = [
        (b"content-security-policy", b"script-src 'nonce-1';"),
        (b"feature-policy", b"camera 'none'"),
        (b"referrer-policy", b"strict-origin-when-cross-origin"),
    ]
    headers = page.get("/dagster/").headers
    assert headers["content-security-policy"] == (
        "script-src 'nonce-1'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    assert (headers["x-frame-options"], headers["referrer-policy"]) == ("DENY", "same-origin")
    assert "feature-policy" not in headers
    dagster.headers = []
    assert "default-src 'self'" in page.get("/dagster/logs/x.err").headers["content-security-policy"]
    assert page.get("/dagster/static/js/main.js").headers["cache-control"] == "no-cache"


def test_the_former_port_leads_to_the_door_and_gives_nothing_else() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the page itself is not reached on that port")

    def make(url: str) -> FormerPort:
        return FormerPort(never, port=int(url.rsplit(":", 1)[1]), dagster_page="http://localhost:3001/dagster")

    with serve_app(make) as url, httpx.Client(base_url=url, trust_env=False) as client:
        for path, target in (
            ("/", "/"),
            ("/assets?x=1", "/"),
            ("/runs/0a1b-2c?tab=logs", "/runs/0a1b-2c"),
            (f"/graphql?query={MUTATION}", "/"),
        ):
            answer = client.get(path, headers={"Host": "evil.example"})
            location = f"http://localhost:3001/dagster{target}"
            assert (answer.status_code, answer.headers["location"], answer.content) == (307, location, b"")
        assert client.post("/graphql", json={"query": MUTATION}).status_code == 405


# ---- with Dagster itself ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DagsterUi, DagsterApi]]:
    """Dagster in this process, with a code location that needs no server of its own."""
    with open_dagster_ui(tmp_path_factory.mktemp("dagster")) as dagster_ui:
        api = DagsterApi("http://localhost/dagster", transport=DagsterUiTransport(dagster_ui))
        yield dagster_ui, api
        api.close()


def test_dagster_answers_through_the_door(tmp_path: Path, migrated: Path, real: tuple[DagsterUi, DagsterApi]) -> None:
    with serve_page(tmp_path, template=migrated, dagster_ui=real[0]) as page:
        assert page.get("/dagster").headers["location"] == "/dagster/"
        shown = page.get("/dagster/")
        assert "text/html" in shown.headers["content-type"]
        assert '"/dagster' in shown.text
        answer = page.post("/dagster/graphql", json={"query": "{ runsOrError { __typename } }"})
        assert answer.json() == {"data": {"runsOrError": {"__typename": "Runs"}}}
        with follow(page, Origin=page.url) as socket:
            socket.send(json.dumps({"type": "connection_init"}))
            assert json.loads(socket.recv(60)) == {"type": "connection_ack"}


RELOAD = 'mutation { renamed: reloadRepositoryLocation(repositoryLocationName: "none") { __typename } }'


def test_dagsters_own_answer_to_a_mutation_is_in_the_audit_log(
    tmp_path: Path, migrated: Path, real: tuple[DagsterUi, DagsterApi]
) -> None:
    with serve_page(tmp_path, template=migrated, dagster_ui=real[0]) as page:
        for query in (RELOAD, "mutation { setAutoMaterializePaused(paused: true) }", "mutation { noSuchMutation }"):
            page.post("/dagster/graphql", json={"query": query})
        found = page.deployment.warehouse.audit.list_newest(10)
    assert [(row.action, row.subject, row.outcome) for row in reversed(found)] == [
        ("dagster_change", "reloadRepositoryLocation", "failed"),
        ("dagster_change", "setAutoMaterializePaused", "success"),
        ("dagster_change", "noSuchMutation", "failed"),
    ]


def test_dagster_executes_no_mutation_over_the_websocket(real: tuple[DagsterUi, DagsterApi]) -> None:
    """The door refuses it anyway. Where Dagster began to execute them, the door would have to let them be audited."""
    with (
        serve_app(lambda _url: uvicorn.Config(real[0], log_level="warning", ws="websockets-sansio")) as url,
        open_websocket(
            url.replace("http://", "ws://") + "/dagster/graphql",
            subprotocols=["graphql-ws"],  # type: ignore[list-item]
            proxy=None,
        ) as socket,
    ):
        socket.send(json.dumps({"type": "start", "id": "1", "payload": {"query": RELOAD}}))
        answer = json.loads(socket.recv(60))
    assert answer["type"] == "error"
    assert "renamed" not in json.dumps(answer.get("payload", {}).get("data") or {})


def test_the_page_itself_asks_dagster_without_a_port(real: tuple[DagsterUi, DagsterApi]) -> None:
    with pytest.raises(DagsterDown, match="has no code location with the job weekly_sync"):
        real[1].check()


def test_a_dagster_in_this_process_that_hangs_is_down_after_its_time(
    real: tuple[DagsterUi, DagsterApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(real[0], "_app", hang)
    transport = DagsterUiTransport(real[0])
    api = DagsterApi("http://localhost/dagster", timeouts=httpx.Timeout(0.1), transport=transport)
    with pytest.raises(DagsterDown, match="in time"):
        api.check()


def test_until_dagster_is_open_the_page_says_that_it_starts(
    tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Semaphore(0)

    def refuse(*_: Any) -> None:
        tried.release()
        raise RuntimeError("the-password-of-the-storage")

    monkeypatch.setattr(under_test, "open_instance", refuse)
    dagster_ui = DagsterUi(load_app_settings(tmp_path), retry_seconds=0.01)
    with serve_page(tmp_path, template=migrated, dagster_ui=dagster_ui) as page:
        for _ in range(3):
            assert tried.acquire(timeout=60), "it is tried again"
        answer = page.get("/dagster/")
        assert (answer.status_code, "is starting" in answer.text) == (503, True)
        assert read_refusal(page) == 403
        api = DagsterApi("http://localhost/dagster", transport=DagsterUiTransport(dagster_ui))
        with pytest.raises(DagsterDown):
            api.check()
    dagster_ui.close()
    assert [record.getMessage() for record in caplog.records if "Dagster" in record.getMessage()] == [
        "Dagster cannot be opened, and is tried again: RuntimeError"
    ]
