"""Exports tables of figures: into a folder, a file a table, or into one open file for a download.

All tables show the same moment. Every file is written beside its place first and takes it when all of them are
complete, so a folder never holds half an export, and readers of the earlier one never see half a file.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, Engine

from xero_pipeline.export.csv_file import write_csv
from xero_pipeline.export.errors import ExportFailed
from xero_pipeline.warehouse.figures.exporting import ExportFilter, ExportTable, list_export_tables, read_portions
from xero_pipeline.warehouse.figures.queries import open_snapshot

_OWNER_ONLY = 0o600


class ExportFormat(StrEnum):
    """The kinds of files."""

    PARQUET = "parquet"
    CSV = "csv"
    XLSX = "xlsx"


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file that was written."""

    table: str
    file: Path
    rows: int


def choose_tables(names: Collection[str]) -> list[ExportTable]:
    """Return the tables with these names, in the schema's order; all of them if none is named.

    Raises:
        ExportFailed: a name is unknown.
    """
    tables = list_export_tables()
    unknown = sorted(set(names) - tables.keys())
    if unknown:
        raise ExportFailed(f"There is no table {', '.join(unknown)}.", advice=f"There are: {', '.join(tables)}.")
    return [table for name, table in tables.items() if not names or name in names]


def export_to_folder(
    engine: Engine, folder: Path, kind: ExportFormat, tables: Sequence[ExportTable], chosen: ExportFilter
) -> list[ExportedFile]:
    """Write each table into a file of its own, which only its owner can open. Files of the same name are replaced.

    Raises:
        ExportFailed: a file cannot be written. Then none was.
        DatabaseUnavailable: the database cannot be reached.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkdtemp's folder is its owner's alone.
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
            written = _write_all(engine, Path(scratch), kind, tables, chosen)
            for exported in written:
                if (folder / exported.file.name).is_dir():
                    raise ExportFailed(f"{folder / exported.file.name} is a folder, so no file can take its place.")
            for exported in written:
                exported.file.replace(folder / exported.file.name)
    except OSError as error:
        raise ExportFailed(
            f"{folder} cannot be written to: {error.strerror}.", advice="Check the folder and the disk's space."
        ) from None
    return [ExportedFile(exported.table, folder / exported.file.name, exported.rows) for exported in written]


def _write_all(
    engine: Engine, scratch: Path, kind: ExportFormat, tables: Sequence[ExportTable], chosen: ExportFilter
) -> list[ExportedFile]:
    written = []
    with open_snapshot(engine) as connection:
        for table in tables:
            file = scratch / f"{table.name}.{kind.value}"
            if kind is ExportFormat.PARQUET:
                # Here, because DuckDB is not installed everywhere.
                from xero_pipeline.export.parquet_file import write_parquet

                rows = write_parquet(file, table.columns, read_portions(connection, table, chosen), scratch)
                file.chmod(_OWNER_ONLY)
            else:
                with _create_privately(file) as opened:
                    rows = _write_table(connection, opened, kind, [table], chosen, scratch)
            _wait_for_disk(file)
            written.append(ExportedFile(table.name, file, rows))
    return written


def export_to_file(
    engine: Engine, file: BinaryIO, kind: ExportFormat, tables: Sequence[ExportTable], chosen: ExportFilter
) -> int:
    """Write tables into an open file, and return the number of rows: one table as CSV, or any as one workbook.

    Raises:
        ExportFailed: the tables do not fit into a workbook.
        DatabaseUnavailable: the database cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="xero-export-") as scratch, open_snapshot(engine) as connection:
        return _write_table(connection, file, kind, tables, chosen, Path(scratch))


def _write_table(
    connection: Connection,
    file: BinaryIO,
    kind: ExportFormat,
    tables: Sequence[ExportTable],
    chosen: ExportFilter,
    scratch: Path,
) -> int:
    if kind is ExportFormat.CSV:
        (table,) = tables
        return write_csv(file, table.columns, read_portions(connection, table, chosen))
    # Here, because it takes as long to import as the rest of this module.
    from xero_pipeline.export.xlsx_file import XlsxFile

    with XlsxFile(file, scratch) as book:
        return sum(
            book.add_sheet(table.name, table.columns, read_portions(connection, table, chosen)) for table in tables
        )


@contextlib.contextmanager
def _create_privately(file: Path) -> Iterator[BinaryIO]:
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, _OWNER_ONLY), "wb") as opened:
        yield opened


def _wait_for_disk(file: Path) -> None:
    """Wait until the file's content is on the disk: a power cut after the rename must not leave an empty file."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
