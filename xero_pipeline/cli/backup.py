"""`backup` and `restore`: the database as one file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from xero_pipeline.access import find_cli_actor
from xero_pipeline.audit import AuditTrail
from xero_pipeline.cli.options import print_line
from xero_pipeline.connection import ConnectionService
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.database.backup import back_up
from xero_pipeline.warehouse.database.backup import restore as restore_backup
from xero_pipeline.warehouse.errors import NotMigrated

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--to", "file", type=_FILE, required=True, metavar="FILE", help="A new file.")
def backup(file: Path) -> None:
    """Write the database into one file, also while it is in use.

    Only its owner can read the file. The tokens in it are encrypted, and the key is not in it: keep .env elsewhere.
    With PostgreSQL, pg_dump writes the file.
    """
    with Deployment(load_settings()) as opened:
        written = back_up(opened.warehouse.engine, file)
        _record(opened, AuditAction.BACKUP, file)
    click.echo(f"wrote {file}: {written.size / 1e6:.1f} MB, schema {written.revision}, without the key")


@click.command()
@click.option("--from", "file", type=_FILE, required=True, metavar="FILE", help="A file that backup wrote.")
@click.option("--replace", is_flag=True, help="Replace everything that the database holds now.")
def restore(file: Path, replace: bool) -> None:
    """Put a backup into the database: all of it, or nothing.

    First stop every process of the deployment. The key of the time of the backup must be in XERO_ENCRYPTION_KEY or
    XERO_ENCRYPTION_KEYS_RETIRED. Xero may have ended a connection of an older backup; then connect again. Sessions of
    the admin page and consents of the backup are ended; the people with access are those of the backup.
    """
    with Deployment(load_settings()) as opened:
        restored = restore_backup(opened.warehouse.engine, file, replace=replace)
        if restored.is_current:
            opened.warehouse.sessions.end_all()
            ConnectionService(opened).end_consents()
            persons = ", ".join(person.name for person in opened.warehouse.persons.list_all())
        _record(opened, AuditAction.RESTORE, file)
    click.echo(f"restored {file}: schema {restored.revision}")
    if restored.is_current and persons:
        print_line(f"with access now: {persons}; `xero-pipeline access remove NAME` removes who should not have it")
    if not restored.is_current:
        click.echo("run `xero-pipeline migrate` next: this version needs a newer schema")


def _record(opened: Deployment, action: AuditAction, file: Path) -> None:
    """Record what was done. A database of an older version may have no audit log yet."""
    with suppress(NotMigrated):
        opened.warehouse.require_current()
        AuditTrail(opened.warehouse).record(find_cli_actor(), action, file.name)
