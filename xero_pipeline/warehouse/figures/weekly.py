"""Replacing one organisation's week of figures: after it, the table holds exactly what was given.

Each `replace_…` runs inside its caller's transaction. Against another process with the same week it is
serialised: SQLite's transaction has the whole file, PostgreSQL takes a lock for the week. An empty frame
replaces, too. Rows that did not change are left alone, so `updated_at` says when a row last changed. What a
later sync changes of a week that had landed before is kept as restatements, in the same transaction.

Not here: reading figures (`figures.py`), the sync log's row and the transaction (`store.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Table, and_, delete, insert, select, text, update

from xero_pipeline.warehouse.database.locks import advisory_key
from xero_pipeline.warehouse.database.types import Money, exact_cents
from xero_pipeline.warehouse.errors import WrongFrame
from xero_pipeline.warehouse.figures import restatements
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.warehouse.logs.sync_log import SyncType, has_landed
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)

_WEEK_KEY = ("tenant_id", "week_ending")
_STAMP = ("data_source", "currency", "updated_at")


@dataclass(frozen=True)
class _TableShape:
    """How a table's rows are told apart, named and checked."""

    table: Table
    row_key: tuple[str, ...]
    name: str | None
    figures: tuple[str, ...]

    @cached_property
    def given(self) -> tuple[str, ...]:
        """The columns that the caller gives, in the table's order."""
        return tuple(c.name for c in self.table.columns if c.name not in (*_WEEK_KEY, *_STAMP))


_TOTALS = _TableShape(
    financial_weekly,
    (),
    None,
    (
        "total_trading_income",
        "cost_of_sales",
        "gross_profit",
        "other_income",
        "operating_expenses",
        "net_profit",
    ),
)
_LINES = _TableShape(financial_weekly_lines, ("account_id",), "account_name", ("category", "amount"))
_REVENUE = _TableShape(
    revenue_weekly,
    ("revenue_type", "region"),
    None,
    ("invoiced", "credited", "net_revenue", "tax", "invoice_count", "credit_note_count"),
)
_CASH = _TableShape(
    cash_position_weekly,
    ("bank_account_id",),
    "bank_account_name",
    ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance"),
)

_Rows = dict[tuple[str, ...], dict[str, Any]]


def replace_profit_and_loss(
    connection: Connection, stamp: Provenance, basis: str, totals: Mapping[str, Decimal], lines: pd.DataFrame
) -> ReplaceResult:
    """Replace the week in `financial_weekly` and `financial_weekly_lines`.

    Args:
        basis: `accrual` or `cash`.
        totals: the six figures of `financial_weekly` by column name.
        lines: account_id, account_code, account_name, account_type, category, amount; one row an account.

    Raises:
        WrongFrame: a column is missing or unknown, a key is there twice, an amount is no exact Decimal.
    """
    line_rows = _read_frame(_LINES, lines)
    total_rows: _Rows = {(): _read_row(_TOTALS, {**totals, "basis": basis})}
    previous = _begin(connection, stamp, SyncType.PROFIT_AND_LOSS, (_TOTALS, _LINES))
    restated = _replace(connection, stamp, _TOTALS, total_rows, previous=previous)
    restated += _replace(connection, stamp, _LINES, line_rows, previous=previous)
    return ReplaceResult(len(total_rows) + len(line_rows), restated, previous)


def replace_revenue(connection: Connection, stamp: Provenance, cells: pd.DataFrame) -> ReplaceResult:
    """Replace the week in `revenue_weekly`.

    Args:
        cells: revenue_type, region, invoiced, credited, net_revenue, tax, invoice_count,
            credit_note_count; one row a cell.

    Raises:
        WrongFrame: as for `replace_profit_and_loss`.
    """
    return _replace_frame(connection, stamp, SyncType.INVOICES, _REVENUE, cells)


def replace_cash(connection: Connection, stamp: Provenance, accounts: pd.DataFrame) -> ReplaceResult:
    """Replace the week in `cash_position_weekly`.

    Args:
        accounts: bank_account_id, bank_account_name, opening_balance, cash_received, cash_spent,
            currency_gain, closing_balance; one row an account.

    Raises:
        WrongFrame: as for `replace_profit_and_loss`.
    """
    return _replace_frame(connection, stamp, SyncType.BANK_SUMMARY, _CASH, accounts)


def _replace_frame(
    connection: Connection, stamp: Provenance, sync_type: SyncType, shape: _TableShape, frame: pd.DataFrame
) -> ReplaceResult:
    rows = _read_frame(shape, frame)
    previous = _begin(connection, stamp, sync_type, (shape,))
    return ReplaceResult(len(rows), _replace(connection, stamp, shape, rows, previous=previous), previous)


