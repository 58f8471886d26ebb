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
from typing import Any

import pandas as pd

from xero_pipeline.money import ZERO
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.accounts import Account, account_key
from xero_pipeline.xero.readers.profit_signs import AccountBlock, Nature, ProfitLine, Role, settle_signs
from xero_pipeline.xero.readers.reports import Difference, ReportRow, read_amount, read_report

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


@dataclass(frozen=True)
class ProfitAndLoss:
    """`totals`: the six figures of `financial_weekly`; `lines`: one row an account."""

    totals: dict[str, Decimal]
    lines: pd.DataFrame
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


@dataclass
class _Detail:
    """A row of an account. `category` is by the account's type, `None` where that says nothing."""

    account_id: str
    name: str
    amount: Decimal
    account: Account | None
    category: str | None
    nature: Nature
    path: tuple[int, ...]
    block: int = 0
    sign: int = 1
    """Whether its section adds to the profit or takes from it."""

    @property
    def is_currency_gain(self) -> bool:
        """Realised and unrealised currency gains, which Xero groups under an id that is no account's."""
        return self.account_id.upper() == "FXGROUPID"

    @property
    def adds(self) -> Decimal:
        """What it adds to the profit, once the signs are settled."""
        return self.sign * self.amount


@dataclass(frozen=True)
class _Statement:
    """An amount that the report states itself, after so many details: a profit line, or a section's total."""

    label: str
    amount: Decimal
    after: int
    details: tuple[_Detail, ...] = ()
    last: tuple[_Detail, ...] = ()
    """Of a section's total: what it sums up, and what of that came since the total before it."""
    is_total: bool = False


@dataclass
class _ReportRows:
    """What the report says, in its order."""

    details: list[_Detail] = field(default_factory=list)
    lines: list[_Statement] = field(default_factory=list)
    totals: list[_Statement] = field(default_factory=list)


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
    rows = read_report(payload, NAME, week)
    _require_one_column(rows)
    report = _read_rows(rows, accounts)
    profits = _settle(report)
    gross = _gross_line(report.details, profits)
    notes = [*_unusual_signs(report.details), *_place_unknown(report.details, gross)]
    lines = _lines(report.details)
    totals = _totals(lines)
    differences = list(dict.fromkeys(_check(report, profits, gross, totals)))
    return ProfitAndLoss(totals, pd.DataFrame(lines, columns=list(COLUMNS), dtype=object), differences, notes)


def _require_one_column(rows: Sequence[ReportRow]) -> None:
    """A week is asked for alone; a second column would be another period's."""
    for row in rows:
        if any(row.says(place) for place in range(2, len(row.cells))):
            raise PayloadNotUnderstood(f"The {NAME} report has more columns than the one that was asked.")


def _read_rows(rows: Sequence[ReportRow], accounts: Mapping[str, Account]) -> _ReportRows:
    report = _ReportRows()
    summed: dict[tuple[int, ...], int] = {}
    for row in rows:
        if row.kind == "header":
            continue
        where = f"The {NAME} report's row {row.label[:60]!r}"
        account_id = row.account_id if row.kind == "row" else None
        if account_id is not None:
            amount = read_amount(row.cells[1] if len(row.cells) > 1 else None, where)
            report.details.append(_detail(account_id, row, amount, accounts))
            continue
        if not row.says(1):
            continue
        amount, after = read_amount(row.cells[1], where), len(report.details)
        inside = [n for n, detail in enumerate(report.details) if detail.path[: len(row.path)] == row.path]
        if row.kind == "summaryrow" and inside:
            details = tuple(report.details[n] for n in inside)
            last = tuple(report.details[n] for n in inside if n >= summed.get(row.path, 0))
            summed[row.path] = after
            report.totals.append(_Statement(row.label or row.title, amount, after, details, last))
        else:
            # A total of a section without rows is of what stands above it, or of nothing.
            is_total = row.kind == "summaryrow"
            report.lines.append(_Statement(row.label or row.title, amount, after, is_total=is_total))
    return report


def _detail(account_id: str, row: ReportRow, amount: Decimal, accounts: Mapping[str, Account]) -> _Detail:
    account = accounts.get(account_key(account_id))
    name = row.label or (account.name if account else account_id)
    category, nature = None, Nature.STRANGE
    if account is not None:
        if account.type in _BALANCE_SHEET or account.class_ in _NEVER_IN_PROFIT:
            raise PayloadNotUnderstood(f"The {NAME} report has the account {name[:60]!r} of type {account.type}.")
        category = _CATEGORY_OF_TYPE.get(account.type) or (EXPENSES if account.class_ == "EXPENSE" else None)
        if category is not None:
            nature = Nature.EARNS if category in EARNS else Nature.COSTS
        elif account.class_ == "REVENUE":
            nature = Nature.EARNS
    return _Detail(account_id, name, amount, account, category, nature, row.path)


def _settle(report: _ReportRows) -> list[_Statement]:
    """Say of each detail whether it adds to the profit; answers the lines that state a profit."""
    blocks: list[AccountBlock] = []
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    for place, detail in enumerate(report.details):
        line = sum(one.after <= place for one in report.lines)
        detail.block = numbers.setdefault((line, detail.path), len(blocks))
        if detail.block == len(blocks):
            blocks.append(AccountBlock({}, line))
        cents = blocks[detail.block].cents
        cents[detail.nature] = cents.get(detail.nature, 0) + _cents(detail.amount)
    lines = [ProfitLine(_cents(line.amount), of_nothing=line.is_total and not line.amount) for line in report.lines]
    signs, roles = settle_signs(blocks, lines)
    for detail in report.details:
        detail.sign = signs[detail.block, detail.nature]
    return [line for line, role in zip(report.lines, roles, strict=True) if role is Role.PROFIT]


