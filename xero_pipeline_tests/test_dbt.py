"""The dbt project: its sources are those of the schema, and it builds on both databases (with DBT=full).

dbt needs an environment of its own, whose installation takes longer than many tests.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from xero_pipeline.cli.main import cli
from xero_pipeline_tests.dbt_sources import FILE, render_sources

PROJECT = FILE.parents[1]
FIGURES = {
    "xero_profit_and_loss": ("contribution", "SELECT net_profit FROM financial_weekly"),
    "xero_revenue_by_month": ("net_revenue", "SELECT net_revenue FROM revenue_weekly"),
    "xero_week_by_week": ("closing_cash", "SELECT closing_balance FROM cash_position_weekly"),
}


def test_the_sources_are_the_tables_with_their_columns_and_meanings() -> None:
    assert FILE.read_text() == render_sources(), "run `python -m xero_pipeline_tests.dbt_sources`"
    named = {table["name"] for table in yaml.safe_load(FILE.read_text())["sources"][0]["tables"]}
    models = {file.stem: file.read_text() for file in (PROJECT / "models" / "marts").glob("*.sql")}
    texts = [*models.values(), *(file.read_text() for file in (PROJECT / "tests").glob("*.sql"))]
    assert {name for each in texts for name in re.findall(r"source\('xero', '(\w+)'\)", each)} <= named
    described = {model["name"] for model in yaml.safe_load((PROJECT / "models/marts/marts.yml").read_text())["models"]}
    assert models.keys() == described == FIGURES.keys()


@pytest.fixture(scope="module")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("DBT") != "full":
        pytest.skip("DBT=full builds the dbt project, in an environment that takes a minute to install")
    folder, uv = tmp_path_factory.mktemp("dbt"), Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    requirements = PROJECT / "requirements.txt"
    subprocess.run([uv, "pip", "install", "-q", "--python", folder / "bin" / "python", "-r", requirements], check=True)
    return folder / "bin" / "dbt"


def test_it_parses_and_builds_with_exact_sums(
    dbt: Path, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "XERO_MOCK_MODE": "true",
        "XERO_ENCRYPTION_KEY": "5e" * 32,
        "DAGSTER_HOME": str(tmp_path),
        "DATABASE_URL": database_url,
    }
    monkeypatch.chdir(tmp_path)
    for command in (["migrate"], ["connect"], ["sync", "--weeks", "3"]):
        result = CliRunner().invoke(cli, command, env=settings)
        assert result.exit_code == 0, result.output
    url = make_url(database_url)
    is_sqlite = url.get_backend_name() == "sqlite"
    environment = os.environ | {
        "XERO_DBT_TARGET": "sqlite" if is_sqlite else "postgres",
        "XERO_SQLITE_FILE": str(url.database),
        "XERO_MARTS_FILE": str(tmp_path / "marts.db"),
        "XERO_MARTS_FOLDER": str(tmp_path),
        "PGHOST": url.host or "",
        "PGPORT": str(url.port or 5432),
        "PGUSER": url.username or "",
        "PGPASSWORD": url.password or "",
        "PGDATABASE": str(url.database),
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
    }
    for command in (["parse"], ["build"]):
        done = subprocess.run([dbt, *command], cwd=PROJECT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    assert "WARN=0 ERROR=0 SKIP=0" in done.stdout
    for mart, (column, expected) in FIGURES.items():
        if is_sqlite:
            with closing(sqlite3.connect(tmp_path / "marts.db")) as marts:
                amounts = [row[0] for row in marts.execute(f"SELECT {column} FROM {mart}")]
            with closing(sqlite3.connect(str(url.database))) as database:
                rows = [row[0] for row in database.execute(expected)]
            assert {type(amount) for amount in amounts} == {str}
        else:
            engine = create_engine(url)
            with engine.connect() as connection:
                amounts = list(connection.execute(text(f"SELECT {column} FROM xero_marts.{mart}")).scalars())
                rows = list(connection.execute(text(expected)).scalars())
                connection.execute(text(f"DROP TABLE xero_marts.{mart}"))
                connection.commit()
            engine.dispose()
            assert {type(amount) for amount in amounts} == {Decimal}
        assert sum(map(Decimal, amounts)) == sum(map(Decimal, rows)), mart
