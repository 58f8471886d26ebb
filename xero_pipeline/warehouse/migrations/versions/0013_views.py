"""A view of the organisations without their tokens, their names in `weekly_summary`, and numbers for SQLite."""

import runpy
from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# An organisation that was disconnected has no row of tokens any longer, but its figures stay. So what Xero said of it
# counts as well, and figures without either of them have an organisation without a name.
_ORGANISATIONS = """
CREATE VIEW organisations AS
WITH facts AS (
    SELECT tenant_id, {name} AS name, {currency} AS base_currency, {country} AS country,
           {month} AS year_end_month, {day} AS year_end_day
    FROM organisation_facts WHERE kind = 'Organisation'
), landed AS (
    SELECT tenant_id, MAX(completed_at) AS last_sync_at FROM xero_sync_logs
    WHERE status IN ('success', 'partial') GROUP BY tenant_id
), known AS (
    SELECT tenant_id FROM xero_tokens UNION SELECT tenant_id FROM facts UNION SELECT tenant_id FROM landed
)
SELECT known.tenant_id, COALESCE(tokens.tenant_name, facts.name) AS tenant_name, facts.base_currency, facts.country,
       {year_end} AS financial_year_end,
       COALESCE(tokens.status, 'disconnected') AS status, tokens.connected_at,
       COALESCE(tokens.last_sync_at, landed.last_sync_at) AS last_sync_at
FROM known
LEFT JOIN xero_tokens AS tokens ON tokens.tenant_id = known.tenant_id
LEFT JOIN facts ON facts.tenant_id = known.tenant_id
LEFT JOIN landed ON landed.tenant_id = known.tenant_id
"""
_FACTS = {
    "name": "Name",
    "currency": "BaseCurrency",
    "country": "CountryCode",
    "month": "FinancialYearEndMonth",
    "day": "FinancialYearEndDay",
}
_SQLITE_YEAR_END = (
    "CASE WHEN facts.year_end_month IS NOT NULL AND facts.year_end_day IS NOT NULL"
    " THEN printf('%02d-%02d', facts.year_end_month, facts.year_end_day) END"
)
_POSTGRESQL_YEAR_END = "lpad(facts.year_end_month, 2, '0') || '-' || lpad(facts.year_end_day, 2, '0')"

# The tables with amounts, with these and their other columns as they are. SQLite's amounts are text.
_KEY = ("tenant_id", "week_ending")
_TOTALS = ("total_trading_income", "cost_of_sales", "gross_profit", "other_income", "operating_expenses", "net_profit")
_CASH = ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance")
_PROVENANCE = ("data_source", "currency", "updated_at")
_ACCOUNT = ("account_id", "account_code", "account_name", "account_type", "category")
_DOCUMENT = ("document_id", "document_type", "document_number", "document_date", "status", "contact_id", "contact_name")
_BANK = ("bank_account_id", "bank_account_name")
_REVENUE = ("invoiced", "credited", "net_revenue", "tax")
_NUMERIC: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "financial_weekly": ((*_KEY, "basis"), _TOTALS, _PROVENANCE),
    "financial_weekly_lines": ((*_KEY, *_ACCOUNT), ("amount",), _PROVENANCE),
    "revenue_weekly": (
        (*_KEY, "revenue_type", "region"),
        _REVENUE,
        ("invoice_count", "credit_note_count", *_PROVENANCE),
    ),
    "revenue_documents": (
        (*_KEY, *_DOCUMENT, "document_currency"),
        ("currency_rate", "net", "tax"),
        ("xero_url", *_PROVENANCE),
    ),
    "revenue_document_lines": (
        (*_KEY, "document_id", "line_number", "account_code", "item_code", "revenue_type", "region"),
        ("net", "tax", "document_net"),
        _PROVENANCE,
    ),
    "cash_position_weekly": ((*_KEY, *_BANK), _CASH, _PROVENANCE),
    "financial_monthly": (("tenant_id", "month_ending", "basis"), _TOTALS, _PROVENANCE),
    "financial_monthly_lines": (("tenant_id", "month_ending", *_ACCOUNT), ("amount",), _PROVENANCE),
    "cash_position_monthly": (("tenant_id", "month_ending", *_BANK), _CASH, _PROVENANCE),
    "weekly_summary": (
        (*_KEY, "tenant_name"),
        ("total_trading_income", "cost_of_sales", "gross_profit", "net_profit", "net_revenue", "closing_cash"),
        _PROVENANCE,
    ),
}


# What Xero calls the organisation, also after it was disconnected.
_NAMED_SUMMARY = """AS SELECT summary.*, COALESCE(
    (SELECT tokens.tenant_name FROM xero_tokens AS tokens WHERE tokens.tenant_id = summary.tenant_id),
    (SELECT {name} FROM organisation_facts AS facts WHERE facts.tenant_id = summary.tenant_id
        AND facts.kind = 'Organisation')
) AS tenant_name
FROM ({summary}) AS summary
"""


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    read = "json_extract(answer, '$.Organisations[0].{0}')" if is_sqlite else "answer -> 'Organisations' -> 0 ->> '{0}'"
    year_end = _SQLITE_YEAR_END if is_sqlite else _POSTGRESQL_YEAR_END
    facts = {name: read.format(field) for name, field in _FACTS.items()}
    op.execute(_ORGANISATIONS.format(**facts, year_end=year_end))
    summary = _NAMED_SUMMARY.format(name=facts["name"], summary=_read_summary())
    if is_sqlite:
        op.execute("DROP VIEW weekly_summary")
        op.execute(f"CREATE VIEW weekly_summary {summary}")
        for table, (before, amounts, after) in _NUMERIC.items():
            numbers = [f"CAST({name} AS REAL) AS {name}" for name in amounts]
            columns = ", ".join((*before, *numbers, *after))
            op.execute(f"CREATE VIEW {table}_numeric AS SELECT {columns} FROM {table}")  # noqa: S608 - all from above
    else:
        # Whoever has a view on it, or may read it, keeps that.
        op.execute(f"CREATE OR REPLACE VIEW weekly_summary {summary}")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in _NUMERIC:
            op.execute(f"DROP VIEW {table}_numeric")
    op.execute("DROP VIEW weekly_summary")
    op.execute(f"CREATE VIEW weekly_summary AS {_read_summary()}")
    op.execute("DROP VIEW organisations")


def _read_summary() -> str:
    """The query of `weekly_summary` as the first migration defines it."""
    initial = runpy.run_path(str(Path(__file__).with_name("0001_initial.py")))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    view: str = initial["_SUMMARY_SQLITE" if is_sqlite else "_SUMMARY_POSTGRES"]
    return view.split("CREATE VIEW weekly_summary AS", 1)[1]
