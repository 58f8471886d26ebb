"""What the three assets have in common: weekly partitions, a range in one run, the resources they ask for.

What a week's figures are, and what Dagster's UI says of the table, is each asset's own module's matter.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from xero_pipeline.assets.columns import OWNERS
from xero_pipeline.assets.progress import Progress
from xero_pipeline.assets.week_sync import Shape, WeeklySyncConfig, WeekSync
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.xero.client import Xero


def weekly_asset(
    name: str,
    kind: SyncType,
    shape: Shape,
    *,
    settings: Settings,
    partitions: dg.WeeklyPartitionsDefinition,
    metadata: Mapping[str, Any],
    description: str,
) -> dg.AssetsDefinition:
    """An asset that walks the weeks of its run, `shape` by `shape`.

    Args:
        name: the table's.
        metadata: what is always true of the table.
    """

    @dg.asset(
        name=name,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="xero",
        kinds={"xero", "pandas", "sql"},
        owners=OWNERS,
        tags={"data_source": settings.data_source},
        metadata=metadata,
        description=description,
    )
    def weekly(
        context: dg.AssetExecutionContext,
        config: WeeklySyncConfig,
        xero: dg.ResourceParam[Xero],
        warehouse: dg.ResourceParam[Warehouse],
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult[Any]:
        return WeekSync(kind.value, xero, warehouse, progress, settings.data_source).materialize(context, config, shape)

    return weekly
