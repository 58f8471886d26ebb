"""What every column of the tables means. Dagster's column schema and column lineage are built from it.

The types come from `warehouse/schema.py`. The lineage names Xero's own answers as `xero/<endpoint>`. These are not
assets of this pipeline, so Dagster stores the names and shows no node for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
from sqlalchemy import Column, FromClause, Table

from xero_pipeline.warehouse.database.types import Money, UtcDateTime
from xero_pipeline.warehouse.schema import (
    cash_position_monthly,
    cash_position_weekly,
    financial_monthly,
    financial_monthly_lines,
    financial_weekly,
    financial_weekly_lines,
    revenue_document_lines,
    revenue_documents,
    revenue_weekly,
    weekly_summary,
)

# Who owns the figures. Dagster's UI shows it as a label; nobody gets a message because of it.
OWNERS = ["team:finance"]


@dataclass(frozen=True)
class ColumnDoc:
    """What a column means, and the fields of Xero's answers that it is computed from (`endpoint.field`)."""

    meaning: str
    sources: Sequence[str] = ()


_COMMON_COLUMNS = {
    "tenant_id": ColumnDoc("The organisation: Xero's tenant id.", ("connections.tenantId",)),
    "week_ending": ColumnDoc("The week, Sunday to Saturday, named by its Saturday."),
    "month_ending": ColumnDoc("The calendar month, named by its last day."),
    "data_source": ColumnDoc("`xero_api`, or `xero_mock` where the figures come from the mock Xero and are not real."),
    "currency": ColumnDoc(
        "The organisation's base currency; every amount of the row is in it.", ("Organisation.BaseCurrency",)
    ),
    "updated_at": ColumnDoc("When this row last changed, UTC."),
}
_PROFIT_AND_LOSS = ("Reports/ProfitAndLoss.Rows", "Accounts.Type")

