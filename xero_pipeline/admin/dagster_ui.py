"""Dagster's UI and GraphQL API behind the admin page's door, under `/dagster`.

`SecurityMiddleware` decides first who may come in. Here GraphQL is narrowed to POST and WebSockets, because Dagster
itself executes mutations that come by GET, as any image on any page can send them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xero_pipeline.admin.error_responses import build_error_response
from xero_pipeline.admin.roles import GRAPHQL_PATH
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.dagster_internals import DagsterWebApp
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import DAGSTER_PATH, Settings

log = logging.getLogger("xero_pipeline.admin")


# The largest query of Dagster's own UI has some hundred kilobytes: a backfill that names each of its partitions.
_MAX_BODY_BYTES = 4 * 1024 * 1024
# How long to wait before Dagster is opened again after it could not be.
_RETRY_SECONDS = 10.0
# Closing waits for a code server that is just being started, so that it is ended and not left behind.
_CLOSES_WITHIN_SECONDS = 25.0

_STARTING = """\
<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>Dagster is starting</title></head>
<body><p>Dagster is starting; this page tries again by itself.</p></body></html>
"""

Result = TypeVar("Result")


class DagsterUi:
    """Dagster's web application in this process, with an event loop and threads of its own.

    Dagster reads its storage while it answers. If that hangs, only Dagster's own loop and threads wait; the admin
    page goes on answering. Dagster is opened in the background, so that the page is there at once.
    """

    def __init__(
        self, settings: Settings, *, workspace_file: Path | None = None, retry_seconds: float = _RETRY_SECONDS
    ) -> None:
        self._settings = settings
        self._workspace_file = workspace_file or settings.home_folder / "workspace.yaml"
        self._retry_seconds = retry_seconds
        self._closing = threading.Event()
        self._app: ASGIApp | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="dagster-ui", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        return self._app is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or WebSocket under `/dagster`."""
        app, loop = self._app, self._loop
        if app is None or loop is None:
            await _answer_not_yet(scope, receive, send)
            return
        here = asyncio.get_running_loop()

        async def receive_here() -> Message:
            return await _run_in(here, receive)

        async def send_here(message: Message) -> None:
            await _run_in(here, lambda: send(message))

        await _run_in(loop, lambda: app(scope, receive_here, send_here))

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of this process itself, from any thread.

        Raises:
            httpx.ConnectError: Dagster is not open yet.
            httpx.ReadTimeout: it does not answer within the request's own time.
        """
        app, loop = self._app, self._loop
        if app is None or loop is None:
            raise httpx.ConnectError("Dagster is not open", request=request)
        future = asyncio.run_coroutine_threadsafe(_ask(app, request), loop)
        try:
            return future.result(request.extensions.get("timeout", {}).get("read"))
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise httpx.ReadTimeout("Dagster does not answer", request=request) from None

    def close(self) -> None:
        """Close Dagster, and end the code server if it started one."""
        self._closing.set()
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        self._thread.join(_CLOSES_WITHIN_SECONDS)

    def _run(self) -> None:
        has_failed = False
        while not self._closing.is_set():
            try:
                self._open_and_serve()
            except Exception as error:  # noqa: BLE001 - the page goes on; Dagster is tried again
                if not has_failed:
                    reason = str(error) if isinstance(error, PipelineError) else type(error).__name__
                    log.warning("Dagster cannot be opened, and is tried again: %s", reason)
                has_failed = True
                self._closing.wait(self._retry_seconds)

    def _open_and_serve(self) -> None:
        with open_instance(self._settings) as instance:
            web_app = DagsterWebApp(instance, self._workspace_file, DAGSTER_PATH)
            try:
                asyncio.run(self._serve(web_app.app))
            finally:
                self._app = None
                web_app.close()

    async def _serve(self, app: ASGIApp) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        self._app = app
        if not self._closing.is_set():
            await self._stop.wait()


class DagsterUiTransport(httpx.BaseTransport):
    """Sends the requests of `DagsterApi` to Dagster in this process: there is no port for them."""

    def __init__(self, dagster_ui: DagsterUi) -> None:
        self._dagster_ui = dagster_ui

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._dagster_ui.handle(request)


class DagsterDoor:
    """Sends what is under `/dagster` to Dagster, and everything else to the page."""

    def __init__(self, app: ASGIApp, *, dagster_ui: ASGIApp) -> None:
        self._app = app
        self._dagster_ui = dagster_ui

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path != DAGSTER_PATH and not path.startswith(f"{DAGSTER_PATH}/"):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http":
            response = _answer_itself(Request(scope))
            if response is not None:
                await response(scope, receive, send)
                return
            receive = _limit_body(receive)
        await self._dagster_ui(scope, receive, send)


def _answer_itself(request: Request) -> Response | None:
    """Return the response to a request that does not reach Dagster, or `None`."""
    path = request.scope["path"]
    if path == DAGSTER_PATH:
        return RedirectResponse(f"{DAGSTER_PATH}/", 307)
    if path.rstrip("/") == GRAPHQL_PATH and request.method != "POST":
        message = "Dagster's GraphQL is answered by POST and by WebSocket alone."
        return build_error_response(405, "method_not_allowed", message, {"Allow": "POST"})
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > _MAX_BODY_BYTES:
        return build_error_response(413, "too_long", "The body is too long.")
    return None


def _limit_body(receive: Receive) -> Receive:
    """Let a body that is sent in chunks, without its length, end where the limit is."""
    received = 0

    async def receive_at_most() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return {"type": "http.disconnect"} if received > _MAX_BODY_BYTES else message

    return receive_at_most


async def _run_in(loop: asyncio.AbstractEventLoop, begin: Callable[[], Awaitable[Result]]) -> Result:
    """Run something in another event loop and wait for it here. It is cancelled together with the caller."""

    async def run() -> Result:
        return await begin()

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), loop))


async def _ask(app: ASGIApp, request: httpx.Request) -> httpx.Response:
    transport: Any = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    response = await transport.handle_async_request(request)
    return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())


async def _answer_not_yet(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013})
        return
    await HTMLResponse(_STARTING, 503, headers={"Retry-After": "2"})(scope, receive, send)


class FormerPort:
    """Answers on the port where Dagster's UI used to be: it leads to the door, and gives nothing else."""

    def __init__(self, app: ASGIApp, *, port: int, dagster_page: str) -> None:
        self._app = app
        self._port = port
        self._dagster_page = dagster_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        if scope["type"] == "lifespan" or not server or server[1] != self._port:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["method"] not in {"GET", "HEAD"}:
            response = build_error_response(405, "method_not_allowed", f"Dagster is at {self._dagster_page}.")
            await response(scope, receive, send)
        else:
            # A run's page keeps its path. The query is dropped: it may be a mutation.
            path = scope["path"] if scope["path"].startswith("/runs/") and scope["path"].isascii() else "/"
            await RedirectResponse(f"{self._dagster_page}{path}", 307)(scope, receive, send)
