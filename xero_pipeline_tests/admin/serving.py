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
def serving(make: Callable[[str], App]) -> Iterator[str]:
    """Serve what `make` answers for the server's own address; gives that address.

    The address is `http://localhost:<port>`, as a person would have it.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://localhost:{listening.getsockname()[1]}"
    config = uvicorn.Config(make(url), log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=1)
    server = _Announced(config)
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


class _Announced(uvicorn.Server):
    """Says when it serves, and ends when it is told to: uvicorn looks ten times a second, and then waits a tenth
    more for what is under way."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def main_loop(self) -> None:
        self._loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        await self.on_tick(0)
        self.ready.set()
        await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            # Who has the last byte of an answer is ahead of the server, which has yet to close its file.
            await asyncio.wait(self.server_state.tasks, timeout=1)
        await self.lifespan.shutdown()

    def stop(self) -> None:
        if self.ready.is_set():
            self._loop.call_soon_threadsafe(self._told.set)
