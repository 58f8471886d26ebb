"""The download: whole files with safe names, for every role, and one clear error instead of half a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest

from xero_pipeline.admin import export
from xero_pipeline.admin.roles import API_PATH, required_role
from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline.warehouse.figures.exporting import list_export_tables
from xero_pipeline.weeks import Week
from xero_pipeline_tests.admin.deployed import Page, serve_page
from xero_pipeline_tests.admin.test_api import ALPHA, BETA, LATEST, land_week, read_error

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Page]:
    with serve_page(tmp_path_factory.mktemp("export"), template=migrated) as page:
        page.connect(ALPHA, BETA)
        for tenant in ("t-1", "t-2"):
            for week in (LATEST, LATEST.previous):
                land_week(page, "0.10", tenant=tenant, week=week)
        yield page


def test_a_table_is_downloaded_as_csv_with_the_chosen_weeks_and_organisation(filled: Page) -> None:
    chosen = {"format": "csv", "table": "weekly_summary", "from": "2026-11-15", "tenantId": "t-2"}
    answer = filled.api("/export", params=chosen)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="weekly_summary-2026-11-24.csv"'
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["cache-control"] == "no-store"
    header, row = answer.text.splitlines()
    assert header.startswith('"tenant_id","week_ending","total_trading_income"')
    assert row.startswith('"t-2",2026-11-21,0.10,')
    until = filled.api("/export", params=chosen | {"from": "2026-11-01", "to": "2026-11-14"})
    assert [line[:16] for line in until.text.splitlines()[1:]] == ['"t-2",2026-11-14']


def test_all_tables_are_downloaded_as_one_workbook_and_the_audit_log_says_so(filled: Page) -> None:
    answer = filled.api("/export", params={"format": "xlsx"})
    assert answer.headers["content-type"] == XLSX
    assert answer.headers["content-disposition"] == 'attachment; filename="xero-figures-2026-11-24.xlsx"'
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    assert book.sheetnames == list(list_export_tables())
    amounts = [row[2].value for row in book["financial_weekly"].iter_rows(min_row=2)]
    assert len(list(book["weekly_summary"].iter_rows())) == 5
    assert amounts
    entry = filled.api("/audit", params={"limit": 1}).json()[0]
    assert (entry["action"], entry["subject"], entry["outcome"]) == ("export", "all as xlsx", "success")


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"format": "csv"}, 422),
        ({"format": "parquet", "table": "weekly_summary"}, 422),
        ({"format": "csv", "table": "xero_tokens"}, 422),
        ({"format": "csv", "table": '../x";\r\n'}, 422),
        ({"format": "csv", "table": "weekly_summary", "tenantId": "nobody"}, 404),
        ({"format": "csv", "table": "weekly_summary", "from": "2026-11-21", "to": "2026-11-14"}, 422),
        ({}, 422),
    ],
)
def test_what_cannot_be_exported_is_one_clear_error(filled: Page, params: dict[str, str], status: int) -> None:
    assert read_error(filled.api("/export", params=params))[0] == status


def test_a_third_download_at_once_is_asked_to_wait(filled: Page) -> None:
    with export._take_place(), export._take_place():
        assert read_error(filled.api("/export", params={"format": "xlsx"})) == (429, "busy")
    assert filled.api("/export", params={"format": "xlsx"}).status_code == 200


def test_a_viewer_may_download() -> None:
    assert required_role(f"{API_PATH}/export", "GET") is AccessRole.VIEWER


def test_a_week_without_figures_is_a_file_with_its_header_alone(filled: Page) -> None:
    early = str(Week(LATEST.ending).shift(-9))
    answer = filled.api("/export", params={"format": "csv", "table": "revenue_weekly", "to": early})
    assert len(answer.text.splitlines()) == 1
