"""Several organisations at once: who there is to show anything of. One organisation's figures are `figures.py`'s.

An organisation that was disconnected keeps its figures and its log, and so is found here.
"""

from __future__ import annotations

from sqlalchemy import Engine, select, union

from xero_pipeline.warehouse.schema import weekly_summary, xero_sync_logs, xero_tokens


def tenants_with_figures(engine: Engine) -> list[str]:
    """The tenant ids of which any week is held, in order."""
    query = select(weekly_summary.c.tenant_id).distinct().order_by(weekly_summary.c.tenant_id)
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


def known_tenants(engine: Engine) -> set[str]:
    """Every tenant id that is connected, or ever left a figure or a line of the log."""
    query = union(
        select(xero_tokens.c.tenant_id), select(xero_sync_logs.c.tenant_id), select(weekly_summary.c.tenant_id)
    )
    with engine.connect() as connection:
        return set(connection.execute(query).scalars())
