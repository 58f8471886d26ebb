"""The mock as a `requests` transport adapter, in place of the network."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import urllib3
from requests import PreparedRequest, Response
from requests import exceptions as exceptions
from requests.adapters import BaseAdapter, HTTPAdapter

from xero_pipeline.mock_xero.messages import ConnectionBreak, MockRequest, MockResponse
from xero_pipeline.mock_xero.xero import MockXero


class MockTransport(BaseAdapter):
    """Passes requests for any host to a `MockXero`. A broken connection raises the exception that requests raises."""

    def __init__(self, mock: MockXero) -> None:
        super().__init__()
        self._mock = mock
        # Used only to build `Response` objects; it never opens a connection.
        self._adapter = HTTPAdapter()

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        answer = self._mock.handle(_to_mock_request(request))
        if answer.broken is ConnectionBreak.DROP:
            cause = urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))
            raise exceptions.ConnectionError(cause, request=request)
        if answer.broken is ConnectionBreak.TIME_OUT:
            raise exceptions.ReadTimeout("Read timed out.", request=request)
        response: Response = self._adapter.build_response(request, _to_urllib3(answer, request))
        if not stream:
            # Read the body now, as requests does, so that a cut body raises here.
            _ = response.content
        return response

    def close(self) -> None:
        """Close the adapter that builds responses; no connection is open."""
        self._adapter.close()


def _to_mock_request(request: PreparedRequest) -> MockRequest:
    body = request.body
    if body is not None and not isinstance(body, (bytes, str)):
        body = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in body)
    headers = {_to_text(name): _to_text(value) for name, value in request.headers.items()}
    return MockRequest.from_url(request.method or "GET", request.url or "/", headers, body)


def _to_text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _to_urllib3(answer: MockResponse, request: PreparedRequest) -> urllib3.HTTPResponse:
    """The answer as urllib3 would read it; `Content-Length` of a cut one exceeds its body."""
    body = answer.body[: answer.delivered_bytes] if answer.broken is ConnectionBreak.CUT else answer.body
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
