"""What Xero last said about each organisation: its details and its chart of accounts, for every process.

`xero/facts.py` decides how long they are used.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Engine, Table, Text, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime

organisation_facts = Table(
    "organisation_facts",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    # Xero's name of the endpoint: `Organisation` or `Accounts`.
    Column("kind", Text, primary_key=True),
    Column("answer", JSON, nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
)


class FactStore:
    """`xero.facts.KeptFacts` in the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, tenant_id: str, kind: str) -> tuple[dict[str, Any], datetime] | None:
        """The answer, and when it was kept; `None` if there is none."""
        table = organisation_facts
        query = select(table.c.answer, table.c.read_at).where(table.c.tenant_id == tenant_id, table.c.kind == kind)
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.answer, row.read_at)

    def save(self, tenant_id: str, kind: str, answer: dict[str, Any], now: datetime) -> None:
        values = {"answer": answer, "read_at": now}
        # Several processes may ask at once, each for itself.
        insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        statement = insert(organisation_facts).values(tenant_id=tenant_id, kind=kind, **values)
        with self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "kind"], set_=values))

    def forget(self, tenant_id: str, kind: str) -> None:
        table = organisation_facts
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.tenant_id == tenant_id, table.c.kind == kind))
