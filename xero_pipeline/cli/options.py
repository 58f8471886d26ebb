"""What several commands share: the deployment they open, and how a week is given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from xero_pipeline.resources import Deployment, OnWait
from xero_pipeline.settings import Settings, load_settings


class Day(click.ParamType[date]):
    """A date as YYYY-MM-DD."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no date as YYYY-MM-DD.", param, ctx)


DAY = Day()


@contextmanager
def deployment(settings: Settings | None = None, *, on_wait: OnWait | None = None) -> Iterator[Deployment]:
    """The deployment of this folder's settings, its database reachable and migrated."""
    with Deployment(settings or load_settings(), on_wait=on_wait) as opened:
        opened.warehouse.require_current()
        yield opened


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(table: Table) -> None:
    """A table on the terminal; into a pipe or a file as wide as it needs to be, never cut."""
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
