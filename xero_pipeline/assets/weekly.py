"""What the assets have in common: partitions by week or month, one run for a range of them, the same resources.

Each asset's own module says how the figures of a week or month are extracted and how Dagster's UI describes the table.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from xero_pipeline.assets.columns import OWNERS
from xero_pipeline.assets.outcomes import TableExtraction
from xero_pipeline.assets.progress import Progress
from xero_pipeline.assets.run_weeks import RunWeeks
from xero_pipeline.assets.week_sync import WeeklySyncConfig, WeekSync
from xero_pipeline.periods import AnyPeriod
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.xero.client import Xero


def build_figures_asset(
    extraction: TableExtraction[AnyPeriod],
    *,
    settings: Settings,
    partitions: dg.TimeWindowPartitionsDefinition,
    metadata: Mapping[str, Any],
    description: str,
    goes_first: bool = False,
) -> dg.AssetsDefinition:
    """Build the asset of one table, which syncs each week, or month, of its run.

    Args:
        extraction: how its weeks, or months, are extracted.
        metadata: the metadata of the asset itself, which does not depend on a run.
        goes_first: whether a run that has several assets begins with this one.
    """

    @dg.asset(
        name=extraction.table,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="xero",
        kinds={"xero", "pandas", "sql"},
        owners=OWNERS,
        tags={"data_source": settings.data_source},
        op_tags={"dagster/priority": "1"} if goes_first else {},
        metadata=metadata,
        description=description,
    )
    def figures(
        context: dg.AssetExecutionContext,
        config: WeeklySyncConfig,
        xero: dg.ResourceParam[Xero],
        warehouse: dg.ResourceParam[Warehouse],
        progress: dg.ResourceParam[Progress],
        run_weeks: dg.ResourceParam[RunWeeks],
    ) -> dg.MaterializeResult[Any]:
        sync = WeekSync(
            extraction,
            xero,
            warehouse,
            progress,
            run_weeks,
            settings.data_source,
            settings.organisations_per_run,
            at_once=settings.concurrent_calls,
        )
        return sync.materialize(context, config)

    return figures
