"""`financial_weekly` and `financial_monthly`, with their lines: the profit and loss of a week, and of a month.

`xero/readers/profit_and_loss.py` reads the report. A report without any line is compared with the week's documents:
either the week was quiet, or the answer is incomplete and figures held before must stay. If the run has not landed the
week's revenue, as it never has a month's, that takes two more calls.
"""

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

import dagster as dg

from xero_pipeline.assets.columns import build_asset_metadata, build_column_schema
from xero_pipeline.assets.outcomes import BeginExtracting, ExtractedWeek, RunScope, TableExtraction
from xero_pipeline.assets.weekly import build_figures_asset
from xero_pipeline.periods import Period
from xero_pipeline.settings import Basis, Settings
from xero_pipeline.warehouse.figures.weekly import replace_profit_and_loss
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import financial_monthly as financial_monthly_table
from xero_pipeline.warehouse.schema import financial_monthly_lines, financial_weekly_lines
from xero_pipeline.warehouse.schema import financial_weekly as financial_weekly_table
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.readers.missing_income import find_missing_income
from xero_pipeline.xero.readers.profit_and_loss import read_profit_and_loss
from xero_pipeline.xero.readers.reports import Difference
from xero_pipeline.xero.readers.revenue import read_revenue

_CLASSIFIED = (
    "An account counts for a total by its type in Xero, never by a label of the report. The totals are compared with "
    "the report's own: a {period} that does not add up lands as `partial`, with the difference."
)


def build_financial_weekly_asset(settings: Settings, partitions: dg.WeeklyPartitionsDefinition) -> dg.AssetsDefinition:
    """Build the asset of the weeks for a deployment's settings."""
    return build_figures_asset(
        build_profit_and_loss_extraction(settings, SyncType.PROFIT_AND_LOSS),
        settings=settings,
        partitions=partitions,
        metadata={**build_asset_metadata(financial_weekly_table), "lines": build_column_schema(financial_weekly_lines)},
        description="The week's profit and loss: income, cost of sales, gross profit, other income, operating "
        "expenses, net profit, one row for each organisation and week. `financial_weekly_lines` has a line for each "
        f"account.\n\n{_CLASSIFIED.format(period='week')}",
    )


def build_financial_monthly_asset(
    settings: Settings, partitions: dg.MonthlyPartitionsDefinition
) -> dg.AssetsDefinition:
    """Build the asset of the months for a deployment's settings."""
    return build_figures_asset(
        build_profit_and_loss_extraction(settings, SyncType.PROFIT_AND_LOSS_MONTHLY),
        settings=settings,
        partitions=partitions,
        metadata={
            **build_asset_metadata(financial_monthly_table),
            "lines": build_column_schema(financial_monthly_lines),
        },
        description="The month's profit and loss as Xero states it, since weeks do not add up to months: one row for "
        "each organisation and month. `financial_monthly_lines` has a line for each account.\n\n"
        f"{_CLASSIFIED.format(period='month')}",
    )


def build_profit_and_loss_extraction(settings: Settings, kind: SyncType) -> TableExtraction[Period]:
    """Build how the profit and loss of weeks, or of months, is extracted."""
    table = {
        SyncType.PROFIT_AND_LOSS: financial_weekly_table,
        SyncType.PROFIT_AND_LOSS_MONTHLY: financial_monthly_table,
    }[kind]
    # A week without any line is compared with the revenue that the run has landed.
    return TableExtraction(table.name, kind, _begin_extracting(settings), after=SyncType.INVOICES)


def _begin_extracting(settings: Settings) -> BeginExtracting[Period]:
    basis = settings.basis

    def fetch_revenue(organisation: OrganisationClient, week: Period) -> Mapping[str, Decimal]:
        revenue = read_revenue(
            organisation.fetch_invoices(week),
            organisation.fetch_credit_notes(week),
            week=week,
            base_currency=organisation.details.base_currency,
            revenue_tracking=settings.revenue_tracking,
            region_tracking=settings.region_tracking,
        )
        return revenue.by_account

    def find_missing(scope: RunScope[Period], organisation: OrganisationClient, week: Period) -> Sequence[Difference]:
        landed = scope.read_landed_revenue(organisation.tenant_id, week)
        if landed is not None and not find_missing_income(landed, organisation.accounts):
            return []
        # The documents may have been voided since, or the chart may have changed.
        organisation.refresh_accounts(time.monotonic())
        return find_missing_income(fetch_revenue(organisation, week), organisation.accounts)

    def extract(scope: RunScope[Period], organisation: OrganisationClient, week: Period) -> ExtractedWeek:
        asked_at = time.monotonic()
        report = organisation.fetch_profit_and_loss(week, cash_basis=basis is Basis.CASH)
        figures = read_profit_and_loss(report, week=week, accounts=organisation.accounts)
        is_doubtful = figures.unknown_accounts or figures.differences
        if is_doubtful and organisation.refresh_accounts(asked_at, figures.unknown_accounts):
            figures = read_profit_and_loss(report, week=week, accounts=organisation.accounts)
        missing: Sequence[Difference] = []
        if figures.lines.empty and basis is Basis.ACCRUAL:
            missing = find_missing(scope, organisation, week)
        return ExtractedWeek(
            write=lambda connection, provenance: replace_profit_and_loss(
                connection, provenance, basis.value, figures.totals, figures.lines, is_doubtful=bool(missing)
            ),
            currency=organisation.details.base_currency,
            totals=figures.totals,
            differences=[*figures.differences, *missing],
            notes=figures.notes,
        )

    return lambda scope: partial(extract, scope)
