"""`connect`, `disconnect`, `status`, `rotate-key`: the connection to Xero."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import click

from xero_pipeline.access import derive_admin_credential, find_cli_actor
from xero_pipeline.audit import AuditTrail
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.dagster_health import is_running
from xero_pipeline.cli.options import (
    describe_lost_connection,
    format_count,
    format_local_time,
    print_json,
    print_line,
    print_table,
)
from xero_pipeline.connection import ConnectionService, format_names
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import Grant, load_settings
from xero_pipeline.status import OrganisationStatus, read_deployment_status
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.connections.oauth_states import ConsentStarter


@click.command()
def connect() -> None:
    """Print the consent URL; in mock mode, or with client credentials, connect at once."""
    with open_deployment(load_settings()) as opened:
        service, actor = ConnectionService(opened), find_cli_actor()
        is_custom = opened.settings.grant is Grant.CLIENT_CREDENTIALS
        if is_custom or opened.backend.mock is not None:
            with AuditTrail(opened.warehouse).recording(actor, AuditAction.CONNECT) as recorded:
                stored = service.connect_custom() if is_custom else service.connect_mock()
                recorded.subject = format_names(stored)
        else:
            # The admin page records the connection when the browser comes back to it.
            starter = ConsentStarter(actor, derive_admin_credential(opened.settings))
            click.echo("Open this address, sign in to Xero and choose your organisations:", err=True)
            click.echo(service.begin_consent(browser=None, starter=starter))
            click.echo(
                f"Xero sends the browser back to {opened.settings.redirect_uri}, "
                "where `xero-pipeline admin` must answer.",
                err=True,
            )
            return
        for organisation in stored:
            print_line(f"connected {organisation.tenant_name} ({organisation.tenant_id})")
        for organisation in opened.warehouse.tokens.list_organisations():
            if organisation.status is ConnectionStatus.RECONNECT_NEEDED:
                print_line(describe_lost_connection(organisation), err=True)


@click.command()
@click.option("--organisation", metavar="ID", help="Only this one (tenant id).")
def disconnect(organisation: str | None) -> None:
    """Disconnect at Xero and delete the tokens here. Figures and logs stay.

    The tokens are deleted even if Xero refuses or cannot be reached; stderr then says what Xero did not confirm.
    """
    with open_deployment(load_settings()) as opened:
        trail, actor = AuditTrail(opened.warehouse), find_cli_actor()
        with trail.recording(actor, AuditAction.DISCONNECT, organisation or "") as recorded:
            disconnections = ConnectionService(opened).disconnect(organisation)
            recorded.subject = format_names([disconnection.organisation for disconnection in disconnections])
        for disconnection in disconnections:
            print_line(str(disconnection), err=bool(disconnection.unconfirmed))
        if not disconnections:
            click.echo("nothing was connected")


@click.command("rotate-key")
def rotate_key() -> None:
    """Encrypt every token under the current key.

    First put the new key into XERO_ENCRYPTION_KEY and the old one into XERO_ENCRYPTION_KEYS_RETIRED. Afterwards
    remove the old one.
    """
    with (
        open_deployment(load_settings()) as opened,
        AuditTrail(opened.warehouse).recording(find_cli_actor(), AuditAction.ROTATE_KEY) as recorded,
    ):
        count = opened.warehouse.tokens.rotate()
        recorded.subject = format_count(count, "organisation")
    if count:
        click.echo(f"the tokens of {format_count(count, 'organisation')} are now encrypted under the current key")
    else:
        click.echo("every token was already encrypted under the current key")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show organisations, days left on the refresh token, last sync, calls left today, the scheduler."""
    with open_deployment(load_settings()) as opened:
        with open_instance(opened.settings) as instance:
            running = is_running(instance, "daily_sync")
        alert_error = open_alerter(opened).delivery_error
        deployment_status = read_deployment_status(opened, scheduler_running=running, alert_error=alert_error)
    if as_json:
        print_json(deployment_status.as_dict())
        return
    mode = " (mock)" if deployment_status.mock_mode else ""
    click.echo(f"Xero{mode}: {'connected' if deployment_status.is_connected else 'not connected'}")
    click.echo(f"scheduler: {'running' if running else 'stopped'}")
    for alert in deployment_status.alerts:
        print_line(f"alert: {alert.title} (since {format_local_time(alert.opened_at, deployment_status.timezone)})")
    if alert_error:
        print_line(f"alerts: {alert_error}")
    for organisation in deployment_status.organisations:
        if organisation.token_error:
            print_line(f"tokens: {organisation.token_error}")
    for organisation in deployment_status.organisations:
        if organisation.proof:
            name, checked_at = organisation.organisation.display_name, organisation.proof.last_checked_at
            when = format_local_time(checked_at, deployment_status.timezone)
            print_line(f"Xero's totals: {name} is {organisation.proof}, last compared {when}")
    for organisation in deployment_status.organisations:
        if organisation.organisation.status is ConnectionStatus.RECONNECT_NEEDED:
            print_line(f"connection: {describe_lost_connection(organisation.organisation)}")
    if deployment_status.organisations:
        zone = deployment_status.timezone
        titles = ("Organisation", "Id", "Status", f"Last sync ({zone})", "Refresh token", "Calls left today")
        print_table(titles, [_build_status_row(row, zone) for row in deployment_status.organisations])


def _build_status_row(status: OrganisationStatus, zone: ZoneInfo) -> tuple[str, ...]:
    organisation, last_sync_at = status.organisation, status.organisation.last_sync_at
    return (
        organisation.tenant_name,
        organisation.tenant_id,
        organisation.status.replace("_", " "),
        format_local_time(last_sync_at, zone) if last_sync_at else "never",
        "none" if status.days_left is None else f"{status.days_left} days left",
        f"{status.usage.left_today} of {status.usage.per_day}",
    )
