"""A deployment's folder: made ready once, whoever comes first."""

from __future__ import annotations

import multiprocessing
import warnings
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from xero_pipeline.automation.dagster_health import is_running
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.settings import load_settings

PROCESSES = 4


def open_at_once(home: str, together: Barrier, said: Queue[str]) -> None:
    warnings.simplefilter("ignore")
    settings = load_settings(XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=home)
    together.wait(60)
    try:
        with open_instance(settings) as instance:
            said.put(f"running: {is_running(instance, 'daily_sync')}")
    except Exception as error:  # noqa: BLE001 - told to the test
        said.put(repr(error))


def test_processes_that_open_a_new_home_at_once_all_get_it(tmp_path: Path) -> None:
    # Dagster is imported once, not by each of them.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    together, said = server.Barrier(PROCESSES), server.Queue()
    children = [
        server.Process(target=open_at_once, args=(str(tmp_path / "home"), together, said)) for _ in range(PROCESSES)
    ]
    for child in children:
        child.start()
    assert [said.get(timeout=120) for _ in range(PROCESSES)] == ["running: False"] * PROCESSES
    for child in children:
        child.join()
    said.close()
    said.join_thread()
