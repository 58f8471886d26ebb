"""What every test may use: a clock that a test moves, and both databases, empty, for each test."""

from __future__ import annotations

import atexit
import gc
import os
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.migrated import empty_postgres, make_tables

# The same examples every time, so that what passes here passes in CI; HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis_settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis_settings.register_profile("explore", deadline=None)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@event.listens_for(Engine, "connect")
def _no_power_cuts(connection: object, _record: object) -> None:
    """Killed processes are tested, power cuts are not: no commit waits for the disk, Dagster's neither."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


# What takes longest begins first, so that no worker is left alone with it at the end.
_LONGEST = ("test_year", "test_wheel")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(_LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def _dagsters_own_migrations_are_read_once() -> Iterator[None]:
    """Each new instance of Dagster marks its storage as being at the newest one, for which Alembic would load all
    hundred of them again."""
    read, known = ScriptDirectory.from_config, dict[str, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location") or ""
        if not place.startswith("dagster"):
            return read(config)
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


# What is imported never becomes garbage: looking for some in all of Dagster took a sixteenth of the time.
gc.disable()


def pytest_collection_finish() -> None:
    atexit.register(gc.freeze)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


class FakeClock:
    """A clock that stands still until a test moves it; sleeping only moves it on."""

    def __init__(self, start: datetime | None = None) -> None:
        self.moment = start or datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += timedelta(seconds=max(0.0, seconds))

    def advance(self, **by: float) -> None:
        self.moment += timedelta(**by)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def _server_url() -> str:
    """The PostgreSQL server to test against, by `TEST_DATABASE_URL`."""
    return os.environ.get("TEST_DATABASE_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


def skip_or_fail(reason: str) -> None:
    """Without its real part a test is skipped, but never in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"in CI this is no reason to skip: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a database of this worker's own, dropped at the end."""
    server = create_engine(_server_url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    name = f"xero_test_{uuid.uuid4().hex[:12]}"
    try:
        with server.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
            # As for SQLite, above.
            connection.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    except OperationalError:
        skip_or_fail("no PostgreSQL server at TEST_DATABASE_URL")
    try:
        yield make_url(_server_url()).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The address of an empty database.

    Emptied, not made anew: each CREATE and DROP DATABASE waits for a checkpoint of the whole server, which
    took more of the suite's time than any test.
    """
    empty_postgres(postgres_server)
    return postgres_server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind: every test that uses it runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'warehouse.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def sqlite_warehouse(tmp_path: Path, clock: FakeClock) -> Iterator[Warehouse]:
    """Migrated; for what only SQLite does, or what needs no second database."""
    warehouse = Warehouse.open(f"sqlite:///{tmp_path / 'warehouse.db'}", [bytes(32)], clock)
    make_tables(warehouse.engine)
    yield warehouse
    warehouse.close()
