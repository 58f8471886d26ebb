"""A deadline for a whole answer, over the network: for its status line, headers, chunk sizes and body alike.

A socket's time-out starts anew with each byte, so a server that drips would keep us for ever. So whatever reads an
answer reads it from the socket through `_InTime`, which lets each read wait no longer than what is left. Connecting
and TLS have time-outs of their own (requests', for each address), which are for the whole of it.
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

# When the attempt of this thread must be over, and by which clock.
_ATTEMPT: ContextVar[tuple[Clock, datetime]] = ContextVar("_ATTEMPT")


class DeadlineAdapter(HTTPAdapter):
    """requests' way to the network, where an attempt has so many seconds from its start to its last byte."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        # A SOCKS proxy has connections of its own kind, and only requests' time-outs.
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        token = _ATTEMPT.set((self._clock, self._clock.now() + timedelta(seconds=self._seconds)))
        try:
            return super().send(request, *args, **kwargs)
        finally:
            _ATTEMPT.reset(token)


class _InTime(io.RawIOBase):
    """A socket as a file to read from, until the deadline."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._raw = connected.makefile("rb", buffering=0)
        self._clock, self._ends = _ATTEMPT.get()

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What `http.client.HTTPResponse` asks a socket for, and all that it does."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        usual = self._socket.gettimeout()
        left = self._left()
        self._socket.settimeout(left if usual is None else min(usual, left))
        try:
            read = self._raw.readinto(buffer)
        finally:
            # The connection may be kept for the next request.
            self._socket.settimeout(usual)
        self._left()
        return read

    def _left(self) -> float:
        left = (self._ends - self._clock.now()).total_seconds()
        if left <= 0:
            raise TimeoutError("the answer is not whole at the deadline")
        return left

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, connected: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(_InTime(connected), *args, **kwargs)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    response_class = _Answer


class _SecureConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}
