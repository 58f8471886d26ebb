"""Excel workbooks, a sheet a table. Rows are written as they come, so a large table needs no more memory.

An amount is a number. Excel computes with binary floats of 15 digits, so a sum shows every cent as long as its digits
suffice. A text is stored as a text, never as a formula or a link.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import UTC
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import xlsxwriter

from xero_pipeline.export.errors import ExportFailed
from xero_pipeline.warehouse.figures.exporting import ExportColumn, ValueType

# Excel's own limits ("Excel specifications and limits").
_MOST_ROWS = 1_048_576
_LONGEST_TEXT = 32_767
_LONGEST_SHEET_NAME = 31
_DIGITS = 15
_CENTS = 2

_OTHER_FORMAT = "Choose another format, csv or parquet, or fewer weeks with --from and --to. Nothing was written."
_FORMATS = {
    ValueType.DATE: {"num_format": "yyyy-mm-dd"},
    # Excel knows no time zones: the moments are in UTC.
    ValueType.MOMENT: {"num_format": "yyyy-mm-dd hh:mm:ss"},
    ValueType.INTEGER: {"num_format": "0"},
    # With this mark, a text that looks like a formula stays a text when somebody edits its cell.
    ValueType.TEXT: {"quote_prefix": True},
}
_WIDTHS = {ValueType.DATE: 12, ValueType.MOMENT: 20, ValueType.INTEGER: 10, ValueType.DECIMAL: 16, ValueType.TEXT: 24}


class XlsxFile:
    """A workbook that is being written. It is complete after the block.

    Args:
        scratch: where rows wait for the file to be put together. Only their owner should be able to open it.
    """

    def __init__(self, file: BinaryIO, scratch: Path) -> None:
        self._book = xlsxwriter.Workbook(file, {"constant_memory": True, "tmpdir": str(scratch)})
        self._header = self._book.add_format({"bold": True, "bottom": 1})
        self._formats = {kind: self._book.add_format(properties) for kind, properties in _FORMATS.items()}

    def __enter__(self) -> XlsxFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(Exception) if error else contextlib.nullcontext():
            # Also after an error, which is the one to show: it closes the files in `scratch`.
            self._book.close()

    def add_sheet(self, name: str, columns: Sequence[ExportColumn], portions: Iterable[Sequence[Sequence[Any]]]) -> int:
        """Write a table into a sheet of its own, and return the number of rows.

        Raises:
            ExportFailed: it has more rows, a longer text or an amount of more digits than Excel can have.
        """
        sheet = self._book.add_worksheet(name[:_LONGEST_SHEET_NAME])
        sheet.freeze_panes(1, 0)
        formats = [self._find_format(column) for column in columns]
        for position, column in enumerate(columns):
            sheet.set_column(position, position, _WIDTHS.get(column.type, 10))
            sheet.write_string(0, position, column.name, self._header)
        number = 0
        for rows in portions:
            for row in rows:
                number += 1
                if number >= _MOST_ROWS:
                    raise ExportFailed(f"{name} has more rows than a sheet of Excel can have.", advice=_OTHER_FORMAT)
                for position, (column, value) in enumerate(zip(columns, row, strict=True)):
                    if value is not None:
                        _write(sheet, number, position, column, value, formats[position])
        if number:
            sheet.autofilter(0, 0, number, len(columns) - 1)
        return number

    def _find_format(self, column: ExportColumn) -> Any:
        if column.type is ValueType.DECIMAL:
            # An amount, or a number such as an exchange rate.
            return self._book.add_format({"num_format": "#,##0.00" if column.scale == _CENTS else "0.0#############"})
        return self._formats.get(column.type)


def _write(sheet: Any, row: int, position: int, column: ExportColumn, value: Any, style: Any) -> None:
    if column.type is ValueType.TEXT:
        text = str(value)
        if len(text) > _LONGEST_TEXT:
            raise ExportFailed(f"A text in {column.name} is too long for a cell of Excel.", advice=_OTHER_FORMAT)
        sheet.write_string(row, position, text, style)
    elif column.type is ValueType.DECIMAL:
        if column.scale == _CENTS and len(value.normalize().as_tuple().digits) > _DIGITS:
            # Excel would round it without a word.
            raise ExportFailed(f"An amount in {column.name} has more digits than Excel keeps.", advice=_OTHER_FORMAT)
        sheet.write_number(row, position, value, style)
    elif column.type is ValueType.INTEGER:
        sheet.write_number(row, position, value, style)
    elif column.type is ValueType.BOOLEAN:
        sheet.write_boolean(row, position, value)
    elif column.type is ValueType.MOMENT:
        sheet.write_datetime(row, position, value.astimezone(UTC).replace(tzinfo=None), style)
    else:
        sheet.write_datetime(row, position, value, style)
