"""Replacing one organisation's week, or month, of figures. Afterwards the table's week holds exactly the given rows.

The tables of a month are those of a week with `month_ending` in place of `week_ending`. Whatever is said here about a
week holds for a month.

The exceptions are answers of Xero's that are incomplete by what is held: then those rows stay.

Each `replace_…` runs inside its caller's transaction. Two processes that replace the same week run one after the
other: SQLite's transaction locks the whole file, PostgreSQL takes a lock for the week. An empty frame also replaces.
Unchanged rows stay as they are, so `updated_at` says when a row last changed. Figures that change in a week that had
landed before are stored as restatements, in the same transaction.

`queries.py` reads figures. `store.py` begins the transaction and finishes the row of the sync log.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import pandas as pd
from sqlalchemy import Column, Connection, Select, Table, and_, bindparam, delete, func, insert, select, text, update

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.periods import Month, Period
from xero_pipeline.warehouse.database.locks import compute_advisory_key
from xero_pipeline.warehouse.database.types import Money, require_exact_cents
from xero_pipeline.warehouse.errors import WrongFrame
from xero_pipeline.warehouse.figures import restatements
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.figures.missing_accounts import find_missing_accounts
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.warehouse.logs.sync_log import SyncType, has_landed
from xero_pipeline.warehouse.schema import (
    PROVENANCE_COLUMNS,
    cash_position_monthly,
    cash_position_weekly,
    financial_monthly,
    financial_monthly_lines,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)
from xero_pipeline.weeks import Week

_IDS = ("account_id", "bank_account_id")


@dataclass(frozen=True)
class _TableShape:
    """A table's row key within a week, the column with the row's name, and the columns whose changes are restated."""

    table: Table
    row_key: tuple[str, ...]
    name_column: str | None
    figures: tuple[str, ...]

    @cached_property
    def input_columns(self) -> tuple[str, ...]:
        """The columns that the caller passes, in the table's order."""
        ours = ("tenant_id", self.period_column.name, *PROVENANCE_COLUMNS)
        return tuple(column.name for column in self.table.columns if column.name not in ours)

    @property
    def period_column(self) -> Column[Any]:
        """The column with the last day of the week or month."""
        return self.table.primary_key.columns[1]

    def of_months(self, table: Table) -> _TableShape:
        """The same shape in the table of the months."""
        return replace(self, table=table)

    # Each landing runs these. They are built once, since SQLAlchemy takes longer to build than to run them.

    @cached_property
    def rows_of_week(self) -> Select[Any]:
        """The rows of the week with the parameters `tenant_id` and `week_ending`, or `month_ending`."""
        key = (self.table.c.tenant_id, self.period_column)
        return select(self.table).where(*(column == bindparam(column.name) for column in key))

    @cached_property
    def any_row(self) -> Select[Any]:
        """One row of that week, if it has any."""
        return self.rows_of_week.with_only_columns(self.table.c.tenant_id).limit(1)


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

_SHAPES: Mapping[type[Period], tuple[_TableShape, _TableShape, _TableShape]] = {
    Week: (_TOTALS, _LINES, _CASH),
    Month: (
        _TOTALS.of_months(financial_monthly),
        _LINES.of_months(financial_monthly_lines),
        _CASH.of_months(cash_position_monthly),
    ),
}
"""The tables of the totals, of their lines and of the cash."""

_Rows = dict[tuple[str, ...], dict[str, Any]]


def replace_profit_and_loss(
    connection: Connection,
    provenance: Provenance,
    basis: str,
    totals: Mapping[str, Decimal],
    lines: pd.DataFrame,
    *,
    is_doubtful: bool = False,
) -> ReplaceResult:
    """Replace the week in `financial_weekly` and `financial_weekly_lines`, or the month in the monthly ones.

    Args:
        basis: `accrual` or `cash`.
        totals: the six figures of `financial_weekly` by column name.
        lines: account_id, account_code, account_name, account_type, category, amount; one row for each account.
        is_doubtful: whether the figures may be those of an incomplete answer. Then figures held before stay.

    Raises:
        WrongFrame: a column is missing or unknown, a key occurs twice, or an amount is no exact Decimal.
    """
    of_totals, of_lines, _ = _SHAPES[type(provenance.week)]
    sync_type = SyncType.PROFIT_AND_LOSS_MONTHLY if isinstance(provenance.week, Month) else SyncType.PROFIT_AND_LOSS
    line_rows = _read_frame(of_lines, lines)
    total_rows: _Rows = {(): _read_row(of_totals, {**totals, "basis": basis})}
    previous = _lock_week(connection, provenance, sync_type, (of_totals, of_lines))
    if is_doubtful and (held := _count_rows(connection, provenance, of_totals, of_lines)):
        return ReplaceResult(held, [], previous)
    restated = _replace(connection, provenance, of_totals, total_rows, previous=previous)
    restated += _replace(connection, provenance, of_lines, line_rows, previous=previous)
    return ReplaceResult(len(total_rows) + len(line_rows), restated, previous)


