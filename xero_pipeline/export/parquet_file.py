"""Parquet, written by DuckDB: decimals as DECIMAL, dates as DATE, moments as TIMESTAMP in UTC.

The rows pass through a CSV file, which DuckDB reads with the types that the schema says and guesses nothing. So memory
is bounded, and an amount is never a binary float.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xero_pipeline.export.csv_file import write_csv
from xero_pipeline.export.errors import ExportFailed
from xero_pipeline.warehouse.figures.exporting import ExportColumn, ValueType

_TYPES = {
    ValueType.TEXT: "VARCHAR",
    ValueType.DATE: "DATE",
    ValueType.MOMENT: "TIMESTAMPTZ",
    ValueType.INTEGER: "BIGINT",
    ValueType.BOOLEAN: "BOOLEAN",
}
# DuckDB may load neither code nor anything from outside, and shall use little of the machine.
_LIMITS: dict[str, Any] = {
    "memory_limit": "256MB",
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
# What `write_csv` writes, so that nothing is guessed. Without `parallel`, a line break in a text is no end of a row.
_CSV_OPTIONS = (
    "auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', new_line = '\\r\\n', "
    "allow_quoted_nulls = false, parallel = false, max_line_size = 16777216"
)


def write_parquet(
    file: Path, columns: Sequence[ExportColumn], portions: Iterable[Sequence[Sequence[Any]]], scratch: Path
) -> int:
    """Write a file, and return its number of rows.

    Args:
        scratch: an empty folder for the rows on their way. Only their owner should be able to open it.

    Raises:
        ExportFailed: DuckDB is not installed, or cannot write the file.
    """
    try:
        import duckdb
    except ImportError:
        raise ExportFailed(
            "Parquet files are written by DuckDB, which is not installed.",
            advice='Install the extra "parquet": pip install "xero-pipeline[parquet]". Nothing was written.',
        ) from None
    rows = scratch / "rows.csv"
    try:
        with rows.open("wb") as opened:
            count = write_csv(opened, columns, portions, guarded=False)
        types = ", ".join(f"{_quote(column.name)}: '{_name_type(column)}'" for column in columns)
        with duckdb.connect(":memory:", config={**_LIMITS, "temp_directory": str(scratch)}) as database:
            # Only names of our own are put into the statement.
            read = f"SELECT * FROM read_csv({_quote(rows)}, columns = {{{types}}}, {_CSV_OPTIONS})"  # noqa: S608
            database.execute(f"COPY ({read}) TO {_quote(file)} (FORMAT parquet)")
    except duckdb.Error as error:
        # Its text may hold a row.
        raise ExportFailed(
            f"DuckDB could not write {file.name} ({type(error).__name__}).",
            advice="Check the disk's space. Nothing was written.",
        ) from None
    finally:
        rows.unlink(missing_ok=True)
    return count


def _name_type(column: ExportColumn) -> str:
    if column.type is ValueType.DECIMAL:
        return f"DECIMAL({column.precision}, {column.scale})"
    return _TYPES[column.type]


def _quote(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"
