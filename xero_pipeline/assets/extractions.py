"""How all tables are extracted, for runs that read several of them side by side."""

from typing import Any

from xero_pipeline.assets.cash import build_bank_summary_extraction
from xero_pipeline.assets.financial import build_profit_and_loss_extraction
from xero_pipeline.assets.outcomes import TableExtraction
from xero_pipeline.assets.revenue import build_revenue_extraction
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.logs.sync_log import SyncType


def build_extractions(settings: Settings) -> list[TableExtraction[Any]]:
    """Build how each table is extracted, those that are begun first at the head.

    Revenue is first: its first week lists the documents of all weeks, and the profit and loss is compared with it.
    """
    return [
        build_revenue_extraction(settings),
        build_bank_summary_extraction(SyncType.BANK_SUMMARY),
        build_profit_and_loss_extraction(settings, SyncType.PROFIT_AND_LOSS),
        build_bank_summary_extraction(SyncType.BANK_SUMMARY_MONTHLY),
        build_profit_and_loss_extraction(settings, SyncType.PROFIT_AND_LOSS_MONTHLY),
    ]
