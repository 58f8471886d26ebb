"""Thousands of reports in six countries' wordings: none is read wrongly with `success`.

Each report is written from books that are known: profit lines of its country anywhere between the sections, currency
gains anywhere, weeks without sales, accounts that the chart does not have. What is read must be the books, or the
report must be marked as one that does not add up or has two readings.

By default 2,500 are written. `REPORTS=full` writes 20,000.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.xero.readers.accounts import Account, read_accounts
from xero_pipeline.xero.readers.profit_and_loss import ProfitAndLoss, read_profit_and_loss
from xero_pipeline_tests.xero.readers.report_payloads import (
    WEEK,
    Json,
    chart,
    detail,
    line,
    plain,
    report,
    section,
    total,
)

# A fault that one report in 2,000 shows is found by this many with a likelihood of 90 %.
REPORTS = 20_000 if os.environ.get("REPORTS") == "full" else 2_500
BATCHES = 20 if REPORTS == 20_000 else 4


@dataclass(frozen=True)
class Country:
    """What a country's standard layout calls its sections and its profit lines."""

    income: str
    cost: str
    gross: str
    other: str
    expenses: str
    operating: str
    before_tax: str
    tax: str
    net: str
    is_other_mixed: bool = False
    """Other income and other expenses stand in one section, where expenses are negative."""
    other_first: bool = False


COUNTRIES = {
    "australia": Country(
        "Trading Income", "Less Cost of Sales", "Gross Profit", "Plus Other Income", "Less Operating Expenses",
        "Operating Profit", "Net Profit before Tax", "Less Income Tax", "Net Profit", other_first=True,
    ),
    "new_zealand": Country(
        "Income", "Less Cost of Sales", "Gross Profit", "Plus Other Income", "Less Operating Expenses",
        "Operating Surplus", "Net Surplus before Tax", "Less Taxation", "NET PROFIT", other_first=True,
    ),
    "united_kingdom": Country(
        "Turnover", "Cost of Sales", "Gross Profit", "Other Income", "Administrative Costs",
        "Operating Profit", "Profit on Ordinary Activities Before Taxation", "Taxation", "Profit after Taxation",
    ),
    "united_states": Country(
        "Revenue", "Less Cost of Goods Sold", "Gross Profit", "Other Income and Expense", "Less Operating Expenses",
        "Operating Income / (Loss)", "Net Income / (Loss) before Tax", "Income Tax Expense", "Net Income",
        is_other_mixed=True,
    ),
    "canada": Country(
        "Revenue", "Cost of Goods Sold", "Gross Margin", "Other Income", "Operating Expenses",
        "Income from Operations", "Income before Income Taxes", "Income Taxes", "Net Income / (Loss)",
    ),
    "singapore": Country(
        "Income", "Less Cost of Sales", "Gross Profit / (Loss)", "Plus Other Income", "Less Expenses",
        "Profit from Operations", "Profit before Tax", "Tax Expense", "Profit for the Period", other_first=True,
    ),
}  # fmt: skip
EARNS = {"trading_income", "other_income"}
TYPES = {
    "trading_income": ["SALES", "REVENUE"],
    "cost_of_sales": ["DIRECTCOSTS"],
    "other_income": ["OTHERINCOME"],
    "operating_expenses": ["EXPENSE", "OVERHEADS", "DEPRECIATN"],
}


