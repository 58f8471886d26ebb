"""The job that every start goes through, and how a range of weeks is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from xero_pipeline.weeks import Week

ASSETS = ("financial_weekly", "revenue_weekly", "cash_position_weekly")

# Dagster's own words for a range in one run.
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def weekly_sync_job() -> Any:
    """`weekly_sync`: all three tables, for a week or for a range of weeks in one run."""
    return dg.define_asset_job(
        "weekly_sync",
        selection=dg.AssetSelection.assets(*ASSETS),
        executor_def=dg.in_process_executor,
        description="Profit and loss, revenue and cash of a week, or of a range of weeks in one run.",
    )


def range_tags(first: Week, last: Week) -> dict[str, str]:
    """The tags of a run over these weeks, both included; people read `week_ending`."""
    name = str(last) if first == last else f"{first} to {last}"
    return {RANGE_START: first.key, RANGE_END: last.key, "week_ending": name}


def sync_config(organisations: Sequence[str], assets: Sequence[str] = ASSETS) -> dict[str, Any]:
    """Run config that limits a run of these assets to these organisations; none named: all."""
    if not organisations:
        return {}
    return {"ops": {asset: {"config": {"organisations": list(organisations)}} for asset in assets}}
