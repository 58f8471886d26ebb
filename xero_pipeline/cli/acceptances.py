"""`accept`: a person accepts the differences of a partial week."""

from __future__ import annotations

import click

from xero_pipeline.access import find_cli_actor
from xero_pipeline.audit import AuditTrail
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.partial_weeks import PartialWeekMonitor, evaluate_accepted
from xero_pipeline.cli.options import format_count, print_line
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.logs.acceptances import list_differences


@click.command()
@click.argument("log_id", type=click.IntRange(1, 2**63 - 1))
@click.option("--note", help="Why it is right as it is.")
def accept(log_id: int, note: str | None) -> None:
    """Accept the differences of a partial week: its row in the sync log, by the id that `logs` shows.

    The check and the alert close. The same differences on a later sync of that week are accepted as well; other
    amounts are told again. Figures and status stay.
    """
    with open_deployment(load_settings()) as opened:
        actor = find_cli_actor()
        with AuditTrail(opened.warehouse).recording(actor, AuditAction.ACCEPT, f"row {log_id} of the sync log"):
            entry = opened.warehouse.log.accept(log_id, who=actor.who, note=note)
        name = opened.warehouse.tokens.list_names().get(entry.tenant_id, entry.tenant_id)
        count = format_count(len(list_differences(entry.error_log)), "difference")
        print_line(f"{name}, {entry.sync_type}, {entry.week.NOUN} ending {entry.week}: {count} {entry.accepted}")
        PartialWeekMonitor(opened, open_alerter(opened)).report_recoveries()
        with open_instance(opened.settings) as instance:
            evaluate_accepted(instance, opened, [entry.sync_type])