def _begin(connection: Connection, stamp: Provenance, sync_type: SyncType, shapes: tuple[_TableShape, ...]) -> bool:
    """Wait for whoever writes the same week, then say whether it has landed before."""
    if connection.dialect.name == "postgresql":
        key = advisory_key(f"week:{stamp.tenant_id}:{sync_type}:{stamp.week}")
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    if has_landed(connection, stamp.tenant_id, sync_type, stamp.week):
        return True
    return any(
        connection.execute(select(shape.table.c.tenant_id).where(_of_week(shape, stamp)).limit(1)).first()
        for shape in shapes
    )


def _replace(
    connection: Connection, stamp: Provenance, shape: _TableShape, new: _Rows, *, previous: bool
) -> list[Restatement]:
    """Make the table's week hold exactly `new`; answers (and keeps) what was restated."""
    held_rows = connection.execute(select(shape.table).where(_of_week(shape, stamp))).mappings()
    held: _Rows = {tuple(row[name] for name in shape.row_key): dict(row) for row in held_rows}
    origin = {"data_source": stamp.data_source, "currency": stamp.currency}
    week = {"tenant_id": stamp.tenant_id, "week_ending": stamp.week.ending}
    for key in held.keys() - new.keys():
        connection.execute(delete(shape.table).where(_of_week(shape, stamp), _of_row(shape, key)))
    inserts = []
    for key, row in new.items():
        row = row | origin
        if key not in held:
            inserts.append(week | row | {"updated_at": stamp.now})
        elif any(held[key][name] != value for name, value in row.items()):
            changes = row | {"updated_at": stamp.now}
            connection.execute(update(shape.table).where(_of_week(shape, stamp), _of_row(shape, key)).values(changes))
    if inserts:
        connection.execute(insert(shape.table), inserts)
    restated = list(_differences(stamp, shape, held, new)) if previous else []
    restatements.insert_restatements(connection, restated)
    return restated


def _of_week(shape: _TableShape, stamp: Provenance) -> Any:
    columns = shape.table.c
    return and_(columns.tenant_id == stamp.tenant_id, columns.week_ending == stamp.week.ending)


def _of_row(shape: _TableShape, key: tuple[str, ...]) -> Any:
    return and_(True, *(shape.table.c[name] == part for name, part in zip(shape.row_key, key, strict=True)))


def _differences(stamp: Provenance, shape: _TableShape, held: _Rows, new: _Rows) -> list[Restatement]:
    """Every figure that differs, in the order of the rows' keys."""
    found = []
    for key in sorted(held.keys() | new.keys()):
        before, after = held.get(key), new.get(key)
        named = after or before or {}
        for column in shape.figures:
            old = None if before is None else str(before[column])
            now = None if after is None else str(after[column])
            if old != now:
                found.append(
                    Restatement(
                        tenant_id=stamp.tenant_id,
                        week=stamp.week,
                        table_name=shape.table.name,
                        row_key=" / ".join(key) or "week",
                        row_name=str(named[shape.name]) if shape.name else " / ".join(key) or "week",
                        column_name=column,
                        old_value=old,
                        new_value=now,
                        restated_at=stamp.now,
                        dagster_run_id=stamp.run_id,
                    )
                )
    return found


def _read_frame(shape: _TableShape, frame: pd.DataFrame) -> _Rows:
    """The frame's rows by key, each value checked and plain."""
    if frame.shape == (0, 0):
        return {}
    _check_columns(shape, [str(name) for name in frame.columns])
    rows: _Rows = {}
    for record in frame.to_dict("records"):
        row = _read_row(shape, {str(name): value for name, value in record.items()})
        key = tuple(row[name] for name in shape.row_key)
        if key in rows:
            raise WrongFrame(f"{shape.table.name}: a row with the key {' / '.join(key)} is there twice.")
        rows[key] = row
    return rows


def _check_columns(shape: _TableShape, names: list[str]) -> None:
    missing, unknown = set(shape.given) - set(names), set(names) - set(shape.given)
    if missing or unknown or len(names) != len(set(names)):
        said = [f"lacks {', '.join(sorted(missing))}"] if missing else []
        said += [f"has unknown columns {', '.join(sorted(unknown))}"] if unknown else []
        raise WrongFrame(f"{shape.table.name}: what was given {' and '.join(said) or 'has a column twice'}.")


def _read_row(shape: _TableShape, given: Mapping[str, Any]) -> dict[str, Any]:
    _check_columns(shape, list(given))
    row = {}
    for name in shape.given:
        try:
            row[name] = _read_value(shape.table.c[name], given[name])
        except ValueError as error:
            raise WrongFrame(f"{shape.table.name}: {name}: {error}.") from None
    return row


def _read_value(column: Any, value: Any) -> Any:
    """The value as the database holds it; pandas' many kinds of nothing are NULL."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        if not column.nullable:
            raise ValueError("a value is missing")
        return None
    if isinstance(column.type, Money):
        return exact_cents(value)
    if column.type.python_type is int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ValueError(f"a count must be a whole number, not a {type(value).__name__}")
        return int(value)
    if not isinstance(value, str):
        raise ValueError(f"a text is wanted, not a {type(value).__name__}")
    return value
