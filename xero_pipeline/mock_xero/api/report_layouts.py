"""The layouts of the profit and loss report by country: sections, their titles, and the profit lines.

A section's title says nothing reliable about its accounts: these layouts differ as Xero's do.
"""

from __future__ import annotations

from dataclasses import dataclass

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.chart import MockAccount

GROSS = chart.TRADING_INCOME | chart.COST_OF_SALES
NET = GROSS | chart.OTHER_INCOME | chart.EXPENSES

# Accounts that a United States layout shows below the operating expenses.
_BELOW = frozenset({chart.DEPRECIATION, chart.INTEREST_EXPENSE})


@dataclass(frozen=True, slots=True)
class LayoutSection:
    """A section with account rows.

    Attributes:
        types: the account types in it.
        income_is_positive: whether a credit (income) is positive; otherwise a debit (expense) is.
        excluded: codes of accounts that are not in it although their type is.
        included: codes of accounts that are in it although their type is not.
    """

    title: str
    summary: str
    types: frozenset[str]
    income_is_positive: bool
    excluded: frozenset[str] = frozenset()
    included: frozenset[str] = frozenset()

    def has_account(self, account: MockAccount) -> bool:
        by_type = account.type in self.types and account.code not in self.excluded
        return account.is_profit_and_loss and (by_type or account.code in self.included)

    def apply_sign(self, account: MockAccount, credit: int) -> int:
        return credit if self.income_is_positive else -credit


@dataclass(frozen=True, slots=True)
class LayoutProfitLine:
    """A profit line in a section of its own without a title; without a label, an empty section."""

    label: str = ""
    types: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of a report. `sparse`: sections omit an empty `Title` and empty `Rows`."""

    parts: tuple[LayoutSection | LayoutProfitLine, ...]
    sparse: bool = False


def _make_layout(income: str, total: str, expenses: str, net: str, *, sparse: bool = False) -> Layout:
    parts = (
        LayoutSection(income, total, chart.TRADING_INCOME, True),
        LayoutSection("Less Cost of Sales", "Total Cost of Sales", chart.COST_OF_SALES, False),
        LayoutProfitLine("Gross Profit", GROSS),
        LayoutSection("Plus Other Income", "Total Other Income", chart.OTHER_INCOME, True),
        LayoutSection(f"Less {expenses}", f"Total {expenses}", chart.EXPENSES, False),
        LayoutProfitLine(),
        LayoutProfitLine(net, NET),
    )
    return Layout(parts, sparse)


LAYOUTS = {
    "AU": _make_layout(" Trading Income", "Total Trading Income", "Operating Expenses", "Net Profit"),
    "NZ": _make_layout(" Income", "Total Income", "Operating Expenses", "Net Profit"),
    "GB": _make_layout(
        "Turnover", "Total Turnover", "Administrative Costs", "Profit on Ordinary Activities Before Taxation"
    ),
    "SG": _make_layout("Revenue", "Total Revenue", "Operating Expenses", "NET PROFIT", sparse=True),
    # Other income and other expenses share a section, in which expenses are negative.
    "US": Layout(
        (
            LayoutSection(" Income", "Total Income", chart.TRADING_INCOME, True),
            LayoutSection("Less Cost of Goods Sold", "Total Cost of Goods Sold", chart.COST_OF_SALES, False),
            LayoutProfitLine("Gross Profit", GROSS),
            LayoutSection(
                "Less Operating Expenses", "Total Operating Expenses", chart.EXPENSES, False, excluded=_BELOW
            ),
            LayoutSection(
                "Other Income and Expense",
                "Total Other Income and Expense",
                chart.OTHER_INCOME,
                True,
                included=_BELOW,
            ),
            LayoutProfitLine(),
            LayoutProfitLine("Net Income", NET),
        )
    ),
}
