"""The jobs that every sync runs, and the tags and the config of a run over a range of weeks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from xero_pipeline.periods import Period

JOB, MONTHLY_JOB = "weekly_sync", "monthly_sync"
ASSETS = ("financial_weekly", "revenue_weekly", "cash_position_weekly")
MONTHLY_ASSETS = ("financial_monthly", "cash_position_monthly")

# Dagster's own tags for a range of partitions in one run.
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def build_weekly_sync_job() -> Any:
    """Build the job `weekly_sync`: all three tables, for a week or for a range of weeks in one run."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*ASSETS),
        executor_def=dg.in_process_executor,
        description="Profit and loss, revenue and cash of a week, or of a range of weeks in one run.",
    )


def build_monthly_sync_job() -> Any:
    """Build the job `monthly_sync`: both tables of the months, for a month or for a range of months in one run."""
    return dg.define_asset_job(
        MONTHLY_JOB,
        selection=dg.AssetSelection.assets(*MONTHLY_ASSETS),
        executor_def=dg.in_process_executor,
        description="Profit and loss and cash of a calendar month, or of a range of months in one run.",
    )


def is_monthly(run: dg.DagsterRun) -> bool:
    """Whether a run, whoever started it, is about months: a run's tags name the first days of either."""
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    return run.job_name == MONTHLY_JOB or bool(selected & set(MONTHLY_ASSETS))


def build_range_tags(first: Period, last: Period) -> dict[str, str]:
    """Build the tags of a run over the weeks or months from `first` to `last`, both included.

    `week_ending`, or `month_ending`, is for people.
    """
    ending = str(last) if first == last else f"{first} to {last}"
    return {RANGE_START: first.key, RANGE_END: last.key, last.COLUMN: ending}


def build_run_config(organisations: Sequence[str], assets: Sequence[str] = ASSETS) -> dict[str, Any]:
    """Build the run config that limits a run of these assets to these tenant ids. No id means all organisations."""
    if not organisations:
        return {}
    return {"ops": {asset: {"config": {"organisations": list(organisations)}} for asset in assets}}
