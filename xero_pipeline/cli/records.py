"""`logs` and `restatements`: what was synced, and what a later sync changed."""

from __future__ import annotations

from datetime import date

import click

from xero_pipeline.cli.options import DAY, print_json, print_table
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.restatements import Restatement
from xero_pipeline.warehouse.sync_log import LogEntry


@click.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def logs(limit: int, as_json: bool) -> None:
    """The sync log, newest first."""
    with open_deployment(load_settings()) as opened:
        entries = opened.warehouse.log.newest(limit)
    if as_json:
        print_json([entry.as_dict() for entry in entries])
        return
    titles = ("Started (UTC)", "Organisation", "What", "Week ending", "Status", "Rows", "Calls", "Said")
    print_table(titles, map(_log_row, entries))


def _log_row(entry: LogEntry) -> tuple[str, ...]:
    said = entry.error_log or {}
    return (
        f"{entry.started_at:%Y-%m-%d %H:%M:%S}",
        entry.tenant_id,
        entry.sync_type,
        str(entry.week),
        entry.status,
        str(entry.record_count),
        str(entry.api_calls),
        said.get("message") or (f"{len(said['differences'])} differences" if said.get("differences") else ""),
    )


@click.command()
@click.option("--since", type=DAY, help="Only what was restated on or after this day (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def restatements(since: date | None, as_json: bool) -> None:
    """Figures of closed weeks that a later sync changed, newest first."""
    with open_deployment(load_settings()) as opened:
        found = opened.warehouse.restatements(since)
    if as_json:
        print_json([{"when": one.restated_at.isoformat(), **one.as_dict()} for one in found])
        return
    if not found:
        click.echo("nothing was restated")
        return
    titles = ("When (UTC)", "Organisation", "Week ending", "Table", "Row", "Figure", "Before", "Now")
    print_table(titles, map(_restated_row, found))


def _restated_row(one: Restatement) -> tuple[str, ...]:
    when = f"{one.restated_at:%Y-%m-%d %H:%M:%S}"
    before, now = one.old_value or "–", one.new_value or "–"
    return when, one.tenant_id, str(one.week), one.table_name, one.row_name, one.column_name, before, now
