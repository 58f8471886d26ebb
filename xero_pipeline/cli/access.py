"""`access` and `audit`: who may use the admin page, and who did what."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import click

from xero_pipeline.access import find_cli_actor, remove_access
from xero_pipeline.audit import AuditTrail
from xero_pipeline.cli.options import format_local_time, print_json, print_table
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.access.audit_log import AuditAction, AuditRow
from xero_pipeline.warehouse.access.roles import AccessRole


@click.group()
def access() -> None:
    """Add, list and remove the people who may use the admin page.

    A viewer sees. An operator also syncs and switches the scheduler. An owner also connects, disconnects and manages
    access. ADMIN_TOKEN is an owner's.
    """


@access.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice([role.value for role in AccessRole]), required=True, help="What the person may do."
)
@click.option(
    "--without-token", is_flag=True, help="Make no token: the person signs in at the proxy of TRUSTED_PROXIES."
)
def add(name: str, role: str, without_token: bool) -> None:
    """Give NAME a role, and print their new access token. It is printed this once and stored only as a hash."""
    with open_deployment(load_settings()) as opened:
        with AuditTrail(opened.warehouse).recording(find_cli_actor(), AuditAction.ADD_ACCESS) as recorded:
            now = opened.clock.now()
            token = opened.warehouse.persons.add(name, AccessRole(role), now=now, with_token=not without_token)
            recorded.subject = f"{name}, {role}"
        settings = opened.settings
    if not settings.needs_sign_in:
        click.echo(
            "ADMIN_TOKEN is not set, so the admin page is open to everybody on this machine, whatever their role. "
            "Set it and restart the page.",
            err=True,
        )
    if token is None:
        click.echo(f"{name} is {role}", err=True)
        return
    click.echo(f"{name} is {role}. The access token, which is shown only now:", err=True)
    click.echo(token)


@access.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_access(as_json: bool) -> None:
    """Show who has which role."""
    with open_deployment(load_settings()) as opened:
        persons, zone = opened.warehouse.persons.list_all(), opened.settings.calendar.timezone
    if as_json:
        print_json([person.as_dict() for person in persons])
        return
    if not persons:
        click.echo("nobody has a token of their own; ADMIN_TOKEN is the owner's")
        return
    print_table(
        ("Name", "Role", "Signs in with", f"Since ({zone})"),
        [
            (
                person.name,
                person.role.value,
                "access token" if person.has_token else "the proxy",
                format_local_time(person.created_at, zone),
            )
            for person in persons
        ],
    )


@access.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take NAME's role. Their token and their sessions end at once."""
    with (
        open_deployment(load_settings()) as opened,
        AuditTrail(opened.warehouse).recording(find_cli_actor(), AuditAction.REMOVE_ACCESS, name),
    ):
        remove_access(opened.warehouse, name)
    click.echo(f"{name} has no access any more")


@click.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(limit: int, as_json: bool) -> None:
    """Show who did what, from where and when, newest first."""
    with open_deployment(load_settings()) as opened:
        rows, zone = opened.warehouse.audit.list_newest(limit), opened.settings.calendar.timezone
    if as_json:
        print_json([row.as_dict() for row in rows])
        return
    if not rows:
        click.echo("nobody has done anything yet")
        return
    print_table((f"When ({zone})", "Who", "Role", "From", "What", "Subject", "Outcome"), _build_rows(rows, zone))


def _build_rows(rows: Sequence[AuditRow], zone: ZoneInfo) -> list[tuple[str, ...]]:
    return [
        (
            format_local_time(row.at, zone),
            row.who,
            row.role,
            row.origin,
            row.action.replace("_", " "),
            row.subject,
            _describe_outcome(row, zone),
        )
        for row in rows
    ]


def _describe_outcome(row: AuditRow, zone: ZoneInfo) -> str:
    outcome = row.outcome.replace("_", " ")
    return outcome if row.count == 1 else f"{outcome}, {row.count} times until {format_local_time(row.last_at, zone)}"
