"""A week's entries that are not documents: wages, rent, interest, depreciation, revaluations, sweeps.

Pure, like `generation.py`. An entry names the account that it credits or debits and the change of a bank
account, so that profit and loss and bank summary come from the same ledger.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.generation import Seasonality


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, in cents of the base currency.

    Attributes:
        account: the profit and loss account's code, `None` if the entry affects none.
        credit: the amount credited to the account; negative for an expense.
        bank: the bank account's code, `None` for an entry without a payment.
        cash: the amount that the bank account receives; negative if spent.
        gain: the amount that a revaluation adds to the bank account, neither received nor spent.
    """

    day: dt.date
    account: str | None = None
    credit: int = 0
    bank: str | None = None
    cash: int = 0
    gain: int = 0

    @property
    def in_cash_basis(self) -> bool:
        """Whether cash basis reports include the entry: unrealised currency gains are left out."""
        return self.account != chart.CURRENCY_GAINS


def generate_entries(season: Seasonality) -> tuple[Entry, ...]:
    """The week's entries, sorted by day."""
    entries = [*_generate_weekly(season)]
    for offset in range(7):
        entries.extend(_generate_monthly(season, season.start + dt.timedelta(days=offset)))
    entries.extend(_generate_revaluation(season))
    return tuple(sorted(entries, key=lambda entry: entry.day))


def generate_opening_balance(season: Seasonality, bank: str) -> int:
    """A bank account's balance, in cents, at the start of a span of four weeks, after the previous span's sweep."""
    random = season.make_random(f"opening {bank}")
    least, most = (18_000_000, 42_000_000) if bank == chart.OPERATING_BANK else (2_000_000, 6_000_000)
    return random.draw_between(least, most)


def _make_expense(day: dt.date, account: str, net: int, *, taxed: int = 0) -> Entry:
    """An expense that is paid at once; `taxed` is the percentage of tax on top of the net amount."""
    cash = net + chart.calculate_tax(net, taxed)
    return Entry(day, account, -net, chart.OPERATING_BANK, -cash)


def _generate_weekly(season: Seasonality) -> list[Entry]:
    random = season.make_random("weekly")
    percent = chart.get_tax_percent(season.organisation)
    day = season.start

    def weekday_date(weekday: int) -> dt.date:
        return day + dt.timedelta(days=weekday)

    wages = random.draw_between(8_600_000, 9_400_000)
    sales = season.sales
    return [
        _make_expense(weekday_date(1), chart.SITE_LABOUR, sales * random.draw_between(60, 80) // 1000),
        _make_expense(weekday_date(2), chart.MATERIALS, sales * random.draw_between(25, 45) // 1000, taxed=percent),
        _make_expense(weekday_date(4), chart.WAGES, wages),
        _make_expense(weekday_date(4), chart.SUPERANNUATION, wages * 115 // 1000),
        _make_expense(
            weekday_date(5), chart.SUBCONTRACTORS, sales * random.draw_between(20, 40) // 1000, taxed=percent
        ),
        _make_expense(weekday_date(5), chart.BANK_FEES, random.draw_between(4_000, 21_000)),
        _make_expense(weekday_date(6), "449", random.draw_between(30_000, 120_000), taxed=percent),
    ]


def _generate_monthly(season: Seasonality, day: dt.date) -> list[Entry]:
    percent = chart.get_tax_percent(season.organisation)
    random = season.make_random(f"monthly {day}")
    bank = chart.OPERATING_BANK
    if day.day == 1:
        return [_make_expense(day, chart.RENT, 1_820_000, taxed=percent)]
    if day.day == 12:
        return [_make_expense(day, chart.INSURANCE, random.draw_between(180_000, 260_000), taxed=percent)]
    if day.day == 20 and random.has_chance(40):
        sundry = random.draw_between(20_000, 190_000)
        return [Entry(day, chart.SUNDRY_INCOME, sundry, bank, sundry)]
    if (day + dt.timedelta(days=1)).day == 1:
        interest = random.draw_between(20_000, 60_000)
        return [
            Entry(day, chart.INTEREST_INCOME, interest, bank, interest),
            _make_expense(day, chart.INTEREST_EXPENSE, random.draw_between(80_000, 160_000)),
            Entry(day, chart.DEPRECIATION, -random.draw_between(350_000, 420_000)),
        ]
    return []


def _generate_revaluation(season: Seasonality) -> list[Entry]:
    """A revaluation of the foreign currency account, in about one week of five."""
    random = season.make_random("revaluation")
    if not random.has_chance(20):
        return []
    gain = random.draw_between(-45_000, 45_000) or 1_840
    day = season.start + dt.timedelta(days=6)
    return [Entry(day, chart.CURRENCY_GAINS, gain, chart.FOREIGN_BANK, 0, gain)]
