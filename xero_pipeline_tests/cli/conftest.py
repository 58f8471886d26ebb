"""A deployment's folder, and the commands run in it as a person types them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from xero_pipeline.cli.main import cli
from xero_pipeline.clock import SystemClock
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.migrated import make_tables

OLD, NEW = "5e" * 32, "6f" * 32


class Folder:
    """A deployment's folder, whose database is migrated."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            "XERO_MOCK_MODE": "true",
            "XERO_ENCRYPTION_KEY": OLD,
            "DAGSTER_HOME": str(folder),
            "DATABASE_URL": f"sqlite:///{folder / 'xero.db'}",
        }
        with self.warehouse(OLD) as opened:
            make_tables(opened.engine)

    def run(self, *arguments: str, **settings: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), env=self.environment | settings)

    def warehouse(self, *keys: str) -> _Opened:
        return _Opened(self.environment["DATABASE_URL"], keys)


class _Opened:
    def __init__(self, url: str, keys: tuple[str, ...]) -> None:
        self._warehouse = Warehouse.open(url, [bytes.fromhex(key) for key in keys], SystemClock())

    def __enter__(self) -> Warehouse:
        return self._warehouse

    def __exit__(self, *_: object) -> None:
        self._warehouse.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("XERO_", "DAGSTER_", "ADMIN_"))]:
        monkeypatch.delenv(name)
    return Folder(tmp_path)


def one_line(result: Result) -> str:
    """The error: one line on stderr, exit status 1."""
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    return lines[0]
