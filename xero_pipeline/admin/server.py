"""The HTTP server of the admin page: uvicorn, with its limits."""

from __future__ import annotations

import logging
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from xero_pipeline.admin.connection_limits import ConnectionLimits, build_protocols
from xero_pipeline.admin.proxy import accept_proxies
from xero_pipeline.admin.repeats import RepeatFilter
from xero_pipeline.settings import Settings

# A request that waits for its run must not delay the shutdown for longer than this.
_SHUTDOWN_SECONDS = 5
# The UI of Dagster sends queries of some kilobytes over its WebSocket.
_MAX_WEBSOCKET_MESSAGE_BYTES = 1024 * 1024


def configure_server(
    app: ASGIApp, settings: Settings, *, limits: ConnectionLimits | None = None, **more: Any
) -> uvicorn.Config:
    """Return uvicorn's configuration.

    Args:
        more: options of uvicorn that a test overrides.
    """
    http, web_socket = build_protocols(limits or ConnectionLimits())
    options: dict[str, Any] = {
        "http": http,
        "ws": web_socket,
        "ws_max_size": _MAX_WEBSOCKET_MESSAGE_BYTES,
        "log_config": None,
        "log_level": "warning",
        # No access log: the callback's address holds the code and the state of a consent.
        "access_log": False,
        "server_header": False,
        # `accept_proxies` reads them, because it must know which address the connection itself comes from.
        "proxy_headers": False,
        "timeout_graceful_shutdown": _SHUTDOWN_SECONDS,
    }
    config = uvicorn.Config(accept_proxies(app, settings), **options | more)
    error_log = logging.getLogger("uvicorn.error")
    if not any(isinstance(one, RepeatFilter) for one in error_log.filters):
        error_log.addFilter(RepeatFilter())
    return config
