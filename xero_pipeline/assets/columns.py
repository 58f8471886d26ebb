"""Dagster's column schema and column lineage, from what the data dictionary says of every column.

The types come from `warehouse/schema.py`, the meanings from `warehouse/data_dictionary/`. The lineage names Xero's own
answers as `xero/<endpoint>`. These are not assets of this pipeline, so Dagster stores the names and shows no node for
them.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
from sqlalchemy import Column, FromClause, Table

from xero_pipeline.warehouse.data_dictionary import ColumnDoc, describe_table
from xero_pipeline.warehouse.database.types import Money, UtcDateTime

# Who owns the figures. Dagster's UI shows it as a label; nobody gets a message because of it.
OWNERS = ["team:finance"]


def describe_columns(table: FromClause) -> dict[str, ColumnDoc]:
    """Return the documentation of each column of a table or view, in its order."""
    docs = describe_table(str(getattr(table, "name", ""))).columns
    return {column.name: docs[column.name] for column in table.columns}


def build_column_schema(table: Table, *, with_descriptions: bool = True) -> dg.TableSchema:
    """Build a table's columns for Dagster.

    Events leave the descriptions out, because Dagster stores events for ever. Its UI takes them from the asset.
    """
    docs = describe_columns(table)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                _name_type(column),
                description=docs[column.name].meaning if with_descriptions else None,
            )
            for column in table.columns
        ]
    )


def build_column_lineage(table: Table) -> dg.TableColumnLineage:
    """Build the lineage: the fields of Xero's answers that each column is computed from."""
    return dg.TableColumnLineage(
        {
            name: [_build_column_dep(source) for source in column.sources]
            for name, column in describe_columns(table).items()
            if column.sources
        }
    )


def build_asset_metadata(table: Table) -> dict[str, Any]:
    """Build the metadata with which an asset describes its table."""
    return {
        "dagster/table_name": table.name,
        "dagster/column_schema": build_column_schema(table),
        "dagster/column_lineage": build_column_lineage(table),
    }


def _build_column_dep(source: str) -> dg.TableColumnDep:
    endpoint, name = source.split(".", 1)
    return dg.TableColumnDep(dg.AssetKey(["xero", *endpoint.split("/")]), name)


def _name_type(column: Column[Any]) -> str:
    if isinstance(column.type, Money):
        return "decimal(18,2)"
    if isinstance(column.type, UtcDateTime):
        return "timestamp"
    return {"str": "text", "int": "integer"}.get(column.type.python_type.__name__, column.type.python_type.__name__)
