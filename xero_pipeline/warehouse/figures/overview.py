"""Listing the organisations that have data. `queries.py` reads the figures of one organisation.

A disconnected organisation keeps its figures and its log, so these lists include it.
"""

from __future__ import annotations

from sqlalchemy import Engine, select, union

from xero_pipeline.warehouse.schema import (
    cash_position_monthly,
    financial_monthly,
    weekly_summary,
    xero_sync_logs,
    xero_tokens,
)


def list_tenants_with_figures(engine: Engine) -> list[str]:
    """The sorted tenant ids that have figures of any week."""
    query = select(weekly_summary.c.tenant_id).distinct().order_by(weekly_summary.c.tenant_id)
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


def list_tenants_with_monthly_figures(engine: Engine) -> list[str]:
    """The sorted tenant ids that have figures of any month."""
    query = union(select(financial_monthly.c.tenant_id), select(cash_position_monthly.c.tenant_id))
    with engine.connect() as connection:
        return sorted(connection.execute(query).scalars())


def list_known_tenants(engine: Engine) -> set[str]:
    """Every tenant id that is connected, or has figures or a row of the sync log."""
    query = union(
        select(xero_tokens.c.tenant_id), select(xero_sync_logs.c.tenant_id), select(weekly_summary.c.tenant_id)
    )
    with engine.connect() as connection:
        return set(connection.execute(query).scalars())
