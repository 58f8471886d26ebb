"""Reads the profit and loss report: categories by account type, signs by the report's own profit lines. Pure.

Labels and section titles differ by country and layout, so neither is used. A row with an account is a detail. A row
with an amount and no account is a profit line: it states the profit up to its position. The type of a row's account
(`GET Accounts`) gives the row's category. Each section's sign, whether it adds to the profit or reduces it, is chosen
so that the profit lines come out right. What still does not add up is reported as a difference.

For an account whose type says nothing (one that is not in the chart, or `FXGROUPID` for grouped currency gains), the
row's section and its position before or after gross profit decide.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pandas as pd

from xero_pipeline.money import ZERO
from xero_pipeline.periods import Period
from xero_pipeline.weeks import WeekRange
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.accounts import Account
from xero_pipeline.xero.readers.gross_profit import find_gross_profit, is_named_gross_profit, place_unknown
from xero_pipeline.xero.readers.profit_lines import (
    COST,
    EXPENSES,
    INCOME,
    INCOME_CATEGORIES,
    OTHER,
    AccountRow,
    StatedAmount,
)
from xero_pipeline.xero.readers.profit_signs import AccountBlock, Nature, ProfitLine, Role, solve_signs
from xero_pipeline.xero.readers.reports import Difference, ReportRow, read_amount, read_report

NAME = "Profit and Loss"
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
    """`totals` holds the six figures of `financial_weekly`; `lines` has one row for each account.

    `unknown_accounts` are the ids of accounts of the report that the chart of accounts does not have.
    """

    totals: dict[str, Decimal]
    lines: pd.DataFrame
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()
    unknown_accounts: frozenset[str] = frozenset()


@dataclass
class _ReportRows:
    """The rows of the report, in their order."""

    details: list[AccountRow] = field(default_factory=list)
    lines: list[StatedAmount] = field(default_factory=list)
    totals: list[StatedAmount] = field(default_factory=list)


def read_profit_and_loss(
    payload: Mapping[str, Any], *, week: Period | WeekRange, accounts: Mapping[str, Account]
) -> ProfitAndLoss:
    """Read the profit and loss of a week, or of a range of weeks in one column.

    Args:
        accounts: keyed by their ids, as `read_accounts` returns them.

    Returns:
        The figures. Income is positive if it adds to the profit, expenses are positive if they reduce it, whatever
        their sign in the report.

    Raises:
        PayloadNotUnderstood: the report has more than one column, an amount that is not a number, or an account of
            the balance sheet; or it states money and has no row with an account.
        WrongPeriod: the report is for other dates.
    """
    rows = read_report(payload, NAME, week)
    _require_one_column(rows)
    report = _read_rows(rows, accounts)
    profits = _set_signs(report)
    if not report.details and any(line.amount for line in report.lines):
        raise PayloadNotUnderstood(
            f"The {NAME} report states money and has no row with an account.",
            advice="Nothing was written; the figures held before stay. The next sync reads the week again.",
        )
    gross, alternatives = find_gross_profit(report.details, profits)
    placed, doubts = place_unknown(report.details, gross, alternatives)
    notes = [*_note_unusual_signs(report.details), *placed]
    lines = _sum_by_account(report.details)
    totals = _compute_totals(lines)
    differences = list(dict.fromkeys([*_find_differences(report, profits, gross, totals), *doubts]))
    frame = pd.DataFrame(lines, columns=list(COLUMNS), dtype=object)
    unknown = frozenset(
        detail.account_id for detail in report.details if detail.account is None and _is_account_id(detail.account_id)
    )
    return ProfitAndLoss(totals, frame, differences, notes, unknown)


def _is_account_id(text: str) -> bool:
    """Whether a chart of accounts can have this id. A group of accounts, such as `FXGROUPID`, has a name for its id."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def is_of_balance_sheet(account: Account) -> bool:
    """Whether the account can never be in a profit and loss."""
    return account.type in _BALANCE_SHEET or account.class_ in _NEVER_IN_PROFIT


def _require_one_column(rows: Sequence[ReportRow]) -> None:
    """Reject a report with a second column, which would be for another period: each week is requested by itself."""
    for row in rows:
        if any(row.has_value(column) for column in range(2, len(row.cells))):
            raise PayloadNotUnderstood(f"The {NAME} report has more than the one requested column.")


def _read_rows(rows: Sequence[ReportRow], accounts: Mapping[str, Account]) -> _ReportRows:
    report = _ReportRows()
    summed_up_to: dict[tuple[int, ...], int] = {}
    for row in rows:
        if row.kind == "header":
            continue
        where = f"The {NAME} report's row {row.label[:60]!r}"
        account_id = row.account_id if row.kind == "row" else None
        if account_id is not None:
            amount = read_amount(row.cells[1] if len(row.cells) > 1 else None, where)
            report.details.append(_make_detail(account_id, row, amount, accounts))
            continue
        if not row.has_value(1):
            continue
        amount, after = read_amount(row.cells[1], where), len(report.details)
        inside = [n for n, detail in enumerate(report.details) if detail.path[: len(row.path)] == row.path]
        if row.kind == "summaryrow" and inside:
            details = tuple(report.details[n] for n in inside)
            recent = tuple(report.details[n] for n in inside if n >= summed_up_to.get(row.path, 0))
            summed_up_to[row.path] = after
            report.totals.append(StatedAmount(row.label or row.title, amount, after, details, recent))
        else:
            # The total of a section without rows sums up what stands above it, or nothing.
            is_total = row.kind == "summaryrow"
            report.lines.append(StatedAmount(row.label or row.title, amount, after, is_total=is_total))
    return report


