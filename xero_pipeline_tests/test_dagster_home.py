"""A deployment's folder is prepared once, also when several processes start at the same time."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import warnings
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from xero_pipeline.automation.dagster_health import is_running
from xero_pipeline.dagster_home import DagsterUnusable, open_instance
from xero_pipeline.settings import load_settings
from xero_pipeline_tests.conftest import skip_or_fail
from xero_pipeline_tests.on_request import only_on_request
from xero_pipeline_tests.plain_xero import PlainXero, open_connected_deployment

PROCESSES = 4


def open_home(home: str, barrier: Barrier, results: Queue[str]) -> None:
    warnings.simplefilter("ignore")
    settings = load_settings(XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=home)
    barrier.wait(60)
    try:
        with open_instance(settings) as instance:
            results.put(f"running: {is_running(instance, 'daily_sync')}")
    except Exception as error:  # noqa: BLE001 - the test shows it
        results.put(repr(error))


def test_processes_that_open_a_new_home_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    # With the preload Dagster is imported once, not by each process.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    barrier, results = server.Barrier(PROCESSES), server.Queue()
    children = [
        server.Process(target=open_home, args=(str(tmp_path / "home"), barrier, results)) for _ in range(PROCESSES)
    ]
    for child in children:
        child.start()
    assert [results.get(timeout=120) for _ in range(PROCESSES)] == ["running: False"] * PROCESSES
    for child in children:
        child.join()
    results.close()
    results.join_thread()


DEPLOY = Path(__file__).parent.parent / "deploy"
# Mounts the first argument read-only, in a namespace of its own, and then runs the rest.
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && shift && exec "$@"'
STATUS_AND_SYNC = """
from xero_pipeline.cli.main import cli
for command in (["status"], ["sync", "--json"]):
    cli(command, standalone_mode=False)
"""


def enter_read_only(folder: Path) -> list[str]:
    """The beginning of a command for which this folder is read-only, for root too."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--mount", *as_root, "sh", "-c", READ_ONLY, "sh", str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        skip_or_fail("no mount namespaces are allowed here")
    return command


@only_on_request
def test_a_read_only_home_is_enough_with_everything_in_postgresql(tmp_path: Path, postgres_url: str) -> None:
    home, url = tmp_path / "home", make_url(postgres_url)
    home.mkdir()
    shutil.copy(DEPLOY / "dagster.yaml", home)
    with open_connected_deployment(tmp_path, PlainXero(), DATABASE_URL=postgres_url) as (_deployment, server):
        environment = {
            "XERO_CLIENT_ID": "app",
            "XERO_CLIENT_SECRET": "app-secret",
            "XERO_ENCRYPTION_KEY": "5e" * 32,
            "XERO_GRANT": "client_credentials",
            "XERO_API_URL": server.url,
            "XERO_IDENTITY_URL": server.url,
            "DATABASE_URL": postgres_url,
            "PIPELINE_TIMEZONE": "UTC",
            "DAGSTER_HOME": str(home),
            "DAGSTER_PG_HOST": url.host or "",
            "DAGSTER_PG_PORT": str(url.port or 5432),
            "DAGSTER_PG_USERNAME": url.username or "",
            "DAGSTER_PG_PASSWORD": url.password or "none",
            "DAGSTER_PG_DB": url.database or "",
        }
        done = subprocess.run(
            [*enter_read_only(home), sys.executable, "-c", STATUS_AND_SYNC],
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert "Xero: connected" in done.stdout
    assert '"status": "success"' in done.stdout
    assert [file.name for file in home.iterdir()] == ["dagster.yaml"]


def test_a_read_only_home_without_dagster_yaml_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(tmp_path))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(DagsterUnusable, match=r"is read-only and has no dagster.yaml. Put deploy/dagster.yaml there"):
        open_instance(settings)
