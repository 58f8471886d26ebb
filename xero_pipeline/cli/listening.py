"""The socket that a server of ours listens on, opened before the server starts: a taken port is one line."""

from __future__ import annotations

import socket

from xero_pipeline.errors import PipelineError


class PortTaken(PipelineError):
    code = "port_taken"
    default_advice = "Choose another with --host or --port."


def listen(who: str, host: str, port: int, *, advice: str | None = None) -> socket.socket:
    """
    Args:
        who: begins the sentence that says that it cannot listen.
        port: 0 for any that is free.

    Raises:
        PortTaken: somebody else listens there, or there is no such host.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or "it is no host's name"
        raise PortTaken(f"{who} cannot listen on {host}, port {port}: {said}.", advice=advice) from None
    listening.set_inheritable(True)
    return listening


def name_of(listening: socket.socket) -> str:
    """`host:port`, as it stands in an address."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
