"""The database at its edge: a real SQLite file or PostgreSQL database whose statements fail when a seed says so.

All processes of a simulation share one engine, since statements are compiled once for each engine. Which process runs a
statement is known, because one runs at a time. A failing statement raises what its driver raises, so the package's own
translation of errors is used.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from simulator.processes import Machine, Process
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.migrating import migrate

SERVER = os.environ.get("TEST_DATABASE_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it are made by tempfile

# What SQLite and PostgreSQL say: the name of the fault, SQLite's error, PostgreSQL's.
FAULTS = {
    "locked": (("SQLITE_BUSY", "database is locked"), ("40P01", "deadlock detected")),
    "disk full": (("SQLITE_FULL", "database or disk is full"), ("53100", "could not extend file: No space left")),
    "read-only": (
        ("SQLITE_READONLY", "attempt to write a readonly database"),
        ("25006", "cannot execute in a read-only transaction"),
    ),
    "lost": (("SQLITE_IOERR", "disk I/O error"), ("", "server closed the connection unexpectedly")),
    "out of connections": (("SQLITE_CANTOPEN", "unable to open database file"), ("53300", "too many clients already")),
    "cancelled": (("SQLITE_PROTOCOL", "locking protocol"), ("57014", "canceling statement due to statement timeout")),
}


@dataclass
class ArmedFault:
    """A fault of the database: after `skip` statements of processes, `times` of them fail, or all until `until`."""

    kind: str
    skip: int
    times: int
    until: datetime | None = None


class SimulatedDatabase:
    """The database of one simulation, empty and migrated. `armed` are the faults that wait for their statement."""

    def __init__(self, folder: Path, machine: Machine, *, postgres: bool) -> None:
        self._machine = machine
        self.is_postgres = postgres
        self.armed: list[ArmedFault] = []
        self.url = _make_postgres() if postgres else _make_sqlite(folder)
        self.engine = open_engine(self.url)
        self._hook(self.engine)

    def close(self) -> None:
        self.engine.dispose()
        if self.is_postgres:
            _drop_postgres(self.url)

    def cut_connections(self) -> None:
        """The server restarts: every connection that is not in use is gone."""
        self.engine.dispose()

    def _hook(self, engine: Engine) -> None:
        if not self.is_postgres:

            @event.listens_for(engine, "connect")
            def _hasten(connection: sqlite3.Connection, _record: object) -> None:
                connection.execute("PRAGMA synchronous = OFF")
                # One process runs at a time: a lock that is held is held by one that waits, and never gets free.
                connection.execute("PRAGMA busy_timeout = 100")

        @event.listens_for(engine, "checkout")
        def _begin(_dbapi: object, record: Any, _proxy: object) -> None:
            process = self._machine.current
            record.info["process"] = process
            if process is None:
                return
            if process.transactions == 0:
                draw = self._machine.draw
                process.sleep(_draw_pause(draw, process) if len(self._machine.processes) > 1 else 0.002)
            process.transactions += 1

        @event.listens_for(engine, "checkin")
        def _end(_dbapi: object, record: Any) -> None:
            process = record.info.pop("process", None)
            if process is not None:
                process.transactions -= 1

        # Methods of the dialect rather than SQLAlchemy's events, which take longer than SQLite does.
        dialect: Any = engine.dialect
        execute, executemany, commit = dialect.do_execute, dialect.do_executemany, dialect.do_commit

        def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            self._meet(cursor.connection, statement)
            execute(cursor, statement, parameters, context)

        def do_executemany(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            self._meet(cursor.connection, statement)
            executemany(cursor, statement, parameters, context)

        def do_commit(connection: Any) -> None:
            self._meet(connection, "COMMIT")
            commit(connection)
            process = self._machine.current
            if process is not None:
                process.step()

        dialect.do_execute, dialect.do_executemany, dialect.do_commit = do_execute, do_executemany, do_commit

    def _meet(self, connection: Any, statement: str) -> None:
        process = self._machine.current
        if process is None:
            return
        process.step()
        if not self.armed:
            return
        for fault in list(self.armed):
            if fault.until is not None and self._machine.scheduler.now() >= fault.until:
                self.armed.remove(fault)
                continue
            if fault.kind in ("disk full", "read-only") and _only_reads(statement):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            if fault.times <= 0 and fault.until is None:
                self.armed.remove(fault)
            process.was_disturbed = process.lost_statement = True
            self._machine.note(f"database: {fault.kind}")
            self._fail(connection, fault.kind)

    def _fail(self, connection: Any, kind: str) -> None:
        (name, message), (state, pg_message) = FAULTS[kind]
        if not self.is_postgres:
            error = sqlite3.OperationalError(message)
            error.sqlite_errorname = name
            raise error
        import psycopg

        if not state:
            # A commit gets the pool's own object, whose `close` would only give it back.
            getattr(connection, "dbapi_connection", connection).close()
            raise psycopg.OperationalError(pg_message)
        raise psycopg.errors.lookup(state)(pg_message)


def _draw_pause(draw: random.Random, process: Process) -> float:
    """How long a process that runs beside others waits before a transaction; longest before it lands a week."""
    if process.is_landing and draw.random() < 0.3:
        return draw.uniform(1.0, 15.0)
    return draw.uniform(0.0, 4.0) if draw.random() < 0.1 else 0.002


def _only_reads(statement: str) -> bool:
    return statement.lstrip()[:6].upper() in ("SELECT", "BEGIN", "BEGIN ", "COMMIT", "SET")


_templates: dict[str, Path | str] = {}


def make_folder() -> Path:
    """A folder in memory where there is one."""
    return Path(tempfile.mkdtemp(prefix="simulator-", dir=MEMORY if MEMORY.is_dir() else None))


def _make_sqlite(folder: Path) -> URL:
    template = _templates.get("sqlite")
    if template is None:
        place = make_folder()
        template = place / "template.db"
        engine = open_engine(URL.create("sqlite", database=str(template)))
        migrate(engine)
        engine.dispose()
        _templates["sqlite"] = template
    file = folder / "figures.db"
    shutil.copy(template, file)
    file.chmod(0o600)
    return URL.create("sqlite", database=str(file))


def _make_postgres() -> URL:
    server = make_url(SERVER)
    template = str(_templates.get("postgres") or "")
    with create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        if not template:
            template = f"simulator_template_{os.getpid()}"
            connection.execute(text(f'DROP DATABASE IF EXISTS "{template}"'))
            connection.execute(text(f'CREATE DATABASE "{template}"'))
            engine = open_engine(server.set(database=template), pooled=False)
            migrate(engine)
            engine.dispose()
            _templates["postgres"] = template
        name = f"simulator_{os.getpid()}_{len(_templates)}"
        _templates[name] = name
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    return server.set(database=name)


def _drop_postgres(url: URL) -> None:
    with create_engine(make_url(SERVER), poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)'))


def remove_templates() -> None:
    """Remove what this process made for all its simulations."""
    template = _templates.pop("sqlite", None)
    if isinstance(template, Path):
        shutil.rmtree(template.parent, ignore_errors=True)
    name = _templates.pop("postgres", None)
    if name:
        _drop_postgres(make_url(SERVER).set(database=str(name)))
    _templates.clear()
