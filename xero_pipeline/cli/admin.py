"""`admin`: the admin page and its HTTP API alone."""

from __future__ import annotations

import contextlib
import logging
import socket
from urllib.parse import urlsplit

import click

from xero_pipeline.cli.main import cli
from xero_pipeline.errors import PipelineError
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings, load_settings

log = logging.getLogger("xero_pipeline.admin")

_USUAL_PORT = 3001
# A request that waits for its run must not hold up the end.
_PATIENCE_SECONDS = 5


class PortTaken(PipelineError):
    code = "port_taken"


def admin_port(settings: Settings) -> int:
    """The port of `SERVER_URL`; behind a proxy on a usual port, 3001."""
    return urlsplit(settings.server_url).port or _USUAL_PORT


@cli.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen; beyond loopback needs ADMIN_TOKEN."
)
@click.option("--port", type=click.IntRange(0, 65535), help="The port.  [default: SERVER_URL's, or 3001]")
def admin(host: str, port: int | None) -> None:
    """The admin page and its HTTP API, until Ctrl-C."""
    # Imported here: no other command needs them.
    import uvicorn

    from xero_pipeline.admin.app import create_app
    from xero_pipeline.admin.security import is_loopback, require_token_off_loopback
    from xero_pipeline.admin.watchdog import watching_dagster

    settings = load_settings()
    require_token_off_loopback(settings, host)
    with Deployment(settings) as opened:
        opened.warehouse.require_current()
    logging.getLogger("xero_pipeline").setLevel(logging.INFO)
    server_name = urlsplit(settings.server_url).hostname or ""
    if settings.admin_token is None and not is_loopback(server_name):
        log.warning(
            "SERVER_URL is %s, and ADMIN_TOKEN is not set: whoever reaches that address may do everything, unless "
            "something in front of it asks them to sign in",
            settings.server_url,
        )
    listening = _listen(host, admin_port(settings) if port is None else port)
    click.echo(f"the admin page is at {settings.server_url} (listening on {_name(listening)})", err=True)
    # No access log: the callback's address holds the code and the state of a consent.
    config = uvicorn.Config(
        create_app(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_PATIENCE_SECONDS,
    )
    with watching_dagster(settings), contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise PortTaken(
            f"The admin page cannot listen on {host}, port {port}: {error.strerror or error}.",
            advice="Choose another with --host or --port, and let SERVER_URL name it.",
        ) from None
    listening.set_inheritable(True)
    return listening


def _name(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
