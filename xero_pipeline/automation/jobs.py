"""The job that every sync runs, and the tags and the config of a run over a range of weeks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from xero_pipeline.weeks import Week

JOB = "weekly_sync"
ASSETS = ("financial_weekly", "revenue_weekly", "cash_position_weekly")

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


def build_range_tags(first: Week, last: Week) -> dict[str, str]:
    """Build the tags of a run over the weeks from `first` to `last`, both included. `week_ending` is for people."""
    week_ending = str(last) if first == last else f"{first} to {last}"
    return {RANGE_START: first.key, RANGE_END: last.key, "week_ending": week_ending}


def build_run_config(organisations: Sequence[str], assets: Sequence[str] = ASSETS) -> dict[str, Any]:
    """Build the run config that limits a run of these assets to these tenant ids. No id means all organisations."""
    if not organisations:
        return {}
    return {"ops": {asset: {"config": {"organisations": list(organisations)}} for asset in assets}}
