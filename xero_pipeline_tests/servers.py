"""A real HTTP server on loopback that answers as a test scripts it, and records its requests.

with ScriptedServer(lambda request: Answer(json={"hello": request.path})) as server:
    requests.get(server.url + "/world")
assert server.requests[0].path == "/world"
"""

from __future__ import annotations

import json as jsonlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class SeenRequest:
    """A request as it arrived. Header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


@dataclass
class Answer:
    """An answer to send: `json` or `body`. An iterator of bytes is sent chunk by chunk.

    Attributes:
        cut: send only so many bytes of the body, then drop the connection. The headers state the full length.
        drop: drop the connection without an answer.
        chunked: send the body chunked, without its length.
    """

    status: int = 200
    json: Any = None
    body: bytes | str | Iterable[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    drop: bool = False
    chunked: bool = False

    def parts(self) -> Iterator[bytes]:
        if self.json is not None:
            yield jsonlib.dumps(self.json).encode()
        elif isinstance(self.body, str):
            yield self.body.encode()
        elif isinstance(self.body, bytes):
            yield self.body
        else:
            yield from self.body

    @property
    def streams(self) -> bool:
        return self.chunked or not isinstance(self.body, (bytes, str))


Handler = Callable[[SeenRequest], Answer]


def in_turn(*answers: Answer) -> Handler:
    """Send one answer after the other, and then the last one again and again."""
    remaining = list(answers)
    lock = threading.Lock()

    def handler(_request: SeenRequest) -> Answer:
        with lock:
            return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return handler


class ScriptedServer:
    """Serves while the `with` block runs. If its handler raised an error, leaving the block raises it."""

    def __init__(self, handler: Handler | Answer) -> None:
        self._handler: Handler = in_turn(handler) if isinstance(handler, Answer) else handler
        self.requests: list[SeenRequest] = []
        self.errors: list[Exception] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Requests)
        self._server.script = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request: SeenRequest) -> Answer:
        with self._lock:
            self.requests.append(request)
        try:
            return self._handler(request)
        except Exception as error:  # noqa: BLE001 - raised when the block ends
            self.errors.append(error)
            return Answer(status=500, body=f"the test's handler raised {error!r}")

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()
        if self.errors and kind is None:
            raise self.errors[0]


class _Server(ThreadingHTTPServer):
    script: ScriptedServer
    # Closing waits for the threads, so that no socket outlives its test.
    daemon_threads = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnected: tests drop connections on purpose."""


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The body follows the headers at once. Otherwise it waits 40 ms for the client to acknowledge the headers.
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        parts = urlsplit(self.path)
        request = SeenRequest(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        answer = self.server.script.answer(request)
        if answer.drop:
            self.close_connection = True
            return
        self._send(answer)

    do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = _serve

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = dict(answer.headers)
        if answer.json is not None:
            headers.setdefault("Content-Type", "application/json; charset=utf-8")
        for name, value in headers.items():
            self.send_header(name, value)
        if answer.streams:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._send_chunks(answer)
            return
        body = b"".join(answer.parts())
        if answer.status not in {204, 304}:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if answer.cut is None else body[: answer.cut])
        self.close_connection = self.close_connection or answer.cut is not None

    def _send_chunks(self, answer: Answer) -> None:
        bytes_left = answer.cut
        for part in answer.parts():
            if bytes_left is not None:
                self.wfile.write(b"%x\r\n%s" % (len(part), part[:bytes_left]))
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing, to keep the output of pytest readable."""
