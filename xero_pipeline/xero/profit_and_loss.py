"""The profit and loss report: lines by account type, signs by the report's own profit lines. Pure.

Labels and sections differ by country and layout, so neither is read. A row with an account is a detail; a
row with an amount and no account is a profit line: the running profit at that place. What kind of figure
a row is comes from the account's type (`GET Accounts`); whether its section adds to the profit or takes
from it is what makes the profit lines come out. What then does not add up is told as a difference.

Where the type says nothing (an account that is not in the chart, `FXGROUPID` for grouped currency gains),
the row's section and its place before or after gross profit decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from typing import Any

import pandas as pd

from xero_pipeline.money import ZERO
from xero_pipeline.weeks import Week
from xero_pipeline.xero.accounts import Account, account_key
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.reports import Difference, Row, read_amount, read_report

NAME = "Profit and Loss"
INCOME, COST, OTHER, EXPENSES = "trading_income", "cost_of_sales", "other_income", "operating_expenses"
EARNS = {INCOME, OTHER}
COLUMNS = ("account_id", "account_code", "account_name", "account_type", "category", "amount")

_CATEGORY_OF_TYPE = {
    "SALES": INCOME,
    "REVENUE": INCOME,
    "OTHERINCOME": OTHER,
    "DIRECTCOSTS": COST,
    "EXPENSE": EXPENSES,
    "OVERHEADS": EXPENSES,
    "DEPRECIATN": EXPENSES,
    "WAGESEXPENSE": EXPENSES,
    "SUPERANNUATIONEXPENSE": EXPENSES,
}
_NEVER_IN_PROFIT = {"ASSET", "LIABILITY", "EQUITY"}
_BALANCE_SHEET = {
    "BANK", "CURRENT", "CURRLIAB", "EQUITY", "FIXED", "INVENTORY", "LIABILITY", "NONCURRENT", "PAYGLIABILITY",
    "PREPAYMENT", "SUPERANNUATIONLIABILITY", "TERMLIAB", "WAGESPAYABLELIABILITY",
}  # fmt: skip
# Signs are tried out for so many sections between two profit lines; no layout comes near it.
_SECTIONS_TRIED = 12


@dataclass(frozen=True)
class ProfitAndLoss:
    """`totals`: the six figures of `financial_weekly`; `lines`: one row an account."""

    totals: dict[str, Decimal]
    lines: pd.DataFrame
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


@dataclass
class _Detail:
    account_id: str
    name: str
    amount: Decimal
    account: Account | None
    category: str | None
    """By the account's type; `None` where that says nothing."""


@dataclass
class _Section:
    title: str
    details: list[_Detail] = field(default_factory=list)
    stated: list[Decimal] = field(default_factory=list)
    sign: int = 1

    @property
    def total(self) -> Decimal:
        return sum((detail.amount for detail in self.details), ZERO)

    @property
    def is_known(self) -> bool:
        """Whether any of its accounts says what it is."""
        return any(detail.category for detail in self.details)

    @property
    def usual_sign(self) -> int:
        """+1 for income, -1 for expenses, +1 for both together, where the expenses then stand negative."""
        known = {detail.category in EARNS for detail in self.details if detail.category}
        return -1 if known == {False} else 1


@dataclass
class _Stretch:
    """The sections up to a profit line, and what that line states."""

    sections: list[_Section] = field(default_factory=list)
    label: str = ""
    profit: Decimal | None = None


def read_profit_and_loss(payload: Mapping[str, Any], *, week: Week, accounts: Mapping[str, Account]) -> ProfitAndLoss:
    """The week's profit and loss.

    Args:
        accounts: by `accounts.account_key`.

    Returns:
        Income positive where it earns, expenses positive where they cost, whatever their sign in the report.

    Raises:
        PayloadNotUnderstood: more than one column, an amount that is none, an account of the balance sheet.
        WrongPeriod: the report is for other dates.
    """
    differences: list[Difference] = []
    stretches = _settle_signs(list(_stretches(read_report(payload, NAME, week), accounts)), differences)
    gross_at = _gross_line(stretches)
    notes = _place_unknown(stretches, gross_at)
    lines = _lines(stretches)
    totals = _totals(lines)
    told = {(one.stated, one.found) for one in differences}
    differences += [one for one in _check(stretches, gross_at, totals) if (one.stated, one.found) not in told]
    return ProfitAndLoss(totals, pd.DataFrame(lines, columns=list(COLUMNS), dtype=object), differences, notes)


