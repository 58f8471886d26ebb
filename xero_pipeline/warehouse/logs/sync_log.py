"""What was synced, when, and how it went: one row for each organisation, kind of figures, week and try.

Not here: the figures themselves (`weekly.py`), and what a figure was before (`restatements.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, insert, select, update

from xero_pipeline.clock import Clock
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.weeks import Week


class SyncType(StrEnum):
    PROFIT_AND_LOSS = "profit_and_loss"
    INVOICES = "invoices"
    BANK_SUMMARY = "bank_summary"


class SyncStatus(StrEnum):
    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"


LANDED = (SyncStatus.SUCCESS, SyncStatus.PARTIAL)
"""The figures were written; partial ones do not add up against Xero's own totals."""

ErrorLog = Mapping[str, Any] | Sequence[Any] | None

INTERRUPTED: Mapping[str, str] = {
    "error": "interrupted",
    "message": "This sync was cut off before it ended: its process was stopped or died.",
    "advice": "Nothing was changed; the next sync reads the week again.",
}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One row of the log."""

    id: int
    tenant_id: str
    sync_type: str
    week: Week
    status: str
    record_count: int
    api_calls: int
    error_log: Any
    dagster_run_id: str | None
    started_at: datetime
    completed_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """As the HTTP API and `--json` give it."""
        return {
            "id": self.id,
            "tenantId": self.tenant_id,
            "syncType": self.sync_type,
            "weekEnding": str(self.week),
            "status": self.status,
            "recordCount": self.record_count,
            "apiCalls": self.api_calls,
            "errorLog": self.error_log,
            "dagsterRunId": self.dagster_run_id,
            "startedAt": self.started_at.isoformat(),
            "completedAt": self.completed_at.isoformat() if self.completed_at else None,
        }


class SyncLog:
    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def start(self, tenant_id: str, sync_type: str, week: Week, run_id: str | None) -> int:
        """Write that a sync begins; answers its row's id.

        A row of the same organisation, kind and week that still says `running` belongs to a process that
        died, and becomes `failed`. If that process is alive after all, its own end overwrites this.
        """
        now = self._clock.now()
        with self._engine.begin() as connection:
            same = (
                logs.c.tenant_id == tenant_id,
                logs.c.sync_type == str(sync_type),
                logs.c.week_ending == week.ending,
            )
            self._interrupt(connection, *same)
            new = insert(logs).values(
                tenant_id=tenant_id,
                sync_type=str(sync_type),
                week_ending=week.ending,
                status=SyncStatus.RUNNING.value,
                record_count=0,
                api_calls=0,
                dagster_run_id=run_id,
                started_at=now,
            )
            return int(connection.execute(new.returning(logs.c.id)).scalar_one())

    def begin_again(self, log_id: int) -> None:
        """Write that this sync reads its week anew, from now on."""
        with self._engine.begin() as connection:
            connection.execute(update(logs).where(logs.c.id == log_id).values(started_at=self._clock.now()))

    def is_superseded(self, connection: Connection, log_id: int) -> bool:
        """Whether the same week landed from a reading that began after this one."""
        newer = logs.alias()
        query = (
            select(newer.c.id)
            .join(
                logs,
                and_(
                    newer.c.tenant_id == logs.c.tenant_id,
                    newer.c.sync_type == logs.c.sync_type,
                    newer.c.week_ending == logs.c.week_ending,
                    newer.c.started_at > logs.c.started_at,
                ),
            )
            .where(logs.c.id == log_id, newer.c.status.in_(LANDED))
        )
        return connection.execute(query.limit(1)).first() is not None

    def finish(
        self,
        connection: Connection,
        log_id: int,
        *,
        status: str,
        record_count: int,
        api_calls: int,
        error_log: ErrorLog = None,
    ) -> None:
        """Write how a sync ended, in the transaction that writes its figures."""
        done = connection.execute(
            update(logs)
            .where(logs.c.id == log_id)
            .values(
                status=SyncStatus(status).value,
                record_count=record_count,
                api_calls=api_calls,
                error_log=without_secrets(error_log),
                completed_at=self._clock.now(),
            )
        )
        if done.rowcount != 1:
            raise LookupError(f"the sync log has no row {log_id}")

    def fail(self, log_id: int, *, api_calls: int, error_log: ErrorLog) -> None:
        """Write that a sync failed and wrote no figures, in a transaction of its own."""
        with self._engine.begin() as connection:
            self.finish(
                connection,
                log_id,
                status=SyncStatus.FAILED,
                record_count=0,
                api_calls=api_calls,
                error_log=error_log,
            )

    def newest(
        self,
        limit: int,
        *,
        tenant_id: str | None = None,
        sync_type: str | None = None,
        week: Week | None = None,
        status: str | None = None,
    ) -> list[LogEntry]:
        """The newest rows first, of one organisation, kind, week or status where given."""
        wanted = {"tenant_id": tenant_id, "sync_type": sync_type, "status": status}
        where = [logs.c[name] == str(value) for name, value in wanted.items() if value is not None]
        if week is not None:
            where.append(logs.c.week_ending == week.ending)
        return self._read(*where, limit=limit)

    def of_run(self, run_id: str) -> list[LogEntry]:
        """Every row of one Dagster run, the newest first."""
        return self._read(logs.c.dagster_run_id == run_id)

    def last(self, tenant_id: str, sync_type: str, week: Week) -> LogEntry | None:
        """The newest row of that organisation, kind and week, whatever became of it."""
        found = self.newest(1, tenant_id=tenant_id, sync_type=sync_type, week=week)
        return found[0] if found else None

    def landed_weeks(self, tenant_id: str, since: date) -> dict[str, dict[Week, datetime]]:
        """For each kind of figures, the weeks ending on or after `since` that landed, and when last."""
        query = (
            select(logs.c.sync_type, logs.c.week_ending, func.max(logs.c.completed_at).label("at"))
            .where(logs.c.tenant_id == tenant_id, logs.c.week_ending >= since, logs.c.status.in_(LANDED))
            .group_by(logs.c.sync_type, logs.c.week_ending)
            .order_by(logs.c.week_ending)
        )
        landed: dict[str, dict[Week, datetime]] = {kind.value: {} for kind in SyncType}
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                landed.setdefault(row.sync_type, {})[Week(row.week_ending)] = row.at
        return landed

    def close_interrupted(self, *, run_id: str) -> int:
        """Write `failed` on the rows of a Dagster run that is over, where they say `running`; answers how many."""
        with self._engine.begin() as connection:
            return self._interrupt(connection, logs.c.dagster_run_id == run_id)

    def _interrupt(self, connection: Connection, *where: ColumnElement[bool]) -> int:
        return connection.execute(
            update(logs)
            .where(logs.c.status == SyncStatus.RUNNING.value, *where)
            .values(status=SyncStatus.FAILED.value, error_log=dict(INTERRUPTED), completed_at=self._clock.now())
        ).rowcount

    def _read(self, *where: ColumnElement[bool], limit: int | None = None) -> list[LogEntry]:
        query = select(logs).where(*where).order_by(logs.c.started_at.desc(), logs.c.id.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [_entry(dict(row._mapping)) for row in connection.execute(query)]


def has_landed(connection: Connection, tenant_id: str, sync_type: str, week: Week) -> bool:
    """Whether that organisation's week has ever been written."""
    query = select(logs.c.id).where(
        logs.c.tenant_id == tenant_id,
        logs.c.sync_type == str(sync_type),
        logs.c.week_ending == week.ending,
        logs.c.status.in_(LANDED),
    )
    return connection.execute(query.limit(1)).first() is not None


def _entry(values: dict[str, Any]) -> LogEntry:
    return LogEntry(week=Week(values.pop("week_ending")), **values)


_SECRET_NAME = re.compile(r"token|secret|password|authorization|code_verifier|encryption_key", re.IGNORECASE)
# A JSON Web Token (Xero's access and id tokens), a bearer or basic header, a user and password in an address.
_SECRET_TEXT = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*|\b(?:Bearer|Basic)\s+[\w.~+/=-]{8,}|(?<=://)[^\s/@]+:[^\s/@]+(?=@)"
)
_HIDDEN = "[hidden]"


def without_secrets(value: Any) -> Any:
    """The same JSON with whatever looks like a secret hidden: a last fence, since people read the log."""
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_HIDDEN, value)
    if isinstance(value, Mapping):
        return {
            key: _HIDDEN if _SECRET_NAME.search(str(key)) and isinstance(inner, str) else without_secrets(inner)
            for key, inner in value.items()
        }
    if isinstance(value, Sequence):
        return [without_secrets(inner) for inner in value]
    return value
