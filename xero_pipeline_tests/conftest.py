"""Fixtures for every test: a clock that the test moves, and an empty database of each kind."""

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

# The same examples in every run, so that local runs and CI agree. HYPOTHESIS_PROFILE=explore tries new ones.
hypothesis_settings.register_profile("steady", derandomize=True, deadline=None, max_examples=50)
hypothesis_settings.register_profile("explore", deadline=None, max_examples=300)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


# The tests' keys and tokens are short and plain. `test_strength.py` tests that such ones are refused.
os.environ.setdefault("ALLOW_INSECURE", "weak_secrets")


@event.listens_for(Engine, "connect")
def _commit_without_waiting_for_the_disk(connection: object, _record: object) -> None:
    """Speed up every commit, Dagster's too. The tests kill processes, but they do not test power cuts."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


# The longest modules start first, so that at the end all workers are busy.
_LONGEST_MODULES = (
    "test_year",
    "test_reconcile",
    "test_private_files",
    "test_nginx",
    "test_upgrade",
    "test_simulator",
    "test_fault_matrix",
    "test_wheel",
    "test_skewed_clocks",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(_LONGEST_MODULES)}
    items.sort(key=lambda item: order.get(item.path.stem, len(_LONGEST_MODULES)))


@pytest.fixture(scope="session", autouse=True)
def _cache_dagsters_own_migrations() -> Iterator[None]:
    """Read Dagster's own migrations once.

    Each new Dagster instance marks its storage with the newest migration. For that, Alembic loads about a hundred
    migrations each time.
    """
    original, cache = ScriptDirectory.from_config, dict[str, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location") or ""
        if not location.startswith("dagster"):
            return original(config)
        if location not in cache:
            cache[location] = original(config)
        return cache[location]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


# Imported modules never become garbage. To search all of Dagster for garbage took a sixteenth of the time.
gc.disable()


def pytest_collection_finish() -> None:
    atexit.register(gc.freeze)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


class FakeClock:
    """A clock that stands still until a test moves it. `sleep` moves it too, without waiting."""

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


def _read_server_url() -> str:
    """The address of the PostgreSQL server for the tests, from `TEST_DATABASE_URL`."""
    return os.environ.get("TEST_DATABASE_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


def skip_or_fail(reason: str) -> None:
    """Skip a test that lacks a server or a browser. In CI this is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"no test may be skipped in CI: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of this worker's own database, which is dropped at the end."""
    server = create_engine(_read_server_url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    name = f"xero_test_{uuid.uuid4().hex[:12]}"
    try:
        with server.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
            # No commit waits for the disk, as for SQLite above.
            connection.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    except OperationalError:
        skip_or_fail("no PostgreSQL server at TEST_DATABASE_URL")
    try:
        yield make_url(_read_server_url()).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The address of an empty database.

    The worker's database is emptied for each test and not created again. Each CREATE and DROP DATABASE waits for a
    checkpoint of the whole server, which took more of the suite's time than any test.
    """
    empty_postgres(postgres_server)
    return postgres_server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database. A test that uses it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'warehouse.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def sqlite_warehouse(tmp_path: Path, clock: FakeClock) -> Iterator[Warehouse]:
    """A migrated warehouse on SQLite, for tests that need only one kind of database."""
    warehouse = Warehouse.open(f"sqlite:///{tmp_path / 'warehouse.db'}", [bytes(32)], clock)
    make_tables(warehouse.engine)
    yield warehouse
    warehouse.close()
