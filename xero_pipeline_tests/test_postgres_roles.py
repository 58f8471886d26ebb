"""`deploy/postgres-roles.sql`: the pipeline works with the least rights, and a dashboard sees no token."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from xero_pipeline.admin.app import create_app
from xero_pipeline.cli.main import cli
from xero_pipeline.settings import load_settings
from xero_pipeline_tests.admin.serving import serve_app
from xero_pipeline_tests.cli.conftest import OLD, one_line
from xero_pipeline_tests.conftest import skip_or_fail

SCRIPT = Path(__file__).parent.parent / "deploy" / "postgres-roles.sql"
PASSWORD = "a-password-of-a-test"


@dataclass
class Roles:
    """The test's database with roles of its own, since roles belong to the whole server."""

    server: str
    folder: Path
    owner: str
    app: str
    reader: str

    def url(self, role: str) -> str:
        return make_url(self.server).set(username=role, password=PASSWORD).render_as_string(hide_password=False)

    def connect(self, role: str | None = None) -> Engine:
        return create_engine(self.url(role) if role else self.server, poolclass=NullPool)

    def execute_script(self) -> None:
        url = make_url(self.server)
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        names = [f"-v{name}={getattr(self, name)}" for name in ("owner", "app", "reader")]
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *names, "-d", address, "-f", str(SCRIPT)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        with self.connect().begin() as connection:
            for role in (self.owner, self.app, self.reader):
                connection.execute(text(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'"))

    def settings(self, role: str) -> dict[str, str]:
        return {
            "XERO_MOCK_MODE": "true",
            "XERO_ENCRYPTION_KEY": OLD,
            "DAGSTER_HOME": str(self.folder),
            "DATABASE_URL": self.url(role),
        }

    def run(self, role: str, *arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), env=self.settings(role))


@pytest.fixture
def roles(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Roles]:
    if shutil.which("psql") is None:
        skip_or_fail("psql is not installed")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("XERO_", "DAGSTER_", "ADMIN_"))]:
        monkeypatch.delenv(name)
    suffix = uuid.uuid4().hex[:10]
    roles = Roles(postgres_url, tmp_path, *(f"xero_{name}_{suffix}" for name in ("owner", "app", "reader")))
    roles.execute_script()
    yield roles
    with roles.connect().begin() as connection:
        for role in (roles.owner, roles.app, roles.reader):
            connection.execute(text(f"DROP OWNED BY {role} CASCADE"))
            connection.execute(text(f"DROP ROLE {role}"))


@pytest.fixture
def migrated(roles: Roles) -> Roles:
    assert roles.run(roles.owner, "migrate").exit_code == 0
    roles.execute_script()
    return roles


def test_every_command_and_the_admin_page_work_with_the_rights_of_the_app(migrated: Roles) -> None:
    roles = migrated
    for command in (
        ["connect"],
        ["sync", "--weeks", "1"],
        ["sync", "--weeks", "1"],
        ["status"],
        ["logs"],
        ["restatements"],
        ["rotate-key"],
        ["backup", "--to", "books.backup"],
    ):
        done = roles.run(roles.app, *command)
        assert done.exit_code == 0, (command, done.output)
    settings = load_settings(**roles.settings(roles.app))
    with serve_app(lambda url: create_app(settings.model_copy(update={"server_url": url}))) as url:
        assert httpx.get(f"{url}/healthz").json()["database"] == "ok"
        status = httpx.get(f"{url}/api/v1/xero/status")
        assert (status.status_code, status.json()["connected"]) == (200, True)
        assert httpx.get(f"{url}/api/v1/xero/sync-logs").json()
        gone = httpx.post(f"{url}/api/v1/xero/disconnect", headers={"Origin": url})
        assert gone.status_code == 200
    assert roles.run(roles.app, "lockdown").exit_code == 0


def test_the_app_can_change_no_table(migrated: Roles) -> None:
    with migrated.connect(migrated.app).connect() as connection:
        for statement in (
            "CREATE TABLE mine (id int)",
            "DROP TABLE financial_weekly",
            "ALTER TABLE financial_weekly ADD COLUMN mine int",
            "TRUNCATE financial_weekly",
            "UPDATE xero_pipeline_alembic_version SET version_num = '0'",
        ):
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
                connection.execute(text(statement))
            connection.rollback()


def test_without_the_rights_to_migrate_it_is_one_line(roles: Roles) -> None:
    assert "the user of DATABASE_URL needs" in one_line(roles.run(roles.app, "migrate"))


def test_a_dashboard_reads_figures_and_sees_no_token(migrated: Roles) -> None:
    roles = migrated
    assert roles.run(roles.app, "connect").exit_code == 0
    assert roles.run(roles.app, "sync", "--weeks", "1").exit_code == 0
    with roles.connect(roles.reader).connect() as connection:
        rows = connection.execute(text("SELECT week_ending, net_profit, closing_cash FROM weekly_summary")).all()
        assert len(rows) == 1
        for table in ("xero_tokens", "oauth_states", "alerts", "xero_pipeline_alembic_version"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                connection.execute(text(f"SELECT * FROM {table}"))
            connection.rollback()
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.commit()
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("DELETE FROM financial_weekly"))


def test_no_table_that_a_dashboard_reads_has_a_column_for_a_secret(migrated: Roles) -> None:
    with migrated.connect().connect() as connection:
        found = inspect(connection)
        relations = {*found.get_table_names(), *found.get_view_names()}
        may_read = text("SELECT has_table_privilege(:role, :relation, 'SELECT')")
        readable = {
            relation
            for relation in relations
            if connection.execute(may_read, {"role": migrated.reader, "relation": relation}).scalar_one()
        }
        columns = {f"{name}.{column['name']}" for name in readable for column in found.get_columns(name)}
    assert "weekly_summary" in readable
    words = ("token", "secret", "hash", "verifier", "password", "cookie")
    assert [column for column in columns if any(word in column for word in words)] == []
