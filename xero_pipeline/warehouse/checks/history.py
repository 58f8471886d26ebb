"""Weeks with figures far outside the weeks before: not necessarily wrong, but somebody should check them.

The check uses robust statistics of the 26 weeks before: the median, and the median absolute deviation from it (MAD).
So one unusual week in the history does not hide another one. Figures that recur every month or quarter are not
reported: a figure must also lie outside the range of the history by more than the width of that range.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from statistics import median
from types import MappingProxyType

from xero_pipeline.money import ZERO, to_cents
from xero_pipeline.warehouse.checks import cash, revenue, totals
from xero_pipeline.warehouse.checks.snapshot import Key, Violation, WarehouseSnapshot
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import cash_position_weekly, financial_weekly, revenue_weekly
from xero_pipeline.weeks import Week

WEEKS_BEFORE = 26
WEEKS_NEEDED = 8
# In a normal distribution, 1.4826 times the MAD is one standard deviation. Five of them occur in one week in millions.
_DEVIATIONS_PER_MAD = Decimal("1.4826")
_MAX_DEVIATIONS = 5
# The deviation is at least 5 % of the median. So where figures hardly vary, those up to a quarter off are not far.
_MIN_DEVIATION = Decimal("0.05")
# With at least this many weeks, the highest and the lowest are ignored, since they may be unusual themselves.
_LONG_HISTORY = 20

_FINANCIAL = ("total_trading_income", "cost_of_sales", "operating_expenses", "net_profit")
_CASH = ("cash_received", "cash_spent", "closing_balance")

Series = Mapping[Week, Decimal]
_AllSeries = dict[tuple[str, str, str], dict[Week, Decimal]]
"""By tenant id, the row's key within its week, and the column's name."""


def check_financial_within_history(
    snapshot: WarehouseSnapshot, weeks: Collection[Week] | None = None
) -> list[Violation]:
    """Income, cost of sales, expenses and net profit lie within the history, in these weeks (by default all)."""
    series: _AllSeries = defaultdict(dict)
    for row in snapshot.rows(financial_weekly):
        for name in _FINANCIAL:
            series[row["tenant_id"], "", name][row["week"]] = row[name]
    return _compare_with_history(series, weeks, totals.find_wrong_weeks(snapshot))


def check_revenue_within_history(snapshot: WarehouseSnapshot, weeks: Collection[Week] | None = None) -> list[Violation]:
    """Total revenue and each type's revenue lie within the history, in these weeks (by default all)."""
    whole_weeks = {key for key in snapshot.weeks(SyncType.INVOICES) if snapshot.is_whole(SyncType.INVOICES, key)}
    weeks_by_tenant: dict[str, list[Week]] = defaultdict(list)
    for tenant_id, week in whole_weeks:
        weeks_by_tenant[tenant_id].append(week)
    types = {(row["tenant_id"], row["revenue_type"]) for row in snapshot.rows(revenue_weekly)}
    series: _AllSeries = {}
    for tenant_id, landed in weeks_by_tenant.items():
        for name in ["", *sorted(name for tenant, name in types if tenant == tenant_id)]:
            # In a week without a document of that type, its revenue was zero.
            series[tenant_id, name, "net_revenue"] = dict.fromkeys(landed, ZERO)
    for row in snapshot.rows(revenue_weekly):
        if (row["tenant_id"], row["week"]) in whole_weeks:
            for name in ("", row["revenue_type"]):
                series[row["tenant_id"], name, "net_revenue"][row["week"]] += row["net_revenue"]
    return _compare_with_history(series, weeks, revenue.find_wrong_weeks(snapshot))


def check_cash_within_history(snapshot: WarehouseSnapshot, weeks: Collection[Week] | None = None) -> list[Violation]:
    """What each account received, spent and closed with lies within the history, in these weeks (by default all)."""
    series: _AllSeries = defaultdict(dict)
    row_names: dict[str, str] = {}
    for row in snapshot.rows(cash_position_weekly):
        row_names[row["bank_account_id"]] = row["bank_account_name"]
        for name in _CASH:
            series[row["tenant_id"], row["bank_account_id"], name][row["week"]] = row[name]
    return _compare_with_history(series, weeks, cash.find_wrong_weeks(snapshot), row_names)


def _compare_with_history(
    series: _AllSeries,
    weeks: Collection[Week] | None,
    wrong_weeks: Collection[Key],
    row_names: Mapping[str, str] = MappingProxyType({}),
) -> list[Violation]:
    """Compare each week with the weeks before it. A week that another rule reports as wrong is skipped.

    Args:
        row_names: what people call a row, by the row's key, if the key means nothing to them.
    """
    violations = []
    for (tenant_id, row, name), values in sorted(series.items()):
        for week in sorted(values):
            if (weeks is None or week in weeks) and (tenant_id, week) not in wrong_weeks:
                before = list(_list_values_before(values, week))
                if len(before) >= WEEKS_NEEDED and is_far(values[week], before):
                    violation = _describe_outlier(tenant_id, week, row_names.get(row, row), name, values[week], before)
                    violations.append(violation)
    return sorted(violations, key=lambda violation: (violation.week, violation.tenant_id))


def _list_values_before(values: Series, week: Week) -> Iterator[Decimal]:
    for weeks in range(1, WEEKS_BEFORE + 1):
        value = values.get(week.shift(-weeks))
        if value is not None:
            yield value


def is_far(value: Decimal, before: Sequence[Decimal]) -> bool:
    """Whether a value lies far outside the values before it."""
    if abs(value - median(before)) <= _MAX_DEVIATIONS * _compute_deviation(before):
        return False
    ordered = sorted(before)[1:-1] if len(before) >= _LONG_HISTORY else sorted(before)
    low, high = ordered[0], ordered[-1]
    return not low - (high - low) <= value <= high + (high - low)


def _compute_deviation(before: Sequence[Decimal]) -> Decimal:
    middle = median(before)
    return max(_DEVIATIONS_PER_MAD * median(abs(value - middle) for value in before), _MIN_DEVIATION * abs(middle))


def _describe_outlier(
    tenant_id: str, week: Week, row: str, name: str, value: Decimal, before: Sequence[Decimal]
) -> Violation:
    middle, low, high = to_cents(median(before)), min(before), max(before)
    return Violation(
        tenant_id,
        week,
        row or name,
        {name: value, "median": middle, "lowest": low, "highest": high, "weeks": len(before)},
        f"{f'{row}: ' if row else ''}{name} is {value}; in the {len(before)} weeks before, the median was {middle}, "
        f"the lowest {low} and the highest {high}.",
    )
