"""Which runs are taken for dead: those whose process is no more, and no other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import dagster as dg
import pytest

from xero_pipeline.automation.dead_runs import SILENCE, end_dead_runs
from xero_pipeline.clock import SystemClock
from xero_pipeline.resources import Deployment, build_resources
from xero_pipeline.run_liveness import WORKER, hold_run_lock, is_run_alive
from xero_pipeline.settings import Settings, load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.automation.scene import launched
from xero_pipeline_tests.migrated import cut_sessions, make_tables
from xero_pipeline_tests.processes import forking


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return load_settings(
        XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(tmp_path), DATABASE_URL=database_url
    )


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Deployment]:
    with Deployment(settings, clock=Waiting()) as deployment:
        make_tables(deployment.warehouse.engine)
        yield deployment


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Waiting(SystemClock):
    """Whoever sleeps, sleeps until what is waited for has happened: not at all, as it comes."""

    def __init__(self, until: Callable[[], bool] = lambda: True) -> None:
        self.until = until

    def sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + 60
        while not self.until():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def much_later() -> datetime:
    return datetime.now(UTC) + 2 * SILENCE


def at_work(instance: dg.DagsterInstance) -> dg.DagsterRun:
    run = launched(instance, tags={WORKER: "a-machine/1"})
    instance.report_engine_event("it works", run)
    return run


def work_until_killed(settings: Settings, run_id: str, said: Connection) -> None:
    with Deployment(settings) as deployment, hold_run_lock(deployment.warehouse.locks, run_id):
        said.send("at work")
        signal.pause()


def test_a_run_whose_session_the_server_has_just_cut_is_not_taken_for_dead(
    postgres_url: str, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    settings = load_settings(
        XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(tmp_path), DATABASE_URL=postgres_url
    )
    run, clock = at_work(instance), Waiting()
    with Deployment(settings) as working, Deployment(settings, clock=clock) as looking:
        make_tables(looking.warehouse.engine)
        with hold_run_lock(working.warehouse.locks, run.run_id):
            cut_sessions(looking.warehouse.engine)
            clock.until = lambda: is_run_alive(looking.warehouse.locks, run.run_id)
            assert end_dead_runs(instance, looking, much_later()) == []
        clock.until = lambda: True
        assert end_dead_runs(instance, looking, much_later()) == [run.run_id]


def test_a_run_lives_as_long_as_its_process_and_dies_with_it(
    settings: Settings, deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    run = at_work(instance)
    log = deployment.warehouse.log
    log.start("tenant-1", "invoices", Week(date(2026, 11, 21)), run.run_id)
    here, there = forking().Pipe()
    child = forking().Process(target=work_until_killed, args=(settings, run.run_id, there))
    child.start()
    assert here.poll(60)
    assert here.recv() == "at work"
    assert end_dead_runs(instance, deployment, much_later()) == []
    assert [entry.status for entry in log.newest(9)] == ["running"]
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(60)
    assert end_dead_runs(instance, deployment, much_later()) == [run.run_id]
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    [entry] = log.newest(9)
    assert (entry.status, (entry.error_log or {})["error"]) == ("failed", "interrupted")
    assert end_dead_runs(instance, deployment, much_later()) == []


def test_a_run_that_was_heard_of_just_now_may_be_about_to_end(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    run = at_work(instance)
    assert end_dead_runs(instance, deployment, datetime.now(UTC)) == []
    assert end_dead_runs(instance, deployment, datetime.now(UTC) + SILENCE - timedelta(seconds=5)) == []
    assert end_dead_runs(instance, deployment, much_later()) == [run.run_id]


def test_runs_that_are_not_ours_or_not_at_work_are_left_alone(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    launched(instance)
    for status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING):
        launched(instance, tags={WORKER: "a-machine/1"}, status=status)
    assert end_dead_runs(instance, deployment, much_later()) == []


def test_every_run_says_where_it_is_at_work_and_holds_its_life_until_it_ends(
    settings: Settings, deployment: Deployment, tmp_path: Path
) -> None:
    seen: list[tuple[str, list[str]]] = []

    @dg.op(required_resource_keys={"deployment"})
    def look(context) -> None:  # type: ignore[no-untyped-def]  # Dagster reads annotations before they are resolved
        run = context.instance.get_run_by_id(context.run_id)
        assert run is not None
        seen.append((run.tags[WORKER], end_dead_runs(context.instance, deployment, much_later())))

    @dg.job(resource_defs=build_resources(settings))
    def working() -> None:
        look()

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert working.execute_in_process(instance=instance).success
    [(worker, dead)] = seen
    assert worker.endswith(f"/{os.getpid()}")
    assert dead == []
    assert list(tmp_path.rglob("run-*.lock")) == []
