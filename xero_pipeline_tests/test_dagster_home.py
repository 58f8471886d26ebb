"""A deployment's folder is prepared once, also when several processes start at the same time."""

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
