"""A deployment's folder on disk: made ready for Dagster, also where only a wheel was installed."""

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

from xero_pipeline.dagster_internals import CheckError
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import Settings, export_dotenv_path

# In an installed wheel the files lie in the package; in a checkout at its root.
_TEMPLATES = ("dagster.yaml", "workspace.yaml")

# Dagster makes its tables in a second or two.
_PATIENCE_SECONDS = 120.0


class DagsterUnusable(PipelineError):
    """Dagster's own storage cannot be opened, or dagster.yaml cannot be read."""

    code = "dagster_unusable"


def prepare_home(settings: Settings) -> Path:
    """Make the folder what Dagster expects, and go there: dagster.yaml's paths are relative to it.

    A dagster.yaml or workspace.yaml that is there is left alone.
    """
    home = settings.home_folder
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    with _alone(settings):
        for name in _TEMPLATES:
            if not (home / name).exists():
                (home / name).write_bytes(_template(name))
    os.chdir(home)
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Dagster's own storage of this deployment, as its UI and daemon see it.

    Raises:
        DagsterUnusable: dagster.yaml cannot be read, or the storage that it names cannot be opened.
    """
    # First, since afterwards this process is in the deployment's folder, and `.env` may lie in this one.
    export_dotenv_path()
    home = prepare_home(settings)
    try:
        # One after the other: two processes that both find no tables would both make them, and one would fail.
        with _alone(settings):
            return dg.DagsterInstance.from_config(str(home))
    except (dg.DagsterError, CheckError, yaml.YAMLError) as error:
        raise DagsterUnusable(
            f"{home / 'dagster.yaml'} cannot be used: {_what_is_wrong(error)}.",
            advice="Mend it, and what it needs of `.env`; how it was delivered stands in the repository, for "
            "PostgreSQL in its deploy/.",
        ) from None
    except Exception as error:  # noqa: BLE001 - what else is raised here is about the storage, whichever it is
        raise DagsterUnusable(
            f"Dagster's own storage cannot be opened ({_kind(error)}).",
            advice="Check data/dagster, or the database that dagster.yaml names.",
        ) from None


def _what_is_wrong(error: Exception) -> str:
    """As much of Dagster's words as holds no value: there may be a password among them."""
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        return f"it is no YAML (line {mark.line + 1}, column {mark.column + 1})" if mark else "it is no YAML"
    said = str(error)
    for pattern, words in _DAGSTER_SAYS.items():
        if found := re.search(pattern, said):
            return words.format(*found.groups())
    return "it is not what Dagster expects"


_DAGSTER_SAYS = {
    r"environment variable \"(\w+)\" which is not set": "it needs the environment variable {}, which is not set",
    r"unexpected config entry \"([\w.-]+)\" at (?:path )?(?:the )?([\w:]+)": "nobody knows its entry {} (at {})",
    r"at path ([\w:]+)": "its entry at {} is not what Dagster expects",
    r"(?:import module|find class) ([\w.]+)": "{}, which it names, cannot be found",
}


def _kind(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}" if error.strerror else type(error).__name__
    original = getattr(error, "orig", None)
    return str(original) if isinstance(original, sqlite3.Error) else type(original or error).__name__


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """No other process prepares this folder meanwhile."""
    file = settings.data_folder / "dagster.lock"
    try:
        lock = FileLock(file, timeout=_PATIENCE_SECONDS, mode=0o600)
        lock.acquire()
    except Timeout:
        raise DagsterUnusable(
            f"The lock file {file} was not free within {_PATIENCE_SECONDS:g} seconds.",
            advice="Another process of this deployment hangs while it opens Dagster's storage: end it.",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _template(name: str) -> bytes:
    packaged = files("xero_pipeline") / "deployment" / name
    if packaged.is_file():
        return packaged.read_bytes()
    return (Path(__file__).parent.parent / name).read_bytes()
