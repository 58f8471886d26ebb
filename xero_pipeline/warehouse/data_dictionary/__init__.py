"""The data dictionary: what every table, view and column means, in one place.

Dagster's column schema, PostgreSQL's comments (`comments.py`) and `docs/data-dictionary.md` are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from xero_pipeline.warehouse.data_dictionary import figures, internal
from xero_pipeline.warehouse.data_dictionary.docs import ColumnDoc, TableDoc

__all__ = ["INTERNAL", "TABLES", "VIEWS", "ColumnDoc", "TableDoc", "describe_table"]

TABLES: Mapping[str, str] = {
    "financial_weekly": "A week's profit and loss: one row for each organisation and week.",
    "financial_weekly_lines": "One account in a week's profit and loss.",
    "revenue_weekly": "A week's invoices less credit notes of a revenue type in a region, without tax.",
    "revenue_documents": "An invoice or credit note that a week's revenue counts.",
    "revenue_document_lines": "A line of such a document. A cell's lines add up to `revenue_weekly` to the cent.",
    "cash_position_weekly": "A bank account in a week: opening, received, spent, currency gain, closing.",
    "financial_monthly": "A month's profit and loss.",
    "financial_monthly_lines": "One account in a month's profit and loss.",
    "cash_position_monthly": "A bank account in a month.",
    "restatements": "A figure of a closed week or month that a later sync changed.",
    "revenue_document_changes": "What a document added to a closed week before and after a later sync changed it.",
    "reconciliations": "A comparison of the stored weeks with Xero's own totals.",
    "xero_sync_logs": "One attempt to sync one kind of figures for one week or month.",
}
"""The tables that people read, with what a row is."""

VIEWS: Mapping[str, str] = {
    "organisations": "An organisation that is or was connected, without its tokens.",
    "weekly_summary": "A week in one row: income, profit, net revenue, closing cash.",
    "weekly_comparison": "A week beside the same week of last year, with the financial year to date.",
    "monthly_summary": "A month beside the same month of last year, with the financial year to date.",
    "revenue_monthly": "A month's revenue by type and region, from the documents' dates.",
}

INTERNAL: Mapping[str, str] = {
    "xero_tokens": "The tokens of a connected organisation, each encrypted.",
    "accepted_differences": "A difference of a `partial` week that a person accepted.",
    "revenue_by_account": "What a week's documents add to an account, to compare with its profit and loss.",
    "audit_log": "Something that a person did, on the page or on the command line.",
    "organisation_facts": "What Xero last said about an organisation, kept for a day.",
    "synced_documents": "A document in the state in which a week's figures include it, to notice late edits.",
    "seen_documents": "Another document as it was last seen.",
    "stale_weeks": "A week that has to be read again.",
    "sync_cursors": "How far a search has come.",
    "clean_organisations": "An organisation in which a group of asset checks found nothing.",
    "alerts": "An alert that people were told, or will be.",
    "alert_occurrences": "An event of an alert.",
    "alert_deliveries": "What one address was told of an alert.",
    "access_tokens": "A person who may use the admin page.",
    "admin_sessions": "A session of the admin page.",
    "oauth_states": "A consent that has begun.",
    "call_slots": "A permit for one call to Xero.",
    "call_limits": "What Xero last said about the calls left.",
}
"""The tables that only the pipeline itself reads."""

_SHARED = {
    "id": "Numbered in the order of writing.",
    "tenant_name": "The organisation's name.",
    "financial_year": "The calendar year in which the organisation's financial year ends.",
    "closing_cash": "The sum of the bank accounts' closing balances.",
    "base_currency": "The currency of the organisation's figures.",
    "country": "The organisation's country, as Xero's code.",
    "financial_year_end": "The last day of the financial year, as MM-DD.",
    "status": "`connected`, `reconnect_needed`, or `disconnected`.",
    "connected_at": "When the consent was given, UTC.",
    "last_sync_at": "When a week last landed, UTC.",
}
_SUFFIXES = {
    "_to_date_last_year": " From the beginning of the financial year to the same period of last year.",
    "_to_date": " From the beginning of the financial year to the end of this period.",
    "_last_year": " In the same period of last year.",
}
_WEEKLY_TABLES = {
    "financial_monthly": "financial_weekly",
    "financial_monthly_lines": "financial_weekly_lines",
    "cash_position_monthly": "cash_position_weekly",
}
"""The table of weeks whose columns a table of months has as well."""


@cache
def describe_table(name: str) -> TableDoc:
    """What a table or view means, with every column that it may have.

    Raises:
        KeyError: the dictionary does not know it.
    """
    meaning = {**TABLES, **VIEWS, **INTERNAL}[name]
    if name in VIEWS:
        return TableDoc(meaning, _ViewColumns(), is_view=True)
    columns = dict(figures.COMMON_COLUMNS)
    for shared in ("id",):
        columns[shared] = ColumnDoc(_SHARED[shared])
    columns |= figures.COLUMNS.get(_WEEKLY_TABLES.get(name, name), {})
    columns |= {column: ColumnDoc(text) for column, text in internal.COLUMNS.get(name, {}).items()}
    if name in _WEEKLY_TABLES:
        columns = {key: ColumnDoc(doc.meaning.replace("week", "month"), doc.sources) for key, doc in columns.items()}
    return TableDoc(meaning, columns)


class _ViewColumns(dict[str, ColumnDoc]):
    """A view's columns mean what those of the tables mean, or are sums over a year."""

    def __missing__(self, name: str) -> ColumnDoc:
        if name in _SHARED:
            return ColumnDoc(_SHARED[name])
        for suffix, when in _SUFFIXES.items():
            if name.endswith(suffix):
                return ColumnDoc(f"{self[name.removesuffix(suffix)].meaning}{when}")
        for table in ("financial_weekly", "revenue_weekly"):
            if name in figures.COLUMNS[table]:
                return ColumnDoc(figures.COLUMNS[table][name].meaning)
        return figures.COMMON_COLUMNS[name]
