"""Runs whose process died, and with it everybody who would have told Dagster.

Dagster's code server notices when a run's process dies. Where both die at once (a power cut, a deployment
killed whole), the run would be called running, and its weeks under way, until `max_runtime_seconds` in
dagster.yaml. A run of ours is alive for as long as it holds its lock (`run_liveness.hold_run_lock`), which the
system frees with its process, whatever ended it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from xero_pipeline.resources import Deployment
from xero_pipeline.run_liveness import WORKER, is_run_alive

# A run gives its lock back a moment before Dagster hears that it has ended; until then Dagster hears of it often.
SILENCE = timedelta(seconds=60)
# Seconds; see `Locks.live`.
TAKEN_AGAIN_WITHIN = 6.0


def end_dead_runs(instance: dg.DagsterInstance, deployment: Deployment, now: datetime) -> list[str]:
    """Mark as failed each run whose process is no more, so that Dagster runs it again, and its rows of the sync log;
    answers their ids.

    Args:
        now: by the clock that Dagster stamps its events with.
    """
    runs = [
        run
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        if WORKER in run.tags
        and not is_run_alive(deployment.warehouse.locks, run.run_id)
        and _is_silent(instance, run.run_id, now)
    ]
    if runs and deployment.warehouse.engine.dialect.name == "postgresql":
        # A server that was restarted has just freed the locks of all who live: they take them again.
        deployment.clock.sleep(TAKEN_AGAIN_WITHIN)
    dead = []
    for run in runs:
        if is_run_alive(deployment.warehouse.locks, run.run_id):
            continue
        instance.report_run_failed(run, f"The process of this run ({run.tags[WORKER]}) died before the run ended.")
        deployment.warehouse.log.close_interrupted(run_id=run.run_id)
        dead.append(run.run_id)
    return dead


def _is_silent(instance: dg.DagsterInstance, run_id: str, now: datetime) -> bool:
    records = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    return not records or datetime.fromtimestamp(records[0].timestamp, UTC) + SILENCE < now
