"""Runs PostgreSQL's own `pg_dump`, `pg_restore` and `psql`. The password is in their environment, never in a command.

Whoever may list a machine's processes sees their commands; their environment only the same user and root see.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from xero_pipeline.warehouse.database.engine import APPLICATION_NAME
from xero_pipeline.warehouse.database.migrating import VERSION_TABLE, read_revision
from xero_pipeline.warehouse.errors import WarehouseError

_ENDPOINT = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
# libpq's other parameters that a DATABASE_URL may have, by the variable of its tools.
_VARIABLES = _ENDPOINT | {
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "channel_binding": "PGCHANNELBINDING",
    "require_auth": "PGREQUIREAUTH",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "options": "PGOPTIONS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}
_LOCK_SECONDS = 10


class BackupRefused(WarehouseError):
    """A backup could not be written or restored. Nothing was changed."""

    code = "backup_refused"


def dump(engine: Engine, file: Path) -> None:
    """Write our schema into an archive, as it is at one moment. Others go on reading and writing.

    Raises:
        BackupRefused: pg_dump is missing or fails.
    """
    command = ["--format=custom", "--no-owner", "--no-privileges", f"--schema={_read_schema(engine)}", f"--file={file}"]
    _run("pg_dump", command, engine)


def read_dumped_revision(file: Path) -> str | None:
    """The schema's revision in an archive; `None` if it has none of our tables."""
    listed = _run("pg_restore", ["--list", str(file)])
    if not re.search(r" TABLE DATA \S+ xero_tokens ", listed):
        return None
    rows = _run("pg_restore", ["--data-only", f"--table={VERSION_TABLE}", "--file=-", str(file)])
    found = re.search(rf"^COPY [^\n]*{VERSION_TABLE} [^\n]*FROM stdin;\n([^\n\\]+)\n\\\.$", rows, re.MULTILINE)
    return found[1] if found else None


def restore(engine: Engine, file: Path, revision: str) -> None:
    """Put an archive into an empty database, or in place of all rows of one that has the same schema.

    In the second case tables, rights, and views of the deployer stay. Both happen in one transaction.

    Raises:
        BackupRefused: the database is in use or has another schema, or a tool fails. Nothing was changed.
    """
    schema = _read_schema(engine)
    listed = re.findall(r" TABLE DATA (\S+) (\S+) ", _run("pg_restore", ["--list", str(file)]))
    if (schema, "xero_tokens") not in listed:
        raise BackupRefused(
            f"The backup's tables are in another PostgreSQL schema than {schema}, that of DATABASE_URL's user.",
            advice="Set the search_path of that user to the schema of the backup.",
        )
    command = ["--no-owner", "--no-privileges", f"--schema={schema}", "--file=-", str(file)]
    with engine.connect() as connection:
        others = connection.execute(_OTHER_SESSIONS, {"name": APPLICATION_NAME}).scalar_one()
        if others:
            raise BackupRefused(
                f"The database is in use by {others} other session{'s' * (others > 1)} of this pipeline, and was not "
                "changed.",
                advice="Stop every process of the deployment (the admin page, Dagster, a sync) and try again.",
            )
        found = read_revision(connection)
    engine.dispose()
    prelude = [r"\set ON_ERROR_STOP on", "BEGIN;", f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s';"]
    if found is not None:
        if found != revision:
            raise BackupRefused(
                f"The backup is at schema {revision}, and the database is not. Nothing was changed.",
                advice="Make an empty database, name it in DATABASE_URL, restore there, then run "
                "`xero-pipeline migrate`.",
            )
        command.insert(0, "--data-only")
        quote = engine.dialect.identifier_preparer.quote
        names = ", ".join(f"{quote(schema)}.{quote(table)}" for of, table in listed if of == schema)
        prelude.append(f"TRUNCATE {names} RESTART IDENTITY;")
    _pipe(command, prelude, engine)


# Our own connections: every process of a deployment has this name, and one role sees its own sessions.
_OTHER_SESSIONS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = :name"
)


def _pipe(command: Sequence[str], prelude: Sequence[str], engine: Engine) -> None:
    """Let psql execute what pg_restore writes. COMMIT is sent only when pg_restore has ended well."""
    source = _start("pg_restore", command, stdout=subprocess.PIPE)
    quietly = ["--no-psqlrc", "--quiet", "--output=/dev/null"]
    sink = _start("psql", quietly, _build_environment(engine), stdin=subprocess.PIPE)
    assert source.stdout is not None and sink.stdin is not None  # noqa: PT018, S101
    try:
        sink.stdin.write("\n".join([*prelude, ""]).encode())
        sink.stdin.flush()
        shutil.copyfileobj(source.stdout, sink.stdin)
        has_ended_well = source.wait() == 0
        sink.stdin.write(b"\nCOMMIT;\n" if has_ended_well else b"\nROLLBACK;\n")
        sink.stdin.close()
    except BrokenPipeError:
        # psql stopped at an error. Its own words follow below.
        source.kill()
        with contextlib.suppress(BrokenPipeError):
            sink.stdin.close()
    source.stdout.close()
    source_said, sink_said = _read_stderr(source), _read_stderr(sink)
    if sink.wait() != 0:
        raise _build_failure("psql", sink_said)
    if source.wait() != 0:
        raise _build_failure("pg_restore", source_said)


def _run(tool: str, arguments: Sequence[str], engine: Engine | None = None) -> str:
    process = _start(tool, arguments, _build_environment(engine) if engine else None, stdout=subprocess.PIPE)
    output, errors = process.communicate()
    if process.returncode != 0:
        raise _build_failure(tool, errors.decode(errors="replace"))
    return bytes(output).decode(errors="replace")


def _start(
    tool: str, arguments: Sequence[str], environment: dict[str, str] | None = None, **streams: Any
) -> subprocess.Popen[bytes]:
    program = shutil.which(tool)
    if program is None:
        raise BackupRefused(
            f"{tool} is not installed, and PostgreSQL is backed up and restored with its own tools.",
            advice="Install PostgreSQL's client (on Debian postgresql-client), at least of the server's version.",
        )
    command = [program, *(["--no-password"] if tool != "pg_restore" else []), *arguments]
    streams.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **streams)  # noqa: S603 - our own command


def _read_stderr(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None  # noqa: S101
    with process.stderr:
        return process.stderr.read().decode(errors="replace")


def _build_failure(tool: str, errors: str) -> BackupRefused:
    # Their first line names tables, roles and hosts. The lines after it may quote rows.
    lines = [line for line in errors.splitlines() if line.strip() and not line.startswith(("psql:<stdin>", "COPY"))]
    first = next((line for line in errors.splitlines() if "error" in line.lower()), (lines or ["no reason given"])[0])
    shown = "".join(character for character in first if character.isprintable())[:300]
    return BackupRefused(f"{tool} failed: {shown.strip().rstrip('.')}. Nothing was changed.")


def _build_environment(engine: Engine) -> dict[str, str]:
    """This process's environment with the server of `engine` in libpq's own variables."""
    _, parameters = engine.dialect.create_connect_args(engine.url)
    # DATABASE_URL alone says which server it is.
    environment = {name: value for name, value in os.environ.items() if name not in _VARIABLES.values()}
    for name, value in parameters.items():
        if name in _VARIABLES:
            environment[_VARIABLES[name]] = str(value)
    return environment


def _read_schema(engine: Engine) -> str:
    with engine.connect() as connection:
        schema = connection.execute(text("SELECT current_schema()")).scalar_one()
    if schema is None:
        raise BackupRefused("The user of DATABASE_URL has no schema to create tables in.")
    return str(schema)
