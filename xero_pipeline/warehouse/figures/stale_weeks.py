"""The weeks that were found edited in Xero and have not been read again since, kept until they are.

Found and kept in one step with the cursor of the look that found them, so that neither a crash nor a
failed run can lose one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Column, Date, Engine, Table, Text, and_, bindparam, delete, func, insert, select

from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime
from xero_pipeline.warehouse.figures.document_index import KeptDocument, remember_seen
from xero_pipeline.warehouse.logs.cursors import write_cursor
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.weeks import Week

stale_weeks = Table(
    "stale_weeks",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("week_ending", Date, primary_key=True),
    # A reading that began after this has seen the edit.
    Column("read_after", UtcDateTime, nullable=False),
)


class StaleWeeks:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def found(
        self,
        tenant_id: str,
        weeks: Mapping[Week, datetime],
        *,
        seen: Iterable[KeptDocument],
        cursor: str,
        asked_at: datetime,
    ) -> None:
        """Keep what a look found, and move its cursor, in one transaction.

        Args:
            weeks: each stale week, and after which moment it has to be read.
            seen: the documents that the look has seen.
        """
        kept = stale_weeks.c.tenant_id == tenant_id
        with self._engine.begin() as connection:
            for week, read_after in weeks.items():
                same = and_(kept, stale_weeks.c.week_ending == week.ending)
                asked = connection.execute(select(stale_weeks.c.read_after).where(same)).scalar_one_or_none()
                connection.execute(delete(stale_weeks).where(same))
                # Of two edits the later one says after when.
                after = max(read_after, asked or read_after)
                connection.execute(
                    insert(stale_weeks).values(tenant_id=tenant_id, week_ending=week.ending, read_after=after)
                )
            remember_seen(connection, tenant_id, seen)
            write_cursor(connection, tenant_id, cursor, asked_at)

    def open(self, tenant_id: str) -> dict[Week, datetime]:
        """The weeks that still have to be read again, and after when. Forgets those that were."""
        read_at = landings(self._engine, tenant_id)
        with self._engine.begin() as connection:
            rows = connection.execute(select(stale_weeks).where(stale_weeks.c.tenant_id == tenant_id)).all()
            kept = {Week(row.week_ending): row.read_after for row in rows}
            done = {week: after for week, after in kept.items() if week in read_at and read_at[week] > after}
            if done:
                # As they were seen just now: another look may have found more meanwhile.
                seen = delete(stale_weeks).where(
                    stale_weeks.c.tenant_id == tenant_id,
                    stale_weeks.c.week_ending == bindparam("week"),
                    stale_weeks.c.read_after == bindparam("after"),
                )
                connection.execute(seen, [{"week": week.ending, "after": after} for week, after in done.items()])
        return {week: after for week, after in kept.items() if week not in done}


def landings(engine: Engine, tenant_id: str) -> dict[Week, datetime]:
    """The weeks that landed whole, and since when their figures are true: when the oldest of the newest
    readings of each kind began."""
    query = (
        select(logs.c.sync_type, logs.c.week_ending, func.max(logs.c.started_at).label("at"))
        .where(logs.c.tenant_id == tenant_id, logs.c.status.in_(LANDED))
        .group_by(logs.c.sync_type, logs.c.week_ending)
    )
    read: dict[Week, dict[str, datetime]] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            read.setdefault(Week(row.week_ending), {})[row.sync_type] = row.at
    return {week: min(kinds.values()) for week, kinds in read.items() if len(kinds) == len(SyncType)}
