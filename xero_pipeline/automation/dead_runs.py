"""Runs whose process died without telling Dagster.

Dagster's code server notices when a run's process dies. When both die at once (a power cut, a deployment that is
killed as a whole), Dagster would show the run as running, and its weeks as under way, until `max_runtime_seconds`
in dagster.yaml. Each run of ours holds a lock while it is alive (`run_liveness.hold_run_lock`); the operating
system or the database server frees it when the process ends, whatever the cause.

A process can also die before its run has started. The command line takes the lock before it creates its run. A run
that a daemon or Dagster's UI created is queued at once, so one that is not queued after minutes never will be.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from xero_pipeline.automation.jobs import ASSETS, JOB
from xero_pipeline.resources import Deployment
from xero_pipeline.run_liveness import WORKER_TAG, is_run_alive

# A run frees its lock a moment before it reports its end to Dagster, and reports events often until then. So a free
# lock means death only if the run's last event is older than this.
SILENCE_WHEN_DEAD = timedelta(seconds=60)
# Seconds within which a live run has taken its lock again after the server dropped it; see `Locks.hold_liveness`.
LOCK_RETAKEN_WITHIN = 6.0
# Dagster queues a run right after it has created it, within seconds.
QUEUED_WITHIN = timedelta(minutes=10)


def end_dead_runs(instance: dg.DagsterInstance, deployment: Deployment, now: datetime) -> list[str]:
    """Mark each run whose process is dead as failed, so that Dagster retries it, and close its sync log rows.

    Args:
        now: by the clock that Dagster timestamps its events with.

    Returns:
        The ids of the runs that were marked.
    """
    locks = deployment.warehouse.locks
    suspects = [
        run
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        if WORKER_TAG in run.tags and not is_run_alive(locks, run.run_id) and _is_silent(instance, run.run_id, now)
    ]
    unstarted = instance.get_run_records(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED]))
    suspects += [
        record.dagster_run
        for record in unstarted
        if _is_of_command_line(record.dagster_run) and not is_run_alive(locks, record.dagster_run.run_id)
    ]
    if suspects and deployment.warehouse.engine.dialect.name == "postgresql":
        # A server restart frees the locks of live runs too. Give them time to take their locks again.
        deployment.clock.sleep(LOCK_RETAKEN_WITHIN)
    dead_ids = []
    for run in suspects:
        if is_run_alive(locks, run.run_id):
            continue
        instance.report_run_failed(run, f"The process of this run ({run.tags[WORKER_TAG]}) died before the run ended.")
        deployment.warehouse.log.close_interrupted(run_id=run.run_id)
        dead_ids.append(run.run_id)
    for record in unstarted:
        run = record.dagster_run
        if run.remote_job_origin is not None and _is_ours(run) and record.create_timestamp + QUEUED_WITHIN < now:
            instance.report_run_failed(run, "The process that created this run died before the run was queued.")
            dead_ids.append(run.run_id)
    return dead_ids


def _is_of_command_line(run: dg.DagsterRun) -> bool:
    """Whether a process creates, holds and executes this run. A retry has its parent's tag, but comes from Dagster."""
    return WORKER_TAG in run.tags and run.remote_job_origin is None


def _is_ours(run: dg.DagsterRun) -> bool:
    """Whether the run is of our job or assets. Other projects may use the same Dagster."""
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    return run.job_name == JOB or bool(selected & set(ASSETS))


def _is_silent(instance: dg.DagsterInstance, run_id: str, now: datetime) -> bool:
    records = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    # An event in the future was dated by another machine's clock that is ahead, and so says nothing.
    return not records or abs(now - datetime.fromtimestamp(records[0].timestamp, UTC)) > SILENCE_WHEN_DEAD
