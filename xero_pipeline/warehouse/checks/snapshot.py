"""A snapshot of the tables at one moment, and the violations that checks find in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, func, select

from xero_pipeline.warehouse.figures.queries import open_snapshot
from xero_pipeline.warehouse.logs.acceptances import Acceptance, AcceptedDifferences, read_accepted_differences
from xero_pipeline.warehouse.logs.reconciliations import Reconciliation, ReconciliationLog
from xero_pipeline.warehouse.logs.sync_log import LANDED, MONTHLY_TYPES, WEEKLY_TYPES, SyncType
from xero_pipeline.warehouse.schema import (
    PROVENANCE_COLUMNS,
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


TABLE_OF = {
    SyncType.PROFIT_AND_LOSS: financial_weekly,
    SyncType.INVOICES: revenue_weekly,
    SyncType.BANK_SUMMARY: cash_position_weekly,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One row or week that breaks a rule.

    `row` names the row as people know it, and is empty for the whole week. `amounts` holds the figures by name.
    `sentence` says what is wrong, without naming the organisation and the week. `accepted` says who accepted it; it
    then fails no check.
    """

    tenant_id: str
    week: Week
    row: str
    amounts: Mapping[str, Decimal | int]
    sentence: str
    accepted: Acceptance | None = None

    @property
    def key(self) -> Key:
        return self.tenant_id, self.week


@dataclass(frozen=True, slots=True)
class LandedWeek:
    """The sync log's row of the newest sync that landed a week."""

    status: str
    record_count: int
    error_log: Any


class WarehouseSnapshot:
    """The stored figures of every organisation at one moment."""

    def __init__(
        self,
        rows: Mapping[str, list[Row]],
        counts: Mapping[SyncType, Mapping[Key, int]],
        landed: Mapping[SyncType, Mapping[Key, LandedWeek]],
        accepted: AcceptedDifferences = AcceptedDifferences({}),  # noqa: B008 - nothing changes it
        reconciliations: Sequence[Reconciliation] = (),
    ) -> None:
        self._rows = rows
        self.counts = counts
        self.landed = landed
        self.accepted = accepted
        self.reconciliations = reconciliations
        self.cached_results: dict[object, Any] = {}

    def rows(self, table: Table) -> list[Row]:
        """A table's rows in the order of their keys. The table must be one that `read_snapshot` has read."""
        return self._rows[table.name]

    def weeks(self, kind: SyncType) -> set[Key]:
        """The weeks that have rows of that kind, or that landed without any row."""
        empty = {key for key, landed in self.landed[kind].items() if landed.record_count == 0}
        return empty | set(self.counts[kind])

    def is_whole(self, kind: SyncType, key: Key) -> bool:
        """Whether all rows that landed for a week are still stored.

        For a profit and loss only the row of totals counts, since a missing line shows in the sums.
        """
        count, landed = self.counts[kind].get(key, 0), self.landed[kind].get(key)
        if count == 0:
            return landed is not None and landed.record_count == 0
        has_totals = kind in (SyncType.PROFIT_AND_LOSS, SyncType.PROFIT_AND_LOSS_MONTHLY)
        return has_totals or landed is None or count >= landed.record_count


_P = ParamSpec("_P")
_T = TypeVar("_T")


def cached_check(
    check: Callable[Concatenate[WarehouseSnapshot, _P], _T],
) -> Callable[Concatenate[WarehouseSnapshot, _P], _T]:
    """Cache a check's result in its snapshot, since several rules use it.

    Its other arguments must be positional and hashable.
    """

    @wraps(check)
    def run_once(snapshot: WarehouseSnapshot, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        cache_key = (check, args)
        if kwargs or cache_key not in snapshot.cached_results:
            snapshot.cached_results[cache_key] = check(snapshot, *args, **kwargs)
        result: _T = snapshot.cached_results[cache_key]
        return result

    return run_once


def read_snapshot(engine: Engine, *tables: Table) -> WarehouseSnapshot:
    """Read these tables, and for all three kinds which weeks are stored and how they landed."""
    with open_snapshot(engine) as connection:
        return read_snapshot_from(connection, tables, ReconciliationLog(engine).list_current())


def read_snapshot_from(
    connection: Connection,
    tables: Sequence[Table],
    reconciliations: Sequence[Reconciliation] = (),
    *,
    without: Collection[str] = (),
    first: Week | None = None,
) -> WarehouseSnapshot:
    """The same in a transaction of the caller's.

    Args:
        without: organisations that are left out, by tenant id.
        first: weeks before this one are left out.
    """

    def chosen(table: Table) -> list[ColumnElement[bool]]:
        conditions = [] if first is None else [table.c.week_ending >= first.ending]
        return conditions + ([table.c.tenant_id.not_in(sorted(without))] if without else [])

    return WarehouseSnapshot(
        {table.name: _read_rows(connection, table, chosen(table)) for table in tables},
        {kind: _count_rows(connection, table, chosen(table)) for kind, table in TABLE_OF.items()},
        _read_landed_weeks(connection, chosen(xero_sync_logs)),
        read_accepted_differences(connection),
        reconciliations,
    )


def _read_rows(connection: Connection, table: Table, chosen: Sequence[ColumnElement[bool]]) -> list[Row]:
    rows: list[Row] = []
    # The checks do not need where a row comes from.
    columns = [column for column in table.c if column.name not in PROVENANCE_COLUMNS]
    query = select(*columns).where(*chosen).order_by(*table.primary_key.columns)
    for mapping in connection.execute(query).mappings():
        row = dict(mapping)
        row["week"] = Week(row.pop("week_ending"))
        rows.append(row)
    return rows


def _count_rows(connection: Connection, table: Table, chosen: Sequence[ColumnElement[bool]]) -> dict[Key, int]:
    key = (table.c.tenant_id, table.c.week_ending)
    query = select(*key, func.count()).where(*chosen).group_by(*key)
    return {(tenant_id, Week(ending)): count for tenant_id, ending, count in connection.execute(query)}


def _read_landed_weeks(
    connection: Connection, chosen: Sequence[ColumnElement[bool]]
) -> dict[SyncType, dict[Key, LandedWeek]]:
    logs = xero_sync_logs.c
    newest_first = (
        func.row_number()
        .over(
            partition_by=(logs.tenant_id, logs.sync_type, logs.week_ending),
            order_by=logs.id.desc(),
        )
        .label("rank")
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
        .where(logs.status.in_(LANDED), logs.sync_type.not_in(MONTHLY_TYPES), *chosen)
        .subquery()
    )
    landed: dict[SyncType, dict[Key, LandedWeek]] = {kind: {} for kind in WEEKLY_TYPES}
    for row in connection.execute(select(ranked).where(ranked.c.rank == 1)):
        key = (row.tenant_id, Week(row.week_ending))
        landed[SyncType(row.sync_type)][key] = LandedWeek(row.status, row.record_count, row.error_log)
    return landed
