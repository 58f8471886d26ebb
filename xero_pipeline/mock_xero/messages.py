"""An HTTP request to the mock and its answer, as plain values.

No HTTP library is used here: `transport.py` converts from and to `requests`, `server.py` from and to ASGI.
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
    """How the connection fails when an answer does not arrive whole."""

    DROP = "drop"
    """The connection closes before the first byte of the answer."""
    TIME_OUT = "time_out"
    """No answer arrives, however long the client waits."""
    CUT = "cut"
    """The headers promise the whole body, but it ends early and the connection closes."""


@dataclass(frozen=True)
class MockRequest:
    """A request as it arrives. `path` begins with a slash and excludes a mount's prefix."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def from_url(
        cls, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | str | None = None
    ) -> MockRequest:
        """A request to a URL, or to a path with an optional query."""
        parts = urlsplit(url)
        content = body.encode() if isinstance(body, str) else body or b""
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        return cls(method.upper(), parts.path or "/", query, dict(headers or {}), content)

    @cached_property
    def _lowercase_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def header(self, name: str) -> str:
        """A header's value, its name in any case; empty if it is missing."""
        return self._lowercase_headers.get(name.lower(), "")

    def parameter(self, name: str) -> str | None:
        """A query parameter's value, its name in any case as at Xero; `None` if it is missing."""
        return next((value for key, value in self.query if key.lower() == name.lower()), None)

    @cached_property
    def form(self) -> tuple[tuple[str, str], ...]:
        """The fields of a form post."""
        return tuple(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True)
class MockResponse:
    """An answer. With `broken` it does not arrive whole; for `CUT`, `delivered_bytes` of its body do."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    broken: ConnectionBreak | None = None
    delivered_bytes: int = 0

    @classmethod
    def from_json(cls, payload: Any, status: int = 200, **headers: str) -> MockResponse:
        body = dump_json(payload)
        return cls(status, {"Content-Type": "application/json; charset=utf-8", **headers}, body)

    @classmethod
    def from_text(cls, text: str, status: int = 200, kind: str = "text/plain") -> MockResponse:
        return cls(status, {"Content-Type": f"{kind}; charset=utf-8"}, text.encode())

    def with_headers(self, extra: Mapping[str, str]) -> MockResponse:
        """A copy with more headers; a header that is already set keeps its value."""
        return replace(self, headers={**extra, **self.headers})
