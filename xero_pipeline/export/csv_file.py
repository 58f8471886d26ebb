"""CSV in UTF-8, as RFC 4180 has it. A text is always in quotes, so that an account code `0200` is seen to be a text.

No value is an empty field without quotes, and an empty text is `""`: PostgreSQL's COPY and DuckDB tell them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import Any, BinaryIO

from xero_pipeline.warehouse.figures.exporting import ExportColumn, ValueType

# A spreadsheet takes a cell that begins like this for a formula, quoted or not, and a formula can send what is in
# other cells elsewhere (OWASP, "CSV Injection"). The last three are the full-width forms, which Excel takes as well.
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write_csv(
    file: BinaryIO,
    columns: Sequence[ExportColumn],
    portions: Iterable[Sequence[Sequence[Any]]],
    *,
    guarded: bool = True,
) -> int:
    """Write a header and the rows, and return the number of rows.

    Args:
        guarded: put an apostrophe before a text that a spreadsheet would take for a formula. Numbers stay as they are.
    """
    header = ",".join(_quote(column.name) for column in columns)
    file.write(f"{header}\r\n".encode())
    count = 0
    for rows in portions:
        file.write("".join(_format_rows(columns, rows, guarded)).encode())
        count += len(rows)
    return count


def guard_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula. A number is none: `restatements` has amounts as text."""
    is_formula = text.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def _format_rows(columns: Sequence[ExportColumn], rows: Sequence[Sequence[Any]], guarded: bool) -> Iterator[str]:
    for row in rows:
        yield (
            ",".join(_format(column.type, value, guarded) for column, value in zip(columns, row, strict=True)) + "\r\n"
        )


def _format(kind: ValueType, value: Any, guarded: bool) -> str:
    if value is None:
        return ""
    if kind is ValueType.TEXT:
        return _quote(guard_text(str(value)) if guarded else str(value))
    if kind is ValueType.DECIMAL:
        return format(value, "f")
    if kind is ValueType.MOMENT:
        # Always with microseconds: readers such as pandas expect one form in the whole column.
        return str(value.astimezone(UTC).isoformat(timespec="microseconds"))
    if kind is ValueType.BOOLEAN:
        return "true" if value else "false"
    return str(value)


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
