"""What the parts of a figure say, where the profit and loss and the documents differ in sign or in basis."""

from __future__ import annotations

from decimal import Decimal

import pytest

from xero_pipeline.warehouse.figures.explanation import TOTALS, FigureExplainer
from xero_pipeline.warehouse.figures.explanation_types import Explanation
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.warehouse.figures.figures_given import (
    WEEK,
    document,
    documented_revenue,
    land_profit,
    land_revenue,
    line,
    profit,
)

DOCUMENTS = (document("a", "50.00"), document("b", "20.00", credit=True), document("c", "10.00"))


def explain_account(warehouse: Warehouse) -> Explanation:
    explained = FigureExplainer(warehouse.engine, "org-1", WEEK).explain_account("200")
    assert explained is not None
    assert sum((part.amount for part in explained.parts), Decimal(0)) == explained.amount
    return explained


@pytest.mark.parametrize(
    ("category", "amount", "parts"),
    [
        ("trading_income", "100.00", [("Invoices less credit notes", "40.00"), ("Other entries in Xero", "60.00")]),
        ("other_income", "40.00", [("Invoices less credit notes", "40.00")]),
        # A cost of 100.00 of which 40.00 were charged on to customers: bills say 140.00.
        (
            "operating_expenses",
            "100.00",
            [("Credit notes less invoices", "-40.00"), ("Other entries in Xero", "140.00")],
        ),
        ("cost_of_sales", "-40.00", [("Credit notes less invoices", "-40.00")]),
    ],
)
def test_sales_documents_add_to_an_income_account_and_take_away_from_a_cost_account(
    warehouse: Warehouse, category: str, amount: str, parts: list[tuple[str, str]]
) -> None:
    land_profit(warehouse, profit("0.00", line("account-1", amount, category)))
    land_revenue(warehouse, documented_revenue(*DOCUMENTS))
    explained = explain_account(warehouse)
    assert [(part.name, str(part.amount)) for part in explained.parts] == parts
    assert explained.parts[0].note == "2 invoices, 1 credit note"
    assert len(explained.documents) == 3


def test_documents_explain_no_profit_and_loss_on_cash_basis(warehouse: Warehouse) -> None:
    for run_id, amount in (("run-1", "30.00"), ("run-2", "35.00")):
        land_profit(warehouse, profit(amount, line("account-1", amount), basis="cash"), run_id=run_id)
        land_revenue(warehouse, documented_revenue(document("a", amount)), run_id=run_id)
    account = explain_account(warehouse)
    assert [(part.name, str(part.amount)) for part in account.parts] == [("Entries in Xero", "35.00")]
    assert (account.documents, account.sums) == ([], None)
    assert "cash basis" in str(account.note)
    explainer = FigureExplainer(warehouse.engine, "org-1", WEEK)
    for explained in [account, *(each for column in TOTALS for each in explainer.explain(total=column))]:
        assert [entry.documents for entry in explained.history] in ([], [()])
    (revenue,) = explainer.explain(revenue_type="residential", region="north")
    assert revenue.documents
    assert revenue.history[0].documents


def test_each_part_of_revenue_counts_its_own_documents(warehouse: Warehouse) -> None:
    land_revenue(warehouse, documented_revenue(*DOCUMENTS))
    (explained,) = FigureExplainer(warehouse.engine, "org-1", WEEK).explain(revenue_type="residential")
    assert [(part.name, part.note) for part in explained.parts] == [
        ("Invoices", "2 invoices"),
        ("Credit notes", "1 credit note"),
    ]
    assert explained.sums is not None
    assert explained.sums.count == 3


def test_a_restatement_keeps_its_documents_however_many_others_changed_since(warehouse: Warehouse) -> None:
    def land(run_id: str, *keys: str, cell: tuple[str, str] = ("residential", "north"), net: str) -> None:
        others = [document("other", "1.00", cell=("commercial", "south"))]
        documents = [document(key, net, cell=cell) for key in keys]
        land_profit(warehouse, profit(net, line("account-1", net)), run_id=run_id)
        land_revenue(warehouse, documented_revenue(*documents, *others), run_id=run_id)

    land("run-1", "a", "b", "c", net="1.00")
    land("run-2", "a", net="1.00")
    land("run-3", "a", "b", "c", net="2.00")
    explainer = FigureExplainer(warehouse.engine, "org-1", WEEK, max_documents=2)
    (revenue,) = explainer.explain(revenue_type="residential", region="north")
    found = {
        entry.row["dagster_run_id"]: [change.document_id for change in entry.documents]
        for entry in revenue.history
        if entry.row["column_name"] == "net_revenue"
    }
    assert found == {"run-3": ["a", "b"], "run-2": ["b", "c"]}
    account = explainer.explain_account("200")
    assert account is not None
    assert {(entry.row["dagster_run_id"], len(entry.documents)) for entry in account.history} == {("run-3", 2)}


def test_a_restatement_of_a_run_without_id_has_the_documents_of_its_moment(
    warehouse: Warehouse, clock: FakeClock
) -> None:
    for net in ("1.00", "2.00", "3.00"):
        land_revenue(warehouse, documented_revenue(document("a", net)), run_id=None)
        clock.advance(hours=1)
    (revenue,) = FigureExplainer(warehouse.engine, "org-1", WEEK, max_documents=1).explain(region="north")
    found = [
        (change.old_net, entry.row["old_value"])
        for entry in revenue.history
        if entry.row["column_name"] == "net_revenue"
        for change in entry.documents
    ]
    assert [(str(old), value) for old, value in found] == [("2.00", "2.00"), ("1.00", "1.00")]
