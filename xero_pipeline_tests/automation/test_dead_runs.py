"""Which runs count as dead: those whose process has ended, and no others."""

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

from xero_pipeline.automation.dead_runs import QUEUED_WITHIN, SILENCE_WHEN_DEAD, end_dead_runs
from xero_pipeline.clock import SystemClock
from xero_pipeline.resources import Deployment, build_resources
from xero_pipeline.run_liveness import WORKER_TAG, hold_run_lock, is_run_alive
from xero_pipeline.settings import Settings, load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.automation.scene import launch_run
from xero_pipeline_tests.dagster_internals import create_run_for_test
from xero_pipeline_tests.migrated import cut_sessions, make_tables
from xero_pipeline_tests.processes import get_fork_context


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return load_settings(
        XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(tmp_path), DATABASE_URL=database_url
    )


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Deployment]:
    with Deployment(settings, clock=ConditionClock()) as deployment:
        make_tables(deployment.warehouse.engine)
        yield deployment


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class ConditionClock(SystemClock):
    """A clock whose `sleep` lasts until a condition holds. By default it holds at once."""

    def __init__(self, condition: Callable[[], bool] = lambda: True) -> None:
        self.condition = condition

    def sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + 60
        while not self.condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def get_time_after_silence() -> datetime:
    return datetime.now(UTC) + 2 * SILENCE_WHEN_DEAD


def start_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    run = launch_run(instance, tags={WORKER_TAG: "a-machine/1"})
    instance.report_engine_event("it works", run)
    return run


def work_until_killed(settings: Settings, run_id: str, pipe: Connection) -> None:
    with Deployment(settings) as deployment, hold_run_lock(deployment.warehouse.locks, run_id):
        pipe.send("at work")
        signal.pause()


def test_a_run_whose_database_session_was_just_cut_does_not_count_as_dead(
    postgres_url: str, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    settings = load_settings(
        XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(tmp_path), DATABASE_URL=postgres_url
    )
    run, clock = start_run(instance), ConditionClock()
    with Deployment(settings) as working, Deployment(settings, clock=clock) as checking:
        make_tables(checking.warehouse.engine)
        with hold_run_lock(working.warehouse.locks, run.run_id):
            cut_sessions(checking.warehouse.engine)
            clock.condition = lambda: is_run_alive(checking.warehouse.locks, run.run_id)
            assert end_dead_runs(instance, checking, get_time_after_silence()) == []
        clock.condition = lambda: True
        assert end_dead_runs(instance, checking, get_time_after_silence()) == [run.run_id]


def test_a_dead_run_whose_machines_clock_was_ahead_is_ended(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    run = start_run(instance)
    an_hour_behind = datetime.now(UTC) - timedelta(hours=1)
    assert end_dead_runs(instance, deployment, an_hour_behind) == [run.run_id]


def test_a_run_is_alive_as_long_as_its_process(
    settings: Settings, deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    run = start_run(instance)
    log = deployment.warehouse.log
    log.start("tenant-1", "invoices", Week(date(2026, 11, 21)), run.run_id)
    pipe, child_pipe = get_fork_context().Pipe()
    child = get_fork_context().Process(target=work_until_killed, args=(settings, run.run_id, child_pipe))
    child.start()
    assert pipe.poll(60)
    assert pipe.recv() == "at work"
    assert end_dead_runs(instance, deployment, get_time_after_silence()) == []
    assert [entry.status for entry in log.list_newest(9)] == ["running"]
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(60)
    assert end_dead_runs(instance, deployment, get_time_after_silence()) == [run.run_id]
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    [entry] = log.list_newest(9)
    assert (entry.status, (entry.error_log or {})["error"]) == ("failed", "interrupted")
    assert end_dead_runs(instance, deployment, get_time_after_silence()) == []


def test_a_run_with_a_recent_event_does_not_count_as_dead(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    run = start_run(instance)
    assert end_dead_runs(instance, deployment, datetime.now(UTC)) == []
    assert end_dead_runs(instance, deployment, datetime.now(UTC) + SILENCE_WHEN_DEAD - timedelta(seconds=5)) == []
    assert end_dead_runs(instance, deployment, get_time_after_silence()) == [run.run_id]


def test_runs_without_our_tag_or_not_started_are_left_alone(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    launch_run(instance)
    for status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING):
        launch_run(instance, tags={WORKER_TAG: "a-machine/1"}, status=status)
    assert end_dead_runs(instance, deployment, get_time_after_silence()) == []


def test_every_run_names_its_process_and_holds_its_lock_until_it_ends(
    settings: Settings, deployment: Deployment, tmp_path: Path
) -> None:
    observed: list[tuple[str, list[str]]] = []

    @dg.op(required_resource_keys={"deployment"})
    def check_dead_runs(context) -> None:  # type: ignore[no-untyped-def]  # Dagster reads annotations before they are resolved
        run = context.instance.get_run_by_id(context.run_id)
        assert run is not None
        observed.append((run.tags[WORKER_TAG], end_dead_runs(context.instance, deployment, get_time_after_silence())))

    @dg.job(resource_defs=build_resources(settings))
    def working() -> None:
        check_dead_runs()

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert working.execute_in_process(instance=instance).success
    [(worker, dead_ids)] = observed
    assert worker.endswith(f"/{os.getpid()}")
    assert dead_ids == []
    assert list(tmp_path.rglob("run-*.lock")) == []


NOT_STARTED = dg.DagsterRunStatus.NOT_STARTED


def read_status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_command_that_is_killed_before_its_run_starts_leaves_no_run_that_waits(
    settings: Settings, deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    run = create_run_for_test(instance, job_name="weekly_sync", tags={WORKER_TAG: "a-machine/1"}, status=NOT_STARTED)
    with hold_run_lock(deployment.warehouse.locks, run.run_id), Deployment(settings, clock=ConditionClock()) as other:
        assert end_dead_runs(instance, other, datetime.now(UTC)) == []
    assert end_dead_runs(instance, deployment, datetime.now(UTC)) == [run.run_id]
    assert read_status(instance, run) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_was_created_and_never_queued_counts_as_dead_after_minutes(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    run = launch_run(instance, status=NOT_STARTED)
    backfill = create_run_for_test(
        instance,
        job_name="__ASSET_JOB",
        status=NOT_STARTED,
        asset_selection=frozenset({dg.AssetKey("revenue_weekly")}),
        remote_job_origin=run.remote_job_origin,
    )
    # A retry has the tags of the run that failed, and no process of its own yet.
    retry = launch_run(instance, status=NOT_STARTED, tags={WORKER_TAG: "a-machine/1"})
    others = [launch_run(instance, job="of_another_project", status=NOT_STARTED)]
    others.append(create_run_for_test(instance, job_name="weekly_sync", status=NOT_STARTED))
    now = datetime.now(UTC)
    assert end_dead_runs(instance, deployment, now + QUEUED_WITHIN - timedelta(minutes=1)) == []
    assert set(end_dead_runs(instance, deployment, now + QUEUED_WITHIN + timedelta(minutes=1))) == {
        run.run_id,
        backfill.run_id,
        retry.run_id,
    }
    assert {read_status(instance, each) for each in others} == {NOT_STARTED}
