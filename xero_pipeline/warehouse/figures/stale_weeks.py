"""The stale weeks: weeks whose documents were edited in Xero and that have not been read again since.

A search stores the weeks that it finds together with its cursor, in one transaction, so that neither a crash nor a
failed run can lose one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Column, Date, Engine, Table, Text, and_, bindparam, delete, func, insert, select

from xero_pipeline.periods import AnyPeriod
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime
from xero_pipeline.warehouse.figures.document_index import StoredDocument, save_seen_documents
from xero_pipeline.warehouse.logs.cursors import write_cursor
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.weeks import Week

stale_weeks = Table(
    "stale_weeks",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("week_ending", Date, primary_key=True),
    # A reading that began after this moment, by Xero's own clock, has the edit.
    Column("read_after", UtcDateTime, nullable=False),
)


class StaleWeeks:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(
        self,
        tenant_id: str,
        weeks: Mapping[Week, datetime],
        *,
        seen: Iterable[StoredDocument],
        cursor: str,
        asked_at: datetime,
    ) -> None:
        """Store what a search found, and move its cursor, in one transaction.

        Args:
            weeks: the stale weeks, each with the moment after which it must be read again.
            seen: the documents that the search has seen.
            asked_at: the cursor's new value, when the search asked Xero.
        """
        of_tenant = stale_weeks.c.tenant_id == tenant_id
        with self._engine.begin() as connection:
            for week, read_after in weeks.items():
                same_week = and_(of_tenant, stale_weeks.c.week_ending == week.ending)
                query = select(stale_weeks.c.read_after).where(same_week)
                stored_after = connection.execute(query).scalar_one_or_none()
                connection.execute(delete(stale_weeks).where(same_week))
                # The later of two edits decides.
                after = max(read_after, stored_after or read_after)
                connection.execute(
                    insert(stale_weeks).values(tenant_id=tenant_id, week_ending=week.ending, read_after=after)
                )
            save_seen_documents(connection, tenant_id, seen)
            write_cursor(connection, tenant_id, cursor, asked_at)

    def list_stale(self, tenant_id: str) -> dict[Week, datetime]:
        """The weeks that must still be read again, each with the moment after which it must have been
        read. Deletes those that have been read since."""
        read_at = read_landing_times(self._engine, tenant_id)
        with self._engine.begin() as connection:
            rows = connection.execute(select(stale_weeks).where(stale_weeks.c.tenant_id == tenant_id)).all()
            stored = {Week(row.week_ending): row.read_after for row in rows}
            done = {week: after for week, after in stored.items() if week in read_at and read_at[week] > after}
            if done:
                # Delete a row only if it is unchanged: another search may have found a later edit in the meantime.
                delete_unchanged = delete(stale_weeks).where(
                    stale_weeks.c.tenant_id == tenant_id,
                    stale_weeks.c.week_ending == bindparam("week"),
                    stale_weeks.c.read_after == bindparam("after"),
                )
                connection.execute(
                    delete_unchanged, [{"week": week.ending, "after": after} for week, after in done.items()]
                )
        return {week: after for week, after in stored.items() if week not in done}


def read_landing_times(engine: Engine, tenant_id: str) -> dict[Week, datetime]:
    """The weeks of which all kinds have landed, each with the moment before which every edit is in its figures."""
    return read_landing_times_of(engine, tenant_id, Week)


def read_landing_times_of(engine: Engine, tenant_id: str, period: type[AnyPeriod]) -> dict[AnyPeriod, datetime]:
    """The weeks, or months, of which every kind has landed, each with the moment before which every edit is in them.

    That is the start of the oldest among the newest syncs of each kind: by Xero's clock, as edits are, or by this
    machine's where the sync did not store Xero's time.
    """
    types = [kind.value for kind in SyncType if kind.period is period]
    newest = (
        select(func.max(logs.c.id))
        .where(logs.c.tenant_id == tenant_id, logs.c.status.in_(LANDED), logs.c.sync_type.in_(types))
        .group_by(logs.c.sync_type, logs.c.week_ending)
    )
    began_at = func.coalesce(logs.c.read_at, logs.c.started_at, type_=UtcDateTime)
    query = select(logs.c.sync_type, logs.c.week_ending, began_at.label("at")).where(logs.c.id.in_(newest))
    started: dict[AnyPeriod, dict[str, datetime]] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            started.setdefault(period(row.week_ending), {})[row.sync_type] = row.at
    return {week: min(kinds.values()) for week, kinds in started.items() if len(kinds) == len(types)}
