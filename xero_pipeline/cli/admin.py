"""`admin`: the admin page and its HTTP API alone."""

from __future__ import annotations

import contextlib
import logging
from urllib.parse import urlsplit

import click

from xero_pipeline.cli.listening import format_address, listen
from xero_pipeline.cli.loopback import listen_on_other_loopback
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings, load_settings

log = logging.getLogger("xero_pipeline.admin")

_DEFAULT_PORT = 3001
# A request that waits for its run must not delay the shutdown for longer than this.
_SHUTDOWN_SECONDS = 5
_PORT_ADVICE = "Choose another with --host or --port, and set SERVER_URL to match."


def choose_admin_port(settings: Settings) -> int:
    """Return the port of `SERVER_URL`, or 3001 if it names none, as behind a proxy."""
    return urlsplit(settings.server_url).port or _DEFAULT_PORT


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen; beyond loopback needs ADMIN_TOKEN."
)
@click.option("--port", type=click.IntRange(0, 65535), help="The port.  [default: SERVER_URL's, or 3001]")
def admin(host: str, port: int | None) -> None:
    """Serve the admin page and its HTTP API until Ctrl-C."""
    # Imported here because no other command needs them.
    import uvicorn

    from xero_pipeline.admin.app import create_app
    from xero_pipeline.admin.security import is_loopback, require_token_off_loopback
    from xero_pipeline.admin.watchdog import watch_dagster

    settings = load_settings()
    require_token_off_loopback(settings, host)
    with Deployment(settings) as opened:
        opened.warehouse.require_current()
    logging.getLogger("xero_pipeline").setLevel(logging.INFO)
    server_name = urlsplit(settings.server_url).hostname or ""
    if settings.admin_token is None and not is_loopback(server_name):
        log.warning(
            "SERVER_URL is %s, and ADMIN_TOKEN is not set: anybody who reaches that address may do everything, unless "
            "a proxy in front of it requires a sign-in",
            settings.server_url,
        )
    listening = listen(
        "The admin page", host, choose_admin_port(settings) if port is None else port, advice=_PORT_ADVICE
    )
    both = [listening, *listen_on_other_loopback("The admin page", listening, settings.allow_insecure)]
    click.echo(f"the admin page is at {settings.server_url} (listening on {format_address(listening)})", err=True)
    # No access log: the callback's address holds the code and the state of a consent.
    config = uvicorn.Config(
        create_app(settings),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    with watch_dagster(settings), contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=both)
