"""`cash_position_weekly`: each bank account's week, every column of Xero's bank summary."""

from decimal import Decimal

import dagster as dg

from xero_pipeline.assets.columns import described
from xero_pipeline.assets.outcomes import ExtractedWeek
from xero_pipeline.assets.weekly import weekly_asset
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.weekly import replace_cash
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import cash_position_weekly as cash_position_weekly_table
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.readers.bank_summary import AMOUNTS, read_bank_summary


def cash_position_weekly_asset(settings: Settings, partitions: dg.WeeklyPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset, for a deployment's settings."""

    def extract(organisation: OrganisationClient, week: Week) -> ExtractedWeek:
        summary = read_bank_summary(organisation.fetch_bank_summary(week), week=week)
        return ExtractedWeek(
            write=lambda connection, provenance: replace_cash(connection, provenance, summary.accounts),
            currency=organisation.details.base_currency,
            totals={column: sum(summary.accounts[column], Decimal("0.00")) for column in AMOUNTS},
            differences=summary.differences,
            notes=summary.notes,
        )

    return weekly_asset(
        "cash_position_weekly",
        SyncType.BANK_SUMMARY,
        extract,
        settings=settings,
        partitions=partitions,
        metadata=described(cash_position_weekly_table),
        description="Each bank account's week in base currency: opening balance, cash received and spent, currency "
        "gain, closing balance; one row for each organisation, week and account.\n\n"
        "A week opens with what the week before closed with. Where it does not, a transaction of an older week was "
        "entered or changed since: sync those weeks again.",
    )