_COLUMN_DOCS: dict[FromClause, Mapping[str, ColumnDoc]] = {
    financial_weekly: {
        "basis": ColumnDoc("`accrual`: by the date of the documents; `cash`: by the date of the payments."),
        "total_trading_income": ColumnDoc("Sales and other revenue accounts.", _PROFIT_AND_LOSS),
        "cost_of_sales": ColumnDoc("Direct costs; a cost is positive.", _PROFIT_AND_LOSS),
        "gross_profit": ColumnDoc("Trading income less cost of sales.", _PROFIT_AND_LOSS),
        "other_income": ColumnDoc("Income accounts that are not trading income, such as interest.", _PROFIT_AND_LOSS),
        "operating_expenses": ColumnDoc("Every other expense account; an expense is positive.", _PROFIT_AND_LOSS),
        "net_profit": ColumnDoc("Gross profit and other income less operating expenses.", _PROFIT_AND_LOSS),
    },
    financial_weekly_lines: {
        "account_id": ColumnDoc("Xero's id of the account.", ("Reports/ProfitAndLoss.Attributes",)),
        "account_code": ColumnDoc("The account's code in the chart of accounts, where it has one.", ("Accounts.Code",)),
        "account_name": ColumnDoc("The account's name in the report.", ("Reports/ProfitAndLoss.Rows",)),
        "account_type": ColumnDoc("Xero's type of the account, which decides the category.", ("Accounts.Type",)),
        "category": ColumnDoc(
            "The total it counts for: `trading_income`, `cost_of_sales`, `other_income`, `operating_expenses`.",
            _PROFIT_AND_LOSS,
        ),
        "amount": ColumnDoc(
            "The account's amount in the week; income and expenses are both positive.", _PROFIT_AND_LOSS
        ),
    },
    revenue_weekly: {
        "revenue_type": ColumnDoc(
            "The line's tracking option in lower case; `unallocated` where a line has none.",
            ("Invoices.LineItems.Tracking",),
        ),
        "region": ColumnDoc(
            "The line's tracking option for the region, in the same way.", ("Invoices.LineItems.Tracking",)
        ),
        "invoiced": ColumnDoc(
            "Lines of authorised or paid sales invoices, without tax, by the invoice's date.",
            ("Invoices.LineItems.LineAmount", "Invoices.LineItems.TaxAmount", "Invoices.CurrencyRate"),
        ),
        "credited": ColumnDoc(
            "Lines of credit notes to customers, without tax; positive.",
            ("CreditNotes.LineItems.LineAmount", "CreditNotes.LineItems.TaxAmount", "CreditNotes.CurrencyRate"),
        ),
        "net_revenue": ColumnDoc(
            "Invoiced less credited.", ("Invoices.LineItems.LineAmount", "CreditNotes.LineItems.LineAmount")
        ),
        "tax": ColumnDoc(
            "The tax of the invoices less the tax of the credit notes.",
            ("Invoices.LineItems.TaxAmount", "CreditNotes.LineItems.TaxAmount"),
        ),
        "invoice_count": ColumnDoc("Invoices with a line in this cell.", ("Invoices.InvoiceID",)),
        "credit_note_count": ColumnDoc("Credit notes with a line in this cell.", ("CreditNotes.CreditNoteID",)),
    },
    cash_position_weekly: {
        "bank_account_id": ColumnDoc("Xero's id of the bank account.", ("Reports/BankSummary.Attributes",)),
        "bank_account_name": ColumnDoc("The bank account's name.", ("Reports/BankSummary.Rows",)),
        "opening_balance": ColumnDoc("The balance when the week began.", ("Reports/BankSummary.Opening Balance",)),
        "cash_received": ColumnDoc("Money received in the week.", ("Reports/BankSummary.Cash Received",)),
        "cash_spent": ColumnDoc("Money spent in the week; positive.", ("Reports/BankSummary.Cash Spent",)),
        "currency_gain": ColumnDoc(
            "The gain of a foreign balance by its exchange rate; 0.00 in one currency.",
            ("Reports/BankSummary.FX Gain",),
        ),
        "closing_balance": ColumnDoc("The balance when the week ended.", ("Reports/BankSummary.Closing Balance",)),
    },
}

_COLUMN_DOCS[revenue_documents] = {
    "document_id": ColumnDoc("Xero's id of the invoice or credit note.", ("Invoices.InvoiceID",)),
    "document_type": ColumnDoc("`invoice` or `credit_note`.", ("Invoices.Type",)),
    "document_number": ColumnDoc("Its number, as on the paper.", ("Invoices.InvoiceNumber",)),
    "document_date": ColumnDoc("Its date, which decides the week.", ("Invoices.Date",)),
    "status": ColumnDoc("`AUTHORISED` or `PAID`.", ("Invoices.Status",)),
    "contact_id": ColumnDoc("Xero's id of the customer.", ("Invoices.Contact",)),
    "contact_name": ColumnDoc(
        "The customer's name; empty where `KEEP_CONTACT_NAMES` is `false`.", ("Invoices.Contact",)
    ),
    "document_currency": ColumnDoc("The currency it is written in.", ("Invoices.CurrencyCode",)),
    "currency_rate": ColumnDoc(
        "How many of that currency the base currency's unit is worth; 1 in base currency.", ("Invoices.CurrencyRate",)
    ),
    "net": ColumnDoc(
        "Its lines without tax, in base currency; a credit note's are positive.", ("Invoices.LineItems.LineAmount",)
    ),
    "tax": ColumnDoc(
        "The tax of its lines, in base currency; a credit note's is positive.", ("Invoices.LineItems.TaxAmount",)
    ),
    "xero_url": ColumnDoc("The address that opens it in Xero.", ("Organisation.ShortCode",)),
}
_COLUMN_DOCS[revenue_document_lines] = {
    "document_id": _COLUMN_DOCS[revenue_documents]["document_id"],
    "line_number": ColumnDoc("The line's place in the document.", ("Invoices.LineItems",)),
    "account_code": ColumnDoc("The code of the account that it is booked to.", ("Invoices.LineItems.AccountCode",)),
    "item_code": ColumnDoc("The code of the item sold, where it names one.", ("Invoices.LineItems.ItemCode",)),
    "revenue_type": _COLUMN_DOCS[revenue_weekly]["revenue_type"],
    "region": _COLUMN_DOCS[revenue_weekly]["region"],
    "net": ColumnDoc(
        "The line without tax, in base currency; a credit note's is positive.", ("Invoices.LineItems.LineAmount",)
    ),
    "tax": ColumnDoc(
        "The line's tax, in base currency; a credit note's is positive.", ("Invoices.LineItems.TaxAmount",)
    ),
    "document_net": ColumnDoc("The line without tax, in the document's currency.", ("Invoices.LineItems.LineAmount",)),
}
_COLUMN_DOCS[weekly_summary] = {
    **{
        name: _COLUMN_DOCS[financial_weekly][name]
        for name in ("total_trading_income", "cost_of_sales", "gross_profit", "net_profit")
    },
    "net_revenue": ColumnDoc("Invoiced less credited, of every type and region; empty before the revenue has landed."),
    "closing_cash": ColumnDoc("The closing balances of all bank accounts; empty before the cash has landed."),
}

