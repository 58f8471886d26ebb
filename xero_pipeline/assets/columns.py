"""What every column of the tables means, in one place: Dagster's column schema and lineage are made from it.

The types come from `warehouse/schema.py`. Lineage leads to Xero's own answers, named `xero/<endpoint>`: they
are no assets of ours, so Dagster keeps the names and shows no node for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from sqlalchemy import Column, Table

from xero_pipeline.warehouse.database.types import Money, UtcDateTime
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)

# Whose figures they are; a label of Dagster's pages, which reaches nobody by itself.
OWNERS = ["team:finance"]


@dataclass(frozen=True)
class About:
    """A column: what it means, and which fields of Xero's answers it is made of (`endpoint.field`)."""

    meaning: str
    made_of: Sequence[str] = ()


_ANY = {
    "tenant_id": About("The organisation, by Xero's tenant id.", ("connections.tenantId",)),
    "week_ending": About("The week, Sunday to Saturday, by its Saturday."),
    "data_source": About("`xero_api`, or `xero_mock` where the figures come from the mock Xero and are not real."),
    "currency": About(
        "The organisation's base currency; every amount of the row is in it.", ("Organisation.BaseCurrency",)
    ),
    "updated_at": About("When this row last changed, UTC."),
}
_REPORT = ("Reports/ProfitAndLoss.Rows", "Accounts.Type")

_MEANINGS: dict[Table, Mapping[str, About]] = {
    financial_weekly: {
        "basis": About("`accrual`: by the date of the documents; `cash`: by the date of the payments."),
        "total_trading_income": About("Sales and other revenue accounts.", _REPORT),
        "cost_of_sales": About("Direct costs; positive where they cost.", _REPORT),
        "gross_profit": About("Trading income less cost of sales.", _REPORT),
        "other_income": About("Income accounts that are no trading income, such as interest.", _REPORT),
        "operating_expenses": About("Every other expense account; positive where it costs.", _REPORT),
        "net_profit": About("Gross profit and other income less operating expenses.", _REPORT),
    },
    financial_weekly_lines: {
        "account_id": About("The account, by Xero's id.", ("Reports/ProfitAndLoss.Attributes",)),
        "account_code": About("The account's code in the chart of accounts, where it has one.", ("Accounts.Code",)),
        "account_name": About("The account's name in the report.", ("Reports/ProfitAndLoss.Rows",)),
        "account_type": About("Xero's type of the account, which settles the category.", ("Accounts.Type",)),
        "category": About(
            "Which total it counts for: `trading_income`, `cost_of_sales`, `other_income`, `operating_expenses`.",
            _REPORT,
        ),
        "amount": About("The account's week; income positive where it earns, expenses where they cost.", _REPORT),
    },
    revenue_weekly: {
        "revenue_type": About(
            "The tracking option in lower case; `unallocated` where a line has none.", ("Invoices.LineItems.Tracking",)
        ),
        "region": About("The same for the region.", ("Invoices.LineItems.Tracking",)),
        "invoiced": About(
            "Lines of sales invoices without tax, authorised or paid, by the invoice's date.",
            ("Invoices.LineItems.LineAmount", "Invoices.LineItems.TaxAmount", "Invoices.CurrencyRate"),
        ),
        "credited": About(
            "Lines of credit notes to customers without tax; positive.",
            ("CreditNotes.LineItems.LineAmount", "CreditNotes.LineItems.TaxAmount", "CreditNotes.CurrencyRate"),
        ),
        "net_revenue": About(
            "Invoiced less credited.", ("Invoices.LineItems.LineAmount", "CreditNotes.LineItems.LineAmount")
        ),
        "tax": About(
            "The invoices' tax less the credit notes'.",
            ("Invoices.LineItems.TaxAmount", "CreditNotes.LineItems.TaxAmount"),
        ),
        "invoice_count": About("Invoices with a line in this cell.", ("Invoices.InvoiceID",)),
        "credit_note_count": About("Credit notes with a line in this cell.", ("CreditNotes.CreditNoteID",)),
    },
    cash_position_weekly: {
        "bank_account_id": About("The bank account, by Xero's id.", ("Reports/BankSummary.Attributes",)),
        "bank_account_name": About("What it is called.", ("Reports/BankSummary.Rows",)),
        "opening_balance": About("What it held as the week began.", ("Reports/BankSummary.Opening Balance",)),
        "cash_received": About("What came in.", ("Reports/BankSummary.Cash Received",)),
        "cash_spent": About("What went out; positive.", ("Reports/BankSummary.Cash Spent",)),
        "currency_gain": About(
            "What a foreign balance gained by its rate; 0.00 in one currency.", ("Reports/BankSummary.FX Gain",)
        ),
        "closing_balance": About("What it held as the week ended.", ("Reports/BankSummary.Closing Balance",)),
    },
}


def about(table: Table) -> dict[str, About]:
    """Each column of a table, in its order."""
    meanings = {**_ANY, **_MEANINGS[table]}
    return {column.name: meanings[column.name] for column in table.columns}


def column_schema(table: Table, *, described: bool = True) -> dg.TableSchema:
    """A table's columns for Dagster. An event keeps them without descriptions; its UI takes those from the asset."""
    meanings = about(table)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                _type_name(column),
                description=meanings[column.name].meaning if described else None,
            )
            for column in table.columns
        ]
    )


def column_lineage(table: Table) -> dg.TableColumnLineage:
    """Which fields of Xero's answers each column is made of."""
    return dg.TableColumnLineage(
        {name: [_field(field) for field in column.made_of] for name, column in about(table).items() if column.made_of}
    )


def described(table: Table) -> dict[str, Any]:
    """What an asset says of its table."""
    return {
        "dagster/table_name": table.name,
        "dagster/column_schema": column_schema(table),
        "dagster/column_lineage": column_lineage(table),
    }


def _field(field: str) -> dg.TableColumnDep:
    endpoint, name = field.split(".", 1)
    return dg.TableColumnDep(dg.AssetKey(["xero", *endpoint.split("/")]), name)


def _type_name(column: Column[Any]) -> str:
    if isinstance(column.type, Money):
        return "decimal(18,2)"
    if isinstance(column.type, UtcDateTime):
        return "timestamp"
    return {"str": "text", "int": "integer"}.get(column.type.python_type.__name__, column.type.python_type.__name__)
