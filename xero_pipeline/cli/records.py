"""`logs` and `restatements`: what was synced, and what a later sync changed."""

from __future__ import annotations

from datetime import date

import click
from rich.table import Table

from xero_pipeline.cli.main import cli
from xero_pipeline.cli.options import DAY, deployment, print_json, print_table


@cli.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def logs(limit: int, as_json: bool) -> None:
    """The sync log, newest first."""
    with deployment() as opened:
        entries = opened.warehouse.log.newest(limit)
    if as_json:
        print_json([entry.as_dict() for entry in entries])
        return
    table = Table("Started (UTC)", "Organisation", "What", "Week ending", "Status", "Rows", "Calls", "Said")
    for entry in entries:
        said = entry.error_log or {}
        table.add_row(
            f"{entry.started_at:%Y-%m-%d %H:%M:%S}",
            entry.tenant_id,
            entry.sync_type,
            str(entry.week),
            entry.status,
            str(entry.record_count),
            str(entry.api_calls),
            said.get("message") or (f"{len(said['differences'])} differences" if said.get("differences") else ""),
        )
    print_table(table)


@cli.command()
@click.option("--since", type=DAY, help="Only what was restated on or after this day (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def restatements(since: date | None, as_json: bool) -> None:
    """Figures of closed weeks that a later sync changed, newest first."""
    with deployment() as opened:
        found = opened.warehouse.restatements(since)
    if as_json:
        print_json([{"when": one.restated_at.isoformat(), **one.as_dict()} for one in found])
        return
    if not found:
        click.echo("nothing was restated")
        return
    table = Table("When (UTC)", "Organisation", "Week ending", "Table", "Row", "Figure", "Before", "Now")
    for one in found:
        when = f"{one.restated_at:%Y-%m-%d %H:%M:%S}"
        before, now = one.old_value or "–", one.new_value or "–"
        table.add_row(when, one.tenant_id, str(one.week), one.table_name, one.row_name, one.column_name, before, now)
    print_table(table)
