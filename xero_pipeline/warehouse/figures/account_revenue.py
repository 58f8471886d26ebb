"""Each week's net revenue by account, as its documents state it, to compare with the lines of the profit and loss.

Only the checks read it. It is stored in the transaction that lands the week's revenue.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from sqlalchemy import Column, Connection, Date, Engine, Table, Text, delete, insert, select

from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import Money
from xero_pipeline.weeks import Week

revenue_by_account = Table(
    "revenue_by_account",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("week_ending", Date, primary_key=True),
    # Its id, or its code where the document's lines do not state the id.
    Column("account", Text, primary_key=True),
    Column("net_revenue", Money, nullable=False),
)


def replace_revenue_by_account(
    connection: Connection, tenant_id: str, week: Week, amounts: Mapping[str, Decimal]
) -> None:
    """Store the week's net revenue by account. `""` stands for lines that name no account."""
    table = revenue_by_account
    connection.execute(delete(table).where(table.c.tenant_id == tenant_id, table.c.week_ending == week.ending))
    rows = [
        {"tenant_id": tenant_id, "week_ending": week.ending, "account": account, "net_revenue": amount}
        for account, amount in sorted(amounts.items())
    ]
    if rows:
        connection.execute(insert(table), rows)


def read_revenue_by_account(engine: Engine, tenant_id: str, week: Week) -> dict[str, Decimal]:
    """The week's net revenue by account, as `replace_revenue_by_account` stored it."""
    table = revenue_by_account
    query = select(table.c.account, table.c.net_revenue).where(
        table.c.tenant_id == tenant_id, table.c.week_ending == week.ending
    )
    with engine.connect() as connection:
        return {row.account: row.net_revenue for row in connection.execute(query)}
