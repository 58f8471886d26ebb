"""A mail server on loopback that takes every mail and keeps it."""

from __future__ import annotations

import socket
from email import message_from_bytes
from email.message import Message as Mail
from email.policy import default as modern_policy
from typing import Any

from aiosmtpd.controller import Controller


class Mailbox:
    """The server, and the mails that it has taken."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        with socket.socket() as free_socket:
            free_socket.bind(("127.0.0.1", 0))
            self._port = free_socket.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content, policy=modern_policy))
        return "250 taken"

    def __enter__(self) -> Mailbox:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def address(self) -> str:
        return f"mailto://127.0.0.1:{self._port}?from=pipeline@example.com&to=bookkeeper@example.com"
