"""The description and the lineage of every column of the tables."""

from __future__ import annotations

import dagster as dg
import pytest
from sqlalchemy import Table

from xero_pipeline.assets.columns import build_column_lineage, build_column_schema, describe_columns
from xero_pipeline.warehouse.schema import (
    cash_position_monthly,
    cash_position_weekly,
    financial_monthly,
    financial_monthly_lines,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)

TABLES = [
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
    cash_position_weekly,
    financial_monthly,
    financial_monthly_lines,
    cash_position_monthly,
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_has_a_description_that_is_a_sentence(table: Table) -> None:
    assert list(describe_columns(table)) == [column.name for column in table.columns]
    for column in build_column_schema(table).columns:
        assert column.description
        assert column.description.endswith(".")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_figure_has_a_lineage_to_an_answer_of_xero(table: Table) -> None:
    deps = build_column_lineage(table).deps_by_column
    with_lineage = [
        name
        for name in describe_columns(table)
        if name not in ("week_ending", "month_ending", "basis", "data_source", "updated_at")
    ]
    assert sorted(deps) == sorted(with_lineage)
    for fields in deps.values():
        assert all(field.asset_key.path[0] == "xero" and field.column_name for field in fields)


def test_the_columns_of_a_month_speak_of_the_month() -> None:
    for table in TABLES[-3:]:
        assert not [name for name, column in describe_columns(table).items() if "week" in column.meaning]


def test_the_type_of_a_column_is_named_as_in_sql() -> None:
    types = {column.name: column.type for column in build_column_schema(revenue_weekly).columns}
    assert types["net_revenue"] == "decimal(18,2)"
    assert types["week_ending"] == "date"
    assert types["invoice_count"] == "integer"
    assert types["updated_at"] == "timestamp"
    assert types["region"] == "text"


def test_an_event_has_the_columns_without_their_descriptions() -> None:
    whole, short = build_column_schema(financial_weekly), build_column_schema(financial_weekly, with_descriptions=False)
    assert [(column.name, column.type) for column in whole.columns] == [
        (column.name, column.type) for column in short.columns
    ]
    assert {column.description for column in short.columns} == {None}
    assert len(dg.serialize_value(short)) < len(dg.serialize_value(whole))
