"""An ASGI app behind a real HTTP server on loopback, in a thread, for as long as a test needs it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

App = Callable[..., Any]


@contextmanager
def serve_app(make: Callable[[str], App | uvicorn.Config]) -> Iterator[str]:
    """Serve what `make` builds for the server's address, and yield that address, `http://localhost:<port>`.

    `make` returns an app, or the configuration of a server with its app.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://localhost:{listening.getsockname()[1]}"
    made = make(url)
    plain = {"log_level": "warning", "access_log": False, "ws": "none", "timeout_graceful_shutdown": 1}
    config = made if isinstance(made, uvicorn.Config) else uvicorn.Config(made, **plain)
    server = _PromptServer(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        if not server.ready.wait(20):
            raise RuntimeError("the server did not start")
        yield url
    finally:
        server.stop()
        thread.join(20)
        listening.close()


class _PromptServer(uvicorn.Server):
    """A server that signals when it serves and stops at once: uvicorn itself polls ten times a second, and waits a
    tenth of a second more for open requests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def main_loop(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        await self.on_tick(0)
        self.ready.set()
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            # A client can have the last byte of a response before the server has closed its file.
            await asyncio.wait(self.server_state.tasks, timeout=1)
        await self.lifespan.shutdown()

    def stop(self) -> None:
        if self.ready.is_set():
            self._loop.call_soon_threadsafe(self._stopping.set)