_WEEKLY_TABLE_OF: Mapping[FromClause, FromClause] = {
    financial_monthly: financial_weekly,
    financial_monthly_lines: financial_weekly_lines,
    cash_position_monthly: cash_position_weekly,
}
"""The table of the weeks whose columns a table of the months has as well."""


def list_documented_tables() -> list[FromClause]:
    """The tables and views whose columns have a documentation."""
    return [*_COLUMN_DOCS, *_WEEKLY_TABLE_OF]


def describe_columns(table: FromClause) -> dict[str, ColumnDoc]:
    """Return the documentation of each column of a table, in the table's order."""
    docs = {**_COMMON_COLUMNS, **_COLUMN_DOCS[_WEEKLY_TABLE_OF.get(table, table)]}
    described = {column.name: docs[column.name] for column in table.columns}
    if table in _WEEKLY_TABLE_OF:
        return {
            name: replace(column, meaning=column.meaning.replace("week", "month")) for name, column in described.items()
        }
    return described


def build_column_schema(table: Table, *, with_descriptions: bool = True) -> dg.TableSchema:
    """Build a table's columns for Dagster.

    Events leave the descriptions out, because Dagster stores events for ever. Its UI takes them from the asset.
    """
    docs = describe_columns(table)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                _name_type(column),
                description=docs[column.name].meaning if with_descriptions else None,
            )
            for column in table.columns
        ]
    )


def build_column_lineage(table: Table) -> dg.TableColumnLineage:
    """Build the lineage: the fields of Xero's answers that each column is computed from."""
    return dg.TableColumnLineage(
        {
            name: [_build_column_dep(source) for source in column.sources]
            for name, column in describe_columns(table).items()
            if column.sources
        }
    )


def build_asset_metadata(table: Table) -> dict[str, Any]:
    """Build the metadata with which an asset describes its table."""
    return {
        "dagster/table_name": table.name,
        "dagster/column_schema": build_column_schema(table),
        "dagster/column_lineage": build_column_lineage(table),
    }


def _build_column_dep(source: str) -> dg.TableColumnDep:
    endpoint, name = source.split(".", 1)
    return dg.TableColumnDep(dg.AssetKey(["xero", *endpoint.split("/")]), name)


def _name_type(column: Column[Any]) -> str:
    if isinstance(column.type, Money):
        return "decimal(18,2)"
    if isinstance(column.type, UtcDateTime):
        return "timestamp"
    return {"str": "text", "int": "integer"}.get(column.type.python_type.__name__, column.type.python_type.__name__)
