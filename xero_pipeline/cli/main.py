"""The group of all commands. It turns every error into one line and an exit status."""

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

from xero_pipeline.errors import PipelineError
from xero_pipeline.printable import HarmlessFormatter, replace_control_characters
from xero_pipeline.private_files import create_private_files

log = logging.getLogger("xero_pipeline.cli")


# Each command with the line that the list shows of it: to list the commands, none of them is imported.
_COMMANDS = {
    "accept": ("acceptances:accept", "Accept the differences of a partial week."),
    "access": ("access:access", "Add, list and remove the people who may use the admin page."),
    "admin": ("admin:admin", "Serve the admin page, its HTTP API and Dagster's UI."),
    "audit": ("access:audit", "Show who did what, from where and when, newest first."),
    "backup": ("backup:backup", "Write the database into one file, also while it is in use."),
    "connect": ("connection:connect", "Connect organisations, by a consent or at once."),
    "dev": ("dev:dev", "Run the daemon and the admin page with Dagster's UI."),
    "digest": ("digest:digest", "Show the weekly letter, or post it."),
    "disconnect": ("connection:disconnect", "Disconnect at Xero and delete the tokens here."),
    "explain": ("explain:explain", "Show what a figure of a week is made of."),
    "export": ("export:export", "Write the figures into files: Parquet, CSV or Excel."),
    "lockdown": ("lockdown:lockdown", "After a leak: revoke at Xero, delete tokens, end sessions."),
    "logs": ("records:logs", "Show the sync log, newest first."),
    "migrate": ("serve:migrate", "Bring the database to the newest schema."),
    "mock-xero": ("serve:mock_xero", "Serve the mock Xero over HTTP."),
    "reconcile": ("reconcile:reconcile", "Compare the tables with Xero's own totals, and mend them."),
    "restatements": ("records:restatements", "Show figures of closed weeks that changed, newest first."),
    "restore": ("backup:restore", "Put a backup into the database: all of it, or nothing."),
    "rotate-key": ("connection:rotate_key", "Encrypt every token under the current key."),
    "status": ("connection:status", "Show the connection, the last sync and the calls left."),
    "sync": ("sync:sync", "Fetch weeks from Xero and show their figures."),
}


class LazyCommandGroup(click.Group):
    """A group that imports a command only when it is used.

    A command that fails prints one line and no stack trace; `--verbose` also logs where it happened.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        location, _ = _COMMANDS.get(cmd_name, (None, ""))
        # An import leaves no garbage, and a garbage collection across all of Dagster takes half a second.
        gc.disable()
        try:
            command: click.Command | None = pkgutil.resolve_name(f"xero_pipeline.cli.{location}") if location else None
        finally:
            gc.freeze()
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            # Click handles these itself: wrong usage, --help, Ctrl-C, a closed pipe.
            raise
        except PipelineError as error:
            message = str(error)
        except Exception as error:  # noqa: BLE001 - reported in one line and in the log
            message = _describe_error(error)
            log.info("%s", _format_stack(error))
        click.echo(f"error: {replace_control_characters(message)}", err=True)
        sys.exit(1)


def _describe_error(error: Exception) -> str:
    """Describe an error that is no `PipelineError`, without any text that may hold a secret or a figure."""
    if isinstance(error, OSError) and error.strerror:
        file = "" if error.filename is None else f" ({error.filename})"
        return f"{error.strerror}{file}. Check the file's folder, its permissions and the disk's space."
    # Here, because it takes as long to import as the rest of this module.
    from sqlalchemy.exc import SQLAlchemyError

    original = getattr(error, "orig", error)
    if isinstance(original, sqlite3.Error):
        return f"An SQLite file in data/ cannot be used: {original}. Check the disk's space and the files' permissions."
    if isinstance(error, SQLAlchemyError):
        return (
            f"The database cannot be used ({type(original).__name__}). "
            "Check DATABASE_URL, and the database of Dagster's storage."
        )
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if f"{_PACKAGE}/" in frame.filename), frames[-1])
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return (
        f"Something unexpected went wrong ({type(error).__name__} in {place}). This is a defect of the pipeline: "
        "run `xero-pipeline --verbose …` to see where it happened, and report it."
    )


_PACKAGE = str(Path(__file__).parents[1])


def _format_stack(error: BaseException) -> str:
    """Format the stack of an error and of the errors that caused it, with their classes but without their texts.

    A text may hold a secret or a figure, so the admin page's log leaves it out too.
    """
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return "\n".join(
        f"{type(link).__name__}, from:\n{''.join(traceback.format_tb(link.__traceback__))}" for link in chain
    )


@click.group(cls=LazyCommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="xero-pipeline")
@click.option("--verbose", "-v", is_flag=True, help="Log what happens, to stderr.")
def cli(verbose: bool) -> None:
    """Xero's weekly figures in your own database, under Dagster."""
    # Set the level on the handler, not on the logger: dagster.yaml sends the same logger to Dagster's run logs.
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    handler.setFormatter(HarmlessFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("xero_pipeline").setLevel(logging.INFO)
    if not verbose:
        # Dagster warns that parts of it are beta; users of the command can do nothing about that.
        warnings.filterwarnings("ignore", category=Warning, module="dagster.*")


def main() -> None:
    """The entry point `xero-pipeline`."""
    # Skip Python's last garbage collection: across all of Dagster it takes longer than most commands, and the
    # system frees the memory of a process that ends.
    atexit.register(gc.freeze)
    create_private_files()
    cli()
