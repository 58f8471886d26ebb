"""What the columns of the tables of figures mean, and which fields of Xero's answers they are computed from."""

from __future__ import annotations

from collections.abc import Mapping

from xero_pipeline.warehouse.data_dictionary.docs import ColumnDoc

COMMON_COLUMNS = {
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

COLUMNS: dict[str, Mapping[str, ColumnDoc]] = {
    "financial_weekly": {
        "basis": ColumnDoc("`accrual`: by the date of the documents; `cash`: by the date of the payments."),
        "total_trading_income": ColumnDoc("Sales and other revenue accounts.", _PROFIT_AND_LOSS),
        "cost_of_sales": ColumnDoc("Direct costs; a cost is positive.", _PROFIT_AND_LOSS),
        "gross_profit": ColumnDoc("Trading income less cost of sales.", _PROFIT_AND_LOSS),
        "other_income": ColumnDoc("Income accounts that are not trading income, such as interest.", _PROFIT_AND_LOSS),
        "operating_expenses": ColumnDoc("Every other expense account; an expense is positive.", _PROFIT_AND_LOSS),
        "net_profit": ColumnDoc("Gross profit and other income less operating expenses.", _PROFIT_AND_LOSS),
    },
    "financial_weekly_lines": {
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
    "revenue_weekly": {
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
    "cash_position_weekly": {
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
    "revenue_documents": {
        "document_id": ColumnDoc("Xero's id of the document.", ("Invoices.InvoiceID", "CreditNotes.CreditNoteID")),
        "document_type": ColumnDoc("`invoice` or `credit_note`.", ("Invoices.Type", "CreditNotes.Type")),
        "document_number": ColumnDoc(
            "The number that people know it by.", ("Invoices.InvoiceNumber", "CreditNotes.CreditNoteNumber")
        ),
        "document_date": ColumnDoc("Its date, which decides its week.", ("Invoices.Date", "CreditNotes.Date")),
        "status": ColumnDoc("`AUTHORISED` or `PAID`: others do not count.", ("Invoices.Status", "CreditNotes.Status")),
        "contact_id": ColumnDoc("Xero's id of the customer.", ("Invoices.Contact.ContactID",)),
        "contact_name": ColumnDoc(
            "The customer's name; empty with `KEEP_CONTACT_NAMES=false`.", ("Invoices.Contact.Name",)
        ),
        "document_currency": ColumnDoc("The document's own currency.", ("Invoices.CurrencyCode",)),
        "currency_rate": ColumnDoc(
            "How many units of the document's currency one unit of the base currency is worth.",
            ("Invoices.CurrencyRate",),
        ),
        "net": ColumnDoc("The sum of its lines without tax, in base currency; a credit note's is positive."),
        "tax": ColumnDoc("The tax of its lines, in base currency; a credit note's is positive."),
        "xero_url": ColumnDoc("The address of the document in Xero.", ("Organisation.ShortCode",)),
    },
    "revenue_document_lines": {
        "document_id": ColumnDoc("Xero's id of the document.", ("Invoices.InvoiceID", "CreditNotes.CreditNoteID")),
        "line_number": ColumnDoc("The line's place in the document, from 1. Lines of text alone are left out."),
        "account_code": ColumnDoc("The code of the line's account.", ("Invoices.LineItems.AccountCode",)),
        "item_code": ColumnDoc("The code of the line's item, if it has one.", ("Invoices.LineItems.ItemCode",)),
        "revenue_type": ColumnDoc(
            "The line's tracking option in lower case; `unallocated` where it has none.",
            ("Invoices.LineItems.Tracking",),
        ),
        "region": ColumnDoc("The tracking option for the region, in the same way.", ("Invoices.LineItems.Tracking",)),
        "net": ColumnDoc(
            "Without tax, in base currency, rounded to the cent; a credit note's is positive.",
            ("Invoices.LineItems.LineAmount", "Invoices.CurrencyRate"),
        ),
        "tax": ColumnDoc(
            "The line's tax, in base currency, rounded to the cent.",
            ("Invoices.LineItems.TaxAmount", "Invoices.CurrencyRate"),
        ),
        "document_net": ColumnDoc("Without tax, in the document's currency.", ("Invoices.LineItems.LineAmount",)),
    },
}
