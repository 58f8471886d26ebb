"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_Money = sa.Numeric(18, 2).with_variant(sa.Text(), "sqlite")
_Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_connection_tables()
    _create_sync_tables()
    _create_figures()
    _create_call_tables()
    op.execute(_SUMMARY_SQLITE if op.get_bind().dialect.name == "sqlite" else _SUMMARY_POSTGRES)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _money(name: str) -> sa.Column[Any]:
    return sa.Column(name, _Money, nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _Moment, nullable=nullable)


def _week() -> list[sa.Column[Any]]:
    return [_text("tenant_id"), sa.Column("week_ending", sa.Date(), nullable=False)]


def _stamp() -> list[sa.Column[Any]]:
    return [_text("data_source"), _text("currency"), _moment("updated_at")]


def _create_connection_tables() -> None:
    op.create_table(
        "xero_tokens",
        _text("tenant_id"),
        _text("tenant_name"),
        _text("connection_id"),
        _text("grant_id"),
        _text("access_token"),
        _text("refresh_token", nullable=True),
        _text("id_token", nullable=True),
        _text("token_type"),
        _moment("expires_at"),
        _text("scope"),
        _text("status"),
        _moment("connected_at"),
        _moment("refreshed_at"),
        _moment("last_sync_at", nullable=True),
        _moment("updated_at"),
        sa.CheckConstraint("status IN ('connected', 'reconnect_needed')", name=op.f("ck_xero_tokens_status")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_xero_tokens")),
    )
    op.create_index(op.f("ix_xero_tokens_grant_id"), "xero_tokens", ["grant_id"])
    op.create_table(
        "oauth_states",
        _text("state_hash"),
        _text("code_verifier"),
        _text("browser_hash", nullable=True),
        _moment("created_at"),
        _moment("used_at", nullable=True),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_oauth_states")),
    )


def _create_sync_tables() -> None:
    op.create_table(
        "xero_sync_logs",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        _text("tenant_id"),
        _text("sync_type"),
        sa.Column("week_ending", sa.Date(), nullable=False),
        _text("status"),
        sa.Column("record_count", sa.Integer(), nullable=False),
        sa.Column("api_calls", sa.Integer(), nullable=False),
        sa.Column("error_log", _Json, nullable=True),
        _text("dagster_run_id", nullable=True),
        _moment("started_at"),
        _moment("completed_at", nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'success', 'partial', 'failed')", name=op.f("ck_xero_sync_logs_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_xero_sync_logs")),
    )
    op.create_index("ix_xero_sync_logs_week", "xero_sync_logs", ["tenant_id", "sync_type", "week_ending"])
    op.create_index("ix_xero_sync_logs_dagster_run_id", "xero_sync_logs", ["dagster_run_id"])
    op.create_index(op.f("ix_xero_sync_logs_started_at"), "xero_sync_logs", ["started_at"])
    op.create_table(
        "restatements",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        *_week(),
        _text("table_name"),
        _text("row_key"),
        _text("row_name"),
        _text("column_name"),
        _text("old_value", nullable=True),
        _text("new_value", nullable=True),
        _moment("restated_at"),
        _text("dagster_run_id", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restatements")),
    )
    op.create_index(op.f("ix_restatements_restated_at"), "restatements", ["restated_at"])
    op.create_index("ix_restatements_week", "restatements", ["tenant_id", "week_ending"])
    op.create_table(
        "sync_cursors",
        _text("tenant_id"),
        _text("name"),
        _text("value"),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_sync_cursors")),
    )


def _create_figures() -> None:
    op.create_table(
        "financial_weekly",
        *_week(),
        _text("basis"),
        _money("total_trading_income"),
        _money("cost_of_sales"),
        _money("gross_profit"),
        _money("other_income"),
        _money("operating_expenses"),
        _money("net_profit"),
        *_stamp(),
        sa.CheckConstraint("basis IN ('accrual', 'cash')", name=op.f("ck_financial_weekly_basis")),
        sa.PrimaryKeyConstraint("tenant_id", "week_ending", name=op.f("pk_financial_weekly")),
    )
    op.create_table(
        "financial_weekly_lines",
        *_week(),
        _text("account_id"),
        _text("account_code", nullable=True),
        _text("account_name"),
        _text("account_type", nullable=True),
        _text("category"),
        _money("amount"),
        *_stamp(),
        sa.CheckConstraint(
            "category IN ('trading_income', 'cost_of_sales', 'other_income', 'operating_expenses')",
            name=op.f("ck_financial_weekly_lines_category"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "week_ending", "account_id", name=op.f("pk_financial_weekly_lines")),
    )
    op.create_table(
        "revenue_weekly",
        *_week(),
        _text("revenue_type"),
        _text("region"),
        _money("invoiced"),
        _money("credited"),
        _money("net_revenue"),
        _money("tax"),
        sa.Column("invoice_count", sa.Integer(), nullable=False),
        sa.Column("credit_note_count", sa.Integer(), nullable=False),
        *_stamp(),
        sa.PrimaryKeyConstraint("tenant_id", "week_ending", "revenue_type", "region", name=op.f("pk_revenue_weekly")),
    )
    op.create_table(
        "cash_position_weekly",
        *_week(),
        _text("bank_account_id"),
        _text("bank_account_name"),
        _money("opening_balance"),
        _money("cash_received"),
        _money("cash_spent"),
        _money("currency_gain"),
        _money("closing_balance"),
        *_stamp(),
        sa.PrimaryKeyConstraint("tenant_id", "week_ending", "bank_account_id", name=op.f("pk_cash_position_weekly")),
    )


def _create_call_tables() -> None:
    op.create_table(
        "call_slots",
        sa.Column("id", _Id, nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call_slots")),
    )
    op.create_index("ix_call_slots_tenant_id_started_at", "call_slots", ["tenant_id", "started_at"])
    op.create_index("ix_call_slots_started_at", "call_slots", ["started_at"])
    op.create_table(
        "call_limits",
        sa.Column("scope", sa.String(64), nullable=False),
        *(
            sa.Column(f"{kind}_{name}", sa.BigInteger(), nullable=True)
            for kind in ("minute", "day", "app_minute")
            for name in ("left", "slot", "seen", "blocked_until")
        ),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_call_limits")),
    )


# A week that landed without any row still has figures: the revenue, or the cash, is 0.00.
_LANDED_EMPTY = """CASE WHEN EXISTS (
        SELECT 1 FROM xero_sync_logs AS log
        WHERE log.tenant_id = weeks.tenant_id AND log.week_ending = weeks.week_ending
          AND log.sync_type = '{sync_type}' AND log.status IN ('success', 'partial')
    ) THEN {zero} END"""

_SUMMARY = """
CREATE VIEW weekly_summary AS
WITH revenue AS (
    SELECT tenant_id, week_ending, {sum_revenue} AS net_revenue,
           MAX(currency) AS currency, MAX(data_source) AS data_source, MAX(updated_at) AS updated_at
    FROM revenue_weekly GROUP BY tenant_id, week_ending
), cash AS (
    SELECT tenant_id, week_ending, {sum_cash} AS closing_cash,
           MAX(currency) AS currency, MAX(data_source) AS data_source, MAX(updated_at) AS updated_at
    FROM cash_position_weekly GROUP BY tenant_id, week_ending
), weeks AS (
    SELECT tenant_id, week_ending, MAX(currency) AS currency, MAX(data_source) AS data_source,
           MAX(updated_at) AS updated_at
    FROM (
        SELECT tenant_id, week_ending, currency, data_source, updated_at FROM financial_weekly
        UNION ALL SELECT tenant_id, week_ending, currency, data_source, updated_at FROM revenue
        UNION ALL SELECT tenant_id, week_ending, currency, data_source, updated_at FROM cash
    ) AS anywhere
    GROUP BY tenant_id, week_ending
)
SELECT weeks.tenant_id, weeks.week_ending,
       profit.total_trading_income, profit.cost_of_sales, profit.gross_profit, profit.net_profit,
       COALESCE(revenue.net_revenue, {no_revenue}) AS net_revenue,
       COALESCE(cash.closing_cash, {no_cash}) AS closing_cash,
       weeks.currency, weeks.data_source, weeks.updated_at
FROM weeks
LEFT JOIN financial_weekly AS profit
    ON profit.tenant_id = weeks.tenant_id AND profit.week_ending = weeks.week_ending
LEFT JOIN revenue ON revenue.tenant_id = weeks.tenant_id AND revenue.week_ending = weeks.week_ending
LEFT JOIN cash ON cash.tenant_id = weeks.tenant_id AND cash.week_ending = weeks.week_ending
"""


def _summary(sum_revenue: str, sum_cash: str, zero: str) -> str:
    return _SUMMARY.format(
        sum_revenue=sum_revenue,
        sum_cash=sum_cash,
        no_revenue=_LANDED_EMPTY.format(sync_type="invoices", zero=zero),
        no_cash=_LANDED_EMPTY.format(sync_type="bank_summary", zero=zero),
    )


def _sum_of_text(column: str) -> str:
    """For SQLite, whose amounts are text: sum them exactly as whole cents and format the sum as text.

    Text that somebody entered by hand without two decimals is read as a number.
    """
    cents = (
        f"SUM(CASE WHEN {column} GLOB '*[0-9].[0-9][0-9]' THEN CAST(REPLACE({column}, '.', '') AS INTEGER) "
        f"ELSE CAST(ROUND({column} * 100) AS INTEGER) END)"
    )
    sign = f"CASE WHEN {cents} < 0 THEN '-' ELSE '' END"
    return f"printf('%s%d.%02d', {sign}, ABS({cents}) / 100, ABS({cents}) % 100)"


_SUMMARY_POSTGRES = _summary("SUM(net_revenue)", "SUM(closing_balance)", "0.00")
_SUMMARY_SQLITE = _summary(_sum_of_text("net_revenue"), _sum_of_text("closing_balance"), "'0.00'")
