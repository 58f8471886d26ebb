"""The figures of months; weeks and months beside last year's, with the financial year to date."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_Money = sa.Numeric(18, 2).with_variant(sa.Text(), "sqlite")
_VIEWS = ("weekly_comparison", "monthly_summary", "revenue_monthly")
_TABLES = ("financial_monthly", "financial_monthly_lines", "cash_position_monthly")


def upgrade() -> None:
    op.create_table(
        "financial_monthly",
        *_month(),
        _text("basis"),
        _money("total_trading_income"),
        _money("cost_of_sales"),
        _money("gross_profit"),
        _money("other_income"),
        _money("operating_expenses"),
        _money("net_profit"),
        *_provenance(),
        sa.CheckConstraint("basis IN ('accrual', 'cash')", name=op.f("ck_financial_monthly_basis")),
        sa.PrimaryKeyConstraint("tenant_id", "month_ending", name=op.f("pk_financial_monthly")),
    )
    op.create_table(
        "financial_monthly_lines",
        *_month(),
        _text("account_id"),
        _text("account_code", nullable=True),
        _text("account_name"),
        _text("account_type", nullable=True),
        _text("category"),
        _money("amount"),
        *_provenance(),
        sa.CheckConstraint(
            "category IN ('trading_income', 'cost_of_sales', 'other_income', 'operating_expenses')",
            name=op.f("ck_financial_monthly_lines_category"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "month_ending", "account_id", name=op.f("pk_financial_monthly_lines")),
    )
    op.create_table(
        "cash_position_monthly",
        *_month(),
        _text("bank_account_id"),
        _text("bank_account_name"),
        _money("opening_balance"),
        _money("cash_received"),
        _money("cash_spent"),
        _money("currency_gain"),
        _money("closing_balance"),
        *_provenance(),
        sa.PrimaryKeyConstraint("tenant_id", "month_ending", "bank_account_id", name=op.f("pk_cash_position_monthly")),
    )
    dialect = _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL
    for view in (_build_comparison("weekly", dialect), _build_comparison("monthly", dialect), _build_revenue(dialect)):
        op.execute(view)


def downgrade() -> None:
    for view in _VIEWS:
        op.execute(f"DROP VIEW {view}")
    for table in reversed(_TABLES):
        op.drop_table(table)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _money(name: str) -> sa.Column[Any]:
    return sa.Column(name, _Money, nullable=False)


def _month() -> list[sa.Column[Any]]:
    return [_text("tenant_id"), sa.Column("month_ending", sa.Date(), nullable=False)]


def _provenance() -> list[sa.Column[Any]]:
    return [
        _text("data_source"),
        _text("currency"),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    ]


# SQLite's amounts are text: they are added up exactly, as whole cents. Text that somebody entered by hand without two
# decimals is read as a number.
_SQLITE = {
    "number": "CASE WHEN {0} GLOB '*[0-9].[0-9][0-9]' THEN CAST(REPLACE({0}, '.', '') AS INTEGER) "
    "ELSE CAST(ROUND({0} * 100) AS INTEGER) END",
    "money": "CASE WHEN {0} IS NOT NULL THEN printf('%s%d.%02d', CASE WHEN {0} < 0 THEN '-' ELSE '' END, "
    "ABS({0}) / 100, ABS({0}) % 100) END",
    "year": "CAST(strftime('%Y', {0}) AS INTEGER)",
    "month": "CAST(strftime('%m', {0}) AS INTEGER)",
    "day": "CAST(strftime('%d', {0}) AS INTEGER)",
    "fact": "CASE WHEN json_extract(answer, '$.Organisations[0].{0}') GLOB '[0-9]*' "
    "THEN CAST(json_extract(answer, '$.Organisations[0].{0}') AS INTEGER) END",
    "week_number": "(CAST(julianday({0}) AS INTEGER) + 2) / 7",
    "days_before": "date({0}, '-{1} days')",
    "month_start": "date({0}, 'start of month')",
    "month_before": "date({0}, 'start of month', '-1 day')",
    "month_ending": "date({0}, 'start of month', '+1 month', '-1 day')",
}
_POSTGRESQL = {
    "number": "{0}",
    "money": "CAST({0} AS NUMERIC(18, 2))",
    "year": "CAST(EXTRACT(YEAR FROM {0}) AS INTEGER)",
    "month": "CAST(EXTRACT(MONTH FROM {0}) AS INTEGER)",
    "day": "CAST(EXTRACT(DAY FROM {0}) AS INTEGER)",
    "fact": "CAST(substring(answer -> 'Organisations' -> 0 ->> '{0}' FROM '^[0-9]+$') AS INTEGER)",
    "week_number": "({0} - DATE '1999-01-03') / 7",
    "days_before": "({0} - {1})",
    "month_start": "CAST(date_trunc('month', {0}) AS DATE)",
    "month_before": "CAST(date_trunc('month', {0}) - INTERVAL '1 day' AS DATE)",
    "month_ending": "CAST(date_trunc('month', {0}) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)",
}
_SUMMED = ("total_trading_income", "cost_of_sales", "gross_profit", "net_profit", "net_revenue")

# The day of the year on which an organisation's financial year ends, as month times 100 plus day.
_ORGANISATIONS = """organisations AS (
    SELECT tenant_id, {year_end_month} * 100
           + CASE WHEN {year_end_month} = 2 AND {year_end_day} > 27 THEN 29 ELSE {year_end_day} END AS year_end
    FROM organisation_facts WHERE kind = 'Organisation'
)"""

# The months of which every week that has a day in them has landed with its documents.
_WHOLE_MONTHS = """weeks AS (
    SELECT DISTINCT tenant_id, week_ending FROM xero_sync_logs
    WHERE sync_type = 'invoices' AND status IN ('success', 'partial') AND documents IS NOT NULL
), whole_months AS (
    SELECT tenant_id, month_ending FROM (
        SELECT tenant_id, week_ending, {month_of_end} AS month_ending FROM weeks
        UNION SELECT tenant_id, week_ending, {month_of_start} AS month_ending FROM weeks
    ) AS months_of_weeks
    GROUP BY tenant_id, month_ending
    HAVING COUNT(*) = {last_week} - {first_week} + 1
)"""

# A week that landed without a document has no revenue.
_REVENUE_OF_WEEKS = """SELECT tenant_id, week_ending, SUM(amount) AS net_revenue FROM (
        SELECT tenant_id, week_ending, {net_revenue} AS amount FROM revenue_weekly
        UNION ALL SELECT tenant_id, week_ending, 0 FROM xero_sync_logs
        WHERE sync_type = 'invoices' AND status IN ('success', 'partial')
    ) AS amounts GROUP BY tenant_id, week_ending"""
_REVENUE_OF_MONTHS = """SELECT whole_months.tenant_id, whole_months.month_ending, COALESCE(SUM(
        CASE WHEN document.document_type = 'credit_note' THEN -1 ELSE 1 END * {line_net}), 0) AS net_revenue
    FROM whole_months
    LEFT JOIN revenue_documents AS document ON document.tenant_id = whole_months.tenant_id
        AND document.document_date BETWEEN {month_start} AND whole_months.month_ending
    LEFT JOIN revenue_document_lines AS line ON line.tenant_id = document.tenant_id
        AND line.week_ending = document.week_ending AND line.document_id = document.document_id
    GROUP BY whole_months.tenant_id, whole_months.month_ending"""

# `number` is that of a period: consecutive ones follow each other. A period counts in the financial year in which it
# ends. The year to date is known only if every period of the year so far is stored.
_FINANCIAL_YEAR = """{number} AS number,
           {year} + CASE WHEN {month} * 100 + {day} > organisations.year_end THEN 1
                         WHEN organisations.year_end IS NOT NULL THEN 0 END AS financial_year,
           {year_before} + CASE WHEN {month_before} * 100 + {day_before} > organisations.year_end THEN 1
                                WHEN organisations.year_end IS NOT NULL THEN 0 END AS financial_year_before"""
_TO_DATE = """CASE WHEN financial_year IS NOT NULL
                AND COUNT({0}) OVER year_so_far = number - MIN(number) OVER year_so_far + 1
                AND MIN(financial_year_before) OVER year_so_far < financial_year
           THEN SUM({0}) OVER year_so_far END AS {0}_to_date"""

_COMPARISON = """
CREATE VIEW {view} AS
WITH {organisations}, {whole_months}cash AS (
    SELECT tenant_id, {ending}, SUM({closing_balance}) AS closing_cash,
           MAX(currency) AS currency, MAX(data_source) AS data_source, MAX(updated_at) AS updated_at
    FROM cash_position_{grain} GROUP BY tenant_id, {ending}
), revenue AS (
    {revenue}
), periods AS (
    SELECT tenant_id, {ending}, MAX(currency) AS currency, MAX(data_source) AS data_source,
           MAX(updated_at) AS updated_at
    FROM (
        SELECT tenant_id, {ending}, currency, data_source, updated_at FROM financial_{grain}
        UNION ALL SELECT tenant_id, {ending}, currency, data_source, updated_at FROM cash{revenue_alone}
    ) AS anywhere
    GROUP BY tenant_id, {ending}
), dated AS (
    SELECT periods.tenant_id, periods.{ending}, {financial_year},
           {profits}, revenue.net_revenue,
           COALESCE(cash.closing_cash, CASE WHEN EXISTS (
               SELECT 1 FROM xero_sync_logs AS log
               WHERE log.tenant_id = periods.tenant_id AND log.week_ending = periods.{ending}
                 AND log.sync_type = '{bank_summary}' AND log.status IN ('success', 'partial')
           ) THEN 0 END) AS closing_cash,
           periods.currency, periods.data_source, periods.updated_at
    FROM periods
    LEFT JOIN financial_{grain} AS profit
        ON profit.tenant_id = periods.tenant_id AND profit.{ending} = periods.{ending}
    LEFT JOIN revenue ON revenue.tenant_id = periods.tenant_id AND revenue.{ending} = periods.{ending}
    LEFT JOIN cash ON cash.tenant_id = periods.tenant_id AND cash.{ending} = periods.{ending}
    LEFT JOIN organisations ON organisations.tenant_id = periods.tenant_id
), added AS (
    SELECT dated.*, {to_date}
    FROM dated
    WINDOW year_so_far AS (PARTITION BY tenant_id, financial_year ORDER BY number)
), compared AS (
    SELECT added.*, {last_year}
    FROM added
    WINDOW year_before AS (
        PARTITION BY tenant_id ORDER BY number RANGE BETWEEN {per_year} PRECEDING AND {per_year} PRECEDING
    )
)
SELECT tenant_id, {ending}, {amounts}, financial_year, {other_amounts}, currency, data_source, updated_at
FROM compared
"""

_REVENUE_MONTHLY = """
CREATE VIEW revenue_monthly AS
WITH {organisations}, {whole_months}months AS (
    SELECT dated.*,
           CASE WHEN financial_year IS NOT NULL
                 AND COUNT(*) OVER year_so_far = number - MIN(number) OVER year_so_far + 1
                 AND MIN(financial_year_before) OVER year_so_far < financial_year
           THEN 1 END AS is_known_to_date,
           COUNT(*) OVER year_before AS months_last_year
    FROM (
        SELECT whole_months.tenant_id, whole_months.month_ending, {financial_year}
        FROM whole_months LEFT JOIN organisations ON organisations.tenant_id = whole_months.tenant_id
    ) AS dated
    WINDOW year_so_far AS (PARTITION BY tenant_id, financial_year ORDER BY number),
           year_before AS (PARTITION BY tenant_id ORDER BY number RANGE BETWEEN 12 PRECEDING AND 12 PRECEDING)
), cells AS (
    SELECT line.tenant_id, {month_of_document} AS month_ending, line.revenue_type, line.region,
           SUM(CASE WHEN document.document_type = 'invoice' THEN {line_net} ELSE 0 END) AS invoiced,
           SUM(CASE WHEN document.document_type = 'credit_note' THEN {line_net} ELSE 0 END) AS credited,
           SUM(CASE WHEN document.document_type = 'credit_note' THEN -1 ELSE 1 END * {line_tax}) AS tax,
           COUNT(DISTINCT CASE WHEN document.document_type = 'invoice' THEN line.document_id END) AS invoice_count,
           COUNT(DISTINCT CASE WHEN document.document_type = 'credit_note' THEN line.document_id END)
               AS credit_note_count,
           MAX(line.currency) AS currency, MAX(line.data_source) AS data_source, MAX(line.updated_at) AS updated_at
    FROM revenue_document_lines AS line
    JOIN revenue_documents AS document ON document.tenant_id = line.tenant_id
        AND document.week_ending = line.week_ending AND document.document_id = line.document_id
    GROUP BY line.tenant_id, {month_of_document}, line.revenue_type, line.region
), added AS (
    SELECT cells.*, cells.invoiced - cells.credited AS net_revenue, months.financial_year,
           CASE WHEN months.is_known_to_date = 1 THEN SUM(cells.invoiced - cells.credited) OVER year_so_far END
               AS net_revenue_to_date,
           CASE WHEN months.months_last_year = 1
                THEN COALESCE(MAX(cells.invoiced - cells.credited) OVER year_before, 0) END AS net_revenue_last_year
    FROM cells JOIN months ON months.tenant_id = cells.tenant_id AND months.month_ending = cells.month_ending
    WINDOW year_so_far AS (
               PARTITION BY cells.tenant_id, cells.revenue_type, cells.region, months.financial_year
               ORDER BY months.number
           ),
           year_before AS (
               PARTITION BY cells.tenant_id, cells.revenue_type, cells.region
               ORDER BY months.number RANGE BETWEEN 12 PRECEDING AND 12 PRECEDING
           )
)
SELECT tenant_id, month_ending, revenue_type, region, {amounts}, invoice_count, credit_note_count, financial_year,
       {other_amounts}, currency, data_source, updated_at
