"""Prepares a deployment's folder for Dagster, in a checkout and where only the wheel is installed."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import dagster as dg
import yaml
from filelock import FileLock, Timeout
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import StatementError

from xero_pipeline.dagster_internals import CheckError
from xero_pipeline.dagster_storage import is_server_unverified
from xero_pipeline.errors import PipelineError
from xero_pipeline.private_files import close_to_others, is_open_to_others
from xero_pipeline.settings import Settings, export_dotenv_variables
from xero_pipeline.settings.strength import Insecurity, overrule

# In an installed wheel these files are in the package; in a checkout they are at its root.
_TEMPLATES = ("dagster.yaml", "workspace.yaml")

# Dagster creates its tables in a second or two.
_LOCK_TIMEOUT_SECONDS = 120.0


class DagsterUnusable(PipelineError):
    """Dagster's own storage cannot be opened, or dagster.yaml cannot be read."""

    code = "dagster_unusable"


def prepare_home(settings: Settings) -> Path:
    """Create the folder and the files that Dagster expects, and change into the folder.

    The paths in dagster.yaml are relative to it. An existing dagster.yaml or workspace.yaml is not changed. A folder
    that is read-only, as in a container, is taken as it is: with everything in PostgreSQL nothing has to be written.

    Raises:
        DagsterUnusable: the folder is read-only and has no dagster.yaml.
    """
    home = settings.home_folder
    if _is_read_only(settings):
        if not (home / "dagster.yaml").exists():
            raise DagsterUnusable(
                f"{home} is read-only and has no dagster.yaml.",
                advice="Put deploy/dagster.yaml there, or set DAGSTER_HOME to a folder that this user may write to.",
            )
        os.chdir(home)
        return home
    settings.data_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if is_open_to_others(settings.data_folder) or is_open_to_others(home / ".env"):
        close_home(settings)
    with _hold_folder_lock(settings):
        for name in _TEMPLATES:
            if not (home / name).exists():
                (home / name).write_bytes(_read_template(name))
    os.chdir(home)
    return home


def close_home(settings: Settings) -> None:
    """Take the rights of other users from what the deployment wrote: older releases left them to the umask.

    That is everything in `data/`, `.env`, the files of Dagster's settings (they may hold a password), and an SQLite
    database with its lock files, wherever it is. What belongs to another user than `data/` stays as it is: the
    deployment's user may read root's `.env` by the rights that would be taken.
    """
    files = [settings.home_folder / name for name in (".env", *_TEMPLATES)]
    if settings.database_url.get_backend_name() == "sqlite":
        database = str(settings.database_url.database)
        files += [Path(f"{database}{ending}") for ending in ("", "-wal", "-shm", ".locks")]
        files += Path(f"{database}.locks").glob("*")
    if settings.data_folder.is_dir():
        owner = settings.data_folder.stat().st_uid
        files = [file for file in files if file.exists() and file.stat().st_uid == owner]
    close_to_others(settings.data_folder, *files)


