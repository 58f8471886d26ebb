"""`explain` as a person types it: what a figure is made of, and how it changed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from xero_pipeline_tests.cli.conftest import OLD, Folder, one_line
from xero_pipeline_tests.warehouse.figures.figures_given import (
    NOW,
    account,
    cash,
    document,
    documented_revenue,
    land_cash,
    land_profit,
    land_revenue,
    line,
    opened,
    profit,
    tokens,
)

WEEK = ("--week-ending", "2026-11-21")


def land(folder: Folder) -> None:
    with folder.warehouse(OLD) as warehouse:
        warehouse.tokens.save_consent(tokens(), opened("org-1"), now=NOW)
        land_profit(warehouse, profit("95.00", line("sales", "95.00")))
        land_revenue(warehouse, documented_revenue(document("a", "80.00"), document("gone", "9.00")))
        changed = [document("a", "60.00", "30.00"), document("b", "5.00", credit=True)]
        land_revenue(warehouse, documented_revenue(*changed), run_id="run-2")
        land_cash(warehouse, cash(account("bank-1", "12.50", "Cheque")))


def read(folder: Folder, *arguments: str) -> list[dict[str, Any]]:
    result = folder.run("explain", *WEEK, *arguments, "--json")
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    for row in rows:
        assert sum(Decimal(part["amount"]) for part in row["parts"]) == Decimal(row["amount"])
    return rows


def test_each_kind_of_figure_is_explained_and_adds_up(folder: Folder) -> None:
    land(folder)
    (cell,) = read(folder, "--type", "Residential", "--region", "North")
    assert (cell["tenantName"], cell["amount"]) == ("Organisation org-1", "85.00")
    assert [(row["documentNumber"], row["adds"]) for row in cell["documents"]] == [("No a", "90.00"), ("No b", "-5.00")]
    (changed,) = [entry for entry in cell["history"] if entry["column"] == "net_revenue"]
    assert (changed["old"], changed["new"], changed["dagsterRunId"]) == ("89.00", "85.00", "run-2")
    assert [(row["documentId"], row["oldNet"], row["newNet"]) for row in changed["documents"]] == [
        ("a", "80.00", "90.00"),
        ("b", None, "5.00"),
        ("gone", "9.00", None),
    ]
    (sales,) = read(folder, "--account", "200", "--organisation", "org-1")
    assert [part["name"] for part in sales["parts"]] == ["Invoices less credit notes", "Other entries in Xero"]
    (bank,) = read(folder, "--bank", "cheque")
    assert (bank["amount"], bank["parts"][0]["note"]) == ("12.50", "the week before is not stored")
    assert [row["figure"] for row in read(folder)][-1] == "net_revenue"

    text = folder.run("explain", *WEEK, "--type", "residential", "--region", "north").stdout
    assert "net revenue 85.00 AUD" in text
    assert "No a Ann: 80.00 -> 90.00" in text
    assert "No gone Ann: 9.00 before, no longer counted" in text
    assert "No b Ann: new, 5.00" in text
    assert "https://go.xero.com/app/!23vYl/invoicing/view/a" in text


def test_a_figure_that_is_not_there_is_one_error(folder: Folder) -> None:
    land(folder)
    assert "has no such figure" in one_line(folder.run("explain", *WEEK, "--account", "999"))
    assert "no organisation nobody" in one_line(folder.run("explain", *WEEK, "--organisation", "nobody"))
    assert "2026-11-20" in one_line(folder.run("explain", "--week-ending", "2026-11-20"))
    wrong = folder.run("explain", *WEEK, "--account", "200", "--bank", "Cheque")
    assert (wrong.exit_code, "Give --account" in wrong.stderr) == (2, True)
