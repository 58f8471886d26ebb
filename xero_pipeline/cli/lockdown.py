"""`lockdown`: what to run first after a leak."""

from __future__ import annotations

import click

from xero_pipeline.access import find_cli_actor
from xero_pipeline.audit import AuditTrail
from xero_pipeline.cli.options import format_count
from xero_pipeline.errors import PipelineError
from xero_pipeline.lockdown import lock_down
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
        if report.not_revoked:
            recorded.outcome = LockdownIncomplete.code
    for organisation in report.revoked:
        click.echo(f"revoked at Xero, tokens deleted: {organisation.tenant_name} ({organisation.tenant_id})")
    for reason, organisations in report.not_revoked.items():
        for organisation in organisations:
            click.echo(
                f"tokens deleted, not revoked at Xero: {organisation.tenant_name} ({organisation.tenant_id}): {reason}"
            )
    if not report.revoked and not report.not_revoked:
        click.echo("nothing was connected")
    click.echo(
        f"ended {format_count(report.consents, 'pending consent')} and {format_count(report.sessions, 'session')}"
    )
    click.echo("\nLeft to do by hand (docs/leak.md says more):")
    for number, step in enumerate(report.list_what_is_left(), start=1):
        click.echo(f"{number}. {step}")
    if report.not_revoked:
        raise LockdownIncomplete(
            "Xero did not confirm that every connection has ended.", advice="Disconnect at Xero by hand, as above."
        )
