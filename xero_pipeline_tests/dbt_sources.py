"""Writes `dbt/models/sources.yml` from the schema and from the data dictionary.

.venv/bin/python -m xero_pipeline_tests.dbt_sources
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import CheckConstraint, FromClause, Table

from xero_pipeline.warehouse.data_dictionary import describe_table
from xero_pipeline.warehouse.figures.exporting import list_export_tables, list_key

FILE = Path(__file__).parents[1] / "dbt" / "models" / "sources.yml"
_HEADER = "# Written by `python -m xero_pipeline_tests.dbt_sources`; a test compares it with the schema.\n"
_VALUES = re.compile(r"^(\w+) IN \((.*)\)$")


def render_sources() -> str:
    """The sources of dbt: each table and view of figures with its columns, their meanings and their tests."""
    source = {
        "name": "xero",
        "description": "The tables of xero_pipeline. Money is NUMERIC(18, 2) in PostgreSQL and text in SQLite.",
        "schema": "{{ var('xero_schema') or ('main' if target.type == 'sqlite' else 'public') }}",
        "tables": [_describe_table(f"{table.name}", table.source) for table in list_export_tables().values()],
    }
    return _HEADER + yaml.safe_dump({"sources": [source]}, sort_keys=False, allow_unicode=True, width=118)


def _describe_table(name: str, table: FromClause) -> dict[str, Any]:
    docs = describe_table(name)
    return {
        "name": name,
        "description": docs.meaning,
        "data_tests": [{"one_row_each": {"arguments": {"columns": [f"{column.name}" for column in list_key(table)]}}}],
        "columns": [
            {"name": f"{column.name}", "description": docs.columns[column.name].meaning}
            | _list_tests(table, column.name)
            for column in table.c
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
