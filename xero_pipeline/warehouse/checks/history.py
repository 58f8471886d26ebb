"""A week far outside what the weeks before it looked like: no fault by itself, but somebody should look.

Robust: by the median and the median distance from it (MAD) of the 26 weeks before, so that one odd week in
the history hides no other. What comes every month or quarter is no surprise: a figure also has to lie as far
again beyond what the history spans.
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
# Of a normal distribution, 1.4826 times the MAD is one standard deviation; five of them is one week in millions.
_SPREAD = Decimal("1.4826")
_FAR = 5
# Where hardly anything ever varies, what is less than a quarter off the median is still not far.
_LEAST_SPREAD = Decimal("0.05")
# From so many weeks on, the highest and the lowest of them may be odd ones, and the rest still shows the span.
_LONG = 20

_FINANCIAL = ("total_trading_income", "cost_of_sales", "operating_expenses", "net_profit")
_CASH = ("cash_received", "cash_spent", "closing_balance")

Series = Mapping[Week, Decimal]
_AllSeries = dict[tuple[str, str, str], dict[Week, Decimal]]
"""By tenant id, the row's own key and figure."""


def financial_within_history(held: WarehouseSnapshot, weeks: Collection[Week] | None = None) -> list[Violation]:
    """Of these weeks (by default all), those with an income, cost, expense or net profit far outside."""
    series: _AllSeries = defaultdict(dict)
    for row in held.rows(financial_weekly):
        for name in _FINANCIAL:
            series[row["tenant_id"], "", name][row["week"]] = row[name]
    return _judge(series, weeks, totals.unsound_weeks(held))


def revenue_within_history(held: WarehouseSnapshot, weeks: Collection[Week] | None = None) -> list[Violation]:
    """Of these weeks (by default all), those whose revenue, whole or of one type, is far outside."""
    whole = {key for key in held.weeks(SyncType.INVOICES) if held.is_whole(SyncType.INVOICES, key)}
    of_organisation: dict[str, list[Week]] = defaultdict(list)
    for tenant_id, week in whole:
        of_organisation[tenant_id].append(week)
    types = {(row["tenant_id"], row["revenue_type"]) for row in held.rows(revenue_weekly)}
    series: _AllSeries = {}
    for tenant_id, landed in of_organisation.items():
        for name in ["", *sorted(name for tenant, name in types if tenant == tenant_id)]:
            # A week without a document of that type had a revenue all the same: none.
            series[tenant_id, name, "net_revenue"] = dict.fromkeys(landed, ZERO)
    for row in held.rows(revenue_weekly):
        if (row["tenant_id"], row["week"]) in whole:
            for name in ("", row["revenue_type"]):
                series[row["tenant_id"], name, "net_revenue"][row["week"]] += row["net_revenue"]
    return _judge(series, weeks, revenue.unsound_weeks(held))


def cash_within_history(held: WarehouseSnapshot, weeks: Collection[Week] | None = None) -> list[Violation]:
    """Of these weeks (by default all), those in which an account received, spent or held far more or less."""
    series: _AllSeries = defaultdict(dict)
    called: dict[str, str] = {}
    for row in held.rows(cash_position_weekly):
        called[row["bank_account_id"]] = row["bank_account_name"]
        for name in _CASH:
            series[row["tenant_id"], row["bank_account_id"], name][row["week"]] = row[name]
    return _judge(series, weeks, cash.unsound_weeks(held), called)


def _judge(
    series: _AllSeries,
    weeks: Collection[Week] | None,
    unsound: Collection[Key],
    called: Mapping[str, str] = MappingProxyType({}),
) -> list[Violation]:
    """A week whose figures are wrong by another rule is not judged: that rule tells of it.

    Args:
        called: what people call a row, where its key says nothing to them.
    """
    found = []
    for (tenant_id, row, name), values in sorted(series.items()):
        for week in sorted(values):
            if (weeks is None or week in weeks) and (tenant_id, week) not in unsound:
                before = list(_before(values, week))
                if len(before) >= WEEKS_NEEDED and is_far(values[week], before):
                    found.append(_finding(tenant_id, week, called.get(row, row), name, values[week], before))
    return sorted(found, key=lambda finding: (finding.week, finding.tenant_id))


def _before(values: Series, week: Week) -> Iterator[Decimal]:
    for weeks in range(1, WEEKS_BEFORE + 1):
        value = values.get(week.shift(-weeks))
        if value is not None:
            yield value


def is_far(value: Decimal, before: Sequence[Decimal]) -> bool:
    """Whether a value lies far outside the ones before it."""
    if abs(value - median(before)) <= _FAR * _spread(before):
        return False
    ordered = sorted(before)[1:-1] if len(before) >= _LONG else sorted(before)
    low, high = ordered[0], ordered[-1]
    return not low - (high - low) <= value <= high + (high - low)


def _spread(before: Sequence[Decimal]) -> Decimal:
    middle = median(before)
    return max(_SPREAD * median(abs(value - middle) for value in before), _LEAST_SPREAD * abs(middle))


def _finding(tenant_id: str, week: Week, row: str, name: str, value: Decimal, before: Sequence[Decimal]) -> Violation:
    middle, low, high = to_cents(median(before)), min(before), max(before)
    return Violation(
        tenant_id,
        week,
        row or name,
        {name: value, "median": middle, "lowest": low, "highest": high, "weeks": len(before)},
        f"{f'{row}: ' if row else ''}{name} is {value}; in the {len(before)} weeks before it was {middle} in the "
        f"middle, {low} at the lowest and {high} at the highest.",
    )
