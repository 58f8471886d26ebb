"""`cash_position_weekly`: each bank account's week, every column of Xero's bank summary."""

from decimal import Decimal
from typing import Any

import dagster as dg

from xero_pipeline.assets.columns import OWNERS, described
from xero_pipeline.assets.progress import Progress
from xero_pipeline.assets.walk import Shaped, Walk, WeeklySync
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.schema import cash_position_weekly as cash_position_weekly_table
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.warehouse.weekly import replace_cash
from xero_pipeline.weeks import Week
from xero_pipeline.xero.bank_summary import read_bank_summary
from xero_pipeline.xero.client import OrganisationClient, Xero

COLUMNS = ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance")


def cash_position_weekly_asset(settings: Settings, partitions: dg.WeeklyPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset, for a deployment's settings."""

    def shape(organisation: OrganisationClient, week: Week) -> Shaped:
        summary = read_bank_summary(organisation.bank_summary(week), week=week)
        return Shaped(
            write=lambda connection, stamp: replace_cash(connection, stamp, summary.accounts),
            currency=organisation.details.base_currency,
            totals={column: sum(summary.accounts[column], Decimal("0.00")) for column in COLUMNS},
            differences=summary.differences,
            notes=summary.notes,
        )

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="xero",
        kinds={"xero", "pandas", "sql"},
        owners=OWNERS,
        tags={"data_source": settings.data_source},
        metadata=described(cash_position_weekly_table),
        description="Each bank account's week in base currency: opening balance, cash received and spent, currency "
        "gain, closing balance; one row for each organisation, week and account.\n\n"
        "A week opens with what the week before closed with. Where it does not, a transaction of an older week was "
        "entered or changed since: sync those weeks again.",
    )
    def cash_position_weekly(
        context: dg.AssetExecutionContext,
        config: WeeklySync,
        xero: dg.ResourceParam[Xero],
        warehouse: dg.ResourceParam[Warehouse],
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult[Any]:
        walk = Walk("bank_summary", xero, warehouse, progress, settings.data_source)
        return walk.materialize(context, config, shape)

    return cash_position_weekly
