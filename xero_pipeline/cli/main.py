"""The group of all commands, and the one place where an error becomes a line and an exit status."""

from __future__ import annotations

import atexit
import gc
import logging
import pkgutil
import sqlite3
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from xero_pipeline.errors import PipelineError

log = logging.getLogger("xero_pipeline.cli")


_COMMANDS = {
    "admin": "admin:admin",
    "connect": "connection:connect",
    "dev": "serve:dev",
    "disconnect": "connection:disconnect",
    "logs": "records:logs",
    "migrate": "serve:migrate",
    "mock-xero": "serve:mock_xero",
    "restatements": "records:restatements",
    "rotate-key": "connection:rotate_key",
    "status": "connection:status",
    "sync": "sync:sync",
}


class Commands(click.Group):
    """A group that imports a command when it is used, and whose commands fail with one line, never with a stack
    trace; `--verbose` tells where it happened."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        # Nothing of what is imported becomes garbage, and looking for some in all of Dagster takes half a second.
        gc.disable()
        try:
            command: click.Command | None = pkgutil.resolve_name(f"xero_pipeline.cli.{place}") if place else None
        finally:
            gc.freeze()
            gc.enable()
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            # Click's own ways to end: wrong usage, --help, Ctrl-C, a reader that has gone.
            raise
        except PipelineError as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001 - it is told, in a line and in the log
            said = _in_words(error)
            log.info("%s", _where(error))
        click.echo(f"error: {said}", err=True)
        sys.exit(1)


def _in_words(error: Exception) -> str:
    """What the layers beneath had no words for; never a text that may hold a secret or a figure."""
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f" ({error.filename})"
        return f"{error.strerror}{where}. Check the file's folder, its permissions and the disk's space."
    original = getattr(error, "orig", error)
    if isinstance(original, sqlite3.Error):
        return f"An SQLite file in data/ cannot be used: {original}. Check the disk's space and the files' permissions."
    if isinstance(error, SQLAlchemyError):
        return (
            f"The database cannot be used as it is ({type(original).__name__}). "
            "Check DATABASE_URL, and the database of Dagster's storage."
        )
    frames = traceback.extract_tb(error.__traceback__)
    ours = next((frame for frame in reversed(frames) if f"{_PACKAGE}/" in frame.filename), frames[-1])
    place = f"{Path(ours.filename).name}, line {ours.lineno}"
    return (
        f"Something unexpected went wrong ({type(error).__name__} in {place}). This is a defect of the pipeline: "
        "`xero-pipeline --verbose …` tells where it happened, for a report."
    )


_PACKAGE = str(Path(__file__).parents[1])


def _where(error: BaseException) -> str:
    """The stack of an error and of those that led to it, with their kinds and without their texts: as the admin
    page's log has it, since a text may hold anything."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) and before not in chain:
        chain.append(before)
    return "\n".join(f"{type(one).__name__}, from:\n{''.join(traceback.format_tb(one.__traceback__))}" for one in chain)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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
    # A process that ends gives everything back by itself: Python's last look for garbage in all of Dagster would
    # take longer than most commands.
    atexit.register(gc.freeze)
    cli()
