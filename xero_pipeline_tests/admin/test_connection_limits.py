"""Rude clients: slow heads, silent connections, responses that nobody reads."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from xero_pipeline.admin.connection_limits import ConnectionLimiter, ConnectionLimits
from xero_pipeline_tests.admin.deployed import API, FakeDagster, Page, serve_page

TOKEN = "the-admin-token-7c1f"


@dataclass(eq=False)
class FakeConnection:
    """A connection of that address. Its transport notes that it was aborted."""

    address: str
    aborted: bool = False
    client: tuple[str, int] | None = field(init=False)
    transport: FakeConnection = field(init=False)

    def __post_init__(self) -> None:
        self.client, self.transport = (self.address, 1), self

    def abort(self) -> None:
        self.aborted = True


def open_many(limiter: ConnectionLimiter, count: int, address: str = "10.0.0.1") -> list[FakeConnection]:
    connections = [FakeConnection(address) for _ in range(count)]
    for connection in connections:
        limiter.admit(connection)  # type: ignore[arg-type]
    return connections


def test_of_too_many_connections_the_one_that_waits_longest_is_closed() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(total=3, per_address=100))
    connections = open_many(limiter, 3)
    limiter.mark_busy(connections[0])  # type: ignore[arg-type]
    connections += open_many(limiter, 2, "10.0.0.2")
    assert [one.aborted for one in connections] == [False, True, True, False, False]
    limiter.mark_waiting(connections[0])  # type: ignore[arg-type]
    connections += open_many(limiter, 1)
    assert [one.aborted for one in connections] == [False, True, True, True, False, False]
    assert limiter.closed == 3


def test_if_every_connection_is_being_served_the_new_one_is_closed() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(total=2))
    served = open_many(limiter, 2)
    for connection in served:
        limiter.mark_busy(connection)  # type: ignore[arg-type]
    (new,) = open_many(limiter, 1)
    assert [one.aborted for one in (*served, new)] == [False, False, True]


def test_one_address_cannot_take_the_place_of_others() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(total=100, per_address=5))
    others = open_many(limiter, 3, "10.0.0.2")
    rude = open_many(limiter, 50)
    assert sum(not one.aborted for one in rude) == 5
    assert not any(one.aborted for one in others)
    # A host with IPv6 has a network of addresses.
    networked = [open_many(limiter, 1, f"2001:db8::{number}")[0] for number in range(9)]
    assert sum(not one.aborted for one in networked) == 5
    # Behind a proxy on this machine all connections come from loopback.
    assert not any(one.aborted for one in [*open_many(limiter, 20, "127.0.0.1"), *open_many(limiter, 20, "::1")])


def test_closed_connections_leave_nothing_behind() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(total=10, per_address=10))
    for _ in range(20):
        for connection in open_many(limiter, 15):
            limiter.forget(connection)  # type: ignore[arg-type]
            limiter.mark_waiting(connection)  # type: ignore[arg-type]
    assert (limiter._addresses, limiter._waiting, limiter._web_sockets, +limiter._counts) == ({}, {}, set(), {})


# ---- with a real server ---------------------------------------------------------------------------------------


def connect(page: Page) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(page.url).port or 0), timeout=30)


def is_closed_by_the_server(connection: socket.socket) -> bool:
    """Whether the server closes it without an answer; waits for that."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@contextlib.contextmanager
def limited(tmp_path: Path, migrated: Path, **limits: float) -> Iterator[Page]:
    with serve_page(tmp_path, template=migrated, limits=ConnectionLimits(**limits)) as page:  # type: ignore[arg-type]
        yield page


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ntoken=",
    ],
)
def test_a_request_that_does_not_come_is_not_waited_for(tmp_path: Path, migrated: Path, sent: bytes) -> None:
    with limited(tmp_path, migrated, head_seconds=0.2, body_seconds=0.2) as page, connect(page) as slow:
        slow.sendall(sent)
        assert is_closed_by_the_server(slow)
        assert page.get("/login").status_code == 303


def test_a_further_request_on_the_same_connection_is_not_waited_for_either(tmp_path: Path, migrated: Path) -> None:
    with limited(tmp_path, migrated, head_seconds=0.2) as page, connect(page) as slow:
        slow.sendall(b"GET /static/app.css HTTP/1.1\r\nHost: localhost\r\n\r\nGET /static")
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while part := slow.recv(65536):
                received += part
        assert received.startswith(b"HTTP/1.1 200")


def test_a_response_that_nobody_reads_is_not_kept(tmp_path: Path, migrated: Path) -> None:
    part, parts, ended = bytes(1 << 16), 1000, threading.Event()

    async def long(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(parts):
            await send({"type": "http.response.body", "body": part, "more_body": number < parts - 1})
        ended.set()

    limits = ConnectionLimits(write_seconds=0.2)
    with serve_page(tmp_path, template=migrated, limits=limits, dagster_ui=long) as page, connect(page) as lazy:
        lazy.sendall(b"GET /dagster/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ended.wait(60), "the server still waits for the client"
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := lazy.recv(1 << 20):
                received += len(data)
        assert received < parts * len(part)


def test_a_head_that_is_too_long_is_refused(page: Page) -> None:
    with connect(page) as rude:
        with contextlib.suppress(ConnectionError):
            rude.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Filler: " + b"a" * 200_000 + b"\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert rude.recv(12) == b"HTTP/1.1 400"
    assert page.get("/login").status_code == 303


def test_1100_silent_connections_and_150_health_checks_do_not_keep_a_person_out(tmp_path: Path, migrated: Path) -> None:
    dagster, ends = FakeDagster(), threading.Event()
    dagster.check = dagster.is_scheduler_running = lambda: ends.wait(60)  # type: ignore[assignment, method-assign]
    with (
        contextlib.ExitStack() as rude,
        serve_page(tmp_path, template=migrated, dagster=dagster, ADMIN_TOKEN=TOKEN) as page,
    ):
        rude.callback(ends.set)
        page.post("/login", data={"token": TOKEN})
        for _number in range(1100):
            silent = rude.enter_context(connect(page))
            with contextlib.suppress(ConnectionError):
                silent.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        for _ in range(150):
            asking = rude.enter_context(connect(page))
            with contextlib.suppress(ConnectionError):
                asking.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with httpx.Client(base_url=page.url, cookies=page.client.cookies, timeout=20) as person:
            for path in ("/", f"{API}/standing", "/static/app.js"):
                assert person.get(path).status_code == 200
        ends.set()
