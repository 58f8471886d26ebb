"""`lockdown`: what to run first after a leak."""

from __future__ import annotations

import click

from xero_pipeline.access import find_cli_actor
from xero_pipeline.audit import AuditTrail
from xero_pipeline.cli.options import format_count, print_line
from xero_pipeline.connection import format_names
from xero_pipeline.errors import PipelineError
from xero_pipeline.lockdown import LockdownReport, lock_down
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.access.audit_log import AuditAction


class LockdownIncomplete(PipelineError):
    """Xero did not confirm that a connection has ended."""

    code = "lockdown_incomplete"


@click.command()
def lockdown() -> None:
    """After a leak: revoke at Xero, delete all tokens, end sessions and consents, and print what is left to do by hand.

    Figures and logs stay. Ends with 1 if Xero did not confirm that every connection has ended.
    """
    with (
        open_deployment(load_settings()) as opened,
        AuditTrail(opened.warehouse).recording(find_cli_actor(), AuditAction.LOCKDOWN) as recorded,
    ):
        report = lock_down(opened)
        recorded.subject = format_names([disconnection.organisation for disconnection in report.disconnections])
        # Printed before it is recorded: what is left to do must not be lost with the database.
        _print_report(report)
        if not report.is_confirmed:
            raise LockdownIncomplete(
                "Xero did not confirm that every connection has ended.", advice="Disconnect at Xero by hand, as above."
            )


def _print_report(report: LockdownReport) -> None:
    for disconnection in report.disconnections:
        print_line(str(disconnection))
    if not report.disconnections:
        click.echo("nothing was connected")
    click.echo(
        f"ended {format_count(report.consents, 'pending consent')} and {format_count(report.sessions, 'session')}"
    )
    click.echo("\nLeft to do by hand (docs/leak.md says more):")
    for number, step in enumerate(report.list_what_is_left(), start=1):
        print_line(f"{number}. {step}")
