"""5,000 reports of the profit and loss with pieces taken away: none is `success` against the week's revenue.

A header, sections, rows of accounts, totals and profit lines are taken away, up to all of them. What is left must be
refused, have a difference, or still give the right figures. Where a report has no line left, the week's documents
contradict it.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from decimal import Decimal

import pytest

from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.accounts import Account
from xero_pipeline.xero.readers.missing_income import find_missing_income
from xero_pipeline.xero.readers.profit_and_loss import ProfitAndLoss, read_profit_and_loss
from xero_pipeline.xero.readers.revenue import Revenue, read_revenue
from xero_pipeline_tests.xero.readers.report_payloads import WEEK, Json
from xero_pipeline_tests.xero.readers.test_profit_and_loss_countries import COUNTRIES, Writer, is_right

REPORTS = 5_000


def list_pieces(rows: list[Json]) -> Iterator[tuple[list[Json], Json]]:
    """Every row of a report with the list that it stands in."""
    for row in rows:
        yield rows, row
        yield from list_pieces(row.get("Rows") or [])


def damage(chance: random.Random, payload: Json) -> Json:
    damaged = copy.deepcopy(payload)
    pieces = list(list_pieces(damaged["Reports"][0]["Rows"]))
    count = chance.choice([1, 1, 1, 2, 2, 3, len(pieces) // 2, len(pieces) - 1, len(pieces)])
    for container, piece in chance.sample(pieces, min(count, len(pieces))):
        container[:] = [row for row in container if row is not piece]
    return damaged


def make_revenue(by_account: dict[str, Decimal]) -> Revenue:
    empty = read_revenue(
        [], [], week=WEEK, base_currency="AUD", revenue_tracking="Revenue Type", region_tracking="Region"
    )
    return Revenue(empty.cells, empty.totals, by_account=by_account)


def contradicts(found: ProfitAndLoss, income: Decimal, accounts: dict[str, Account]) -> bool:
    """Whether the week's documents, which are its whole trading income, contradict a report without lines."""
    return bool(found.lines.empty and find_missing_income(make_revenue({"200": income}).by_account, accounts))


@pytest.mark.parametrize("batch", range(5))
def test_no_damaged_report_is_read_wrongly_with_success(batch: int) -> None:
    wrong, refused, partial = [], 0, 0
    for number in range(batch, REPORTS, 5):
        chance = random.Random(f"damage-{number}")
        writer = Writer(random.Random(number), COUNTRIES[list(COUNTRIES)[number % len(COUNTRIES)]])
        payload = damage(chance, writer.write())
        income = Decimal(writer.books["trading_income"]).scaleb(-2)
        try:
            found = read_profit_and_loss(payload, week=WEEK, accounts=writer.accounts)
        except PayloadNotUnderstood:
            refused += 1
            continue
        if found.differences or contradicts(found, income, writer.accounts):
            partial += 1
        elif found.totals["total_trading_income"] != income and not is_right(found, writer.books):
            wrong.append(number)
    assert wrong == []
    assert refused > 100
    assert partial > 100


@pytest.mark.parametrize("country", COUNTRIES)
def test_a_report_that_ends_with_gross_profit_is_not_success(country: str) -> None:
    cut = 0
    for number in range(200):
        writer = Writer(random.Random(number), COUNTRIES[country])
        report = writer.write()
        rows = report["Reports"][0]["Rows"]
        labels = [str(row["Rows"][0]["Cells"][0]["Value"]) if row.get("Rows") else "" for row in rows]
        ends = [index for index, label in enumerate(labels) if label.startswith("Gross") and not rows[index]["Title"]]
        if not ends:
            continue
        del rows[ends[0] + 1 :]
        try:
            found = read_profit_and_loss(report, week=WEEK, accounts=writer.accounts)
        except PayloadNotUnderstood:
            continue
        if any(found.lines["amount"]):
            cut += 1
            assert found.differences, number
    assert cut > 20
