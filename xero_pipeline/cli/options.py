"""What several commands share: how a week is given, and how JSON and tables are printed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xero_pipeline.resources import Deployment


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


def organisation_names(opened: Deployment) -> dict[str, str]:
    """What to call each organisation that is kept: its name, and its id where two have the same one."""
    kept = opened.warehouse.tokens.organisations()
    times = Counter(one.tenant_name for one in kept)
    return {
        one.tenant_id: one.tenant_name if times[one.tenant_name] == 1 else f"{one.tenant_name} ({one.tenant_id})"
        for one in kept
    }


def local(moment: datetime, zone: ZoneInfo) -> str:
    """A moment as the tables write it; their titles name the zone."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def counted(number: int, what: str) -> str:
    """`1 week`, `2 weeks`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, figures: Sequence[str] = ()) -> None:
    """A table on the terminal; into a pipe or a file as wide as it needs to be, never cut.

    Args:
        figures: the titles of the columns that are aligned to the right.
    """
    table = Table()
    for title in titles:
        table.add_column(title, justify="right" if title in figures else "left")
    for row in rows:
        table.add_row(*map(_as_it_is, row))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


def _as_it_is(text: str) -> Text:
    """A cell that shows what it is given: Rich would read `[x]` as markup, the terminal an ESC as a command."""
    return Text("".join(character if character.isprintable() else " " for character in text))
