"""Checks that Dagster's own PostgreSQL storage, which `dagster.yaml` names, shows a certificate off this machine.

psycopg2 by itself takes any server, encrypted or not, and gives it the password.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from xero_pipeline.settings.storage import VERIFIED_MODES, leaves_machine


def is_server_unverified(dagster_yaml: Path) -> bool:
    """Whether Dagster's storage is on another machine whose certificate is not checked.

    What cannot be read is left to Dagster, which reports it.
    """
    try:
        storage = yaml.safe_load(dagster_yaml.read_text())["storage"]["postgres"]
        url = _read_url(storage)
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError, ValueError, ArgumentError):
        return False
    # libpq takes its own variable where the address says nothing.
    mode = url.query.get("sslmode") or os.environ.get("PGSSLMODE")
    return mode not in VERIFIED_MODES and leaves_machine(url)


def _read_url(storage: Mapping[str, Any]) -> URL:
    if "postgres_url" in storage:
        return make_url(_resolve(storage["postgres_url"]))
    database = storage["postgres_db"]
    parameters = {name: str(value) for name, value in (database.get("params") or {}).items()}
    return URL.create("postgresql", host=_resolve(database["hostname"]), query=parameters)


def _resolve(value: Any) -> str:
    """A value of dagster.yaml: a text, or the variable of the environment that `{env: NAME}` names."""
    return os.environ[value["env"]] if isinstance(value, Mapping) else str(value)
