"""Which line of a profit and loss report is gross profit, and where rows of unknown accounts belong.

The chart of accounts says what most rows are. A row whose account it does not have (or `FXGROUPID`, grouped currency
gains) is placed by its section and by its position before or after gross profit. Where two readings fit, one is taken
and the other is reported as a difference, so that the week is `partial` and a person can decide.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xero_pipeline.money import ZERO
from xero_pipeline.xero.readers.profit_lines import (
    COST,
    EXPENSES,
    INCOME,
    INCOME_CATEGORIES,
    OTHER,
    AccountRow,
    StatedAmount,
)
from xero_pipeline.xero.readers.profit_signs import Nature
from xero_pipeline.xero.readers.reports import Difference

# "Gross Profit", "Gross Margin", "Gross Surplus / (Deficit)"; not "Gross Income", which is turnover.
_GROSS_PROFIT = re.compile(r"\bgross\b.*\b(profit|loss|margin|surplus|deficit)\b", re.IGNORECASE)


def is_named_gross_profit(line: StatedAmount) -> bool:
    """Whether the label of a profit line names gross profit."""
    return _GROSS_PROFIT.search(line.label) is not None


def find_gross_profit(
    details: Sequence[AccountRow], profits: Sequence[StatedAmount]
) -> tuple[StatedAmount | None, Sequence[StatedAmount]]:
    """Find the line that states gross profit, and the other lines that could state it as well.

    Gross profit stands after the last row of sales or cost of sales, and before the first section that has neither.
    Where rows of unknown accounts stand between two such lines, the numbers fit both. Then currency gains are no
    trade, and a label that names gross profit decides; labels decide nothing else.
    """
    trading_sections = {detail.path for detail in details if detail.category in {INCOME, COST}}
    first_beyond = next(
        (
            index
            for index, detail in enumerate(details)
            if detail.category in {OTHER, EXPENSES} and detail.path not in trading_sections
        ),
        None,
    )
    trading_end = max(
        (index + 1 for index, detail in enumerate(details) if detail.category in {INCOME, COST}), default=0
    )
    if first_beyond is None:
        # The last line of all is net profit.
        candidates = [line for line in profits[:-1] if line.after >= trading_end]
    elif trading_end > first_beyond:
        candidates = [line for line in profits if line.after <= first_beyond][-1:]
    else:
        candidates = [line for line in profits if trading_end <= line.after <= first_beyond]
    candidates = _keep_distinct(details, candidates)
    if named := [line for line in candidates if is_named_gross_profit(line)]:
        candidates = _keep_distinct(details, named)
    return (candidates[0], candidates[1:]) if candidates else (None, ())


def _keep_distinct(details: Sequence[AccountRow], lines: Sequence[StatedAmount]) -> list[StatedAmount]:
    """Drop each line that only currency gains, or no row at all, separate from the line before it."""
    distinct: list[StatedAmount] = []
    for line in lines:
        between = details[distinct[-1].after : line.after] if distinct else ()
        if not distinct or any(not detail.is_currency_gain for detail in between):
            distinct.append(line)
    return distinct


def place_unknown(
    details: Sequence[AccountRow], gross: StatedAmount | None, alternatives: Sequence[StatedAmount]
) -> tuple[list[str], list[Difference]]:
    """Set the category of every row whose account says nothing.

    Args:
        alternatives: the other lines that could be gross profit.

    Returns:
        Notes on where rows were placed, and a difference for each placement that has an equally good alternative.
    """
    first_beyond = next((n for n, detail in enumerate(details) if detail.category in {OTHER, EXPENSES}), len(details))
    known_rows: dict[tuple[int, ...], list[AccountRow]] = {}
    for detail in details:
        if detail.category is not None:
            known_rows.setdefault(detail.path, []).append(detail)
    placed: dict[str, list[str]] = {}
    uncertain: list[AccountRow] = []
    without_gross: list[AccountRow] = []
    is_named = gross is not None and is_named_gross_profit(gross)
    # A report with one profit line and without any known account has a single step: income and expenses.
    has_doubt = not is_named and not alternatives and (gross is not None or bool(known_rows))
    for index, detail in enumerate(details):
        if detail.category is not None:
            continue
        # Grouped currency gains are not trading figures, unless the report includes them in its gross profit.
        is_trading = index < gross.after if gross else index < first_beyond and not detail.is_currency_gain
        known = known_rows.get(detail.path, [])
        detail.category = _choose_category(detail, known, is_trading, has_gross=gross is not None)
        placed.setdefault(detail.category, []).append(detail.name)
        if not is_trading and _is_uncertain(detail, known):
            uncertain.append(detail)
        needs_gross = index < first_beyond and not known and detail.amount and (gross or not detail.is_currency_gain)
        if needs_gross and has_doubt:
            without_gross.append(detail)
    notes = [
        f"Placed under {category.replace('_', ' ')} by their position in the report, since the chart of "
        f"accounts does not say what they are: {', '.join(names)}."
        for category, names in placed.items()
    ]
    doubts = [*_doubt_gross_profit(gross, alternatives), *_doubt_trade(without_gross), *_doubt_categories(uncertain)]
    return notes, doubts


def _choose_category(detail: AccountRow, known: Sequence[AccountRow], is_trading: bool, *, has_gross: bool) -> str:
    """Choose a category by the known accounts of the section, or else by the sign and the gross profit line."""
    categories = {row.category for row in known if row.category is not None}
    if detail.nature is Nature.INCOME:
        categories &= INCOME_CATEGORIES
    elif len(categories) > 1:
        is_income = detail.contribution >= 0
        categories = categories & INCOME_CATEGORIES if is_income else categories - INCOME_CATEGORIES
    elif categories == {EXPENSES} and detail.sign > 0 and not is_trading and detail.amount > 0:
        # The section writes its expenses with a minus, so an amount without one is income.
        categories = {OTHER}
    if not is_trading:
        categories -= {INCOME, COST}
    if len(categories) == 1:
        return next(iter(categories))
    # The section's sign decides, not the amount's: a discount is a negative amount among the sales.
    if detail.nature is Nature.INCOME or detail.sign > 0:
        return INCOME if is_trading else OTHER
    # A report without a gross profit line has no cost of sales.
    return COST if is_trading and has_gross else EXPENSES


def _is_uncertain(detail: AccountRow, known: Sequence[AccountRow]) -> bool:
    """Whether an unknown account below gross profit can be other income as well as an expense.

    It can in a section that adds to the profit: other income stands there, and in the United States expenses with a
    minus as well. Known accounts of income alone settle it; where none is known, an amount without a minus does.
    """
    if detail.is_currency_gain or detail.nature is not Nature.UNKNOWN or detail.sign < 0 or not detail.amount:
        return False
    natures = {row.nature for row in known}
    return Nature.EXPENSE in natures if natures else detail.amount < 0


def _doubt_gross_profit(gross: StatedAmount | None, alternatives: Sequence[StatedAmount]) -> list[Difference]:
    if gross is None:
        return []
    reason = "the chart of accounts does not have the accounts between these two lines"
    return [
        Difference(f"gross profit ({gross.label!r} or {line.label!r})", gross.amount, line.amount, reason)
        for line in alternatives
    ]


def _doubt_trade(details: Sequence[AccountRow]) -> list[Difference]:
    """Doubt rows that only gross profit could place, in a report whose lines do not name it: it may be incomplete."""
    if not details:
        return []
    total = sum((detail.contribution for detail in details), ZERO)
    names = ", ".join(detail.name for detail in details)
    reason = "the chart of accounts does not have these accounts, and no line of the report is named gross profit"
    return [Difference(f"what is part of gross profit ({names})", total, ZERO, reason)]


def _doubt_categories(uncertain: Sequence[AccountRow]) -> list[Difference]:
    if not uncertain:
        return []
    total = sum((detail.contribution for detail in uncertain), ZERO)
    as_other = sum((detail.contribution for detail in uncertain if detail.category == OTHER), ZERO)
    names = ", ".join(detail.name for detail in uncertain)
    reason = "the chart of accounts does not have these accounts, and both kinds can stand in their section"
    return [Difference(f"other income, rather than operating expenses ({names})", as_other, total - as_other, reason)]
