"""Every column of the tables is explained, once."""

from __future__ import annotations

import dagster as dg
import pytest
from sqlalchemy import Table

from xero_pipeline.assets.columns import about, column_lineage, column_schema
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)

TABLES = [financial_weekly, financial_weekly_lines, revenue_weekly, cash_position_weekly]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_has_a_meaning_and_no_meaning_lacks_its_column(table: Table) -> None:
    assert list(about(table)) == [column.name for column in table.columns]
    for column in column_schema(table).columns:
        assert column.description
        assert column.description.endswith(".")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_figure_says_which_answer_of_xero_it_comes_from(table: Table) -> None:
    deps = column_lineage(table).deps_by_column
    own = [name for name in about(table) if name not in ("week_ending", "basis", "data_source", "updated_at")]
    assert sorted(deps) == sorted(own)
    for fields in deps.values():
        assert all(field.asset_key.path[0] == "xero" and field.column_name for field in fields)


def test_money_is_called_what_it_is() -> None:
    types = {column.name: column.type for column in column_schema(revenue_weekly).columns}
    assert types["net_revenue"] == "decimal(18,2)"
    assert types["week_ending"] == "date"
    assert types["invoice_count"] == "integer"
    assert types["updated_at"] == "timestamp"
    assert types["region"] == "text"


def test_an_event_keeps_the_columns_and_leaves_their_meaning_to_the_asset() -> None:
    whole, short = column_schema(financial_weekly), column_schema(financial_weekly, described=False)
    assert [(one.name, one.type) for one in whole.columns] == [(one.name, one.type) for one in short.columns]
    assert {one.description for one in short.columns} == {None}
    assert len(dg.serialize_value(short)) < len(dg.serialize_value(whole))
