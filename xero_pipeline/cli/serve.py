"""`migrate`, and `mock-xero`, which runs until Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import click

from xero_pipeline.cli.listening import format_address, listen
from xero_pipeline.clock import SystemClock
from xero_pipeline.dagster_home import close_home
from xero_pipeline.mock_xero import MockXero
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings


@click.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    settings = load_settings()
    close_home(settings)
    with Deployment(settings) as opened:
        click.echo(f"the database is at schema {opened.warehouse.migrate()}")


@click.command("mock-xero")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=3002, show_default=True, help="The port.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("data/mock-xero-server.db"),
    show_default=True,
    help="The file that stores its tokens, edits and faults.",
)
def mock_xero(host: str, port: int, state: Path) -> None:
    """Serve the mock Xero over HTTP until Ctrl-C."""
    # Imported here because no other command needs it.
    from xero_pipeline.mock_xero.server import serve

    mock = MockXero(state, SystemClock())
    listening = listen("The mock Xero", host, port)
    click.echo(f"the mock Xero is at http://{format_address(listening)}", err=True)
    serve(mock, listening)
