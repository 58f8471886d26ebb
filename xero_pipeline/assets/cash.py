"""`cash_position_weekly`, `cash_position_monthly`: each bank account's week and month."""

from decimal import Decimal

import dagster as dg

from xero_pipeline.assets.columns import build_asset_metadata
from xero_pipeline.assets.outcomes import ExtractedWeek, TableExtraction
from xero_pipeline.assets.weekly import build_figures_asset
from xero_pipeline.periods import Period
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.weekly import replace_cash
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import cash_position_monthly as cash_position_monthly_table
from xero_pipeline.warehouse.schema import cash_position_weekly as cash_position_weekly_table
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.readers.bank_summary import AMOUNTS, read_bank_summary


def build_cash_position_weekly_asset(
    settings: Settings, partitions: dg.WeeklyPartitionsDefinition
) -> dg.AssetsDefinition:
    """Build the asset of the weeks for a deployment's settings."""

    return build_figures_asset(
        build_bank_summary_extraction(SyncType.BANK_SUMMARY),
        settings=settings,
        partitions=partitions,
        metadata=build_asset_metadata(cash_position_weekly_table),
        description="Each bank account's week in base currency: opening balance, cash received and spent, currency "
        "gain, closing balance; one row for each organisation, week and account.\n\n"
        "A week opens with the closing balance of the week before. Where it does not, somebody has entered or "
        "changed a transaction of an older week since: sync those weeks again.",
    )


def build_cash_position_monthly_asset(
    settings: Settings, partitions: dg.MonthlyPartitionsDefinition
) -> dg.AssetsDefinition:
    """Build the asset of the months for a deployment's settings."""
    return build_figures_asset(
        build_bank_summary_extraction(SyncType.BANK_SUMMARY_MONTHLY),
        settings=settings,
        partitions=partitions,
        metadata=build_asset_metadata(cash_position_monthly_table),
        description="Each bank account's month in base currency, as Xero's bank summary of the month states it; one "
        "row for each organisation, month and account.\n\nA month opens with the closing balance of the month before.",
    )


def build_bank_summary_extraction(kind: SyncType) -> TableExtraction[Period]:
    """Build how the bank summary of weeks, or of months, is extracted."""
    table = {
        SyncType.BANK_SUMMARY: cash_position_weekly_table,
        SyncType.BANK_SUMMARY_MONTHLY: cash_position_monthly_table,
    }[kind]

    def extract(organisation: OrganisationClient, week: Period) -> ExtractedWeek:
        summary = read_bank_summary(organisation.fetch_bank_summary(week), week=week)
        return ExtractedWeek(
            write=lambda connection, provenance: replace_cash(connection, provenance, summary.accounts),
            currency=organisation.details.base_currency,
            totals={column: sum(summary.accounts[column], Decimal("0.00")) for column in AMOUNTS},
            differences=summary.differences,
            notes=summary.notes,
        )

    return TableExtraction(table.name, kind, lambda _scope: extract)
