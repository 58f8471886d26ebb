"""What the books say, as plain figures: what a test holds the pipeline's tables against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class ProfitAndLoss:
    """`lines` by account id, signed as in `financial_weekly_lines`: income and expenses positive."""

    lines: Mapping[str, Decimal]
    total_trading_income: Decimal
    cost_of_sales: Decimal
    gross_profit: Decimal
    other_income: Decimal
    operating_expenses: Decimal
    net_profit: Decimal


@dataclass(frozen=True, slots=True)
class RevenueCell:
    """One revenue type in one region, without tax, in base currency."""

    invoiced: Decimal
    credited: Decimal
    net_revenue: Decimal
    tax: Decimal
    invoice_count: int
    credit_note_count: int


@dataclass(frozen=True, slots=True)
class BankMovement:
    name: str
    opening_balance: Decimal
    cash_received: Decimal
    cash_spent: Decimal
    currency_gain: Decimal
    closing_balance: Decimal


def in_units(cents: int) -> Decimal:
    """Cents as an amount with two decimals."""
    return Decimal(cents).scaleb(-2)