def _stretches(rows: Sequence[Row], accounts: Mapping[str, Account]) -> Iterator[_Stretch]:
    stretch, sections = _Stretch(), dict[int, _Section]()
    for row in rows:
        if row.kind == "header":
            if len(row.cells) > 2:
                raise PayloadNotUnderstood(f"The {NAME} report has more columns than the one that was asked.")
            continue
        if not row.cells:
            continue
        account_id = row.attribute("account", "accountid")
        where = f"The {NAME} report's row {row.label!r}"
        if len(row.cells) > 2:
            raise PayloadNotUnderstood(f"{where} has more amounts than the one that was asked.")
        cell = row.cells[1] if len(row.cells) > 1 else None
        if account_id:
            section = sections.setdefault(row.section, _Section(row.title))
            if section not in stretch.sections:
                stretch.sections.append(section)
            section.details.append(_detail(account_id, row, read_amount(cell, where), accounts))
        elif cell is None or cell.value in (None, ""):
            continue
        elif row.kind == "summaryrow":
            sections.setdefault(row.section, _Section(row.title)).stated.append(read_amount(cell, where))
        else:
            stretch.label, stretch.profit = row.label, read_amount(cell, where)
            yield stretch
            stretch, sections = _Stretch(), {}
    if stretch.sections:
        yield stretch


def _detail(account_id: str, row: Row, amount: Decimal, accounts: Mapping[str, Account]) -> _Detail:
    account = accounts.get(account_key(account_id))
    category = None
    if account is not None:
        if account.type in _BALANCE_SHEET or account.class_ in _NEVER_IN_PROFIT:
            raise PayloadNotUnderstood(f"The {NAME} report has the account {row.label!r} of type {account.type}.")
        category = _CATEGORY_OF_TYPE.get(account.type) or (EXPENSES if account.class_ == "EXPENSE" else None)
    return _Detail(account_id, row.label or (account.name if account else account_id), amount, account, category)


def _settle_signs(stretches: Sequence[_Stretch], differences: list[Difference]) -> list[_Stretch]:
    """Give each section the sign that makes the next profit line come out, the usual ones first.

    A line that only repeats its own sections' total is no profit line; its sections belong to the next one.
    """
    settled: list[_Stretch] = []
    running, carried = ZERO, list[_Section]()
    for place, stretch in enumerate(stretches):
        stretch.sections, carried = carried + stretch.sections, []
        for section in stretch.sections:
            section.sign = section.usual_sign
        if stretch.profit is not None:
            signs = _signs_for(stretch, stretch.profit - running)
            found = running + sum(
                (sign * section.total for sign, section in zip(signs, stretch.sections, strict=True)), ZERO
            )
            if found != stretch.profit:
                if place + 1 < len(stretches) and _is_subtotal(stretch):
                    carried = stretch.sections
                    continue
                differences.append(Difference(stretch.label or "a profit line", stretch.profit, found))
            for section, sign in zip(stretch.sections, signs, strict=True):
                section.sign = sign
            running = stretch.profit
        settled.append(stretch)
    return settled


def _is_subtotal(stretch: _Stretch) -> bool:
    total = sum((section.total for section in stretch.sections), ZERO)
    return bool(stretch.sections) and stretch.profit in (total, -total)


def _signs_for(stretch: _Stretch, wanted: Decimal) -> tuple[int, ...]:
    """The signs under which the stretch brings what is wanted, the most usual ones if there are several.

    Where none does, the report does not add up: known sections keep their usual signs, and those of strangers
    alone take the ones that come nearest.
    """
    sections = stretch.sections
    usual = tuple(section.usual_sign for section in sections)
    if len(sections) > _SECTIONS_TRIED:
        return usual

    def rank(signs: tuple[int, ...]) -> tuple[bool, bool, Decimal, int]:
        flipped = [one for one, sign in zip(sections, signs, strict=True) if sign != one.usual_sign]
        missed = abs(wanted - sum((sign * one.total for sign, one in zip(signs, sections, strict=True)), ZERO))
        flips_known = any(one.is_known for one in flipped)
        strangeness = sum(3 if one.is_known else 1 for one in flipped)
        return missed != 0, missed != 0 and flips_known, missed, strangeness

    return min(product((1, -1), repeat=len(sections)), key=rank)


