"""What can be exported: the tables and views of figures, the type of each column, and their rows in portions.

The list follows from the schema, so a new table of figures is in it by itself. `export/` writes the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from sqlalchemy import Boolean, Connection, Date, FromClause, Integer, Numeric, Select, Table, select
from sqlalchemy.sql.elements import KeyedColumnElement
from sqlalchemy.sql.expression import TableClause
from sqlalchemy.types import TypeEngine

from xero_pipeline.warehouse import schema
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import Money, UtcDateTime

_PERIODS = ("week_ending", "month_ending")
# Of a number whose digits the schema does not limit, such as an exchange rate. Xero's have at most ten decimals.
_UNLIMITED = (38, 18)
# How many rows are in memory at once.
_PORTION = 2000


class ValueType(StrEnum):
    """What a column's values are in a file."""

    TEXT = "text"
    DATE = "date"
    MOMENT = "moment"
    DECIMAL = "decimal"
    INTEGER = "integer"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of a file. Only a decimal has a precision (all its digits) and a scale (those after the point)."""

    name: str
    type: ValueType
    precision: int = 0
    scale: int = 0


@dataclass(frozen=True, slots=True)
class ExportTable:
    """A table or view that can be exported."""

    name: str
    source: FromClause
    columns: tuple[ExportColumn, ...]


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Which rows: of weeks and months that end from `first` to `last`, and of one organisation.

    `None` sets no bound. A table without weeks or months, such as a list of organisations, ignores the dates.
    """

    first: date | None = None
    last: date | None = None
    tenant_id: str | None = None


def list_export_tables() -> dict[str, ExportTable]:
    """The tables of figures, the restatements and the views, by name, in the schema's order."""
    views = [view for view in vars(schema).values() if isinstance(view, TableClause) and not isinstance(view, Table)]
    tables = [table for table in metadata.tables.values() if {*schema.PROVENANCE_COLUMNS} <= {*table.c.keys()}]
    return {
        source.name: ExportTable(source.name, source, tuple(_describe_column(column) for column in source.c))
        for source in (*tables, *views, schema.restatements)
    }


def read_portions(
    connection: Connection, table: ExportTable, chosen: ExportFilter
) -> Iterator[Sequence[Sequence[Any]]]:
    """Read the chosen rows in the order of their key, a portion at a time, as values of Python.

    The connection should be that of `open_snapshot`, so that all tables show the same moment.
    """
    streaming = connection.execution_options(stream_results=True, yield_per=_PORTION)
    result = streaming.execute(_build_query(table, chosen))
    try:
        yield from result.partitions(_PORTION)
    finally:
        result.close()


def _build_query(table: ExportTable, chosen: ExportFilter) -> Select[Any]:
    columns = table.source.c
    query = select(*columns)
    period = next((columns[name] for name in _PERIODS if name in columns), None)
    if period is not None and chosen.first is not None:
        query = query.where(period >= chosen.first)
    if period is not None and chosen.last is not None:
        query = query.where(period <= chosen.last)
    if chosen.tenant_id is not None and "tenant_id" in columns:
        query = query.where(columns["tenant_id"] == chosen.tenant_id)
    return query.order_by(*list_key(table.source))


def list_key(source: FromClause) -> list[KeyedColumnElement[Any]]:
    """The columns that tell the rows apart. A view has them without saying so."""
    if isinstance(source, Table):
        return list(source.primary_key.columns)
    return [source.c[name] for name in ("tenant_id", *_PERIODS, "revenue_type", "region") if name in source.c]


def _describe_column(column: KeyedColumnElement[Any]) -> ExportColumn:
    kind = column.type
    if isinstance(kind, Money):
        return ExportColumn(column.name, ValueType.DECIMAL, 18, 2)
    if isinstance(kind, UtcDateTime):
        return ExportColumn(column.name, ValueType.MOMENT)
    if (number := _find_numeric(kind)) is not None:
        limits = _UNLIMITED if number.precision is None else (number.precision, number.scale or 0)
        return ExportColumn(column.name, ValueType.DECIMAL, *limits)
    types: Sequence[tuple[type[TypeEngine[Any]], ValueType]] = (
        (Date, ValueType.DATE),
        (Boolean, ValueType.BOOLEAN),
        (Integer, ValueType.INTEGER),
    )
    return ExportColumn(column.name, next((to for of, to in types if isinstance(kind, of)), ValueType.TEXT))


def _find_numeric(kind: Any) -> Numeric[Any] | None:
    """The decimals that a column has, also where SQLite stores them as text."""
    inner = getattr(kind, "impl", kind)
    inner = getattr(inner, "impl", inner)
    return inner if isinstance(inner, Numeric) else None
