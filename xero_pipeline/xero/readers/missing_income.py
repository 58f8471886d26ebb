"""Compares a profit and loss without any line with the week's documents. Pure.

On accrual basis, a sales document of the week adds to the profit and loss of the same week, on the account of each of
its lines. So documents with revenue and a report without any line contradict each other. Lines on accounts of the
balance sheet, such as deposits, add to no profit. On cash basis the week of the payment counts, so a week's documents
say nothing about its report.

Where the report has lines, documents and report can differ without an error: manual journals and money received
straight into an account add to the report alone. The check `revenue_matches_income` warns of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from xero_pipeline.money import ZERO
from xero_pipeline.xero.readers.accounts import Account
from xero_pipeline.xero.readers.profit_and_loss import is_of_balance_sheet
from xero_pipeline.xero.readers.reports import Difference


def find_missing_income(revenue: Mapping[str, Decimal], accounts: Mapping[str, Account]) -> list[Difference]:
    """Find the income that a profit and loss without any line lacks by the documents of its week.

    Args:
        revenue: the week's net revenue by account, as `Revenue.by_account`.
        accounts: the chart of accounts, by id.

    Returns:
        One difference if documents add to the profit, else none.
    """
    codes = {account.code: account for account in accounts.values() if account.code}
    missing: dict[str, Decimal] = {}
    for key, amount in revenue.items():
        account = accounts.get(key) or codes.get(key)
        if amount and (account is None or not is_of_balance_sheet(account)):
            name = account.name if account else "an account that the chart does not have"
            missing[name] = missing.get(name, ZERO) + amount
    if not missing:
        return []
    return [
        Difference(
            f"income of {', '.join(sorted(missing))}",
            ZERO,
            sum(missing.values(), ZERO),
            "the profit and loss has no line at all, and documents of the week add to it; figures held before stay",
        )
    ]
