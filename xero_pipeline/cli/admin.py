"""`admin`: the admin page, its HTTP API and Dagster's UI behind it."""

from __future__ import annotations

import contextlib
import logging
import socket
from pathlib import Path
from urllib.parse import urlsplit

import click
from starlette.types import ASGIApp

from xero_pipeline.cli.listening import PortTaken, format_address, listen
from xero_pipeline.cli.loopback import listen_on_other_loopback
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings, load_settings
from xero_pipeline.settings.base import is_loopback_host

log = logging.getLogger("xero_pipeline.admin")

_DEFAULT_PORT = 3001
_PORT_ADVICE = "Choose another with --host or --port, and set SERVER_URL to match."


def choose_admin_port(settings: Settings) -> int:
    """Return the port of `SERVER_URL`, or 3001 if it names none, as behind a proxy."""
    return urlsplit(settings.server_url).port or _DEFAULT_PORT


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen; beyond loopback needs ADMIN_TOKEN."
)
@click.option("--port", type=click.IntRange(0, 65535), help="The port.  [default: SERVER_URL's, or 3001]")
@click.option(
    "--redirect-from", type=click.IntRange(1, 65535), help="A port that only leads to Dagster's UI, on loopback."
)
@click.option(
    "--workspace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Where Dagster finds the code.  [default: workspace.yaml in DAGSTER_HOME]",
)
def admin(host: str, port: int | None, redirect_from: int | None, workspace: Path | None) -> None:
    """Serve the admin page, its HTTP API and Dagster's UI until Ctrl-C."""
    # Imported here because no other command needs them.
    import uvicorn

    from xero_pipeline.admin.app import create_app
    from xero_pipeline.admin.dagster_ui import FormerPort
    from xero_pipeline.admin.security import require_token_off_loopback
    from xero_pipeline.admin.server import configure_server
    from xero_pipeline.admin.watchdog import watch_dagster

    settings = load_settings()
    require_token_off_loopback(settings, host)
    with Deployment(settings) as opened:
        opened.warehouse.require_current()
    logging.getLogger("xero_pipeline").setLevel(logging.INFO)
    server_name = urlsplit(settings.server_url).hostname or ""
    if not settings.needs_sign_in and not is_loopback_host(server_name):
        log.warning(
            "SERVER_URL is %s, and ADMIN_TOKEN is not set: anybody who reaches that address may do everything, unless "
            "a proxy in front of it requires a sign-in",
            settings.server_url,
        )
    listening = listen(
        "The admin page", host, choose_admin_port(settings) if port is None else port, advice=_PORT_ADVICE
    )
    click.echo(f"the admin page is at {settings.server_url} (listening on {format_address(listening)})", err=True)
    sockets = [listening, *listen_on_other_loopback("The admin page", listening, settings.allow_insecure)]
    page = create_app(settings, workspace_file=workspace.resolve() if workspace else None)
    app: ASGIApp = page
    former = None if redirect_from is None else _listen_on_former_port(redirect_from)
    if former is not None and redirect_from is not None:
        sockets.append(former)
        app = FormerPort(app, port=redirect_from, dagster_page=settings.dagster_page)
    config = configure_server(app, settings)
    with watch_dagster(settings, page.state.context.dagster), contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=sockets)


def _listen_on_former_port(port: int) -> socket.socket | None:
    try:
        return listen("The way to Dagster's UI", "127.0.0.1", port)
    except PortTaken:
        log.info("port %d belongs to another program, so it does not lead to Dagster's UI", port)
        return None
