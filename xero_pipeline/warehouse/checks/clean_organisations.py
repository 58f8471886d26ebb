"""Which organisations a group of checks found in order, and with which rows: as long as these are the same, the checks
need not read them again.

Each run's checks cover every stored week of every organisation, so that an old week that is wrong stays red. But most
organisations have not changed since. Their rows are then summed up in the database, by a hash of each row, instead of
being read: a row that somebody changes by hand changes the sum. A group's organisation is read again until no check of
the group finds anything in it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, Text, case, cast, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from xero_pipeline.warehouse.checks.snapshot import TABLE_OF
from xero_pipeline.warehouse.database.exact_sums import sum_cents
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncStatus
from xero_pipeline.warehouse.schema import revenue_document_lines, revenue_documents, revenue_weekly, xero_sync_logs

clean_organisations = Table(
    "clean_organisations",
    metadata,
    # The group of checks: the name of its step in Dagster.
    Column("checks", Text, primary_key=True),
    Column("tenant_id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("checked_at", UtcDateTime, nullable=False),
)


def compute_fingerprints(connection: Connection, rules: str, tables: Sequence[Table]) -> dict[str, str]:
    """The fingerprint of each organisation's rows in these tables, and of its weeks that landed.

    Args:
        rules: what else a verdict depends on. Another text gives other fingerprints.
    """
    parts: dict[str, list[Any]] = defaultdict(lambda: [rules])
    logs = xero_sync_logs.c
    # A row of the log does not change once its week has landed.
    partial = func.sum(case((logs.status == SyncStatus.PARTIAL, logs.id), else_=0))
    sums = (func.sum(logs.record_count), func.sum(logs.documents), partial)
    landed = (
        select(logs.tenant_id, func.count(), func.max(logs.id), *sums)
        .where(logs.status.in_(LANDED))
        .group_by(logs.tenant_id)
    )
    queries = [("landed", landed)]
    for table in TABLE_OF.values():
        weeks = select(table.c.tenant_id, func.count(), func.min(table.c.week_ending)).group_by(table.c.tenant_id)
        queries.append((table.name, weeks))
    if revenue_weekly in tables:
        # Hashing each of them would take longer than all other rows together.
        for table in (revenue_documents, revenue_document_lines):
            amounts = select(table.c.tenant_id, func.count(), sum_cents(table.c.net), sum_cents(table.c.tax))
            queries.append((f"sums of {table.name}", amounts.group_by(table.c.tenant_id)))
    for table in tables:
        rows = select(table.c.tenant_id, func.sum(_hash_row(connection, table))).group_by(table.c.tenant_id)
        queries.append((f"rows of {table.name}", rows))
    for name, query in queries:
        for tenant_id, *values in connection.execute(query):
            parts[tenant_id].append((name, *(str(value) for value in values)))
    return {tenant_id: hashlib.sha256(repr(found).encode()).hexdigest() for tenant_id, found in parts.items()}


def _hash_row(connection: Connection, table: Table) -> Any:
    if connection.dialect.name == "postgresql":
        return func.hashtextextended(cast(literal_column(f'"{table.name}"'), Text), 0)
    # SQLite has no such function. `engine.py` gives it this one.
    return func.row_hash(*(func.coalesce(cast(column, Text), literal_column("x'00'")) for column in table.columns))


def list_clean(connection: Connection, checks: str, fingerprints: Mapping[str, str]) -> set[str]:
    """The organisations that these checks found in order with the same rows."""
    table = clean_organisations.c
    query = select(table.tenant_id, table.fingerprint).where(table.checks == checks)
    return {tenant_id for tenant_id, found in connection.execute(query) if fingerprints.get(tenant_id) == found}


def save_clean(
    engine: Engine, checks: str, fingerprints: Mapping[str, str], tenant_ids: Collection[str], now: datetime
) -> None:
    """Record that these checks found these organisations in order."""
    if not tenant_ids:
        return
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    statement = insert(clean_organisations)
    statement = statement.on_conflict_do_update(
        index_elements=["checks", "tenant_id"],
        set_={name: statement.excluded[name] for name in ("fingerprint", "checked_at")},
    )
    rows = [
        {"checks": checks, "tenant_id": tenant_id, "fingerprint": fingerprints[tenant_id], "checked_at": now}
        for tenant_id in sorted(tenant_ids)
    ]
    with engine.begin() as connection:
        connection.execute(statement, rows)


def list_newest_weeks(connection: Connection, table: Table) -> dict[str, Any]:
    """Each organisation's newest week ending in a table."""
    query = select(table.c.tenant_id, func.max(table.c.week_ending).label("newest")).group_by(table.c.tenant_id)
    return {row.tenant_id: row.newest for row in connection.execute(query)}