def _gross_line(stretches: Sequence[_Stretch]) -> int | None:
    """Which profit line is gross profit: the last one before anything but sales and their cost.

    With strangers alone there is nothing to tell by, and the first of several lines is taken.
    """
    lines = [place for place, stretch in enumerate(stretches) if stretch.profit is not None]
    if len(lines) < 2:
        return None
    for place in lines:
        following = stretches[place + 1 :]
        before = stretches[: place + 1]
        if _holds(before, {OTHER, EXPENSES}):
            return None
        if not _holds(following, {INCOME, COST}):
            return place
    return None


def _holds(stretches: Sequence[_Stretch], categories: set[str]) -> bool:
    return any(d.category in categories for s in stretches for section in s.sections for d in section.details)


def _place_unknown(stretches: Sequence[_Stretch], gross_at: int | None) -> list[str]:
    """Give every detail whose account says nothing its category."""
    notes = []
    for place, stretch in enumerate(stretches):
        trading = gross_at is not None and place <= gross_at
        for section in stretch.sections:
            kinds = {detail.category for detail in section.details if detail.category}
            by_place = (INCOME if section.sign > 0 else COST) if trading else (OTHER if section.sign > 0 else EXPENSES)
            for detail in section.details:
                if detail.category is None:
                    detail.category = next(iter(kinds)) if len(kinds) == 1 else by_place
                    notes.append(f"{detail.name} is in no known account, and was placed under {detail.category}.")
    return notes


def _lines(stretches: Sequence[_Stretch]) -> list[dict[str, Any]]:
    """One row an account; an account that the report names twice is added up."""
    lines: dict[str, dict[str, Any]] = {}
    for stretch in stretches:
        for section in stretch.sections:
            for detail in section.details:
                category = detail.category or EXPENSES
                adds = section.sign * detail.amount
                line = lines.get(account_key(detail.account_id))
                if line is not None:
                    line["amount"] += adds if line["category"] in EARNS else -adds
                    continue
                account = detail.account
                lines[account_key(detail.account_id)] = {
                    "account_id": account.account_id if account else detail.account_id,
                    "account_code": account.code if account else None,
                    "account_name": detail.name,
                    "account_type": account.type if account else None,
                    "category": category,
                    "amount": (adds if category in EARNS else -adds) + ZERO,
                }
    return list(lines.values())


def _totals(lines: Sequence[Mapping[str, Any]]) -> dict[str, Decimal]:
    sums = dict.fromkeys((INCOME, COST, OTHER, EXPENSES), ZERO)
    for line in lines:
        sums[line["category"]] += line["amount"]
    gross = sums[INCOME] - sums[COST]
    return {
        "total_trading_income": sums[INCOME],
        "cost_of_sales": sums[COST],
        "gross_profit": gross,
        "other_income": sums[OTHER],
        "operating_expenses": sums[EXPENSES],
        "net_profit": gross + sums[OTHER] - sums[EXPENSES],
    }


def _check(stretches: Sequence[_Stretch], gross_at: int | None, totals: Mapping[str, Decimal]) -> Iterator[Difference]:
    for stretch in stretches:
        for section in stretch.sections:
            for stated in section.stated:
                if stated != section.total:
                    yield Difference(f"total of the section {section.title!r}", stated, section.total)
    gross = stretches[gross_at].profit if gross_at is not None else None
    if gross is not None and gross != totals["gross_profit"]:
        yield Difference("gross profit", gross, totals["gross_profit"])
    profits = [stretch.profit for stretch in stretches if stretch.profit is not None]
    if profits and profits[-1] != totals["net_profit"]:
        yield Difference("net profit", profits[-1], totals["net_profit"])
    if not profits and any(stretch.sections for stretch in stretches):
        yield Difference("net profit, which the report does not state", ZERO, totals["net_profit"])
