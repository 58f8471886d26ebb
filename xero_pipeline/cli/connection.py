"""`connect`, `disconnect`, `status`, `rotate-key`: how this deployment stands with Xero."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import click

from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.dagster_health import is_running
from xero_pipeline.cli.options import counted, local, print_json, print_table
from xero_pipeline.connection import ConnectionService
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import Grant, load_settings
from xero_pipeline.status import OrganisationStatus, read_deployment_status


@click.command()
def connect() -> None:
    """Print the consent URL; in mock mode, or with client credentials, connect at once."""
    with open_deployment(load_settings()) as opened:
        connector = ConnectionService(opened)
        if opened.settings.grant is Grant.CLIENT_CREDENTIALS:
            stored = connector.connect_custom()
        elif opened.chosen.mock is not None:
            stored = connector.connect_mock()
        else:
            click.echo("Open this address, sign in to Xero and choose your organisations:", err=True)
            click.echo(connector.begin(browser=None))
            click.echo(
                f"Xero sends the browser back to {opened.settings.redirect_uri}, "
                "where `xero-pipeline admin` must answer.",
                err=True,
            )
            return
        for organisation in stored:
            click.echo(f"connected {organisation.tenant_name} ({organisation.tenant_id})")


@click.command()
@click.option("--organisation", metavar="ID", help="Only this one (tenant id).")
def disconnect(organisation: str | None) -> None:
    """Disconnect at Xero and delete the tokens here. Figures and logs stay."""
    with open_deployment(load_settings()) as opened:
        gone = ConnectionService(opened).disconnect(organisation)
        for left in gone:
            click.echo(f"disconnected {left.tenant_name} ({left.tenant_id})")
        if not gone:
            click.echo("nothing was connected")


@click.command("rotate-key")
def rotate_key() -> None:
    """Encrypt every token under the current key.

    First put the new key into XERO_ENCRYPTION_KEY and the old one into XERO_ENCRYPTION_KEYS_RETIRED; afterwards
    the old one can go.
    """
    with open_deployment(load_settings()) as opened:
        count = opened.warehouse.tokens.rotate()
    if count:
        click.echo(f"the tokens of {counted(count, 'organisation')} are under the current key now")
    else:
        click.echo("every token was under the current key already")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Organisations, days left on the refresh token, last sync, calls left today, the scheduler."""
    with open_deployment(load_settings()) as opened:
        with open_instance(opened.settings) as instance:
            running = is_running(instance, "daily_sync")
        broken = open_alerter(opened).error
        standing = read_deployment_status(opened, scheduler_running=running, alert_error=broken)
    if as_json:
        print_json(standing.as_dict())
        return
    click.echo(
        f"Xero{' (mock)' if standing.mock_mode else ''}: {'connected' if standing.connected else 'not connected'}"
    )
    click.echo(f"scheduler: {'running' if running else 'stopped'}")
    for alert in standing.alerts:
        click.echo(f"alert: {alert.title} (since {local(alert.opened_at, standing.timezone)})")
    if broken:
        click.echo(f"alerts: {broken}")
    for one in standing.organisations:
        if one.token_error:
            click.echo(f"tokens: {one.token_error}")
    if standing.organisations:
        zone = standing.timezone
        titles = ("Organisation", "Id", "Status", f"Last sync ({zone})", "Refresh token", "Calls left today")
        print_table(titles, [_standing_row(one, zone) for one in standing.organisations])


def _standing_row(one: OrganisationStatus, zone: ZoneInfo) -> tuple[str, ...]:
    organisation, last = one.organisation, one.organisation.last_sync_at
    return (
        organisation.tenant_name,
        organisation.tenant_id,
        organisation.status.replace("_", " "),
        local(last, zone) if last else "never",
        "none" if one.days_left is None else f"{one.days_left} days left",
        f"{one.usage.left_today} of {one.usage.per_day}",
    )
