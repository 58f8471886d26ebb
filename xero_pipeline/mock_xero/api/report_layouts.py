"""How a profit and loss report is laid out, by country: sections, their words, and the profit lines.

What Xero calls a section tells nothing reliable about its accounts; these layouts differ as Xero's do.
"""

from __future__ import annotations

from dataclasses import dataclass

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.chart import MockAccount

GROSS = chart.TRADING_INCOME | chart.COST_OF_SALES
NET = GROSS | chart.OTHER_INCOME | chart.EXPENSES

# What stands below the operating income of a United States organisation.
_BELOW = frozenset({chart.DEPRECIATION, chart.INTEREST_EXPENSE})


@dataclass(frozen=True, slots=True)
class LayoutSection:
    """A section with account rows.

    Attributes:
        types: the account types in it.
        positive: whether an income (a credit) is positive; in an expense section a debit is.
        apart: accounts, by code, that are not in it though their type is.
        besides: accounts, by code, that are in it though their type is not.
    """

    title: str
    summary: str
    types: frozenset[str]
    positive: bool
    apart: frozenset[str] = frozenset()
    besides: frozenset[str] = frozenset()

    def holds(self, account: MockAccount) -> bool:
        by_type = account.type in self.types and account.code not in self.apart
        return account.is_profit_and_loss and (by_type or account.code in self.besides)

    def amount(self, account: MockAccount, credit: int) -> int:
        return credit if self.positive else -credit


@dataclass(frozen=True, slots=True)
class LayoutProfitLine:
    """A profit line in a section without a title; without a label, an empty section."""

    label: str = ""
    types: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Layout:
    """`sparse`: sections leave out `Title` and `Rows` where these are empty."""

    parts: tuple[LayoutSection | LayoutProfitLine, ...]
    sparse: bool = False


def _usual(income: str, total: str, expenses: str, net: str, *, sparse: bool = False) -> Layout:
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
    "AU": _usual(" Trading Income", "Total Trading Income", "Operating Expenses", "Net Profit"),
    "NZ": _usual(" Income", "Total Income", "Operating Expenses", "Net Profit"),
    "GB": _usual("Turnover", "Total Turnover", "Administrative Costs", "Profit on Ordinary Activities Before Taxation"),
    "SG": _usual("Revenue", "Total Revenue", "Operating Expenses", "NET PROFIT", sparse=True),
    # Other income and other expense share a section, where expenses are negative.
    "US": Layout(
        (
            LayoutSection(" Income", "Total Income", chart.TRADING_INCOME, True),
            LayoutSection("Less Cost of Goods Sold", "Total Cost of Goods Sold", chart.COST_OF_SALES, False),
            LayoutProfitLine("Gross Profit", GROSS),
            LayoutSection("Less Operating Expenses", "Total Operating Expenses", chart.EXPENSES, False, apart=_BELOW),
            LayoutSection(
                "Other Income and Expense",
                "Total Other Income and Expense",
                chart.OTHER_INCOME,
                True,
                besides=_BELOW,
            ),
            LayoutProfitLine(),
            LayoutProfitLine("Net Income", NET),
        )
    ),
}
