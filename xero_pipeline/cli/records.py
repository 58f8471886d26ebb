"""`logs` and `restatements`: the sync log, and the figures that a later sync changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from zoneinfo import ZoneInfo

import click

from xero_pipeline.cli.options import (
    DATE,
    format_count,
    format_local_time,
    print_json,
    print_table,
)
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.warehouse.logs.acceptances import list_differences
from xero_pipeline.warehouse.logs.sync_log import LogEntry


@click.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def logs(limit: int, as_json: bool) -> None:
    """Show the sync log, newest first."""
    with open_deployment(load_settings()) as opened:
        entries = opened.warehouse.log.list_newest(limit)
        names, zone = opened.warehouse.tokens.list_names(), opened.settings.calendar.timezone
    if as_json:
        print_json([entry.as_dict() for entry in entries])
        return
    titles = ("Id", f"Started ({zone})", "Organisation", "What", "Week ending", "Status", "Rows", "Calls", "Message")
    print_table(titles, [_build_log_row(entry, names, zone) for entry in entries])


def _build_log_row(entry: LogEntry, names: Mapping[str, str], zone: ZoneInfo) -> tuple[str, ...]:
    error_log = entry.error_log or {}
    differences = list_differences(error_log)
    return (
        str(entry.id),
        format_local_time(entry.started_at, zone),
        names.get(entry.tenant_id, entry.tenant_id),
        entry.sync_type,
        str(entry.week),
        entry.status,
        str(entry.record_count),
        str(entry.api_calls),
        error_log.get("message") or _describe_differences(entry, len(differences)),
    )


def _describe_differences(entry: LogEntry, count: int) -> str:
    described = format_count(count, "difference") if count else ""
    return f"{described}, {entry.accepted}" if entry.accepted else described


@click.command()
@click.option("--since", type=DATE, help="Only what was restated on or after this day (in PIPELINE_TIMEZONE).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def restatements(since: date | None, as_json: bool) -> None:
    """Show figures of closed weeks that a later sync changed, newest first."""
    with open_deployment(load_settings()) as opened:
        names, calendar = opened.warehouse.tokens.list_names(), opened.settings.calendar
        restated = opened.warehouse.list_restatements(None if since is None else calendar.start_of_day(since))
    if as_json:
        print_json([{"when": figure.restated_at.isoformat(), **figure.as_dict()} for figure in restated])
        return
    if not restated:
        click.echo("nothing was restated")
        return
    titles = (f"When ({calendar.timezone})", "Organisation", "Week ending", "Table", "Row", "Figure", "Before", "Now")
    print_table(titles, [_build_restatement_row(figure, names, calendar.timezone) for figure in restated])


def _build_restatement_row(restatement: Restatement, names: Mapping[str, str], zone: ZoneInfo) -> tuple[str, ...]:
    return (
        format_local_time(restatement.restated_at, zone),
        names.get(restatement.tenant_id, restatement.tenant_id),
        str(restatement.week),
        restatement.table_name,
        restatement.row_name,
        restatement.column_name,
        restatement.old_value or "–",
        restatement.new_value or "–",
    )
