"""A deadline for one whole answer over the network: its status line, headers, chunk sizes and body.

A socket's time-out starts again with each byte, so a server that sends one byte at a time could keep a request open
without end. Every read of an answer therefore goes through `_DeadlineReader`, which waits no longer than the time
that is left. Connecting and the TLS handshake have time-outs of their own (those of requests, for each address),
which limit them as a whole.
"""

from __future__ import annotations

import http.client
import io
import socket
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

import urllib3
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from xero_pipeline.clock import Clock

# How many connections to one host stay open for the next call: as many as weeks are read at once. Of more, urllib3
# closes each after its answer, and the next call begins with a TLS handshake.
MAX_CONNECTIONS = 100

# The clock of this thread's attempt, and the moment at which the attempt must be over.
_DEADLINE: ContextVar[tuple[Clock, datetime]] = ContextVar("_DEADLINE")


class DeadlineAdapter(HTTPAdapter):
    """An adapter that allows an attempt so many seconds from its start to the last byte of its answer."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        super().__init__(max_retries=0, pool_maxsize=MAX_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        # A SOCKS proxy uses connection classes of its own, so only the time-outs of requests apply to it.
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        token = _DEADLINE.set((self._clock, self._clock.now() + timedelta(seconds=self._seconds)))
        try:
            return super().send(request, *args, **kwargs)
        finally:
            _DEADLINE.reset(token)


class _DeadlineReader(io.RawIOBase):
    """A socket as a file that can be read until the deadline."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._raw = connected.makefile("rb", buffering=0)
        self._clock, self._deadline = _DEADLINE.get()

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a buffered reader: the only method of a socket that `http.client.HTTPResponse` calls."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        usual_timeout = self._socket.gettimeout()
        seconds_left = self._require_seconds_left()
        self._socket.settimeout(seconds_left if usual_timeout is None else min(usual_timeout, seconds_left))
        try:
            read = self._raw.readinto(buffer)
        finally:
            # The connection may be used again for the next request.
            self._socket.settimeout(usual_timeout)
        self._require_seconds_left()
        return read

    def _require_seconds_left(self) -> float:
        seconds_left = (self._deadline - self._clock.now()).total_seconds()
        if seconds_left <= 0:
            raise TimeoutError("the answer is not complete at the deadline")
        return seconds_left

    def close(self) -> None:
        self._raw.close()
        super().close()


class _HTTPResponse(http.client.HTTPResponse):
    def __init__(self, connected: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(_DeadlineReader(connected), *args, **kwargs)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    response_class = _HTTPResponse


class _SecureConnection(HTTPSConnection):
    response_class = _HTTPResponse


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}
