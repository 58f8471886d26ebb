"""`admin`: the admin page and its HTTP API alone."""

from __future__ import annotations

import contextlib
import logging
from urllib.parse import urlsplit

import click

from xero_pipeline.cli.listening import listen, name_of
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import Settings, load_settings

log = logging.getLogger("xero_pipeline.admin")

_USUAL_PORT = 3001
# A request that waits for its run must not hold up the end.
_PATIENCE_SECONDS = 5
_OTHER_PORT = "Choose another with --host or --port, and let SERVER_URL name it."


def admin_port(settings: Settings) -> int:
    """The port of `SERVER_URL`; behind a proxy on a usual port, 3001."""
    return urlsplit(settings.server_url).port or _USUAL_PORT


@click.command()
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
    listening = listen("The admin page", host, admin_port(settings) if port is None else port, advice=_OTHER_PORT)
    click.echo(f"the admin page is at {settings.server_url} (listening on {name_of(listening)})", err=True)
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
