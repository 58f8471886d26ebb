"""Writes `dbt/models/sources.yml` from the schema and from the one place that says what the columns mean.

.venv/bin/python -m xero_pipeline_tests.dbt_sources
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import CheckConstraint, FromClause, Table

from xero_pipeline.assets.columns import describe_columns, list_documented_tables
from xero_pipeline.warehouse.figures.exporting import list_export_tables

FILE = Path(__file__).parents[1] / "dbt" / "models" / "sources.yml"
_HEADER = "# Written by `python -m xero_pipeline_tests.dbt_sources`; a test compares it with the schema.\n"
_VALUES = re.compile(r"^(\w+) IN \((.*)\)$")


def render_sources() -> str:
    """The sources of dbt: each documented table with its columns, their meanings and their tests."""
    tables = {
        table.name: table.source for table in list_export_tables().values() if table.source in list_documented_tables()
    }
    source = {
        "name": "xero",
        "description": "The tables of xero_pipeline. Money is NUMERIC(18, 2) in PostgreSQL and text in SQLite.",
        "schema": "{{ var('xero_schema') or ('main' if target.type == 'sqlite' else 'public') }}",
        "tables": [_describe_table(f"{name}", table) for name, table in tables.items()],
    }
    return _HEADER + yaml.safe_dump({"sources": [source]}, sort_keys=False, allow_unicode=True, width=118)


def _describe_table(name: str, table: FromClause) -> dict[str, Any]:
    key = (
        list(table.primary_key.columns) if isinstance(table, Table) else [table.c["tenant_id"], table.c["week_ending"]]
    )
    return {
        "name": name,
        "data_tests": [{"one_row_each": {"arguments": {"columns": [f"{column.name}" for column in key]}}}],
        "columns": [
            {"name": f"{column}", "description": doc.meaning} | _list_tests(table, column)
            for column, doc in describe_columns(table).items()
        ],
    }


def _list_tests(table: FromClause, name: str) -> dict[str, Any]:
    tests: list[Any] = []
    if isinstance(table, Table):
        if not table.c[name].nullable:
            tests.append("not_null")
        for constraint in table.constraints:
            match = isinstance(constraint, CheckConstraint) and _VALUES.match(str(constraint.sqltext))
            if match and match[1] == name:
                values = [value.strip(" '") for value in match[2].split(",")]
                tests.append({"accepted_values": {"arguments": {"values": values}}})
    return {"data_tests": tests} if tests else {}


if __name__ == "__main__":
    FILE.write_text(render_sources())
