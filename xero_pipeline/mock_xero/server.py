"""The mock over HTTP: an ASGI app, and uvicorn for the command `xero-pipeline mock-xero`."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from xero_pipeline.mock_xero import control_api as commands
from xero_pipeline.mock_xero.messages import ConnectionBreak, MockRequest, MockResponse
from xero_pipeline.mock_xero.xero import MockXero

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

# An answer that never comes is held back until the client goes, or for so many seconds.
LONGEST_SILENCE = 300.0


def mock_app(mock: MockXero, *, with_commands: bool = False) -> Starlette:
    """An ASGI app, by itself or mounted under a prefix (`app.mount("/mock-xero", mock_app(mock))`).

    Args:
        with_commands: whether the commands under `/mock/` are served too, to whoever can reach them.
    """

    async def answer(request: Request) -> Response:
        headers = dict(request.headers.items())
        path = request.url.path.removeprefix(request.scope.get("root_path", "")) or "/"
        query = tuple(request.query_params.multi_items())
        asked = MockRequest(request.method, path, query, headers, await request.body())
        if path.startswith("/mock/"):
            answered = await run_in_threadpool(commands.answer, mock, asked, allowed=with_commands)
        else:
            answered = await run_in_threadpool(mock.handle, asked)
        return _Answer(answered)

    return Starlette(routes=[Route("/{path:path}", answer, methods=METHODS)])


class _Answer(Response):
    """The answer, or as much of it as a fault lets through.

    A server cannot drop a connection before its first byte; the nearest is headers that promise a body
    which never comes.
    """

    def __init__(self, answer: MockResponse) -> None:
        headers = dict(answer.headers)
        kind = headers.pop("Content-Type", None)
        super().__init__(answer.body, answer.status, headers, kind)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        broken = self._answer.broken
        if broken is None:
            await super().__call__(scope, receive, send)
            return
        if broken is ConnectionBreak.TIME_OUT:
            await _wait_until_gone(receive)
        promised = max(len(self._answer.body), 1)
        raw = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        raw.append((b"content-length", str(promised).encode()))
        await send({"type": "http.response.start", "status": self.status_code, "headers": raw})
        part = self._answer.body[: self._answer.arriving] if broken is ConnectionBreak.CUT else b""
        await send({"type": "http.response.body", "body": part, "more_body": True})
        # Coming back with the body unfinished makes the server close the connection.


async def _wait_until_gone(receive: Receive) -> None:
    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    try:
        await asyncio.wait_for(gone(), LONGEST_SILENCE)
    except TimeoutError:
        return


def serve(mock: MockXero, listening: socket.socket) -> None:
    """Serve until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(mock_app(mock, with_commands=True), access_log=False, log_level="warning")
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
