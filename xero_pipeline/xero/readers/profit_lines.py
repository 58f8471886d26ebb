"""The rows and stated amounts of a profit and loss report, and the categories of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from xero_pipeline.identifiers import CURRENCY_GAINS
from xero_pipeline.xero.readers.accounts import Account
from xero_pipeline.xero.readers.profit_signs import Nature

INCOME, COST, OTHER, EXPENSES = "trading_income", "cost_of_sales", "other_income", "operating_expenses"
INCOME_CATEGORIES = {INCOME, OTHER}


@dataclass
class AccountRow:
    """A row of an account. `category` follows from the account's type; it is `None` if the type says nothing."""

    account_id: str
    name: str
    amount: Decimal
    account: Account | None
    category: str | None
    nature: Nature
    path: tuple[int, ...]
    block: int = 0
    sign: int = 1
    """+1 if its section adds to the profit, -1 if it reduces the profit."""

    @property
    def is_currency_gain(self) -> bool:
        """Whether the row is the realised and unrealised currency gains, which Xero groups without an account."""
        return self.account_id == CURRENCY_GAINS

    @property
    def contribution(self) -> Decimal:
        """The amount that it adds to the profit, once `sign` is set."""
        return self.sign * self.amount


@dataclass(frozen=True)
class StatedAmount:
    """An amount that the report states: a profit line or a section's total. `after` details precede it."""

    label: str
    amount: Decimal
    after: int
    details: tuple[AccountRow, ...] = ()
    """For a section's total: the details of the section."""
    recent: tuple[AccountRow, ...] = ()
    """For a section's total: the details since the section's previous total."""
    is_total: bool = False
