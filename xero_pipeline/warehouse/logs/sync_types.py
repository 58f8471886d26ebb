"""What a row of the sync log can be about, and how its sync can have ended."""

from __future__ import annotations

from enum import StrEnum

from xero_pipeline.periods import Month
from xero_pipeline.weeks import Week


class SyncType(StrEnum):
    PROFIT_AND_LOSS = "profit_and_loss"
    INVOICES = "invoices"
    BANK_SUMMARY = "bank_summary"
    PROFIT_AND_LOSS_MONTHLY = "profit_and_loss_monthly"
    BANK_SUMMARY_MONTHLY = "bank_summary_monthly"

    @property
    def period(self) -> type[Week] | type[Month]:
        """What its rows are about: weeks or months."""
        return Month if self in MONTHLY_TYPES else Week


WEEKLY_TYPES = (SyncType.PROFIT_AND_LOSS, SyncType.INVOICES, SyncType.BANK_SUMMARY)
"""The kinds of figures that every week has."""

MONTHLY_TYPES = (SyncType.PROFIT_AND_LOSS_MONTHLY, SyncType.BANK_SUMMARY_MONTHLY)
"""The kinds of figures that every month has."""


class SyncStatus(StrEnum):
    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"


LANDED = (SyncStatus.SUCCESS, SyncStatus.PARTIAL)
"""The figures were written. `partial` ones differ from the totals that Xero itself states."""
