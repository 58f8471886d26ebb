"""The tables held against the mock's books, week by week and to the cent."""

from __future__ import annotations

from collections.abc import Iterable

from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import TENANT, RunningDeployment

_PROFIT = (
    "total_trading_income",
    "cost_of_sales",
    "gross_profit",
    "other_income",
    "operating_expenses",
    "net_profit",
)
_BANK = ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance")
_REVENUE = ("invoiced", "credited", "net_revenue", "tax", "invoice_count", "credit_note_count")


def find_wrong_weeks(running: RunningDeployment, weeks: Iterable[Week], tenant_id: str = TENANT) -> dict[Week, str]:
    """Return each week whose stored figures are not those of the books, with the first figure that is wrong."""
    books = running.mock.books(tenant_id)
    wrong: dict[Week, str] = {}
    for week in weeks:
        stored = running.warehouse.read_week_figures(tenant_id, week)
        truth = books.profit_and_loss(week)
        totals = stored.profit_and_loss or {}
        problems = [name for name in _PROFIT if totals.get(name) != getattr(truth, name)]
        lines = {line["account_id"]: line["amount"] for line in stored.lines if line["amount"]}
        if lines != {key: amount for key, amount in truth.lines.items() if amount}:
            problems.append("lines")
        cells = {(cell["revenue_type"], cell["region"]): cell for cell in stored.revenue}
        expected = books.revenue(week)
        problems += [
            f"{key} {name}"
            for key in cells.keys() | expected.keys()
            for name in _REVENUE
            if key not in cells or key not in expected or cells[key][name] != getattr(expected[key], name)
        ]
        accounts = {account["bank_account_id"]: account for account in stored.cash}
        problems += [
            f"{key} {name}"
            for key, movement in books.bank(week).items()
            for name in _BANK
            if accounts.get(key, {}).get(name) != getattr(movement, name)
        ]
        if problems:
            wrong[week] = problems[0]
    return wrong
