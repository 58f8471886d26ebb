"""Cursors: up to which moment each organisation has been searched for changes at Xero."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Engine, delete, insert, select

from xero_pipeline.warehouse.schema import sync_cursors


def read_cursor(engine: Engine, tenant_id: str, name: str) -> datetime | None:
    """The moment up to which the organisation has been searched; `None` before the first search."""
    query = select(sync_cursors.c.value).where(sync_cursors.c.tenant_id == tenant_id, sync_cursors.c.name == name)
    with engine.connect() as connection:
        value = connection.execute(query).scalar_one_or_none()
    return None if value is None else datetime.fromisoformat(value)


def write_cursor(connection: Connection, tenant_id: str, name: str, moment: datetime) -> None:
    """Move the cursor, in the transaction that stores what the search found."""
    connection.execute(delete(sync_cursors).where(sync_cursors.c.tenant_id == tenant_id, sync_cursors.c.name == name))
    connection.execute(
        insert(sync_cursors).values(tenant_id=tenant_id, name=name, value=moment.isoformat(), updated_at=moment)
    )