def _make_detail(account_id: str, row: ReportRow, amount: Decimal, accounts: Mapping[str, Account]) -> AccountRow:
    account = accounts.get(account_id)
    name = row.label or (account.name if account else account_id)
    category, nature = None, Nature.UNKNOWN
    if account is not None:
        if is_of_balance_sheet(account):
            raise PayloadNotUnderstood(f"The {NAME} report has the account {name[:60]!r} of type {account.type}.")
        category = get_category(account)
        if category is not None:
            nature = Nature.INCOME if category in INCOME_CATEGORIES else Nature.EXPENSE
        elif account.class_ == "REVENUE":
            nature = Nature.INCOME
    return AccountRow(account_id, name, amount, account, category, nature, row.path)


def get_category(account: Account) -> str | None:
    """Return the category that an account's type gives its rows; `None` if the type says nothing."""
    return _CATEGORY_OF_TYPE.get(account.type) or (EXPENSES if account.class_ == "EXPENSE" else None)


def _set_signs(report: _ReportRows) -> list[StatedAmount]:
    """Set the sign of each detail, and return the lines that state a profit."""
    blocks: list[AccountBlock] = []
    block_numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    for index, detail in enumerate(report.details):
        line = sum(stated.after <= index for stated in report.lines)
        detail.block = block_numbers.setdefault((line, detail.path), len(blocks))
        if detail.block == len(blocks):
            blocks.append(AccountBlock({}, line))
        cents = blocks[detail.block].cents
        cents[detail.nature] = cents.get(detail.nature, 0) + _to_integer_cents(detail.amount)
    lines = [
        ProfitLine(_to_integer_cents(line.amount), may_be_empty_total=line.is_total and not line.amount)
        for line in report.lines
    ]
    signs, roles = solve_signs(blocks, lines)
    for detail in report.details:
        detail.sign = signs[detail.block, detail.nature]
    return [line for line, role in zip(report.lines, roles, strict=True) if role is Role.PROFIT]


def _to_integer_cents(amount: Decimal) -> int:
    return int(amount.scaleb(2))


def _note_unusual_signs(details: Sequence[AccountRow]) -> list[str]:
    """Note the sections whose sign is the opposite of what their accounts suggest.

    The reason is a discount, a refund, or an error in the report that nothing else in it shows. Expenses that the
    report writes as negative amounts are usual and get no note.
    """
    sections: dict[int, list[AccountRow]] = {}
    for detail in details:
        sections.setdefault(detail.block, []).append(detail)
    reducing_income, adding_expenses = [], []
    for section in sections.values():
        expenses = [detail for detail in section if detail.nature is Nature.EXPENSE]
        income = [detail for detail in section if detail.nature is Nature.INCOME]
        reducing_income += [detail.name for detail in income if detail.sign < 0]
        if not income and sum(detail.amount for detail in expenses) > 0:
            adding_expenses += [detail.name for detail in expenses if detail.sign > 0]
    texts = [
        ("Income that reduces the profit", reducing_income),
        ("Expenses that add to the profit", adding_expenses),
    ]
    return [f"{what}, by the report's own profit lines: {', '.join(names)}." for what, names in texts if names]


def _sum_by_account(details: Sequence[AccountRow]) -> list[dict[str, Any]]:
    """Return one line for each account, with the sum of its rows."""
    lines: dict[str, dict[str, Any]] = {}
    for detail in details:
        account = detail.account
        line = lines.setdefault(
            detail.account_id,
            {
                "account_id": detail.account_id,
                "account_code": account.code if account else None,
                "account_name": detail.name,
                "account_type": account.type if account else None,
                "category": detail.category,
                "amount": ZERO,
            },
        )
        line["amount"] += detail.contribution if line["category"] in INCOME_CATEGORIES else -detail.contribution
    return list(lines.values())


def _compute_totals(lines: Sequence[Mapping[str, Any]]) -> dict[str, Decimal]:
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


def _find_differences(
    report: _ReportRows, profits: Sequence[StatedAmount], gross: StatedAmount | None, totals: Mapping[str, Decimal]
) -> Iterator[Difference]:
    """Yield each total and profit line of the report that its rows do not add up to."""
    for total in report.totals:
        sums = [sum((detail.amount for detail in details), ZERO) for details in (total.details, total.recent)]
        if len({detail.block for detail in total.details}) > 1 or len({d.nature for d in total.details}) > 1:
            # A section with sections of its own, or with income and expenses, is summed up with their signs.
            signed_sum = sum((detail.contribution for detail in total.details), ZERO)
            sums += [signed_sum, -signed_sum]
        if total.amount not in sums:
            yield Difference(f"the total {total.label!r}", total.amount, sums[0])
    for line in profits:
        computed = sum((detail.contribution for detail in report.details[: line.after]), ZERO)
        if line.amount != computed:
            yield Difference(line.label or "a profit line", line.amount, computed)
        elif line is gross and line.amount != totals["gross_profit"]:
            yield Difference(line.label or "gross profit", line.amount, totals["gross_profit"])
    if profits and profits[-1].amount != totals["net_profit"] and profits[-1].after < len(report.details):
        yield Difference(
            f"net profit, with the rows after {profits[-1].label!r}", profits[-1].amount, totals["net_profit"]
        )
    # A report ends with net profit. One whose last profit line is gross profit has lost what follows it.
    is_unfinished = not profits or is_named_gross_profit(profits[-1])
    if is_unfinished and any(detail.amount for detail in report.details):
        yield Difference("net profit, which the report does not state", ZERO, totals["net_profit"])
