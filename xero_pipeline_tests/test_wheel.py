"""The wheel alone is enough to run the pipeline: it contains the templates, the migrations and the mock."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from xero_pipeline.connection import ConnectionService
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline_tests.migrated import make_tables

pytest.importorskip("build")

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "own_definitions" / "definitions.py"
TAGS = '{"dagster/partition": "2026-11-15"}'


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    base = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    process = subprocess.run(
        command, cwd=folder, env=base | environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel in a folder of its own. Its dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    # The build uses a copy without untracked folders, so that the wheel does not depend on them.
    source = folder / "source"
    ignored = shutil.ignore_patterns(".git", ".venv", "data", "__pycache__", ".*_cache", "xero_pipeline_tests", "docs")
    shutil.copytree(ROOT, source, ignore=ignored)
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)], source)
    (wheel,) = folder.glob("*.whl")
    shutil.unpack_archive(wheel, folder / "site", "zip")
    return folder / "site"


def test_the_wheel_migrates_connects_and_syncs_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(installed), "XERO_MOCK_MODE": "true", "XERO_ENCRYPTION_KEY": secrets.token_hex(32)}

    # One process: to start one takes longer than most commands.
    script = (
        "import xero_pipeline; from xero_pipeline.cli.main import cli; print(xero_pipeline.__file__)\n"
        "for line in ('migrate', 'connect', 'sync --weeks 2'): cli.main(line.split(), standalone_mode=False)"
    )
    printed = run([sys.executable, "-c", script], tmp_path, **environment).stdout
    assert str(installed) in printed
    assert "success" in printed
    assert (tmp_path / "data" / "xero.db").exists()
    assert (tmp_path / "dagster.yaml").read_text() == (ROOT / "dagster.yaml").read_text()


def test_the_wheel_contains_the_page_the_migrations_and_the_templates(installed: Path) -> None:
    package = installed / "xero_pipeline"
    for file in (
        "py.typed",
        "admin/templates/index.html",
        "admin/static/app.js",
        "admin/static/vendor/chart.umd.min.js",
        "admin/static/vendor/inter-latin.woff2",
        "admin/static/vendor/inter-LICENSE.txt",
        "warehouse/migrations/env.py",
        "warehouse/migrations/versions/0001_initial.py",
        "deployment/dagster.yaml",
        "deployment/workspace.yaml",
        "deployment/env.example",
    ):
        assert (package / file).is_file(), file
    assert list(package.rglob("mock_xero/**/*.html"))
    assert not list(package.rglob("*.db"))


def test_a_project_of_ones_own_loads_the_assets_under_its_prefix_and_syncs_a_week(
    installed: Path, tmp_path: Path
) -> None:
    settings = {"XERO_MOCK_MODE": "true", "XERO_ENCRYPTION_KEY": secrets.token_hex(32), "DAGSTER_HOME": str(tmp_path)}
    shutil.copy(EXAMPLE, tmp_path)
    where = [sys.executable, "-c", "import xero_pipeline; print(xero_pipeline.__file__)"]
    assert str(installed) in run(where, tmp_path, PYTHONPATH=str(installed)).stdout
    with Deployment(load_settings(**settings)) as deployment:
        tmp_path.joinpath("data").mkdir(exist_ok=True)
        make_tables(deployment.warehouse.engine)
        (organisation,) = ConnectionService(deployment).connect_mock()
        environment = settings | {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "PYTHONWARNINGS": "ignore"}
        command = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-f", EXAMPLE.name]
        done = subprocess.run(
            [*command, "-j", "sync_the_books", "--tags", TAGS],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        landed = deployment.warehouse.log.list_landed_weeks(organisation.tenant_id, date(2026, 1, 1))
    assert [len(weeks) for weeks in landed.values()] == [1, 1, 1]
    for table in ("financial_weekly", "revenue_weekly", "cash_position_weekly"):
        assert f"on 'xero/{table}' passed" in done.stderr + done.stdout
