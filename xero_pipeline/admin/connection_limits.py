"""How many connections the page keeps open, and for how long it waits for a slow one.

Everything here is about clients that are rude on purpose: they send the head of a request a byte at a time, or open
connections and say nothing. When there are too many connections, the one that has been waiting longest for its
request goes first. A connection whose request has arrived is never closed for another one, so a person whose browser
sends its request at once is always served.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from xero_pipeline.admin.login_throttle import group_address
from xero_pipeline.settings.base import is_loopback_host

# Longer than any request of a browser needs: cookies and a long address.
_MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of one server. Times are in seconds."""

    total: int = 512
    per_address: int = 100
    """Not for loopback: behind a proxy every connection comes from there."""
    web_sockets: int = 128
    head_seconds: float = 10.0
    """From the connection, or the first byte of a further request, to the end of the request's head."""
    body_seconds: float = 20.0
    write_seconds: float = 30.0
    """How long a client may leave a response unread."""

    def within_open_files(self) -> ConnectionLimits:
        """Return limits that leave half of the files that this process may open to everything else."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = self.total if soft == resource.RLIM_INFINITY else max(1, min(self.total, soft // 2))
        return ConnectionLimits(**{**self.__dict__, "total": most})


class LimitedConnection(Protocol):
    """What the limiter needs of a connection."""

    client: tuple[str, int] | None
    transport: asyncio.Transport


class ConnectionLimiter:
    """Knows every open connection, and closes one when there are too many. It is used by one event loop."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._addresses: dict[LimitedConnection, str] = {}
        self._counts: Counter[str] = Counter()
        # In the order in which they began to wait for a request: the first one has waited longest.
        self._waiting: dict[LimitedConnection, None] = {}
        self._web_sockets: set[LimitedConnection] = set()
        self.closed = 0
        """How many connections were closed because there were too many."""

    def admit(self, connection: LimitedConnection) -> None:
        """Count a new connection, which waits for its first request."""
        host = connection.client[0] if connection.client else ""
        address = group_address(host)
        self._addresses[connection] = address
        self._counts[address] += 1
        self._waiting[connection] = None
        if len(self._addresses) > self.limits.total:
            self._close_oldest(lambda _: True)
        elif self._counts[address] > self.limits.per_address and not is_loopback_host(host):
            self._close_oldest(lambda other: self._addresses[other] == address)

    def admit_web_socket(self, connection: LimitedConnection) -> None:
        """Count a connection that has become a WebSocket; it waits for nothing."""
        self.admit(connection)
        self.mark_busy(connection)
        self._web_sockets.add(connection)
        if len(self._web_sockets) > self.limits.web_sockets:
            self._close(connection)

    def mark_busy(self, connection: LimitedConnection) -> None:
        """A whole request has arrived."""
        self._waiting.pop(connection, None)

    def mark_waiting(self, connection: LimitedConnection) -> None:
        """The response is sent; the connection may bring another request."""
        if connection in self._addresses:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def forget(self, connection: LimitedConnection) -> None:
        """The connection is closed."""
        self._waiting.pop(connection, None)
        self._web_sockets.discard(connection)
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if self._counts[address] <= 0:
                del self._counts[address]

    def _close_oldest(self, is_candidate: Callable[[LimitedConnection], bool]) -> None:
        # The newest connection waits as well: if all others are being served, it is the one that is closed.
        oldest = next((connection for connection in self._waiting if is_candidate(connection)), None)
        if oldest is not None:
            self._close(oldest)

    def _close(self, connection: LimitedConnection) -> None:
        self.closed += 1
        self.forget(connection)
        connection.transport.abort()


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the limits."""

    def __init__(self, *args: Any, limiter: ConnectionLimiter, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limiter = limiter
        self._head_bytes = 0
        self._is_serving = False
        self._request_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_request_timer(self._limiter.limits.head_seconds)
        self._limiter.admit(cast(LimitedConnection, self))

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        if self._request_timer is None:
            self._start_request_timer(self._limiter.limits.head_seconds)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_request_timer()
        self._start_request_timer(self._limiter.limits.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_request_timer()
        self._is_serving = True
        self._limiter.mark_busy(cast(LimitedConnection, self))
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._is_serving = False
        super().on_response_complete()
        if self._request_timer is None and not self.transport.is_closing() and self.cycle.response_complete:
            self._limiter.mark_waiting(cast(LimitedConnection, self))

    def handle_websocket_upgrade(self) -> None:
        self._forget()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._limiter.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def _count_head(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > _MAX_HEAD_BYTES:
            # httptools turns this into an error of the parser, and uvicorn answers it with 400.
            raise ValueError("the head of the request is too long")

    def _start_request_timer(self, seconds: float) -> None:
        self._request_timer = self.loop.call_later(seconds, self._end_slow_request, seconds)

    def _end_slow_request(self, seconds: float) -> None:
        if self._is_serving:
            # The slow request follows another one, whose response is still on its way.
            self._start_request_timer(seconds)
        else:
            self.transport.abort()

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _forget(self) -> None:
        self._stop_request_timer()
        self._stop_write_timer()
        self._limiter.forget(cast(LimitedConnection, self))


class LimitedWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, counted by the same limiter."""

    def __init__(self, *args: Any, limiter: ConnectionLimiter, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limiter = limiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._limiter.admit_web_socket(cast(LimitedConnection, self))

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.forget(cast(LimitedConnection, self))
        super().connection_lost(exc)


def build_protocols(limits: ConnectionLimits) -> tuple[Any, Any]:
    """Build what uvicorn takes as its `http` and `ws` protocols, with one limiter for both."""
    limiter = ConnectionLimiter(limits.within_open_files())
    return partial(LimitedHttpProtocol, limiter=limiter), partial(LimitedWebSocketProtocol, limiter=limiter)
