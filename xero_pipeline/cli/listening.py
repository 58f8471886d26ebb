"""Opens the socket of a server before the server starts, so that a taken port is a one-line error."""

from __future__ import annotations

import socket

from xero_pipeline.errors import PipelineError


class PortTaken(PipelineError):
    code = "port_taken"
    default_advice = "Choose another with --host or --port."


def listen(who: str, host: str, port: int, *, advice: str | None = None) -> socket.socket:
    """Open a listening socket.

    Args:
        who: the subject of the error message, as in "The admin page cannot listen on …".
        port: 0 for any free port.

    Raises:
        PortTaken: another process listens there, or the host does not exist.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is not a valid host name"
        raise PortTaken(f"{who} cannot listen on {host}, port {port}: {reason}.", advice=advice) from None
    listening.set_inheritable(True)
    return listening


def format_address(listening: socket.socket) -> str:
    """Format the socket's address as `host:port`, with brackets around an IPv6 host."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
