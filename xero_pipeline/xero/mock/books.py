"""An organisation's books: the ledger with every edit in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from xero_pipeline.weeks import Week
from xero_pipeline.xero.mock.documents import Document
from xero_pipeline.xero.mock.truth import BankMovement, ProfitAndLoss, RevenueCell


class Books:
    """The truth about one organisation, for any range of days (both ends belong to it)."""

    def profit_and_loss(self, week: Week | tuple[date, date], *, cash_basis: bool = False) -> ProfitAndLoss:
        raise NotImplementedError

    def revenue(self, week: Week | tuple[date, date]) -> Mapping[tuple[str, str], RevenueCell]:
        """By revenue type and region in lower case, `unallocated` where there is none; no empty cells."""
        raise NotImplementedError

    def bank(self, week: Week | tuple[date, date]) -> Mapping[str, BankMovement]:
        """By bank account id."""
        raise NotImplementedError

    def documents(self, week: Week | tuple[date, date]) -> Sequence[Document]:
        """Every document dated in the range, of every kind and status, in order of date and number."""
        raise NotImplementedError

    def document(self, document_id: str) -> Document:
        """Raises KeyError where there is none."""
        raise NotImplementedError
