"""What several commands share: the date option, and printing JSON and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xero_pipeline.grants import Organisation
from xero_pipeline.printable import dump_harmless_json, replace_control_characters


class DateParam(click.ParamType[date]):
    """A date as YYYY-MM-DD."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a date as YYYY-MM-DD.", param, ctx)


DATE = DateParam()


def describe_lost_connection(organisation: Organisation) -> str:
    """Say that an organisation has to be connected again, and what to do."""
    name = f"{organisation.tenant_name} ({organisation.tenant_id})"
    return f"{name} has to be connected again. {organisation.reconnect_advice}"


def format_local_time(moment: datetime, zone: ZoneInfo) -> str:
    """Format a time for the printed tables, whose column titles name the zone."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def format_count(number: int, noun: str) -> str:
    """Format a number with its noun: `1 week`, `2 weeks`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_line(text: str, *, err: bool = False) -> None:
    """Print a line that may hold text from outside, such as an organisation's name."""
    click.echo(replace_control_characters(text), err=err)


def print_json(value: Any) -> None:
    click.echo(dump_harmless_json(value, indent=2))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, figures: Sequence[str] = ()) -> None:
    """Print a table. In a pipe or a file it is 200 characters wide, so that it is not cut to a terminal's width.

    Args:
        figures: the titles of the columns that are aligned to the right.
    """
    table = Table()
    for title in titles:
        table.add_column(title, justify="right" if title in figures else "left")
    for row in rows:
        # `Text`, because Rich would read `[x]` in a text as markup.
        table.add_row(*(Text(replace_control_characters(text)) for text in row))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
