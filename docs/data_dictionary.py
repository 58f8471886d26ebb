"""Writes `docs/data-dictionary.md` from `xero_pipeline/warehouse/data_dictionary/`: `python docs/data_dictionary.py`.

A test compares the file with what this writes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.sql.expression import TableClause

import xero_pipeline.warehouse
from xero_pipeline.warehouse import schema
from xero_pipeline.warehouse.data_dictionary import INTERNAL, TABLES, VIEWS, describe_table
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import ExactNumber, Money, UtcDateTime

FILE = Path(__file__).parent / "data-dictionary.md"

_HEAD = """\
# Data dictionary

What every table, view and column of the database means. In PostgreSQL the same texts are comments, so that a database
tool shows them. This page is made by `python docs/data_dictionary.py`.

In SQLite, money is text with two decimals. For everyday SQL, each table with money has a view `…_numeric` with the same
columns as numbers (binary floating point, so a long sum may be off in its last digits; exact sums need whole cents).
[docs/queries.md](queries.md) has examples.
"""


def describe() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_list_parts()]) + "\n"


def _list_parts() -> Iterator[str]:
    for module in pkgutil.walk_packages(xero_pipeline.warehouse.__path__, "xero_pipeline.warehouse."):
        if ".migrations." not in module.name:
            importlib.import_module(module.name)
    for title, names in (("Figures and their history", TABLES), ("Views", VIEWS), ("The pipeline's own", INTERNAL)):
        yield f"## {title}\n"
        for name in names:
            table: TableClause = metadata.tables[name] if name not in VIEWS else getattr(schema, name)
            doc = describe_table(name)
            yield f"### `{name}`\n\n{doc.meaning}\n"
            yield "| column | type | meaning |\n|---|---|---|"
            for column in table.columns:
                key = ", key" if getattr(column, "primary_key", False) else ""
                yield f"| `{column.name}` | {_name_type(column)}{key} | {doc.columns[column.name].meaning} |"
            yield ""


def _name_type(column: Any) -> str:
    if isinstance(column.type, Money):
        return "decimal(18,2)"
    if isinstance(column.type, ExactNumber):
        return "decimal"
    if isinstance(column.type, UtcDateTime):
        return "timestamp"
    name = column.type.python_type.__name__
    return {"str": "text", "int": "integer", "bool": "boolean", "dict": "json", "date": "date"}.get(name, name)


if __name__ == "__main__":
    FILE.write_text(describe(), encoding="utf-8")
