"""Runs whose process died without telling Dagster.

Dagster's code server notices when a run's process dies. When both die at once (a power cut, a deployment that is
killed as a whole), Dagster would show the run as running, and its weeks as under way, until `max_runtime_seconds`
in dagster.yaml. Each run of ours holds a lock while it is alive (`run_liveness.hold_run_lock`); the operating
system or the database server frees it when the process ends, whatever the cause.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from xero_pipeline.resources import Deployment
from xero_pipeline.run_liveness import WORKER_TAG, is_run_alive

# A run frees its lock a moment before it reports its end to Dagster, and reports events often until then. So a free
# lock means death only if the run's last event is older than this.
SILENCE_WHEN_DEAD = timedelta(seconds=60)
# Seconds within which a live run has taken its lock again after the server dropped it; see `Locks.hold_liveness`.
LOCK_RETAKEN_WITHIN = 6.0


def end_dead_runs(instance: dg.DagsterInstance, deployment: Deployment, now: datetime) -> list[str]:
    """Mark each run whose process is dead as failed, so that Dagster retries it, and close its sync log rows.

    Args:
        now: by the clock that Dagster timestamps its events with.

    Returns:
        The ids of the runs that were marked.
    """
    suspects = [
        run
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        if WORKER_TAG in run.tags
        and not is_run_alive(deployment.warehouse.locks, run.run_id)
        and _is_silent(instance, run.run_id, now)
    ]
    if suspects and deployment.warehouse.engine.dialect.name == "postgresql":
        # A server restart frees the locks of live runs too. Give them time to take their locks again.
        deployment.clock.sleep(LOCK_RETAKEN_WITHIN)
    dead_ids = []
    for run in suspects:
        if is_run_alive(deployment.warehouse.locks, run.run_id):
            continue
        instance.report_run_failed(run, f"The process of this run ({run.tags[WORKER_TAG]}) died before the run ended.")
        deployment.warehouse.log.close_interrupted(run_id=run.run_id)
        dead_ids.append(run.run_id)
    return dead_ids


def _is_silent(instance: dg.DagsterInstance, run_id: str, now: datetime) -> bool:
    records = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    return not records or datetime.fromtimestamp(records[0].timestamp, UTC) + SILENCE_WHEN_DEAD < now