def replace_revenue(connection: Connection, provenance: Provenance, cells: pd.DataFrame) -> ReplaceResult:
    """Replace the week in `revenue_weekly`.

    Args:
        cells: revenue_type, region, invoiced, credited, net_revenue, tax, invoice_count,
            credit_note_count; one row for each revenue type and region.

    Raises:
        WrongFrame: as for `replace_profit_and_loss`.
    """
    return _replace_frame(connection, provenance, SyncType.INVOICES, _REVENUE, cells)


def replace_cash(connection: Connection, provenance: Provenance, accounts: pd.DataFrame) -> ReplaceResult:
    """Replace the week in `cash_position_weekly`, or the month in `cash_position_monthly`.

    The rows of accounts that vanished with money in them stay, and the result has a difference for each: see
    `find_missing_accounts`.

    Args:
        accounts: bank_account_id, bank_account_name, opening_balance, cash_received, cash_spent,
            currency_gain, closing_balance; one row for each account.

    Raises:
        WrongFrame: as for `replace_profit_and_loss`.
    """
    *_, of_cash = _SHAPES[type(provenance.week)]
    sync_type = SyncType.BANK_SUMMARY_MONTHLY if isinstance(provenance.week, Month) else SyncType.BANK_SUMMARY
    rows = _read_frame(of_cash, accounts)
    previous = _lock_week(connection, provenance, sync_type, (of_cash,))
    missing = find_missing_accounts(
        connection, provenance.tenant_id, provenance.week, [account_id for (account_id,) in rows]
    )
    kept = {(account_id,) for account_id in missing.held}
    restated = _replace(connection, provenance, of_cash, rows, previous=previous, kept=kept)
    return ReplaceResult(len(rows) + len(kept), restated, previous, missing.differences)


def _replace_frame(
    connection: Connection, provenance: Provenance, sync_type: SyncType, table_shape: _TableShape, frame: pd.DataFrame
) -> ReplaceResult:
    rows = _read_frame(table_shape, frame)
    previous = _lock_week(connection, provenance, sync_type, (table_shape,))
    return ReplaceResult(len(rows), _replace(connection, provenance, table_shape, rows, previous=previous), previous)


def _lock_week(
    connection: Connection, provenance: Provenance, sync_type: SyncType, table_shapes: tuple[_TableShape, ...]
) -> bool:
    """Wait for any other process that writes the same week, then return whether the week has landed before."""
    if connection.dialect.name == "postgresql":
        key = compute_advisory_key(f"week:{provenance.tenant_id}:{sync_type}:{provenance.week}")
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
    if has_landed(connection, provenance.tenant_id, sync_type, provenance.week):
        return True
    week = {"tenant_id": provenance.tenant_id, provenance.week.COLUMN: provenance.week.ending}
    return any(connection.execute(table_shape.any_row, week).first() for table_shape in table_shapes)


def _count_rows(connection: Connection, provenance: Provenance, *table_shapes: _TableShape) -> int:
    counts = [
        select(func.count()).select_from(table_shape.table).where(_match_week(table_shape, provenance))
        for table_shape in table_shapes
    ]
    return sum(connection.execute(count).scalar_one() for count in counts)


def _replace(
    connection: Connection,
    provenance: Provenance,
    table_shape: _TableShape,
    new: _Rows,
    *,
    previous: bool,
    kept: Collection[tuple[str, ...]] = (),
) -> list[Restatement]:
    """Make the table's week hold exactly `new`, and the rows with a key in `kept` as they are.

    Stores and returns the restatements.
    """
    week = {"tenant_id": provenance.tenant_id, provenance.week.COLUMN: provenance.week.ending}
    stored_rows = connection.execute(table_shape.rows_of_week, week).mappings()
    stored: _Rows = {}
    for mapping in stored_rows:
        row = dict(mapping)
        key = tuple(normalise_id(row[name]) if name in _IDS else row[name] for name in table_shape.row_key)
        if key in stored:
            # The same row in another spelling, which somebody has inserted.
            connection.execute(_delete_row(table_shape, row))
        elif key not in kept:
            stored[key] = row
    origin = {"data_source": provenance.data_source, "currency": provenance.currency}
    for key in stored.keys() - new.keys():
        connection.execute(_delete_row(table_shape, stored[key]))
    inserts = []
    for key, row in new.items():
        row = row | origin
        if key not in stored:
            inserts.append(week | row | {"updated_at": provenance.now})
        elif any(stored[key][name] != value for name, value in row.items()):
            changes = row | {"updated_at": provenance.now}
            connection.execute(update(table_shape.table).where(_match_row(table_shape, stored[key])).values(changes))
    if inserts:
        connection.execute(insert(table_shape.table), inserts)
    restated = _find_restatements(provenance, table_shape, stored, new) if previous else []
    restatements.insert_restatements(connection, restated)
    return restated


