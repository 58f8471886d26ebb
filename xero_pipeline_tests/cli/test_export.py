"""`export` as a person types it: where its files go, which weeks, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from xero_pipeline_tests.cli.conftest import OLD, Folder, one_line
from xero_pipeline_tests.warehouse.figures.figures_given import WEEK, land_profit, line, profit


def test_the_figures_go_into_the_folder_and_the_audit_log_says_so(folder: Folder, tmp_path: Path) -> None:
    with folder.warehouse(OLD) as warehouse:
        for weeks in range(3):
            land_profit(warehouse, profit("0.10", line("a", "0.10")), week=WEEK.shift(-weeks))
    result = folder.run("export", "--to", "out", "--format", "csv", "--tables", "financial_weekly, weekly_summary")
    assert result.exit_code == 0, result.output
    assert result.stdout == "wrote out/financial_weekly.csv: 3 rows\nwrote out/weekly_summary.csv: 3 rows\n"
    # As the contract has it: --to names the folder and, once more, the last day.
    options = [
        "--format",
        "xlsx",
        "--from",
        "2026-11-09",
        "--to",
        "2026-11-20",
        "--tables",
        "financial_weekly",
        "--json",
    ]
    result = folder.run("export", "--to", "2026-11-28", *options)
    assert json.loads(result.stdout) == [
        {"table": "financial_weekly", "file": "2026-11-28/financial_weekly.xlsx", "rows": 1}
    ]
    assert (tmp_path / "2026-11-28" / "financial_weekly.xlsx").exists()
    with folder.warehouse(OLD) as warehouse:
        entries = warehouse.audit.list_newest(5)
    assert [(entry.action, entry.subject, entry.outcome) for entry in entries] == [
        ("export", "xlsx files", "success"),
        ("export", "csv files", "success"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "2026-11-21"], "--to 2026-11-21 is a day; name the folder, too (./2026-11-21 for one of that name)"),
        (["--to", "out", "--to", "else"], "--to is given for the folder, and once more for a day as YYYY-MM-DD"),
        (
            ["--to", "out", "--from", "2026-11-21", "--to", "2026-11-14"],
            "--from 2026-11-21 is later than --to 2026-11-14",
        ),
    ],
)
def test_wrong_usage_is_said_in_one_sentence(folder: Folder, arguments: list[str], message: str) -> None:
    result = folder.run("export", "--format", "csv", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_duckdb_one_line_says_what_to_install(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    result = folder.run("export", "--to", "out", "--format", "parquet")
    assert 'pip install "xero-pipeline[parquet]"' in one_line(result)
    assert "no table tokens" in one_line(folder.run("export", "--to", "out", "--format", "csv", "--tables", "tokens"))
