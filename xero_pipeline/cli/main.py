"""The group of all commands, and the one place where an error becomes a line and an exit status."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

import click

from xero_pipeline.errors import PipelineError


class OneLineErrors(click.Group):
    """A group whose commands fail with one line, never with a stack trace for what a person can mend."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="xero-pipeline")
@click.option("--verbose", "-v", is_flag=True, help="Log what happens, to stderr.")
def cli(verbose: bool) -> None:
    """Xero's weekly figures in your own database, under Dagster."""
    # The level is the handler's: dagster.yaml lets our own logger speak into a run's log in Dagster, too.
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler]
    )
    logging.getLogger("xero_pipeline").setLevel(logging.INFO)
    if not verbose:
        # Dagster marks parts of itself as beta; its users cannot do anything about it.
        warnings.filterwarnings("ignore", category=Warning, module="dagster.*")


def main() -> None:
    """The entry point `xero-pipeline`."""
    # Imported here, not above: the commands add themselves to the group.
    from xero_pipeline.cli import admin, connection, records, serve, sync  # noqa: F401

    cli()