def is_own_workspace(settings: Settings) -> bool:
    """Whether somebody has written a workspace.yaml of their own, and not left the one that `prepare_home` creates."""
    return (settings.home_folder / "workspace.yaml").read_bytes() != _read_template("workspace.yaml")


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open Dagster's own storage of this deployment, which its UI and daemon use too.

    Raises:
        DagsterUnusable: dagster.yaml cannot be read, or the storage that it names cannot be opened.
    """
    hide_statement_values()
    # This comes first: `prepare_home` changes the current folder, and `.env` may be in the current one.
    export_dotenv_variables()
    home = prepare_home(settings)
    if Insecurity.DATABASE_WITHOUT_TLS not in settings.allow_insecure and is_server_unverified(home / "dagster.yaml"):
        raise DagsterUnusable(
            f"{home / 'dagster.yaml'} names a PostgreSQL server on another machine whose certificate is not checked.",
            advice="Set PGSSLMODE=verify-full and PGSSLROOTCERT=/path/ca.pem, or add `params: {sslmode: verify-full, "
            "sslrootcert: /path/ca.pem}` under postgres_db, "
            f"{overrule(Insecurity.DATABASE_WITHOUT_TLS)}.",
        )
    try:
        # One process at a time: two processes that both find no tables would both create them, and one would fail.
        with _hold_folder_lock(settings):
            return dg.DagsterInstance.from_config(str(home))
    except (dg.DagsterError, CheckError, yaml.YAMLError) as error:
        raise DagsterUnusable(
            f"{home / 'dagster.yaml'} cannot be used: {_describe_config_error(error)}.",
            advice="Correct it, or the variables in `.env` that it names; the original is in the repository, for "
            "PostgreSQL in deploy/.",
        ) from None
    except Exception as error:  # noqa: BLE001 - every other error here comes from the storage, whichever it is
        raise DagsterUnusable(
            f"Dagster's own storage cannot be opened ({_describe_storage_error(error)}).",
            advice="Check data/dagster, or the database that dagster.yaml names.",
        ) from None


def hide_statement_values() -> None:
    """Keep the values of a failed statement out of every error's text in this process.

    Dagster's storage does not hide them. It writes its errors to the terminal and into its logs, so a full disk would
    show the texts of events, with the figures in them.
    """
    if not event.contains(Engine, "handle_error", _hide_values):
        event.listen(Engine, "handle_error", _hide_values)


def _hide_values(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    if isinstance(error, StatementError):
        error.hide_parameters, error.params = True, None


def _describe_config_error(error: Exception) -> str:
    """Describe the error without any value of dagster.yaml, because a value may be a password."""
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        position = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        return f"it is not valid YAML{position}"
    text = str(error)
    for pattern, description in _DESCRIPTIONS.items():
        if match := re.search(pattern, text):
            return description.format(*match.groups())
    return "it is not what Dagster expects"


# By a pattern of Dagster's own text: what is shown instead.
_DESCRIPTIONS = {
    r"environment variable \"(\w+)\" which is not set": "it needs the environment variable {}, which is not set",
    r"unexpected config entry \"([\w.-]+)\" at (?:path )?(?:the )?([\w:]+)": "its entry {} is unknown (at {})",
    r"at path ([\w:]+)": "its entry at {} is not what Dagster expects",
    r"(?:import module|find class) ([\w.]+)": "{}, which it names, cannot be found",
}


def _describe_storage_error(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}" if error.strerror else type(error).__name__
    original = getattr(error, "orig", None)
    return str(original) if isinstance(original, sqlite3.Error) else type(original or error).__name__


def _is_read_only(settings: Settings) -> bool:
    """Whether this process can write nothing where the deployment keeps its files."""
    folder = next((one for one in (settings.data_folder, settings.home_folder) if one.is_dir()), None)
    return folder is not None and not os.access(folder, os.W_OK | os.X_OK)


@contextmanager
def _hold_folder_lock(settings: Settings) -> Iterator[None]:
    """Keep other processes from preparing this folder during the block.

    A read-only folder has no lock: Dagster's tables are then in PostgreSQL, where Dagster itself tries again if
    another process creates them at the same time.
    """
    if _is_read_only(settings):
        yield
        return
    file = settings.data_folder / "dagster.lock"
    try:
        lock = FileLock(file, timeout=_LOCK_TIMEOUT_SECONDS, mode=0o600)
        lock.acquire()
    except Timeout:
        raise DagsterUnusable(
            f"The lock file {file} was not free within {_LOCK_TIMEOUT_SECONDS:g} seconds.",
            advice="Another process of this deployment hangs while it opens Dagster's storage: stop it.",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _read_template(name: str) -> bytes:
    packaged = files("xero_pipeline") / "deployment" / name
    if packaged.is_file():
        return packaged.read_bytes()
    return (Path(__file__).parent.parent / name).read_bytes()