def _cents(amount: Decimal) -> int:
    return int(amount.scaleb(2))


def _unusual_signs(details: Sequence[_Detail]) -> list[str]:
    """What to say of sections that come out the other way round than their accounts are: a discount, a refund, or a
    report that is wrong in a way that nothing in it shows. Expenses that stand negative are no news."""
    sections: dict[int, list[_Detail]] = {}
    for detail in details:
        sections.setdefault(detail.block, []).append(detail)
    earning, costing = [], []
    for section in sections.values():
        costs = [one for one in section if one.nature is Nature.COSTS]
        earns = [one for one in section if one.nature is Nature.EARNS]
        earning += [one.name for one in earns if one.sign < 0]
        if not earns and sum(one.amount for one in costs) > 0:
            costing += [one.name for one in costs if one.sign > 0]
    said = [("Income that it takes from its profit", earning), ("Expenses that it adds to its profit", costing)]
    return [f"{what}, by the report's own profit lines: {', '.join(names)}." for what, names in said if names]


def _gross_line(details: Sequence[_Detail], profits: Sequence[_Statement]) -> _Statement | None:
    """Which line is gross profit: the last one before the first section without any sales or cost of sales.

    Where the accounts do not tell, it is the first line after the sales and costs that are known, unless that
    is the last line of all: then it is net profit.
    """
    trade = {detail.path for detail in details if detail.category in {INCOME, COST}}
    beyond = next(
        (n for n, one in enumerate(details) if one.category in {OTHER, EXPENSES} and one.path not in trade), None
    )
    if beyond is not None:
        return next((line for line in reversed(profits) if line.after <= beyond), None)
    trading = max((n for n, detail in enumerate(details) if detail.category is not None), default=-1)
    return next((line for line in profits[:-1] if line.after > trading), None)


def _place_unknown(details: Sequence[_Detail], gross: _Statement | None) -> list[str]:
    """Give every detail whose account says nothing its category; answers what to say of it."""
    beyond = next((n for n, detail in enumerate(details) if detail.category in {OTHER, EXPENSES}), len(details))
    known: dict[tuple[int, ...], set[str]] = {}
    for detail in details:
        if detail.category is not None:
            known.setdefault(detail.path, set()).add(detail.category)
    placed: dict[str, list[str]] = {}
    for place, detail in enumerate(details):
        if detail.category is None:
            # Grouped currency gains are no trade, unless the report itself counts them into its gross profit.
            trading = place < gross.after if gross else place < beyond and not detail.is_currency_gain
            detail.category = _by_place(detail, known.get(detail.path, set()), trading, has_gross=gross is not None)
            placed.setdefault(detail.category, []).append(detail.name)
    return [
        f"Placed under {category.replace('_', ' ')} by where they stand in the report, since the chart of "
        f"accounts does not say what they are: {', '.join(names)}."
        for category, names in placed.items()
    ]


def _by_place(detail: _Detail, known: set[str], trading: bool, *, has_gross: bool) -> str:
    """A category by the accounts of the same section, or else by sign and by the gross profit line."""
    if detail.nature is Nature.EARNS:
        known = known & EARNS
    elif len(known) > 1:
        known = known & EARNS if detail.adds >= 0 else known - EARNS
    if detail.is_currency_gain and not trading:
        known = known - {INCOME, COST}
    if len(known) == 1:
        return next(iter(known))
    # The sign of its section, not its own: a discount stands negative among the sales.
    if detail.nature is Nature.EARNS or detail.sign > 0:
        return INCOME if trading else OTHER
    # Without a gross profit line, the report has no cost of sales.
    return COST if trading and has_gross else EXPENSES


def _lines(details: Sequence[_Detail]) -> list[dict[str, Any]]:
    """One row an account; an account that the report names twice is added up."""
    lines: dict[str, dict[str, Any]] = {}
    for detail in details:
        account = detail.account
        line = lines.setdefault(
            account_key(detail.account_id),
            {
                "account_id": account.account_id if account else detail.account_id,
                "account_code": account.code if account else None,
                "account_name": detail.name,
                "account_type": account.type if account else None,
                "category": detail.category,
                "amount": ZERO,
            },
        )
        line["amount"] += detail.adds if line["category"] in EARNS else -detail.adds
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


def _check(
    report: _ReportRows, profits: Sequence[_Statement], gross: _Statement | None, totals: Mapping[str, Decimal]
) -> Iterator[Difference]:
    """Where the report's own totals and profit lines are not what its rows add up to."""
    for total in report.totals:
        sums = [sum((detail.amount for detail in some), ZERO) for some in (total.details, total.last)]
        if len({detail.block for detail in total.details}) > 1 or len({d.nature for d in total.details}) > 1:
            # Sections within a section, or income and expenses in one: summed up with their signs.
            signed = sum((detail.adds for detail in total.details), ZERO)
            sums += [signed, -signed]
        if total.amount not in sums:
            yield Difference(f"the total {total.label!r}", total.amount, sums[0])
    for line in profits:
        found = sum((detail.adds for detail in report.details[: line.after]), ZERO)
        if line.amount != found:
            yield Difference(line.label or "a profit line", line.amount, found)
        elif line is gross and line.amount != totals["gross_profit"]:
            yield Difference(line.label or "gross profit", line.amount, totals["gross_profit"])
    if profits and profits[-1].amount != totals["net_profit"] and profits[-1].after < len(report.details):
        yield Difference(
            f"net profit, with the rows after {profits[-1].label!r}", profits[-1].amount, totals["net_profit"]
        )
    if not profits and any(detail.amount for detail in report.details):
        yield Difference("net profit, which the report does not state", ZERO, totals["net_profit"])
