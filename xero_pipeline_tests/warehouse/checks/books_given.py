"""Thirteen correct weeks of an organisation, for tests to break. There is no test in this module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal

from sqlalchemy import Engine, delete, insert, select, text

from xero_pipeline.warehouse import schema
from xero_pipeline.warehouse.figures.account_revenue import revenue_by_account
from xero_pipeline.warehouse.figures.weekly import replace_profit_and_loss
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.warehouse.figures.figures_given import (
    LINE_COLUMNS,
    Write,
    cash,
    frame,
    land_cash,
    land_profit,
    land_revenue,
    opened,
    revenue,
    tokens,
)

LATEST = Week(date(2026, 11, 21))
WEEKS = [LATEST.shift(-n) for n in reversed(range(13))]
# Late enough to have a history that it can be compared with.
MIDDLE, AFTER_MIDDLE = WEEKS[9], WEEKS[10]
TENANT = "org-1"
NAME = "Organisation org-1"


def connect(warehouse: Warehouse, *tenants: str) -> None:
    """Connect the organisations, long before the time of the test's clock."""
    warehouse.tokens.save_consent(tokens(), opened(*(tenants or (TENANT,))), now=warehouse.clock.now())
    with warehouse.engine.begin() as connection:
        connection.execute(text("UPDATE xero_tokens SET connected_at = '2026-01-05 00:00:00.000000'"))


def land_books(warehouse: Warehouse, weeks: Sequence[Week] = WEEKS, tenant_id: str = TENANT) -> None:
    for week in weeks:
        land_profit(warehouse, _profit(week), week=week, tenant_id=tenant_id)
        land_revenue(warehouse, _revenue(week), week=week, tenant_id=tenant_id)
        land_cash(warehouse, _cash(week), week=week, tenant_id=tenant_id)


def _number(week: Week) -> int:
    return (week.ending - WEEKS[0].ending).days // 7


def _vary(week: Week) -> Decimal:
    """An amount that differs from week to week."""
    return Decimal((_number(week) * 37) % 11) * Decimal("101.01")


def _residential(week: Week) -> Decimal:
    return Decimal("60000.10") + _vary(week)


def _commercial(week: Week) -> Decimal:
    return Decimal("40000.20") + 2 * _vary(week)


def _profit(week: Week) -> Write:
    amounts = {
        "sales-1": ("200", "Residential Sales", "REVENUE", "trading_income", _residential(week)),
        "sales-2": ("210", "Commercial Sales", "REVENUE", "trading_income", _commercial(week)),
        "cost-1": ("310", "Materials", "DIRECTCOSTS", "cost_of_sales", Decimal("30000.05") + _vary(week)),
        "other-1": ("270", "Interest Income", "OTHERINCOME", "other_income", Decimal("12.34")),
        "wages-1": ("477", "Wages", "WAGESEXPENSE", "operating_expenses", Decimal("25000.00") + _vary(week)),
        "rent-1": ("469", "Rent", "EXPENSE", "operating_expenses", Decimal("3000.00")),
    }
    lines = frame(LINE_COLUMNS, *((account_id, *rest) for account_id, rest in amounts.items()))

    def total(category: str) -> Decimal:
        return sum((line[4] for line in amounts.values() if line[3] == category), Decimal("0.00"))

    gross = total("trading_income") - total("cost_of_sales")
    totals = {
        "total_trading_income": total("trading_income"),
        "cost_of_sales": total("cost_of_sales"),
        "gross_profit": gross,
        "other_income": total("other_income"),
        "operating_expenses": total("operating_expenses"),
        "net_profit": gross + total("other_income") - total("operating_expenses"),
    }
    return lambda connection, provenance: replace_profit_and_loss(connection, provenance, "accrual", totals, lines)


def _revenue(week: Week) -> Write:
    credited = Decimal("500.00")
    cells = [
        ("residential", "north", _residential(week) + credited, credited),
        ("commercial", "south", _commercial(week), Decimal("0.00")),
    ]
    return revenue(*((t, r, inv, cred, inv - cred, Decimal("10.00"), 3, 1) for t, r, inv, cred in cells))


def _movements(week: Week) -> Iterator[tuple[str, str, Decimal, Decimal, Decimal]]:
    yield "bank-1", "Cheque", Decimal("90000.00") + _vary(week), Decimal("85000.00"), Decimal("0.00")
    yield "bank-2", "Dollars", Decimal("5000.00") + _vary(week), Decimal("4000.00"), Decimal("-1.25")


def _cash(week: Week) -> Write:
    accounts = []
    for place, (bank_id, name, *_) in enumerate(_movements(week)):
        balance = Decimal("10000.00") * (place + 1)
        opening = balance
        for before in range(_number(week) + 1):
            opening = balance
            _, _, received, spent, gain = list(_movements(WEEKS[0].shift(before)))[place]
            balance = opening + received - spent + gain
        accounts.append((bank_id, name, opening, received, spent, gain, balance))
    return cash(*accounts)


_TABLES = (
    schema.financial_weekly,
    schema.financial_weekly_lines,
    schema.revenue_weekly,
    schema.cash_position_weekly,
    schema.xero_sync_logs,
    schema.reconciliations,
    revenue_by_account,
)


@contextmanager
def restore_afterwards(engine: Engine) -> Iterator[None]:
    """Restore the figures and the sync log after the block, whatever it has changed."""
    with engine.connect() as connection:
        original = {table: [dict(row) for row in connection.execute(select(table)).mappings()] for table in _TABLES}
    yield
    with engine.begin() as connection:
        for table, rows in original.items():
            connection.execute(delete(table))
            if rows:
                connection.execute(insert(table), rows)


def execute_by_hand(engine: Engine, *statements: str) -> None:
    """Execute statements as somebody with another database tool would.

    `:first` is the first week, `:week` the middle one, `:next` the week after it, and `:latest` the newest.
    """
    weeks = {"week": MIDDLE, "next": AFTER_MIDDLE, "latest": LATEST, "first": WEEKS[0]}
    with engine.begin() as connection:
        for statement in statements:
            for name, week in weeks.items():
                statement = statement.replace(f":{name}", f"'{week}'")
            connection.execute(text(statement))
