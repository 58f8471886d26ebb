"""A deployment that an older release made goes on under this one: its `.env`, its database, its Dagster storage.

`deployments/1.0.0.tar.xz` is the folder of release 1.0.0 (commit 8339860) after `migrate`, `connect` and
`sync --weeks 2` in mock mode, with a throw-away key.
"""

import json
import secrets
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from xero_pipeline_tests.on_request import only_on_request

RELEASES = sorted((Path(__file__).parent / "deployments").glob("*.tar.xz"))
COMMAND = Path(sys.executable).parent / "xero-pipeline"
FIGURES = ("financial_weekly", "financial_weekly_lines", "revenue_weekly", "cash_position_weekly")


@pytest.fixture(params=RELEASES, ids=lambda file: file.name.removesuffix(".tar.xz"))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def run(folder: Path, *words: str) -> str:
    environment = {"DAGSTER_HOME": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run([COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "data" / "xero.db") as connection:
        return connection.execute(statement).fetchall()


def replace_weak_key(folder: Path) -> None:
    """Do what the refusal of the throw-away key says: older releases took any key."""
    file = folder / ".env"
    old = next(line for line in file.read_text().splitlines() if line.startswith("XERO_ENCRYPTION_KEY="))
    refused = subprocess.run([COMMAND, "migrate"], cwd=folder, env={}, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "XERO_ENCRYPTION_KEY is one byte again and again" in refused.stderr
    assert "put the old one into XERO_ENCRYPTION_KEYS_RETIRED and run `xero-pipeline rotate-key`" in refused.stderr
    retired = old.replace("KEY=", "KEYS_RETIRED=")
    text = file.read_text().replace("XERO_ENCRYPTION_KEYS_RETIRED=", retired)
    file.write_text(text.replace(old, f"XERO_ENCRYPTION_KEY={secrets.token_hex(32)}"))


@only_on_request
def test_a_deployment_of_an_older_release_goes_on(folder: Path) -> None:
    figures = {table: rows(folder, f"SELECT * FROM {table}") for table in FIGURES}
    weeks = [week for (week,) in rows(folder, "SELECT DISTINCT week_ending FROM financial_weekly ORDER BY 1")]
    assert len(weeks) == 2
    assert all(figures.values())

    replace_weak_key(folder)
    run(folder, "migrate")
    assert "now encrypted under the current key" in run(folder, "rotate-key")
    for table, held in figures.items():
        columns = ", ".join(name for (name,) in rows(folder, f"SELECT name FROM pragma_table_info('{table}')"))
        assert len(rows(folder, f"SELECT {columns} FROM {table}")) == len(held), table
    [organisation] = json.loads(run(folder, "status", "--json"))["organisations"]
    assert organisation["status"] == "connected"
    assert organisation["lastSyncAt"]
    runs = {run_id for (run_id,) in rows(folder, "SELECT DISTINCT dagster_run_id FROM xero_sync_logs")}
    with sqlite3.connect(folder / "data" / "dagster" / "history" / "runs.db") as connection:
        assert runs == {run_id for (run_id,) in connection.execute("SELECT run_id FROM runs WHERE status = 'SUCCESS'")}

    # Its tokens are decrypted and refreshed, and its weeks are read again by the new code to the same cent.
    run(folder, "sync", "--from", str(weeks[0]), "--to", str(weeks[-1]))
    assert rows(folder, "SELECT count(*) FROM restatements") == [(0,)]
    assert rows(folder, "SELECT count(*) FROM xero_sync_logs WHERE status = 'success'") == [(12,)]
    for table, held in figures.items():
        assert len(rows(folder, f"SELECT * FROM {table}")) == len(held), table