FROM added
"""

_REVENUE_ALONE = """
        UNION ALL SELECT tenant_id, week_ending, currency, data_source, updated_at FROM revenue_weekly"""


def _build_comparison(grain: str, dialect: dict[str, str]) -> str:
    """Build the view of the weeks or of the months."""
    is_weekly = grain == "weekly"
    amounts = (*_SUMMED, "closing_cash")
    to_date = tuple(f"{name}_to_date" for name in _SUMMED)
    before = (*amounts, *to_date)
    profits = (f"{_to_number(dialect, f'profit.{name}')} AS {name}" for name in _SUMMED[:-1])
    revenue = _REVENUE_OF_WEEKS if is_weekly else _REVENUE_OF_MONTHS
    return _COMPARISON.format(
        view="weekly_comparison" if is_weekly else "monthly_summary",
        grain=grain,
        ending="week_ending" if is_weekly else "month_ending",
        organisations=_build_organisations(dialect),
        whole_months="" if is_weekly else _build_whole_months(dialect) + ", ",
        closing_balance=_to_number(dialect, "closing_balance"),
        revenue=revenue.format(
            net_revenue=_to_number(dialect, "net_revenue"),
            line_net=_to_number(dialect, "line.net"),
            month_start=dialect["month_start"].format("whole_months.month_ending"),
        ),
        financial_year=_build_financial_year("periods", grain, dialect),
        profits=", ".join(profits),
        # A week whose revenue alone has landed is one, too. Months have no table of revenue.
        revenue_alone=_REVENUE_ALONE if is_weekly else "",
        bank_summary="bank_summary" if is_weekly else "bank_summary_monthly",
        to_date=", ".join(map(_TO_DATE.format, _SUMMED)),
        last_year=", ".join(f"MAX({name}) OVER year_before AS {name}_last_year" for name in before),
        per_year=52 if is_weekly else 12,
        amounts=_list_amounts(dialect, *amounts),
        other_amounts=_list_amounts(dialect, *to_date, *(f"{name}_last_year" for name in before)),
    )


def _build_revenue(dialect: dict[str, str]) -> str:
    return _REVENUE_MONTHLY.format(
        organisations=_build_organisations(dialect),
        whole_months=_build_whole_months(dialect) + ", ",
        financial_year=_build_financial_year("whole_months", "monthly", dialect),
        month_of_document=dialect["month_ending"].format("document.document_date"),
        line_net=_to_number(dialect, "line.net"),
        line_tax=_to_number(dialect, "line.tax"),
        amounts=_list_amounts(dialect, "invoiced", "credited", "net_revenue", "tax"),
        other_amounts=_list_amounts(dialect, "net_revenue_to_date", "net_revenue_last_year"),
    )


def _to_number(dialect: dict[str, str], amount: str) -> str:
    return dialect["number"].format(amount)


def _list_amounts(dialect: dict[str, str], *names: str) -> str:
    return ", ".join(f"{dialect['money'].format(name)} AS {name}" for name in names)


def _build_organisations(dialect: dict[str, str]) -> str:
    return _ORGANISATIONS.format(
        year_end_month=dialect["fact"].format("FinancialYearEndMonth"),
        year_end_day=dialect["fact"].format("FinancialYearEndDay"),
    )


def _build_whole_months(dialect: dict[str, str]) -> str:
    return _WHOLE_MONTHS.format(
        month_of_end=dialect["month_ending"].format("week_ending"),
        month_of_start=dialect["month_ending"].format(dialect["days_before"].format("week_ending", 6)),
        first_week=dialect["week_number"].format(dialect["month_start"].format("month_ending")),
        last_week=dialect["week_number"].format("month_ending"),
    )


def _build_financial_year(table: str, grain: str, dialect: dict[str, str]) -> str:
    day = f"{table}.{'week' if grain == 'weekly' else 'month'}_ending"
    before = dialect["days_before"].format(day, 7) if grain == "weekly" else dialect["month_before"].format(day)
    number = f"{dialect['year'].format(day)} * 12 + {dialect['month'].format(day)}"
    parts = {f"{part}{suffix}": dialect[part].format(of)
             for part in ("year", "month", "day") for of, suffix in ((day, ""), (before, "_before"))}  # fmt: skip
    return _FINANCIAL_YEAR.format(number=dialect["week_number"].format(day) if grain == "weekly" else number, **parts)
