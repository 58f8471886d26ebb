"""The deadline of one attempt, against a real server that sends byte after byte and never ends its answer."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from xero_pipeline.clock import SystemClock
from xero_pipeline.xero.errors import XeroUnavailable
from xero_pipeline.xero.http.deadline import DeadlineAdapter
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline_tests.xero.http.budgets import RecordingBudget

# The deadline is far shorter than the time-outs, which start again with each byte, and far longer than the pause
# between two bytes.
DEADLINE, TIME_OUT, PAUSE = 0.4, 20.0, 0.02

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

StartServer = Callable[..., str]


@pytest.fixture
def start_slow_server(certificate: Path) -> Iterator[StartServer]:
    """Start a server that sends the beginning and then one byte again and again; return its address."""
    with contextlib.ExitStack() as ends:

        def start(beginning: bytes, repeated: bytes, *, secure: bool = False) -> str:
            listening = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
            over = threading.Event()
            thread = threading.Thread(target=_serve, args=(listening, over, beginning, repeated, certificate, secure))
            thread.start()
            ends.callback(thread.join)
            ends.callback(over.set)
            return f"{'https' if secure else 'http'}://127.0.0.1:{listening.getsockname()[1]}"

        yield start


def _serve(
    listening: socket.socket, over: threading.Event, beginning: bytes, repeated: bytes, certificate: Path, secure: bool
) -> None:
    connected, _ = listening.accept()
    with contextlib.suppress(OSError), contextlib.ExitStack() as ends:
        ends.enter_context(connected)
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            connected = ends.enter_context(context.wrap_socket(connected, server_side=True))
        connected.recv(65536)
        connected.sendall(beginning)
        while not over.wait(PAUSE):
            connected.sendall(repeated)


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A self-signed certificate for 127.0.0.1 that requests trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([]), datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    return file


def time_out(url: str, *, identity: bool = False) -> str:
    """Send one request, assert that it failed at the deadline, and return the error's text."""
    budget = RecordingBudget()
    session = XeroSession(budget, SystemClock(), timeouts=(TIME_OUT, TIME_OUT), tries=1, deadline=DEADLINE)
    began = time.monotonic()
    with contextlib.closing(session), pytest.raises(XeroUnavailable) as caught:
        session.call("GET", f"{url}/api.xro/2.0/Invoices", tenant_id="a", identity=identity)
    assert DEADLINE / 2 < time.monotonic() - began < TIME_OUT / 2
    assert budget.in_progress == 0
    return str(caught.value)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("beginning", "repeated"),
    [
        (b"", b"H"),
        (HEAD + b"X-Long: ", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
        (HEAD + b"\r\n", b" "),
    ],
    ids=["the status line", "a header", "a chunk's size", "the body", "a body without a length"],
)
def test_a_server_that_never_ends_its_answer_fails_at_the_deadline(
    start_slow_server: StartServer, beginning: bytes, repeated: bytes, secure: bool
) -> None:
    assert "its answer took too long" in time_out(start_slow_server(beginning, repeated, secure=secure))


def test_an_identity_server_that_never_ends_its_answer_fails_at_the_deadline(start_slow_server: StartServer) -> None:
    assert "its answer took too long" in time_out(start_slow_server(HEAD + b"X-Long: ", b"x"), identity=True)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_never_ends_its_answer_fails_at_the_deadline(
    start_slow_server: StartServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{scheme}_proxy", start_slow_server(HEAD + b"X-Long: ", b"x"))
    time_out(f"{scheme}://xero.invalid")


def test_calls_side_by_side_keep_their_connections_for_the_next_calls() -> None:
    at_once, peers = 30, set()
    everybody_asked = threading.Barrier(at_once)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            peers.add(self.client_address)
            everybody_asked.wait(timeout=30)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = at_once

    with Server(("127.0.0.1", 0), Handler) as server, requests.Session() as session:
        threading.Thread(target=server.serve_forever).start()
        session.mount("http://", DeadlineAdapter(30, SystemClock()))
        url = f"http://127.0.0.1:{server.server_port}/"
        for _ in range(2):
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(session.get, [url] * at_once))
        session.close()
        server.shutdown()
    assert len(peers) == at_once
