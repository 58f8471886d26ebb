"""The tables as they are at one moment, and what a finding about them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, Table, func, select

from xero_pipeline.warehouse.figures.queries import snapshot
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    revenue_weekly,
    xero_sync_logs,
)
from xero_pipeline.weeks import Week

Key = tuple[str, Week]
"""One organisation's week: its tenant id and the week."""

Row = Mapping[str, Any]
"""A row by column name, with `week` as a `Week`."""

# What says where a row comes from, and not what it says.
_STAMP = {"data_source", "currency", "updated_at"}

TABLE_OF = {
    SyncType.PROFIT_AND_LOSS: financial_weekly,
    SyncType.INVOICES: revenue_weekly,
    SyncType.BANK_SUMMARY: cash_position_weekly,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where a rule is broken.

    `row` is the row's own part of the key as people know it, empty where the whole week is meant; `amounts`
    the figures by name; `sentence` says what is wrong with them, without the organisation and the week.
    """

    tenant_id: str
    week: Week
    row: str
    amounts: Mapping[str, Decimal | int]
    sentence: str

    @property
    def key(self) -> Key:
        return self.tenant_id, self.week


@dataclass(frozen=True, slots=True)
class LandedWeek:
    """The newest sync that wrote a week, as its log has it."""

    status: str
    record_count: int
    error_log: Any


class WarehouseSnapshot:
    """What is held of every organisation at one moment."""

    def __init__(
        self,
        rows: Mapping[str, list[Row]],
        counts: Mapping[SyncType, Mapping[Key, int]],
        landed: Mapping[SyncType, Mapping[Key, LandedWeek]],
    ) -> None:
        self._rows = rows
        self.counts = counts
        self.landed = landed
        self.judged: dict[object, Any] = {}

    def rows(self, table: Table) -> list[Row]:
        """A table's rows in the order of their keys. It must be one of those that were read."""
        return self._rows[table.name]

    def weeks(self, kind: SyncType) -> set[Key]:
        """The weeks of which anything is held of that kind, or which landed without a row."""
        empty = {key for key, landing in self.landed[kind].items() if landing.record_count == 0}
        return empty | set(self.counts[kind])

    def is_whole(self, kind: SyncType, key: Key) -> bool:
        """Whether a week is held as it landed.

        Of a profit and loss only the totals are asked for: a line that is missing shows in the sums.
        """
        held, landing = self.counts[kind].get(key, 0), self.landed[kind].get(key)
        if held == 0:
            return landing is not None and landing.record_count == 0
        return kind is SyncType.PROFIT_AND_LOSS or landing is None or held >= landing.record_count


_P = ParamSpec("_P")
_T = TypeVar("_T")


def cached_check(
    judge: Callable[Concatenate[WarehouseSnapshot, _P], _T],
) -> Callable[Concatenate[WarehouseSnapshot, _P], _T]:
    """Judge the same tables once, however many rules rest on it. Its arguments must be positional, and hashable."""

    @wraps(judge)
    def judged(held: WarehouseSnapshot, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        place = (judge, args)
        if kwargs or place not in held.judged:
            held.judged[place] = judge(held, *args, **kwargs)
        verdict: _T = held.judged[place]
        return verdict

    return judged


def read_snapshot(engine: Engine, *tables: Table) -> WarehouseSnapshot:
    """Read these tables, and of all three kinds which weeks are held and how they landed."""
    with snapshot(engine) as connection:
        return WarehouseSnapshot(
            {table.name: _rows(connection, table) for table in tables},
            {kind: _counts(connection, table) for kind, table in TABLE_OF.items()},
            _landed(connection),
        )


def _rows(connection: Connection, table: Table) -> list[Row]:
    found: list[Row] = []
    columns = [column for column in table.c if column.name not in _STAMP]
    for mapping in connection.execute(select(*columns).order_by(*table.primary_key.columns)).mappings():
        row = dict(mapping)
        row["week"] = Week(row.pop("week_ending"))
        found.append(row)
    return found


def _counts(connection: Connection, table: Table) -> dict[Key, int]:
    query = select(table.c.tenant_id, table.c.week_ending, func.count()).group_by(
        table.c.tenant_id, table.c.week_ending
    )
    return {(tenant_id, Week(ending)): count for tenant_id, ending, count in connection.execute(query)}


def _landed(connection: Connection) -> dict[SyncType, dict[Key, LandedWeek]]:
    logs = xero_sync_logs.c
    newest_first = (
        func.row_number()
        .over(
            partition_by=(logs.tenant_id, logs.sync_type, logs.week_ending),
            order_by=(logs.completed_at.desc(), logs.id.desc()),
        )
        .label("place")
    )
    ranked = (
        select(
            logs.tenant_id,
            logs.sync_type,
            logs.week_ending,
            logs.status,
            logs.record_count,
            logs.error_log,
            newest_first,
        )
        .where(logs.status.in_(LANDED))
        .subquery()
    )
    landed: dict[SyncType, dict[Key, LandedWeek]] = {kind: {} for kind in SyncType}
    for row in connection.execute(select(ranked).where(ranked.c.place == 1)):
        key = (row.tenant_id, Week(row.week_ending))
        landed[SyncType(row.sync_type)][key] = LandedWeek(row.status, row.record_count, row.error_log)
    return landed
