"""Takes a server's port on both loopback addresses, so that `localhost` leads to nobody else.

A browser tries `localhost` as `::1` first and as `127.0.0.1` second. Another user of the machine who listened on
`[::1]` at the page's port would be sent the tokens of all who sign in.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Collection

from xero_pipeline.cli.listening import PortTaken
from xero_pipeline.settings.strength import Insecurity, overrule

# The machine has no such address: IPv6 (or IPv4) is switched off.
_MISSING = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EPROTONOSUPPORT}


def listen_on_other_loopback(
    who: str, listening: socket.socket, allowed: Collection[Insecurity]
) -> list[socket.socket]:
    """Listen on the loopback address of the other family too, at the same port.

    Args:
        who: the subject of the error message.
        listening: the server's socket. Only one on loopback, or on every address, has a counterpart.
        allowed: what the deployer overruled; with `PORT_SHARED` a taken address is left to whoever has it.

    Raises:
        PortTaken: somebody else listens there. `listening` is closed then.
    """
    host, port = listening.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if not (address.is_loopback or address.is_unspecified):
        return []
    family, other = (socket.AF_INET6, "::1") if address.version == 4 else (socket.AF_INET, "127.0.0.1")
    try:
        twin = socket.create_server((other, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno in _MISSING or Insecurity.PORT_SHARED in allowed:
            return []
        listening.close()
        raise PortTaken(
            f"{who} cannot listen on {other}, port {port}: {error.strerror}. Whoever has it would be shown what is "
            "meant for this page.",
            advice=f"Stop that program, choose another port (--port and SERVER_URL), "
            f"{overrule(Insecurity.PORT_SHARED)}.",
        ) from None
    twin.set_inheritable(True)
    return [twin]
