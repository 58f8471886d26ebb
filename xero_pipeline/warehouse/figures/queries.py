"""Reading the figures, as decimals. `weekly.py` writes them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, Table, TableClause, func, select

from xero_pipeline.periods import AnyPeriod, Month, Period
from xero_pipeline.warehouse.schema import (
    cash_position_monthly,
    cash_position_weekly,
    financial_monthly,
    financial_monthly_lines,
    financial_weekly,
    financial_weekly_lines,
    monthly_summary,
    revenue_monthly,
    revenue_weekly,
    weekly_comparison,
    weekly_summary,
)
from xero_pipeline.weeks import Week

Row = dict[str, Any]
"""A row by column name, without tenant_id and week_ending."""

# Profit and loss, its lines, revenue, bank accounts.
_TABLES: Mapping[type[Period], tuple[Table, Table, Table | TableClause, Table]] = {
    Week: (financial_weekly, financial_weekly_lines, revenue_weekly, cash_position_weekly),
    Month: (financial_monthly, financial_monthly_lines, revenue_monthly, cash_position_monthly),
}


@dataclass(frozen=True, slots=True)
class WeekFigures:
    """All stored figures of one organisation's week or month. `profit_and_loss` is `None` if none has landed."""

    tenant_id: str
    week: Period
    profit_and_loss: Row | None
    lines: list[Row]
    revenue: list[Row]
    cash: list[Row]


@dataclass(frozen=True, slots=True)
class WeekSummary:
    """A row of `weekly_summary`. `None` means unknown, 0.00 means known to be nothing."""

    tenant_id: str
    week: Week
    total_trading_income: Decimal | None
    cost_of_sales: Decimal | None
    gross_profit: Decimal | None
    net_profit: Decimal | None
    net_revenue: Decimal | None
    closing_cash: Decimal | None
    currency: str
    data_source: str
    updated_at: datetime
    tenant_name: str | None = None


def read_figures(engine: Engine, tenant_id: str, period: Period) -> WeekFigures:
    """All stored figures of one organisation's week or month.

    A month's revenue is that of the documents dated in the month.
    """
    totals, lines, revenue, cash = _TABLES[type(period)]
    with open_snapshot(engine) as connection:
        return WeekFigures(
            tenant_id=tenant_id,
            week=period,
            profit_and_loss=next(iter(_read_rows(connection, totals, tenant_id, period)), None),
            lines=_read_rows(connection, lines, tenant_id, period),
            revenue=_read_rows(connection, revenue, tenant_id, period),
            cash=_read_rows(connection, cash, tenant_id, period),
        )


def read_summary(engine: Engine, tenant_id: str, first: Week, last: Week) -> list[WeekSummary]:
    """The weeks from `first` to `last` that have figures, oldest first."""
    query = (
        select(weekly_summary)
        .where(
            weekly_summary.c.tenant_id == tenant_id,
            weekly_summary.c.week_ending.between(first.ending, last.ending),
        )
        .order_by(weekly_summary.c.week_ending)
    )
    with engine.connect() as connection:
        return [_to_summary(dict(row)) for row in connection.execute(query).mappings()]


def read_summaries(
    engine: Engine, tenant_ids: Collection[str], weeks: Collection[Week]
) -> dict[tuple[str, Week], WeekSummary]:
    """The summaries of these weeks of these organisations, by tenant id and week, as far as there are figures."""
    query = select(weekly_summary).where(
        weekly_summary.c.tenant_id.in_(tenant_ids), weekly_summary.c.week_ending.in_([week.ending for week in weeks])
    )
    with engine.connect() as connection:
        summaries = [_to_summary(dict(row)) for row in connection.execute(query).mappings()]
    return {(summary.tenant_id, summary.week): summary for summary in summaries}


def read_comparison(engine: Engine, tenant_id: str, first: Period, last: Period) -> dict[Period, Row]:
    """The weeks, or months, from `first` to `last` beside those of last year, with the financial year to date.

    `None` is unknown: the year to date where a period of the year is not stored or Xero does not say when the year
    ends, a month's revenue until every week that it has a day in has landed.
    """
    view = monthly_summary if isinstance(first, Month) else weekly_comparison
    ending = view.c[first.COLUMN]
    query = select(view).where(view.c.tenant_id == tenant_id, ending.between(first.ending, last.ending))
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query.order_by(ending)).mappings()]
    return {type(first)(row.pop(first.COLUMN)): row for row in rows}


def read_revenue_by_type(engine: Engine, tenant_id: str, first: Week, last: Week) -> dict[Week, dict[str, Decimal]]:
    """Net revenue of each week by revenue type, oldest week first. Weeks without revenue are left out."""
    table = revenue_weekly
    query = (
        select(table.c.week_ending, table.c.revenue_type, table.c.net_revenue)
        .where(table.c.tenant_id == tenant_id, table.c.week_ending.between(first.ending, last.ending))
        .order_by(table.c.week_ending, table.c.revenue_type)
    )
    weeks: dict[Week, dict[str, Decimal]] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            types = weeks.setdefault(Week(row.week_ending), {})
            types[row.revenue_type] = types.get(row.revenue_type, Decimal("0.00")) + row.net_revenue
    return weeks


def read_revenue_currencies(connection: Connection, week: Week) -> dict[str, str]:
    """The currency of each organisation that has revenue of that week, by tenant id."""
    table = revenue_weekly
    query = select(table.c.tenant_id, table.c.currency).where(table.c.week_ending == week.ending).distinct()
    return {row.tenant_id: row.currency for row in connection.execute(query)}


def find_newest_week(engine: Engine, tenant_id: str) -> Week | None:
    """The newest week that has figures; `None` if no week has."""
    query = select(func.max(weekly_summary.c.week_ending)).where(weekly_summary.c.tenant_id == tenant_id)
    with engine.connect() as connection:
        ending = connection.execute(query).scalar_one()
    return None if ending is None else Week(ending)


def find_periods_of_another_basis(
    engine: Engine, tenant_id: str, basis: str, period: type[AnyPeriod]
) -> set[AnyPeriod]:
    """The weeks, or months, whose profit and loss was read on another basis (accrual or cash) than this one."""
    table = _TABLES[period][0]
    query = select(table.c[period.COLUMN]).where(table.c.tenant_id == tenant_id, table.c.basis != basis)
    with engine.connect() as connection:
        return {period(ending) for ending in connection.execute(query).scalars()}


@contextmanager
def open_snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection whose queries all see the database at the same moment, as SQLite's always do."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _read_rows(connection: Connection, table: Table | TableClause, tenant_id: str, week: Period) -> list[Row]:
    key = table.primary_key.columns if isinstance(table, Table) else table.c
    query = (
        select(*_select_columns(table))
        .where(table.c.tenant_id == tenant_id, table.c[week.COLUMN] == week.ending)
        .order_by(*key)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _select_columns(table: Table | TableClause) -> Sequence[Any]:
    return [column for column in table.c if column.name not in ("tenant_id", "week_ending", "month_ending")]


def _to_summary(values: dict[str, Any]) -> WeekSummary:
    return WeekSummary(week=Week(values.pop("week_ending")), **values)
