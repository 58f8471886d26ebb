"""A Dagster project of its own that takes the pipeline's assets into its `Definitions`, under a prefix.

The package is installed as a wheel (`pip install 'xero-pipeline[postgres]'`), and its settings are in `.env` of
`DAGSTER_HOME`, as everywhere. What the project adds is below: the prefix, an asset that reads a table of the pipeline,
a job over both, and a schedule. The pipeline's own sensors and schedule are left out, because they start its own job.
Its monitor of failures (`run_failure_alert`) watches the runs of the pipeline's job alone, so alert by your own means.
"""

from datetime import date

import dagster as dg

from xero_pipeline.definitions import build_defs
from xero_pipeline.warehouse.store import Warehouse

PREFIX = "xero"
WEEKLY = ("financial_weekly", "revenue_weekly", "cash_position_weekly")
MONTHLY = ("financial_monthly", "cash_position_monthly")


@dg.asset(
    deps=[dg.AssetKey([PREFIX, "financial_weekly"])],
    required_resource_keys={"warehouse"},
    group_name="board",
    description="How many weeks the board's report can be about.",
)
def board_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    warehouse: Warehouse = context.resources.warehouse
    (organisation, *_) = warehouse.tokens.list_organisations()
    weeks = warehouse.log.list_landed_weeks(organisation.tenant_id, date(2010, 1, 1))
    return dg.MaterializeResult(metadata={"weeks": min(len(landed) for landed in weeks.values())})


@dg.definitions
def defs() -> dg.Definitions:
    pipeline = build_defs()
    renamed = {dg.AssetKey(table): dg.AssetKey([PREFIX, table]) for table in (*WEEKLY, *MONTHLY)}
    tables = [
        asset.with_attributes(asset_key_replacements=renamed)
        for asset in pipeline.assets or []
        if isinstance(asset, dg.AssetsDefinition)
    ]
    checks = [
        check.with_attributes(asset_key_replacements=renamed)
        for check in pipeline.asset_checks or []
        if isinstance(check, dg.AssetChecksDefinition)
    ]
    sync = dg.define_asset_job(
        "sync_the_books",
        selection=dg.AssetSelection.assets(*([PREFIX, table] for table in WEEKLY)),
        # A run stays in one process, with one session and one access token.
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(
        assets=[*tables, board_report],
        asset_checks=checks,
        jobs=[sync],
        # The week that is over, on Monday morning; the partitions bring the time zone.
        schedules=[dg.build_schedule_from_partitioned_job(sync, hour_of_day=6, day_of_week=1)],
        resources=pipeline.resources,
    )
