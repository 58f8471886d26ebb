"""`export`: the figures as files."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from pathlib import Path

import click

from xero_pipeline.access import find_cli_actor
from xero_pipeline.audit import AuditTrail
from xero_pipeline.cli.options import DATE, format_count, print_json, print_line
from xero_pipeline.export.exporter import ExportFormat, choose_tables, export_to_folder
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.figures.exporting import ExportFilter


@click.command()
@click.option(
    "--to",
    "targets",
    multiple=True,
    required=True,
    metavar="FOLDER",
    help="Where the files go, one for each table; the folder is made if it is missing. A second --to is a day, as "
    "YYYY-MM-DD: only weeks and months that end on it or earlier.",
)
@click.option(
    "--format", "kind", type=click.Choice([kind.value for kind in ExportFormat]), required=True, help="Their kind."
)
@click.option("--from", "first", type=DATE, help="Only weeks and months that end on this day or later.")
@click.option("--tables", multiple=True, metavar="NAMES", help="Only these tables, comma-separated (default: all).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(targets: tuple[str, ...], kind: str, first: date | None, tables: tuple[str, ...], as_json: bool) -> None:
    """Write the figures into files: each table and view, to the cent, as it is at one moment.

    Only their owner can read the files. Files of the same name are replaced, all at the end or none. In CSV, a text
    that a spreadsheet would take for a formula has an apostrophe before it.
    """
    folder, last = _tell_apart(targets)
    if first is not None and last is not None and first > last:
        raise click.UsageError(f"--from {first} is later than --to {last}.")
    names = {name.strip() for value in tables for name in value.split(",") if name.strip()}
    with open_deployment(load_settings()) as opened:
        chosen = choose_tables(names)
        with AuditTrail(opened.warehouse).recording(find_cli_actor(), AuditAction.EXPORT, f"{kind} files"):
            written = export_to_folder(
                opened.warehouse.engine, folder, ExportFormat(kind), chosen, ExportFilter(first, last)
            )
    if as_json:
        print_json([{"table": one.table, "file": str(one.file), "rows": one.rows} for one in written])
        return
    for one in written:
        print_line(f"wrote {one.file}: {format_count(one.rows, 'row')}")


def _tell_apart(targets: tuple[str, ...]) -> tuple[Path, date | None]:
    """The folder, and the last day if a second --to names one."""
    days = [target for target in targets if _is_day(target)]
    if len(targets) == 1 and days:
        raise click.UsageError(f"--to {days[0]} is a day; name the folder, too (./{days[0]} for one of that name).")
    if len(targets) == 1:
        return Path(targets[0]), None
    if len(targets) > 2 or not days:
        raise click.UsageError("--to is given for the folder, and once more for a day as YYYY-MM-DD.")
    # A folder may have the name of a day: then the folder is named first.
    day = days[-1]
    folder = targets[0] if targets[1] == day else targets[1]
    return Path(folder), date.fromisoformat(day)


def _is_day(text: str) -> bool:
    with suppress(ValueError):
        return date.fromisoformat(text).isoformat() == text
    return False
