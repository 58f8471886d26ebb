"""The tables. Alembic creates them (`migrations/`), and a test checks that both definitions agree.

Some tables are defined next to the code that uses them: call permits (`call_budget/counts.py`), alerts
(`logs/alert_log.py`), accepted differences (`logs/acceptances.py`), persons, sessions and the audit log (`access/`),
facts of organisations (`connections/facts.py`), documents (`figures/document_index.py`), revenue by account
(`figures/account_revenue.py`) and stale weeks (`figures/stale_weeks.py`).
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Index,
    Integer,
    Table,
    TableClause,
    Text,
    column,
    table,
)
from sqlalchemy.dialects.postgresql import JSONB

from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import ExactNumber, Money, UtcDateTime

# SQLite generates row ids only for a column whose type is exactly INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")
_Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


PROVENANCE_COLUMNS = ("data_source", "currency", "updated_at")
"""The columns that say where a row of figures comes from. Every table of figures has them."""


def _provenance_columns() -> list[Column[object]]:
    return [
        Column("data_source", Text, nullable=False),
        Column("currency", Text, nullable=False),
        Column("updated_at", UtcDateTime, nullable=False),
    ]


xero_tokens = Table(
    "xero_tokens",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("tenant_name", Text, nullable=False),
    Column("connection_id", Text, nullable=False),
    Column("grant_id", Text, nullable=False, index=True),
    Column("access_token", Text, nullable=False),
    # A Custom Connection has no refresh token. Only a consent with the scope `openid` has an id token.
    Column("refresh_token", Text),
    Column("id_token", Text),
    Column("token_type", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("scope", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("connected_at", UtcDateTime, nullable=False),
    Column("refreshed_at", UtcDateTime, nullable=False),
    Column("last_sync_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    CheckConstraint("status IN ('connected', 'reconnect_needed')", name="status"),
)

xero_sync_logs = Table(
    "xero_sync_logs",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant_id", Text, nullable=False),
    Column("sync_type", Text, nullable=False),
    # The last day of the week, or of the month where the sync type is one of the monthly ones.
    Column("week_ending", Date, nullable=False),
    Column("status", Text, nullable=False),
    Column("record_count", Integer, nullable=False),
    Column("api_calls", Integer, nullable=False),
    Column("error_log", _Json),
    Column("dagster_run_id", Text),
    Column("started_at", UtcDateTime, nullable=False, index=True),
    Column("completed_at", UtcDateTime),
    # By Xero's clock: an edit before this moment is in the figures. Empty for syncs of older versions.
    Column("read_at", UtcDateTime),
    Column("figures_changed", Boolean),
    # How many documents `revenue_documents` has of the week. Empty for syncs of other kinds and of older versions.
    Column("documents", Integer),
    CheckConstraint("status IN ('running', 'success', 'partial', 'failed')", name="status"),
    Index("ix_xero_sync_logs_week", "tenant_id", "sync_type", "week_ending"),
    Index("ix_xero_sync_logs_dagster_run_id", "dagster_run_id"),
)


def _make_financial_table(name: str, period: str) -> Table:
    return Table(
        name,
        metadata,
        Column("tenant_id", Text, primary_key=True),
        Column(period, Date, primary_key=True),
        Column("basis", Text, nullable=False),
        Column("total_trading_income", Money, nullable=False),
        Column("cost_of_sales", Money, nullable=False),
        Column("gross_profit", Money, nullable=False),
        Column("other_income", Money, nullable=False),
        Column("operating_expenses", Money, nullable=False),
        Column("net_profit", Money, nullable=False),
        *_provenance_columns(),
        CheckConstraint("basis IN ('accrual', 'cash')", name="basis"),
    )


def _make_lines_table(name: str, period: str) -> Table:
    return Table(
        name,
        metadata,
        Column("tenant_id", Text, primary_key=True),
        Column(period, Date, primary_key=True),
        Column("account_id", Text, primary_key=True),
        Column("account_code", Text),
        Column("account_name", Text, nullable=False),
        Column("account_type", Text),
        Column("category", Text, nullable=False),
        Column("amount", Money, nullable=False),
        *_provenance_columns(),
        CheckConstraint(
            "category IN ('trading_income', 'cost_of_sales', 'other_income', 'operating_expenses')",
            name="category",
        ),
    )


def _make_cash_table(name: str, period: str) -> Table:
    return Table(
        name,
        metadata,
        Column("tenant_id", Text, primary_key=True),
        Column(period, Date, primary_key=True),
        Column("bank_account_id", Text, primary_key=True),
        Column("bank_account_name", Text, nullable=False),
        Column("opening_balance", Money, nullable=False),
        Column("cash_received", Money, nullable=False),
        Column("cash_spent", Money, nullable=False),
        Column("currency_gain", Money, nullable=False),
        Column("closing_balance", Money, nullable=False),
        *_provenance_columns(),
    )


financial_weekly = _make_financial_table("financial_weekly", "week_ending")
financial_weekly_lines = _make_lines_table("financial_weekly_lines", "week_ending")

revenue_weekly = Table(
    "revenue_weekly",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("week_ending", Date, primary_key=True),
    Column("revenue_type", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("invoiced", Money, nullable=False),
    Column("credited", Money, nullable=False),
    Column("net_revenue", Money, nullable=False),
    Column("tax", Money, nullable=False),
    Column("invoice_count", Integer, nullable=False),
    Column("credit_note_count", Integer, nullable=False),
    *_provenance_columns(),
)

cash_position_weekly = _make_cash_table("cash_position_weekly", "week_ending")

financial_monthly = _make_financial_table("financial_monthly", "month_ending")
financial_monthly_lines = _make_lines_table("financial_monthly_lines", "month_ending")
cash_position_monthly = _make_cash_table("cash_position_monthly", "month_ending")

revenue_documents = Table(
    "revenue_documents",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("week_ending", Date, primary_key=True),
    Column("document_id", Text, primary_key=True),
    Column("document_type", Text, nullable=False),
    Column("document_number", Text),
    Column("document_date", Date, nullable=False),
    Column("status", Text, nullable=False),
    Column("contact_id", Text),
    Column("contact_name", Text),
    Column("document_currency", Text, nullable=False),
    Column("currency_rate", ExactNumber, nullable=False),
    Column("net", Money, nullable=False),
    Column("tax", Money, nullable=False),
    Column("xero_url", Text),
    *_provenance_columns(),
    CheckConstraint("document_type IN ('invoice', 'credit_note')", name="document_type"),
    # A document that moves to another week is in two weeks until both are read again.
    Index("ix_revenue_documents_document", "tenant_id", "document_id"),
)

revenue_document_lines = Table(
    "revenue_document_lines",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("week_ending", Date, primary_key=True),
    Column("document_id", Text, primary_key=True),
    Column("line_number", Integer, primary_key=True, autoincrement=False),
    Column("account_code", Text),
    Column("item_code", Text),
    Column("revenue_type", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("net", Money, nullable=False),
    Column("tax", Money, nullable=False),
    Column("document_net", Money, nullable=False),
    *_provenance_columns(),
)

# What a document added to a cell of a landed week before and after a later sync changed it. Empty: it was not, or is no
# longer, in the cell.
revenue_document_changes = Table(
    "revenue_document_changes",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant_id", Text, nullable=False),
    Column("week_ending", Date, nullable=False),
    Column("document_id", Text, nullable=False),
    Column("document_type", Text, nullable=False),
    Column("document_number", Text),
    Column("contact_name", Text),
    Column("account_code", Text),
    Column("revenue_type", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("old_net", Money),
    Column("new_net", Money),
    Column("old_tax", Money),
    Column("new_tax", Money),
    Column("restated_at", UtcDateTime, nullable=False),
    Column("dagster_run_id", Text),
    Index("ix_revenue_document_changes_week", "tenant_id", "week_ending"),
    Index("ix_revenue_document_changes_document", "tenant_id", "document_id"),
)

restatements = Table(
    "restatements",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant_id", Text, nullable=False),
    # The last day of the week, or of the month where the table is a monthly one.
    Column("week_ending", Date, nullable=False),
    Column("table_name", Text, nullable=False),
    # `row_key` is the row's key within its week (an account, or a revenue type and region); people see `row_name`.
    Column("row_key", Text, nullable=False),
    Column("row_name", Text, nullable=False),
    Column("column_name", Text, nullable=False),
    Column("old_value", Text),
    Column("new_value", Text),
    Column("restated_at", UtcDateTime, nullable=False, index=True),
    Column("dagster_run_id", Text),
    Index("ix_restatements_week", "tenant_id", "week_ending"),
)

# Comparisons of the stored weeks with Xero's totals over a block of weeks: one row for each block and kind compared.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("first_week", Date, nullable=False),
    Column("last_week", Date, nullable=False),
    Column("status", Text, nullable=False),
    Column("difference", _Json),
    Column("weeks_read_again", Integer, nullable=False),
    Column("api_calls", Integer, nullable=False),
    Column("dagster_run_id", Text),
    Column("checked_at", UtcDateTime, nullable=False, index=True),
    CheckConstraint("kind IN ('profit_and_loss', 'bank_summary', 'documents')", name="kind"),
    CheckConstraint("status IN ('equal', 'mended', 'differs')", name="status"),
    Index("ix_reconciliations_block", "tenant_id", "kind", "first_week", "last_week"),
)

oauth_states = Table(
    "oauth_states",
    metadata,
    Column("state_hash", Text, primary_key=True),
    Column("code_verifier", Text, nullable=False),
    Column("browser_hash", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    # Who began the consent, and what it was begun with: it ends when that session or credential ends.
    Column("who", Text),
    Column("role", Text),
    Column("origin", Text),
    Column("credential", Text),
    Column("session_hash", Text),
    Column("ended_at", UtcDateTime),
)

sync_cursors = Table(
    "sync_cursors",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

# This is a view, so it is not part of `metadata`. Its definition is in the migrations.
weekly_summary = table(
    "weekly_summary",
    column("tenant_id", Text),
    column("week_ending", Date),
    column("total_trading_income", Money),
    column("cost_of_sales", Money),
    column("gross_profit", Money),
    column("net_profit", Money),
    column("net_revenue", Money),
    column("closing_cash", Money),
    column("currency", Text),
    column("data_source", Text),
    column("updated_at", UtcDateTime),
    column("tenant_name", Text),
)


def _make_comparison(name: str, period: str) -> TableClause:
    """A view of weeks or months: each beside the same one of last year, and with the financial year to date."""
    summed = ("total_trading_income", "cost_of_sales", "gross_profit", "net_profit", "net_revenue")
    return table(
        name,
        column("tenant_id", Text),
        column(period, Date),
        *(column(one, Money) for one in (*summed, "closing_cash")),
        # The calendar year in which the financial year of the period ends.
        column("financial_year", Integer),
        *(column(f"{one}_to_date", Money) for one in summed),
        *(column(f"{one}_last_year", Money) for one in (*summed, "closing_cash")),
        *(column(f"{one}_to_date_last_year", Money) for one in summed),
        column("currency", Text),
        column("data_source", Text),
        column("updated_at", UtcDateTime),
    )


# Views as well. An organisation without tokens was disconnected; `last_sync_at` is that of its newest landed sync.
organisations = table(
    "organisations",
    column("tenant_id", Text),
    column("tenant_name", Text),
    column("base_currency", Text),
    column("country", Text),
    column("financial_year_end", Text),
    column("status", Text),
    column("connected_at", UtcDateTime),
    column("last_sync_at", UtcDateTime),
)
weekly_comparison = _make_comparison("weekly_comparison", "week_ending")
monthly_summary = _make_comparison("monthly_summary", "month_ending")
revenue_monthly = table(
    "revenue_monthly",
    column("tenant_id", Text),
    column("month_ending", Date),
    column("revenue_type", Text),
    column("region", Text),
    column("invoiced", Money),
    column("credited", Money),
    column("net_revenue", Money),
    column("tax", Money),
    column("invoice_count", Integer),
    column("credit_note_count", Integer),
    column("financial_year", Integer),
    column("net_revenue_to_date", Money),
    column("net_revenue_last_year", Money),
    column("currency", Text),
    column("data_source", Text),
    column("updated_at", UtcDateTime),
)
