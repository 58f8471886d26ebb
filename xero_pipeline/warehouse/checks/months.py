"""A snapshot of the months, on which the rules of the weeks are evaluated.

The rules know the tables by their weekly names and a row's period as `week`. So the rows of `financial_monthly` are
found under `financial_weekly` as well, with a month as their `week`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, Table, func, select

from xero_pipeline.periods import Month
from xero_pipeline.warehouse.checks.snapshot import LandedWeek, WarehouseSnapshot
from xero_pipeline.warehouse.figures.queries import open_snapshot
from xero_pipeline.warehouse.logs.acceptances import read_accepted_differences
from xero_pipeline.warehouse.logs.sync_log import LANDED, MONTHLY_TYPES, SyncType
from xero_pipeline.warehouse.schema import (
    cash_position_monthly,
    cash_position_weekly,
    financial_monthly,
    financial_monthly_lines,
    financial_weekly,
    financial_weekly_lines,
)
from xero_pipeline.warehouse.schema import xero_sync_logs as logs

_WEEKLY_TABLE_OF = {
    financial_monthly: financial_weekly,
    financial_monthly_lines: financial_weekly_lines,
    cash_position_monthly: cash_position_weekly,
}
_TABLE_OF = {
    SyncType.PROFIT_AND_LOSS_MONTHLY: financial_monthly,
    SyncType.BANK_SUMMARY_MONTHLY: cash_position_monthly,
}


def read_month_snapshot(engine: Engine) -> WarehouseSnapshot:
    """Read all months of every organisation, and how they landed. They are few: twelve a year."""
    rows: dict[str, list[Any]] = {}
    with open_snapshot(engine) as connection:
        for table, weekly in _WEEKLY_TABLE_OF.items():
            rows[table.name] = rows[weekly.name] = _read_rows(connection, table)
        counts: dict[SyncType, Any] = {kind: _count_rows(connection, table) for kind, table in _TABLE_OF.items()}
        return WarehouseSnapshot(rows, counts, _read_landed(connection), read_accepted_differences(connection))


def _read_rows(connection: Connection, table: Table) -> list[Any]:
    query = select(table).order_by(*table.primary_key.columns)
    return [{**row, "week": Month(row["month_ending"])} for row in map(dict, connection.execute(query).mappings())]


def _count_rows(connection: Connection, table: Table) -> dict[tuple[str, Month], int]:
    key = (table.c.tenant_id, table.c.month_ending)
    return {
        (tenant_id, Month(ending)): count
        for tenant_id, ending, count in connection.execute(select(*key, func.count()).group_by(*key))
    }


def _read_landed(connection: Connection) -> Any:
    newest = (
        select(func.max(logs.c.id))
        .where(logs.c.status.in_(LANDED), logs.c.sync_type.in_(MONTHLY_TYPES))
        .group_by(logs.c.tenant_id, logs.c.sync_type, logs.c.week_ending)
    )
    landed: dict[SyncType, dict[tuple[str, Month], LandedWeek]] = {kind: {} for kind in MONTHLY_TYPES}
    for row in connection.execute(select(logs).where(logs.c.id.in_(newest))):
        key = (row.tenant_id, Month(row.week_ending))
        landed[SyncType(row.sync_type)][key] = LandedWeek(row.status, row.record_count, row.error_log)
    return landed
