"""Materialising weeks in this process through Dagster: the run, its events and its logs are in the UI afterwards."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import Any, TextIO, cast
from uuid import uuid4

import dagster as dg

from xero_pipeline.assets.progress import Progress
from xero_pipeline.assets.run_organisations import build_tenant_tags
from xero_pipeline.automation.dead_runs import end_dead_runs
from xero_pipeline.automation.jobs import ASSETS, JOB, MONTHLY_ASSETS, MONTHLY_JOB, build_range_tags, build_run_config
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.definitions import build_defs
from xero_pipeline.periods import Month, Period
from xero_pipeline.resources import Deployment
from xero_pipeline.run_liveness import build_worker_tags, hold_run_lock

# How the line begins that `dagster._core.instance.types` writes to stderr. `test_failures.py` fails if it changes.
_EVENT_NOT_STORED = "Exception while writing logger call to event log"


class _StderrWithoutDagster:
    """Leaves out the lines that Dagster writes for each event that it cannot store, for example on a full disk.

    The command says it in one line at its end.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if text.startswith(_EVENT_NOT_STORED) else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def materialize_weeks(
    opened: Deployment,
    weeks: Sequence[Period],
    organisations: Sequence[str],
    *,
    progress: Progress,
    assets: Sequence[str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Materialise the weeks from the first to the last of `weeks` in one run of the job `weekly_sync`.

    Months are materialised in a run of the job `monthly_sync`.

    Args:
        organisations: tenant ids; none means all.
        assets: those to materialise; by default all of the job.

    Returns:
        Dagster's result. A failed run does not raise.
    """
    definitions = build_defs(
        settings=opened.settings,
        resource_overrides={"xero": opened.xero, "warehouse": opened.warehouse, "progress": progress},
    )
    job, all_assets = (MONTHLY_JOB, MONTHLY_ASSETS) if isinstance(weeks[0], Month) else (JOB, ASSETS)
    chosen = tuple(all_assets if assets is None else assets)
    config = build_run_config(organisations, chosen) | {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    run_id = str(uuid4())
    with (
        open_instance(opened.settings) as instance,
        hold_run_lock(opened.warehouse.locks, run_id),
        contextlib.redirect_stderr(cast(TextIO, _StderrWithoutDagster(sys.stderr))),
    ):
        # Without a daemon, nothing else ends the runs of a command that was killed.
        end_dead_runs(instance, opened, opened.clock.now())
        return definitions.resolve_job_def(job).execute_in_process(
            run_config=config,
            instance=instance,
            tags=build_range_tags(weeks[0], weeks[-1]) | build_tenant_tags(organisations) | build_worker_tags(),
            run_id=run_id,
            raise_on_error=False,
            asset_selection=None if chosen == all_assets else [dg.AssetKey(asset) for asset in chosen],
        )
