"""The mock as a `requests` transport: what stands where the network would."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import urllib3
from requests import PreparedRequest, Response
from requests import exceptions as failures
from requests.adapters import BaseAdapter, HTTPAdapter

from xero_pipeline.mock_xero.messages import ConnectionBreak, MockRequest, MockResponse
from xero_pipeline.mock_xero.xero import MockXero


class MockTransport(BaseAdapter):
    """Carries a request to a `MockXero`, whatever its host. Broken connections raise what requests raises."""

    def __init__(self, mock: MockXero) -> None:
        super().__init__()
        self._mock = mock
        # Only its way of making a `Response` is used; it never opens a connection.
        self._shape = HTTPAdapter()

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        answer = self._mock.handle(_as_mock(request))
        if answer.broken is ConnectionBreak.DROP:
            cause = urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))
            raise failures.ConnectionError(cause, request=request)
        if answer.broken is ConnectionBreak.TIME_OUT:
            raise failures.ReadTimeout("Read timed out.", request=request)
        response: Response = self._shape.build_response(request, _as_urllib3(answer, request))
        if not stream:
            # Read at once, as requests does, so that a cut body is noticed here.
            _ = response.content
        return response

    def close(self) -> None:
        """Nothing is held open."""
        self._shape.close()


def _as_mock(request: PreparedRequest) -> MockRequest:
    body = request.body
    if body is not None and not isinstance(body, (bytes, str)):
        body = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in body)
    headers = {_text(name): _text(value) for name, value in request.headers.items()}
    return MockRequest.of(request.method or "GET", request.url or "/", headers, body)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _as_urllib3(answer: MockResponse, request: PreparedRequest) -> urllib3.HTTPResponse:
    """The answer as it would come off the wire; a cut one promises more than it holds."""
    body = answer.body[: answer.arriving] if answer.broken is ConnectionBreak.CUT else answer.body
    return urllib3.HTTPResponse(
        body=io.BytesIO(body),
        headers={"Content-Length": str(len(answer.body)), **answer.headers},
        status=answer.status,
        reason=_REASONS.get(answer.status, ""),
        preload_content=False,
        enforce_content_length=True,
        request_method=request.method,
        request_url=request.url,
    )


_REASONS = {200: "OK", 204: "No Content", 303: "See Other", 400: "Bad Request", 401: "Unauthorized",
            403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 429: "Too Many Requests",
            500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}  # fmt: skip
