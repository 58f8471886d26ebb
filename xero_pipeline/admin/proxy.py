"""What a proxy in front of the page says: the visitor's address, and who the visitor is.

Anybody can send such headers. So the user's name is believed only when the connection itself comes from an address of
`TRUSTED_PROXIES`, whatever `X-Forwarded-For` says.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from xero_pipeline.settings import Settings
from xero_pipeline.settings.base import is_loopback_host

_PEER = "xero_pipeline.peer"
# Whose X-Forwarded-For counts when TRUSTED_PROXIES is empty and SERVER_URL is not loopback: a proxy on this machine.
_LOCAL_PROXIES = ("127.0.0.1", "::1")
_LONGEST_NAME = 64


def accept_proxies(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Wrap the app for a server: requests of a trusted proxy get the visitor's address in place of the proxy's.

    The server itself must leave these headers alone (`proxy_headers=False` of uvicorn).
    """
    # Anybody can send the headers, and wrong tokens are counted by address: without a proxy nobody is believed.
    has_proxy = not is_loopback_host(urlsplit(settings.server_url).hostname or "")
    trusted = list(settings.trusted_proxies or (_LOCAL_PROXIES if has_proxy else ()))
    inner: ASGIApp = ProxyHeadersMiddleware(app, trusted_hosts=trusted)  # type: ignore[arg-type, assignment]

    async def remember_peer(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        await inner({**scope, _PEER: client[0] if client else None}, receive, send)

    return remember_peer


def read_proxy_user(request: HTTPConnection, settings: Settings) -> str | None:
    """Read whom the trusted proxy has signed in; `None` if the request is not the proxy's or names nobody.

    Where `accept_proxies` does not wrap the app, the connection's own address is unknown, and no header is believed.
    """
    header = settings.trusted_proxy_user_header
    if header is None or not _is_trusted(request.scope.get(_PEER), settings):
        return None
    names = request.headers.getlist(header)
    # Two of them: the proxy has added its own to the visitor's, and which is which cannot be told.
    if len(names) != 1:
        return None
    name = names[0].strip()
    return name if 0 < len(name) <= _LONGEST_NAME and name.isprintable() else None


def _is_trusted(peer: str | None, settings: Settings) -> bool:
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network, strict=False) for network in settings.trusted_proxies)
