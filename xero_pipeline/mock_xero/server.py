"""The mock over HTTP: an ASGI app, and the uvicorn server of the command `xero-pipeline mock-xero`."""

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

from xero_pipeline.mock_xero import control_api
from xero_pipeline.mock_xero.messages import ConnectionBreak, MockRequest, MockResponse
from xero_pipeline.mock_xero.xero import MockXero

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

# A time-out fault holds its answer back until the client disconnects, or for this many seconds.
MAX_SILENCE = 300.0


def create_mock_app(mock: MockXero, *, with_control_api: bool = False) -> Starlette:
    """The mock as an ASGI app, alone or mounted under a prefix (`app.mount("/mock-xero", create_mock_app(mock))`).

    Args:
        with_control_api: whether the commands under `/mock/` are served too, to anybody who can reach the app.
    """

    async def answer(request: Request) -> Response:
        headers = dict(request.headers.items())
        path = request.url.path.removeprefix(request.scope.get("root_path", "")) or "/"
        query = tuple(request.query_params.multi_items())
        mock_request = MockRequest(request.method, path, query, headers, await request.body())
        if path.startswith("/mock/"):
            mock_response = await run_in_threadpool(control_api.answer, mock, mock_request, allowed=with_control_api)
        else:
            mock_response = await run_in_threadpool(mock.handle, mock_request)
        return _MockHttpResponse(mock_response)

    return Starlette(routes=[Route("/{path:path}", answer, methods=METHODS)])


class _MockHttpResponse(Response):
    """The mock's answer, or the part of it that a fault lets through.

    An ASGI app cannot drop a connection before the first byte. The nearest is to send headers that promise
    a body, and then no body.
    """

    def __init__(self, answer: MockResponse) -> None:
        headers = dict(answer.headers)
        content_type = headers.pop("Content-Type", None)
        super().__init__(answer.body, answer.status, headers, content_type)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        broken = self._answer.broken
        if broken is None:
            await super().__call__(scope, receive, send)
            return
        if broken is ConnectionBreak.TIME_OUT:
            await _wait_for_disconnect(receive)
        promised = max(len(self._answer.body), 1)
        raw = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        raw.append((b"content-length", str(promised).encode()))
        await send({"type": "http.response.start", "status": self.status_code, "headers": raw})
        delivered = self._answer.body[: self._answer.delivered_bytes] if broken is ConnectionBreak.CUT else b""
        await send({"type": "http.response.body", "body": delivered, "more_body": True})
        # Returning with the body unfinished makes the server close the connection.


async def _wait_for_disconnect(receive: Receive) -> None:
    async def receive_disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    try:
        await asyncio.wait_for(receive_disconnect(), MAX_SILENCE)
    except TimeoutError:
        return


def serve(mock: MockXero, listening: socket.socket) -> None:
    """Serve until Ctrl-C."""
    import uvicorn

    # The mock states its own time in each answer.
    config = uvicorn.Config(
        create_mock_app(mock, with_control_api=True), access_log=False, log_level="warning", date_header=False
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
