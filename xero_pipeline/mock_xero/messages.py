"""What goes into the mock and what comes out: an HTTP request and its answer as plain values.

No HTTP library is used here: `transport.py` turns these into `requests` objects, `server.py` into ASGI ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from xero_pipeline.mock_xero.exact_json import dump_json


class ConnectionBreak(StrEnum):
    """How the connection itself fails, where an answer does not arrive whole."""

    DROP = "drop"
    """The connection is closed without a byte of an answer."""
    TIME_OUT = "time_out"
    """No answer within any time that a client waits."""
    CUT = "cut"
    """The headers promise the whole body; it ends early, and the connection is closed."""


@dataclass(frozen=True)
class MockRequest:
    """A request as it arrives. `path` begins with a slash and holds no prefix of a mount."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def of(
        cls, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | str | None = None
    ) -> MockRequest:
        """From a URL, or from a path with a query."""
        parts = urlsplit(url)
        content = body.encode() if isinstance(body, str) else body or b""
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        return cls(method.upper(), parts.path or "/", query, dict(headers or {}), content)

    @cached_property
    def _headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def header(self, name: str) -> str:
        """A header, whatever its capitals; empty where there is none."""
        return self._headers.get(name.lower(), "")

    def parameter(self, name: str) -> str | None:
        """A query parameter, whatever its capitals: Xero is not strict about them."""
        return next((value for key, value in self.query if key.lower() == name.lower()), None)

    @cached_property
    def form(self) -> tuple[tuple[str, str], ...]:
        """The body of a form post."""
        return tuple(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True)
class MockResponse:
    """An answer. With `broken`, it never arrives whole; for `CUT` so many bytes of it do."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    broken: ConnectionBreak | None = None
    arriving: int = 0

    @classmethod
    def of_json(cls, payload: Any, status: int = 200, **headers: str) -> MockResponse:
        body = dump_json(payload)
        return cls(status, {"Content-Type": "application/json; charset=utf-8", **headers}, body)

    @classmethod
    def of_text(cls, text: str, status: int = 200, kind: str = "text/plain") -> MockResponse:
        return cls(status, {"Content-Type": f"{kind}; charset=utf-8"}, text.encode())

    def with_headers(self, extra: Mapping[str, str]) -> MockResponse:
        """The same with more headers; those that it has already stay."""
        return replace(self, headers={**extra, **self.headers})
