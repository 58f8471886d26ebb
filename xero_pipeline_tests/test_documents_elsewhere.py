"""Documents and explanations of the books of a server that shares no code with the pipeline or its mock.

With `DOCUMENTS=full`, since it starts a command for each figure.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.deployments import MeasuredDeployment, serve_xero
from benchmarks.xero_server import Books

pytestmark = pytest.mark.skipif(os.environ.get("DOCUMENTS") != "full", reason="DOCUMENTS=full runs it")

BOOKS = Books(invoices=40, credit_notes=3)
ZERO = Decimal("0.00")

_LINES = """
SELECT lines.tenant_id, lines.week_ending, lines.revenue_type, lines.region, document_type, lines.net, lines.tax
FROM revenue_document_lines AS lines JOIN revenue_documents USING (tenant_id, week_ending, document_id)
"""
_CELLS = "SELECT tenant_id, week_ending, revenue_type, region, invoiced, credited, tax FROM revenue_weekly"


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[MeasuredDeployment]:
    with serve_xero(invoices=BOOKS.invoices, credit_notes=BOOKS.credit_notes, organisations=2) as server:
        deployment = MeasuredDeployment(tmp_path, server)
        deployment.connect(2)
        deployment.run("sync", "--weeks", "8", "--json")
        yield deployment


def test_documents_add_up_to_every_cell_and_every_figure_is_explained(deployed: MeasuredDeployment) -> None:
    database = sqlite3.connect(deployed.home / "data" / "xero.db")
    sums: dict[tuple[str, ...], list[Decimal]] = defaultdict(lambda: [ZERO, ZERO, ZERO])
    for *key, kind, net, tax in database.execute(_LINES):
        is_credit = kind == "credit_note"
        cell = sums[tuple(key)]
        cell[1 if is_credit else 0] += Decimal(net)
        cell[2] += -Decimal(tax) if is_credit else Decimal(tax)
    assert sums == {tuple(row[:4]): [Decimal(amount) for amount in row[4:]] for row in database.execute(_CELLS)}
    assert len({key[:2] for key in sums}) == 16
    sold = BOOKS.sum_documents(BOOKS.invoices) - BOOKS.sum_documents(BOOKS.credit_notes)
    for tenant, week in {key[:2] for key in sums}:
        assert sum(cell[0] - cell[1] for key, cell in sums.items() if key[:2] == (tenant, week)) == sold

    week = max(key[1] for key in sums)
    (accounts, banks) = (
        [name for (name,) in database.execute(f"SELECT DISTINCT {column} FROM {table} WHERE week_ending = ?", (week,))]
        for column, table in (
            ("account_code", "financial_weekly_lines"),
            ("bank_account_name", "cash_position_weekly"),
        )
    )
    cells = {key[2:] for key in sums if key[1] == week}
    figures: list[tuple[str, ...]] = [(), *(("--account", account) for account in accounts)]
    figures += [("--bank", bank) for bank in banks] + [("--type", kind, "--region", region) for kind, region in cells]
    for figure in figures:
        explained = json.loads(deployed.run("explain", "--week-ending", week, *figure, "--json").output)
        assert {each["tenantId"] for each in explained} == {key[0] for key in sums}
        for each in explained:
            assert sum(Decimal(part["amount"]) for part in each["parts"]) == Decimal(each["amount"])
            if each["kind"] == "revenue":
                assert sum(Decimal(document["adds"]) for document in each["documents"]) == Decimal(each["amount"])
