"""The wheel alone is enough to run the pipeline: it contains the templates, the migrations and the mock."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("build")

ROOT = Path(__file__).parent.parent


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
        "warehouse/migrations/env.py",
        "warehouse/migrations/versions/0001_initial.py",
        "deployment/dagster.yaml",
        "deployment/workspace.yaml",
        "deployment/env.example",
    ):
        assert (package / file).is_file(), file
    assert list(package.rglob("mock_xero/**/*.html"))
    assert not list(package.rglob("*.db"))