def _match_week(table_shape: _TableShape, provenance: Provenance) -> Any:
    return and_(
        table_shape.table.c.tenant_id == provenance.tenant_id, table_shape.period_column == provenance.week.ending
    )


def _match_row(table_shape: _TableShape, row: Mapping[str, Any]) -> Any:
    return and_(*(column == row[column.name] for column in table_shape.table.primary_key.columns))


def _delete_row(table_shape: _TableShape, row: Mapping[str, Any]) -> Any:
    return delete(table_shape.table).where(_match_row(table_shape, row))


def _find_restatements(
    provenance: Provenance, table_shape: _TableShape, stored: _Rows, new: _Rows
) -> list[Restatement]:
    """Every figure that differs, in the order of the rows' keys."""
    restated = []
    for key in sorted(stored.keys() | new.keys()):
        before, after = stored.get(key), new.get(key)
        row = after or before or {}
        row_key = " / ".join(key) or provenance.week.NOUN
        for column in table_shape.figures:
            old_value = None if before is None else str(before[column])
            new_value = None if after is None else str(after[column])
            if old_value != new_value:
                restated.append(
                    Restatement(
                        tenant_id=provenance.tenant_id,
                        week=provenance.week,
                        table_name=table_shape.table.name,
                        row_key=row_key,
                        row_name=str(row[table_shape.name_column]) if table_shape.name_column else row_key,
                        column_name=column,
                        old_value=old_value,
                        new_value=new_value,
                        restated_at=provenance.now,
                        dagster_run_id=provenance.run_id,
                    )
                )
    return restated


def _read_frame(table_shape: _TableShape, frame: pd.DataFrame) -> _Rows:
    """The frame's rows by key. Every value is checked and converted to a plain Python value."""
    if frame.shape == (0, 0):
        return {}
    _check_columns(table_shape, [str(name) for name in frame.columns])
    rows: _Rows = {}
    for record in frame.to_dict("records"):
        row = _read_row(table_shape, {str(name): value for name, value in record.items()})
        key = tuple(row[name] for name in table_shape.row_key)
        if key in rows:
            raise WrongFrame(f"{table_shape.table.name}: a row with the key {' / '.join(key)} occurs twice.")
        rows[key] = row
    return rows


def _check_columns(table_shape: _TableShape, names: list[str]) -> None:
    missing, unknown = set(table_shape.input_columns) - set(names), set(names) - set(table_shape.input_columns)
    if missing or unknown or len(names) != len(set(names)):
        problems = [f"lack {', '.join(sorted(missing))}"] if missing else []
        problems += [f"have unknown columns {', '.join(sorted(unknown))}"] if unknown else []
        problem = " and ".join(problems) or "have a column twice"
        raise WrongFrame(f"{table_shape.table.name}: the figures {problem}.")


def _read_row(table_shape: _TableShape, values: Mapping[str, Any]) -> dict[str, Any]:
    _check_columns(table_shape, list(values))
    row = {}
    for name in table_shape.input_columns:
        try:
            row[name] = _read_value(table_shape.table.c[name], values[name])
        except ValueError as error:
            raise WrongFrame(f"{table_shape.table.name}: {name}: {error}.") from None
    return row


def _read_value(column: Any, value: Any) -> Any:
    """The value as the database stores it. Each of pandas' missing values becomes NULL."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        if not column.nullable:
            raise ValueError("a value is missing")
        return None
    if isinstance(column.type, Money):
        return require_exact_cents(value)
    if column.type.python_type is int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ValueError(f"a count must be a whole number, not a {type(value).__name__}")
        return int(value)
    if not isinstance(value, str):
        raise ValueError(f"the value must be text, not a {type(value).__name__}")
    return normalise_id(value) if column.name in _IDS else value
