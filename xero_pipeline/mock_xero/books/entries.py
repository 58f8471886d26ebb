"""What happens in a week beside documents: wages, rent, interest, depreciation, revaluations, sweeps.

Pure, like `generation.py`. An entry names the account that it credits or debits and what it does to a
bank account, so that profit and loss and bank summary come from one and the same ledger.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.generation import Seasonality


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; cents of the base currency.

    Attributes:
        account: the profit and loss account, `None` where the entry touches none.
        credit: what the account is credited with; negative for an expense.
        bank: the bank account's code, `None` for a journal without money.
        cash: what the bank account receives; negative for what is spent.
        gain: what a revaluation adds to the bank account: neither received nor spent.
    """

    day: dt.date
    account: str | None = None
    credit: int = 0
    bank: str | None = None
    cash: int = 0
    gain: int = 0

    @property
    def in_cash_basis(self) -> bool:
        """Unrealised gains are in no cash basis report."""
        return self.account != chart.CURRENCY_GAINS


def entries_of(season: Seasonality) -> tuple[Entry, ...]:
    """The week's entries, in order of days."""
    made = [*_weekly(season)]
    for offset in range(7):
        made.extend(_monthly(season, season.start + dt.timedelta(days=offset)))
    made.extend(_revaluation(season))
    return tuple(sorted(made, key=lambda entry: entry.day))


def opening_balance(season: Seasonality, bank: str) -> int:
    """What a bank account holds when a span of four weeks begins: surplus and shortfall are swept then."""
    dice = season.dice(f"opening {bank}")
    least, most = (18_000_000, 42_000_000) if bank == chart.OPERATING_BANK else (2_000_000, 6_000_000)
    return dice.between(least, most)


def _spent(day: dt.date, account: str, net: int, *, taxed: int = 0) -> Entry:
    """Money spent on an expense; `taxed` is the percentage of tax on top."""
    cash = net + chart.tax_on(net, taxed)
    return Entry(day, account, -net, chart.OPERATING_BANK, -cash)


def _weekly(season: Seasonality) -> list[Entry]:
    dice = season.dice("weekly")
    percent = chart.tax_percent(season.organisation)
    day = season.start

    def on(weekday: int) -> dt.date:
        return day + dt.timedelta(days=weekday)

    wages = dice.between(8_600_000, 9_400_000)
    sales = season.sales
    return [
        _spent(on(1), chart.SITE_LABOUR, sales * dice.between(60, 80) // 1000),
        _spent(on(2), chart.MATERIALS, sales * dice.between(25, 45) // 1000, taxed=percent),
        _spent(on(4), chart.WAGES, wages),
        _spent(on(4), chart.SUPERANNUATION, wages * 115 // 1000),
        _spent(on(5), chart.SUBCONTRACTORS, sales * dice.between(20, 40) // 1000, taxed=percent),
        _spent(on(5), chart.BANK_FEES, dice.between(4_000, 21_000)),
        _spent(on(6), "449", dice.between(30_000, 120_000), taxed=percent),
    ]


def _monthly(season: Seasonality, day: dt.date) -> list[Entry]:
    percent = chart.tax_percent(season.organisation)
    dice = season.dice(f"monthly {day}")
    bank = chart.OPERATING_BANK
    if day.day == 1:
        return [_spent(day, chart.RENT, 1_820_000, taxed=percent)]
    if day.day == 12:
        return [_spent(day, chart.INSURANCE, dice.between(180_000, 260_000), taxed=percent)]
    if day.day == 20 and dice.percent(40):
        sundry = dice.between(20_000, 190_000)
        return [Entry(day, chart.SUNDRY_INCOME, sundry, bank, sundry)]
    if (day + dt.timedelta(days=1)).day == 1:
        interest = dice.between(20_000, 60_000)
        return [
            Entry(day, chart.INTEREST_INCOME, interest, bank, interest),
            _spent(day, chart.INTEREST_EXPENSE, dice.between(80_000, 160_000)),
            Entry(day, chart.DEPRECIATION, -dice.between(350_000, 420_000)),
        ]
    return []


def _revaluation(season: Seasonality) -> list[Entry]:
    """Every fifth week or so the foreign currency account is worth more, or less, than before."""
    dice = season.dice("revaluation")
    if not dice.percent(20):
        return []
    gain = dice.between(-45_000, 45_000) or 1_840
    day = season.start + dt.timedelta(days=6)
    return [Entry(day, chart.CURRENCY_GAINS, gain, chart.FOREIGN_BANK, 0, gain)]
