"""Everything that a deployment writes is its owner's alone, whatever the umask of whoever starts it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from xero_pipeline.dagster_home import close_home, prepare_home
from xero_pipeline.mock_xero.faults import FaultKind, MockFault
from xero_pipeline.private_files import close_to_others
from xero_pipeline.settings import load_settings
from xero_pipeline_tests.dev import DevDeployment, run_dev
from xero_pipeline_tests.on_request import only_on_request

KEY = "9f3b0c57d2e8461ab07c94e5f1d86a2374be0d95c8a1f6e3527b8d40196ce7fa"


def list_open_files(folder: Path) -> list[str]:
    """Files and folders below `folder` that give their group or others any right."""
    found = sorted(path for path in folder.rglob("*") if not path.is_symlink() and path.lstat().st_mode & 0o077)
    return [f"{stat.filemode(path.lstat().st_mode)} {path.relative_to(folder)}" for path in found]


# Runs several commands, each as a person types it, in one process: to start one takes longer than most commands.
RUN_EACH = """\
import os, sys
from xero_pipeline.cli import main
for line in sys.argv[1:]:
    os.umask(0)
    sys.argv = ["xero-pipeline", *line.split()]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def run(deployed: DevDeployment, *lines: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", RUN_EACH, *lines],
        cwd=deployed.folder,
        env=deployed.environment,
        capture_output=True,
        check=False,
        timeout=180,
    ).returncode


@only_on_request
def test_after_a_sync_dev_a_failing_run_and_a_backup_nobody_else_reads_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deployment"
    folder.mkdir()
    deployed = DevDeployment(folder, XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY=KEY, MISSING_WEEKS_SECONDS="5")
    (folder / ".env").write_text("SYNC_LOOKBACK_WEEKS=1\n")
    (folder / ".env").chmod(0o644)
    assert run(deployed, "migrate", "connect", "sync --weeks 1") == 0
    assert list_open_files(folder) == []
    with deployed.open() as opened:
        assert opened.backend.mock is not None
        opened.backend.mock.add_fault(MockFault(FaultKind.STATUS, path="Reports", status=400, times=None))
    assert run(deployed, "sync --weeks 1") == 1
    old_umask = os.umask(0)
    try:
        with run_dev(deployed):
            answer = deployed.query_dagster("{ runsOrError { ... on Runs { results { status } } } }")
            assert {run["status"] for run in answer["runsOrError"]["results"]} == {"SUCCESS", "FAILURE"}
    finally:
        os.umask(old_umask)
    # What it printed is in a file of this test's own.
    (folder / "dev.out").unlink()
    assert run(deployed, "backup --to books.backup") == 0
    assert list_open_files(folder) == []
    assert (folder / "data" / "dagster").is_dir()
    assert (folder / "books.backup").is_file()


def test_what_an_older_release_left_open_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    history = tmp_path / "data" / "dagster" / "history"
    history.mkdir(parents=True)
    outside = tmp_path / "somebody-elses"
    outside.write_text("")
    for file in (history / "runs.db", tmp_path / ".env", tmp_path / "xero.db"):
        file.write_text("")
    (history / "link").symlink_to(outside)
    for path in (outside, history / "runs.db", tmp_path / ".env", tmp_path / "xero.db"):
        path.chmod(0o666)
    for path in (tmp_path / "data", tmp_path / "data" / "dagster", history):
        path.chmod(0o777)
    prepare_home(
        load_settings(
            XERO_MOCK_MODE="true",
            XERO_ENCRYPTION_KEY=KEY,
            DAGSTER_HOME=str(tmp_path),
            DATABASE_URL=f"sqlite:///{tmp_path / 'xero.db'}",
        )
    )
    assert list_open_files(tmp_path / "data") == []
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / ".env", tmp_path / "xero.db")} == {
        ".env": 0o600,
        "xero.db": 0o600,
    }
    assert stat.S_IMODE(outside.stat().st_mode) == 0o666, "a link is not followed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_what_belongs_to_another_user_than_the_data_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root runs `migrate` for the user `xero`, whose services read root's `.env`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir(mode=0o755)
    os.chown(tmp_path / "data", 65534, 65534)
    (tmp_path / ".env").write_text("")
    (tmp_path / ".env").chmod(0o644)
    settings = load_settings(XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY=KEY, DAGSTER_HOME=str(tmp_path))
    close_home(settings)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o644


def test_rights_of_the_owner_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, mode in (("read-only", 0o444), ("script", 0o755), ("private", 0o600)):
        (tmp_path / "folder" / name).write_text("")
        (tmp_path / "folder" / name).chmod(mode)
    assert close_to_others(tmp_path / "folder", tmp_path / "missing") == 3
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "folder").iterdir()}
    assert modes == {"read-only": 0o400, "script": 0o700, "private": 0o600}


def test_make_starts_everything_with_a_private_umask() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    recipes = [line for line in makefile.splitlines() if "$(BIN)/xero-pipeline" in line]
    assert recipes
    assert [line for line in recipes if "$(PRIVATELY)" not in line] == []
    assert "PRIVATELY := umask 077;" in makefile
