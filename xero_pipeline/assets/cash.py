"""`cash_position_weekly`: each bank account's week, with every column of Xero's bank summary."""

from decimal import Decimal

import dagster as dg

from xero_pipeline.assets.columns import build_asset_metadata
from xero_pipeline.assets.outcomes import ExtractedWeek
from xero_pipeline.assets.weekly import build_weekly_asset
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.weekly import replace_cash
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import cash_position_weekly as cash_position_weekly_table
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.readers.bank_summary import AMOUNTS, read_bank_summary


def build_cash_position_weekly_asset(
    settings: Settings, partitions: dg.WeeklyPartitionsDefinition
) -> dg.AssetsDefinition:
    """Build the asset for a deployment's settings."""

    def extract(organisation: OrganisationClient, week: Week) -> ExtractedWeek:
        summary = read_bank_summary(organisation.fetch_bank_summary(week), week=week)
        return ExtractedWeek(
            write=lambda connection, provenance: replace_cash(connection, provenance, summary.accounts),
            currency=organisation.details.base_currency,
            totals={column: sum(summary.accounts[column], Decimal("0.00")) for column in AMOUNTS},
            differences=summary.differences,
            notes=summary.notes,
        )

    return build_weekly_asset(
        "cash_position_weekly",
        SyncType.BANK_SUMMARY,
        lambda _scope: extract,
        settings=settings,
        partitions=partitions,
        metadata=build_asset_metadata(cash_position_weekly_table),
        description="Each bank account's week in base currency: opening balance, cash received and spent, currency "
        "gain, closing balance; one row for each organisation, week and account.\n\n"
        "A week opens with the closing balance of the week before. Where it does not, somebody has entered or "
        "changed a transaction of an older week since: sync those weeks again.",
    )
