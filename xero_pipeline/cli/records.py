"""`logs` and `restatements`: what was synced, and what a later sync changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from zoneinfo import ZoneInfo

import click

from xero_pipeline.cli.options import DAY, local, organisation_names, print_json, print_table
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.warehouse.logs.sync_log import LogEntry


@click.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def logs(limit: int, as_json: bool) -> None:
    """The sync log, newest first."""
    with open_deployment(load_settings()) as opened:
        entries = opened.warehouse.log.newest(limit)
        names, zone = organisation_names(opened), opened.settings.calendar.timezone
    if as_json:
        print_json([entry.as_dict() for entry in entries])
        return
    titles = (f"Started ({zone})", "Organisation", "What", "Week ending", "Status", "Rows", "Calls", "Said")
    print_table(titles, [_log_row(entry, names, zone) for entry in entries])


def _log_row(entry: LogEntry, names: Mapping[str, str], zone: ZoneInfo) -> tuple[str, ...]:
    said = entry.error_log or {}
    return (
        local(entry.started_at, zone),
        names.get(entry.tenant_id, entry.tenant_id),
        entry.sync_type,
        str(entry.week),
        entry.status,
        str(entry.record_count),
        str(entry.api_calls),
        said.get("message") or (f"{len(said['differences'])} differences" if said.get("differences") else ""),
    )


@click.command()
@click.option("--since", type=DAY, help="Only what was restated on or after this day (in PIPELINE_TIMEZONE).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def restatements(since: date | None, as_json: bool) -> None:
    """Figures of closed weeks that a later sync changed, newest first."""
    with open_deployment(load_settings()) as opened:
        names, calendar = organisation_names(opened), opened.settings.calendar
        found = opened.warehouse.restatements(None if since is None else calendar.start_of_day(since))
    if as_json:
        print_json([{"when": one.restated_at.isoformat(), **one.as_dict()} for one in found])
        return
    if not found:
        click.echo("nothing was restated")
        return
    titles = (f"When ({calendar.timezone})", "Organisation", "Week ending", "Table", "Row", "Figure", "Before", "Now")
    print_table(titles, [_restated_row(one, names, calendar.timezone) for one in found])


def _restated_row(one: Restatement, names: Mapping[str, str], zone: ZoneInfo) -> tuple[str, ...]:
    when, who = local(one.restated_at, zone), names.get(one.tenant_id, one.tenant_id)
    before, now = one.old_value or "–", one.new_value or "–"
    return when, who, str(one.week), one.table_name, one.row_name, one.column_name, before, now
