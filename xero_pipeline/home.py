"""A deployment's folder on disk: made ready for Dagster, also where only a wheel was installed."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType

from xero_pipeline.settings import Settings

# In an installed wheel the files lie in the package; in a checkout at its root.
_TEMPLATES = ("dagster.yaml", "workspace.yaml")


def prepare_home(settings: Settings) -> Path:
    """Make the folder what Dagster expects, and go there: dagster.yaml's paths are relative to it.

    A dagster.yaml or workspace.yaml that is there is left alone.
    """
    home = settings.home_folder
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    for name in _TEMPLATES:
        if not (home / name).exists():
            (home / name).write_bytes(_template(name))
    os.chdir(home)
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Dagster's own storage of this deployment, as its UI and daemon see it."""
    return dg.DagsterInstance.from_config(str(prepare_home(settings)))


def schedule_is_running(instance: dg.DagsterInstance) -> bool:
    """Whether somebody has switched `daily_sync` on, as Dagster's own storage has it."""
    states = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    return any(state.name == "daily_sync" and state.is_running for state in states)


def _template(name: str) -> bytes:
    packaged = files("xero_pipeline") / "deployment" / name
    if packaged.is_file():
        return packaged.read_bytes()
    return (Path(__file__).parent.parent / name).read_bytes()
