"""What the books say, and what they said before each edit: the figures that Xero may have stated.

Figures are keyed as restatements are: by table, row and column. The books themselves compute them document by document,
without the sums that the mock's answers are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from xero_pipeline.mock_xero import Books
from xero_pipeline.warehouse.logs.sync_types import WEEKLY_TYPES, SyncType
from xero_pipeline.weeks import Week

Key = tuple[str, str, str]
Figures = dict[Key, str]

KINDS = WEEKLY_TYPES
TABLES = {
    SyncType.PROFIT_AND_LOSS: ("financial_weekly", "financial_weekly_lines"),
    SyncType.INVOICES: ("revenue_weekly",),
    SyncType.BANK_SUMMARY: ("cash_position_weekly",),
}
TOTALS = (
    "total_trading_income",
    "cost_of_sales",
    "gross_profit",
    "other_income",
    "operating_expenses",
    "net_profit",
)
CELLS = ("invoiced", "credited", "net_revenue", "tax", "invoice_count", "credit_note_count")
MOVEMENTS = ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance")
# The figures of a week that no edit of another week and no other type of an account changes. Each group is read with
# one request, so Xero has stated its figures together.
_GROUPS: dict[SyncType, tuple[Callable[[Key], bool], ...]] = {
    SyncType.PROFIT_AND_LOSS: (lambda key: key[2] in ("net_profit", "amount"),),
    SyncType.INVOICES: (
        lambda key: key[2] in ("invoiced", "invoice_count"),
        lambda key: key[2] in ("credited", "credit_note_count"),
    ),
    SyncType.BANK_SUMMARY: (lambda key: key[2] in ("cash_received", "cash_spent", "currency_gain"),),
}


class Truth:
    """The figures of one organisation's books."""

    def __init__(self, books: Books, now: Callable[[], datetime], *, cash_basis: bool) -> None:
        self.books = books
        self._now = now
        self._cash_basis = cash_basis
        self._known: dict[tuple[SyncType, Week], Figures] = {}
        self._stated: dict[tuple[SyncType, Week], set[tuple[frozenset[tuple[Key, str]], ...]]] = {}

    def read(self, kind: SyncType, week: Week) -> Figures:
        """The figures of a week as they are now."""
        known = self._known.get((kind, week))
        if known is not None:
            return known
        figures = self._compute(kind, week)
        # The day at Xero may be another one than here, and a week can change until it is over there as well.
        if week.ending < self.books.today - timedelta(days=1):
            self._known[kind, week] = figures
        return figures

    def remember(self, weeks: Iterable[Week]) -> None:
        """Before an edit of these weeks: keep what Xero states until then."""
        for week in weeks:
            for kind in KINDS:
                self._stated.setdefault((kind, week), set()).add(_split(kind, self.read(kind, week)))

    def forget(self, kinds: Iterable[SyncType], is_affected: Callable[[Week], bool]) -> None:
        """After an edit: these weeks are others now."""
        for kind in kinds:
            for key in [key for key in self._known if key[0] is kind and is_affected(key[1])]:
                del self._known[key]

    def find_never_stated(self, kind: SyncType, week: Week, held: Figures) -> list[str]:
        """Describe the held figures of a week that Xero never stated, neither now nor before an edit."""
        versions = [*self._stated.get((kind, week), ()), _split(kind, self.read(kind, week))]
        problems = []
        for number, group in enumerate(_split(kind, held)):
            if all(group != version[number] for version in versions):
                different = sorted(dict(group ^ versions[-1][number]))[:3]
                problems.append(f"{week} {kind.value}: {different}")
        return problems

    def _compute(self, kind: SyncType, week: Week) -> Figures:
        if kind is SyncType.PROFIT_AND_LOSS:
            profit = self.books.profit_and_loss(week, cash_basis=self._cash_basis)
            totals = {("financial_weekly", "week", name): str(getattr(profit, name)) for name in TOTALS}
            lines = {
                ("financial_weekly_lines", key, "amount"): str(value) for key, value in profit.lines.items() if value
            }
            return totals | lines
        if kind is SyncType.INVOICES:
            return {
                ("revenue_weekly", " / ".join(key), name): str(getattr(cell, name))
                for key, cell in self.books.revenue(week).items()
                for name in CELLS
            }
        return {
            ("cash_position_weekly", key, name): str(getattr(movement, name))
            for key, movement in self.books.bank(week).items()
            for name in MOVEMENTS
        }


def _split(kind: SyncType, figures: Figures) -> tuple[frozenset[tuple[Key, str]], ...]:
    return tuple(
        frozenset((key, value) for key, value in figures.items() if wanted(key) and value not in ("0", "0.00"))
        for wanted in _GROUPS[kind]
    )
