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


# The tenant ids of an automatic run, comma-separated, from its launch on. dagster.yaml lets one run of each value go on
# at a time, so no two runs of the same organisations overlap.
TENANTS_TAG = "xero_pipeline/tenants"
ALL_TENANTS = "all"


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


def build_tenant_tags(organisations: Sequence[str]) -> dict[str, str]:
    """Build the tag of an automatic run that names its tenant ids. No id means all organisations."""
    return {TENANTS_TAG: ",".join(sorted(organisations)) or ALL_TENANTS}


def split_organisations(organisations: Sequence[str], per_run: int) -> list[tuple[str, ...]]:
    """Split tenant ids into the organisations of one run each, in the order of the ids.

    The order keeps an organisation in the same group from day to day: its runs have the same `TENANTS_TAG`.
    """
    ordered = sorted(organisations)
    return [tuple(ordered[start : start + per_run]) for start in range(0, len(ordered), per_run)]


def build_run_config(organisations: Sequence[str], assets: Sequence[str] = ASSETS) -> dict[str, Any]:
    """Build the run config that limits a run of these assets to these tenant ids. No id means all organisations."""
    if not organisations:
        return {}
    return {"ops": {asset: {"config": {"organisations": list(organisations)}} for asset in assets}}