@dataclass
class Writer:
    """Writes one report and keeps the books that it was written from."""

    chance: random.Random
    country: Country
    accounts: dict[str, Account] = field(default_factory=dict)
    books: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TYPES, 0))
    rows: list[Json] = field(default_factory=list)
    has_currency_gain: bool = False

    @property
    def profit(self) -> int:
        return sum(cents if name in EARNS else -cents for name, cents in self.books.items())

    def amount(self) -> int:
        """Cents: seldom zero, seldom negative, as a discount or a reversal is."""
        cents = self.chance.randint(1, 10 ** self.chance.randint(2, 8))
        return self.chance.choices([cents, -cents, 0], [20, 2, 1])[0]

    def write_row(self, category: str, *, sign: int = 1, unknown: float) -> tuple[Json, int]:
        cents, account_id = self.amount(), f"{self.chance.getrandbits(128):032x}"
        if self.chance.random() >= unknown:
            type_ = self.chance.choice(TYPES[category])
            class_ = "REVENUE" if category in EARNS else "EXPENSE"
            self.accounts[normalise_id(account_id)] = Account(account_id, None, account_id, type_, class_)
        self.books[category] += cents
        return detail(account_id, text(sign * cents)), sign * cents

    def write_currency_gain(self, *, earns: bool, sign: int) -> tuple[Json, int]:
        """Other income where its section earns, an operating expense where its section costs."""
        self.has_currency_gain = True
        cents = self.amount()
        self.books["other_income" if earns else "operating_expenses"] += cents
        return detail("FXGROUPID", text(sign * cents), "Foreign Currency Gains and Losses"), sign * cents

    def write_section(self, title: str, category: str, *, currency: bool = False, unknown: float) -> None:
        written = [self.write_row(category, unknown=unknown) for _ in range(self.chance.randint(0, 3))]
        if currency and not self.has_currency_gain and self.chance.random() < 0.2:
            written.append(self.write_currency_gain(earns=category in EARNS, sign=1))
        self.close_section(title, written)

    def write_mixed_section(self, title: str, *, unknown: float) -> None:
        written = [self.write_row("other_income", unknown=unknown) for _ in range(self.chance.randint(0, 2))]
        written += [self.write_row("operating_expenses", sign=-1, unknown=0) for _ in range(self.chance.randint(0, 2))]
        self.close_section(title, written)

    def close_section(self, title: str, written: list[tuple[Json, int]]) -> None:
        if written or self.chance.random() < 0.2:
            summed = sum(cents for _, cents in written)
            rows = [row for row, _ in written]
            self.rows.append(section(title, *rows, total(f"Total {title.removeprefix('Less ')}", text(summed))))

    def write_profit(self, label: str, likelihood: float = 1.0) -> None:
        if self.chance.random() < likelihood:
            self.rows.append(section("", plain(label, text(self.profit))))

    def write(self) -> Json:
        country, chance = self.country, self.chance
        unknown = chance.choice([0, 0, 0.15, 0.5])
        if chance.random() < 0.85:
            self.write_section(country.income, "trading_income", unknown=unknown)
        if chance.random() < 0.7:
            self.write_section(country.cost, "cost_of_sales", unknown=unknown)
        self.write_profit(country.gross)
        if country.other_first and chance.random() < 0.5:
            self.write_section(country.other, "other_income", currency=True, unknown=unknown)
        if chance.random() < 0.9:
            self.write_section(country.expenses, "operating_expenses", currency=True, unknown=unknown)
        self.write_profit(country.operating, 0.5)
        if country.is_other_mixed and chance.random() < 0.5:
            self.write_mixed_section(country.other, unknown=unknown)
        elif not country.other_first and chance.random() < 0.5:
            self.write_section(country.other, "other_income", currency=True, unknown=unknown)
        self.write_profit(country.before_tax, 0.4)
        if chance.random() < 0.3:
            self.write_section(country.tax, "operating_expenses", unknown=unknown)
        self.write_profit(country.net)
        return report(*self.rows)


def text(cents: int) -> str:
    return str(Decimal(cents).scaleb(-2))


def is_right(found: ProfitAndLoss, books: dict[str, int]) -> bool:
    stated = {name: Decimal(cents).scaleb(-2) for name, cents in books.items()}
    gross = stated["trading_income"] - stated["cost_of_sales"]
    return found.totals == {
        "total_trading_income": stated["trading_income"],
        "cost_of_sales": stated["cost_of_sales"],
        "gross_profit": gross,
        "other_income": stated["other_income"],
        "operating_expenses": stated["operating_expenses"],
        "net_profit": gross + stated["other_income"] - stated["operating_expenses"],
    }


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_report_of_any_country_is_read_wrongly_with_success(batch: int) -> None:
    wrong, partial = [], 0
    for number in range(batch, REPORTS, BATCHES):
        name = list(COUNTRIES)[number % len(COUNTRIES)]
        writer = Writer(random.Random(number), COUNTRIES[name])
        payload = writer.write()
        found = read_profit_and_loss(payload, week=WEEK, accounts=writer.accounts)
        partial += bool(found.differences)
        if not found.differences and not is_right(found, writer.books):
            wrong.append((number, name))
    assert wrong == []
    # Reports that name every account and state every profit have one reading; they must not be doubted.
    assert partial < REPORTS / BATCHES / 10


CASES = Path(__file__).parents[2] / "samples" / "cases"


@pytest.mark.parametrize(
    ("name", "figures", "is_partial"),
    [
        ("pl-fxgroupid-before-operating-profit", ["1000.00", "0.00", "1000.00", "10.00", "50.00", "960.00"], False),
        (
            "pl-us-unknown-account-before-operating-income",
            ["1000.00", "0.00", "1000.00", "10.00", "50.00", "960.00"],
            False,
        ),
        ("pl-us-unknown-other-income", ["1000.00", "0.00", "1000.00", "10.00", "3.00", "1007.00"], False),
    ],
)
def test_a_report_that_was_read_wrongly_has_its_right_figures(name: str, figures: list[str], is_partial: bool) -> None:
    case = json.loads((CASES / f"{name}.json").read_text(), parse_float=Decimal)
    found = read_profit_and_loss(case["ProfitAndLoss"], week=WEEK, accounts=read_accounts(case))
    assert [str(amount) for amount in found.totals.values()] == figures
    assert bool(found.differences) is is_partial


def test_two_lines_that_can_both_be_gross_profit_make_the_week_partial_and_are_both_named() -> None:
    """Without a label that says gross profit, the numbers fit two readings."""
    accounts = chart(sales="SALES", interest="OTHERINCOME")
    payload = report(
        section("Umsatz", detail("sales", "1000.00")),
        line("Zwischensumme", "1000.00"),
        section("Aufwand", detail("unknown", "50.00")),
        line("Ergebnis", "950.00"),
        section("Zinsen", detail("interest", "10.00")),
        line("Gewinn", "960.00"),
    )
    found = read_profit_and_loss(payload, week=WEEK, accounts=accounts)
    [difference] = found.differences
    assert str(difference) == (
        "gross profit ('Zwischensumme' or 'Ergebnis'): 1000.00 or 950.00, because the chart of accounts does not have "
        "the accounts between these two lines"
    )
    assert difference.as_dict()["doubt"]
