"""The sync log: one row for each attempt to sync one organisation's week, or month, of one kind of figures.

The sync type says whether a row is about a week or a month; `week_ending` has the last day of either.

The ids say which of two syncs of a week began later: the database gives them out, one sync of a week after the other.
No two moments of different processes are compared for that, since their clocks may differ.

The figures are in `figures/weekly.py`, and their earlier values in `figures/restatements.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, bindparam, func, insert, select, update

from xero_pipeline.clock import Clock
from xero_pipeline.periods import AnyPeriod, Period
from xero_pipeline.warehouse.database.locks import compute_advisory_key
from xero_pipeline.warehouse.logs.acceptances import (
    Acceptance,
    AcceptedDifferences,
    NoSuchLogRow,
    NothingToAccept,
    SyncedWeek,
    insert_acceptances,
    list_differences,
    normalise_difference,
    read_accepted_differences,
)
from xero_pipeline.warehouse.logs.hidden_secrets import hide_secrets
from xero_pipeline.warehouse.logs.sync_types import LANDED, MONTHLY_TYPES, WEEKLY_TYPES, SyncStatus, SyncType
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.weeks import Week

__all__ = [
    "INTERRUPTED", "LANDED", "MONTHLY_TYPES", "WEEKLY_TYPES", "ErrorLog", "LogEntry", "SyncLog", "SyncStatus",
    "SyncType", "has_landed",
]  # fmt: skip

ErrorLog = Mapping[str, Any] | Sequence[Any] | None

INTERRUPTED: Mapping[str, str] = {
    "error": "interrupted",
    "message": "This sync was cut off before it ended: its process was stopped or died.",
    "advice": "Nothing was changed; the next sync reads the week again.",
}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One row of the log. `week` is the week or, of a monthly sync type, the month."""

    id: int
    tenant_id: str
    sync_type: str
    week: Period
    status: str
    record_count: int
    api_calls: int
    error_log: Any
    dagster_run_id: str | None
    started_at: datetime
    completed_at: datetime | None
    read_at: datetime | None = None
    """By Xero's clock: every edit before this moment is in the figures."""
    accepted: Acceptance | None = None
    """Who accepted all its differences; `None` if one of them is open, or if it has none."""

    def as_dict(self) -> dict[str, Any]:
        """The form of the HTTP API and of `--json`."""
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
            "accepted": self.accepted.as_dict() if self.accepted else None,
        }


# Each landing asks both questions. They are built once, since SQLAlchemy takes longer to build than to run them.
_newer = logs.alias()
_WEEK = ("tenant_id", "sync_type", "week_ending")
_NEWER = (
    select(_newer)
    .join(logs, and_(*(_newer.c[name] == logs.c[name] for name in _WEEK), _newer.c.id > logs.c.id))
    .where(logs.c.id == bindparam("log_id"), _newer.c.status.in_(LANDED))
    .order_by(_newer.c.id.desc())
    .limit(1)
)
_LANDED_BEFORE = (
    select(logs.c.id).where(*(logs.c[name] == bindparam(name) for name in _WEEK), logs.c.status.in_(LANDED)).limit(1)
)
_ENTRY_COLUMNS = {field.name for field in fields(LogEntry)} - {"week"}


class SyncLog:
    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def start(self, tenant_id: str, sync_type: str, week: Period, run_id: str | None) -> int:
        """Record that a sync begins, and return the id of its row.

        If another row of the same organisation, kind and week is still `running`, its process has probably died,
        so it becomes `failed`. If that process is alive after all, it overwrites this when it ends.
        """
        now = self._clock.now()
        with self._engine.begin() as connection:
            _lock_week(connection, tenant_id, sync_type, week)
            same_week = (
                logs.c.tenant_id == tenant_id,
                logs.c.sync_type == str(sync_type),
                logs.c.week_ending == week.ending,
            )
            self._mark_interrupted(connection, *same_week)
            statement = insert(logs).values(
                tenant_id=tenant_id,
                sync_type=str(sync_type),
                week_ending=week.ending,
                status=SyncStatus.RUNNING.value,
                record_count=0,
                api_calls=0,
                dagster_run_id=run_id,
                started_at=now,
            )
            return int(connection.execute(statement.returning(logs.c.id)).scalar_one())

    def find_newer(self, connection: Connection, log_id: int) -> LogEntry | None:
        """The landing of the same week by the sync that began last, if it began after this one."""
        row = connection.execute(_NEWER, {"log_id": log_id}).first()
        return None if row is None else _to_entry(dict(row._mapping), AcceptedDifferences({}))

    def finish(
        self,
        connection: Connection,
        log_id: int,
        *,
        status: str,
        record_count: int,
        api_calls: int,
        error_log: ErrorLog = None,
        read_at: datetime | None = None,
        figures_changed: bool | None = None,
        documents: int | None = None,
    ) -> None:
        """Record how a sync ended, in the transaction that writes its figures.

        Args:
            read_at: when the reading began, by Xero's own clock.
            figures_changed: whether the week has other figures than before.
            documents: how many documents the week's revenue consists of, if they are stored.

        Raises:
            LookupError: there is no such row.
        """
        updated = connection.execute(
            update(logs)
            .where(logs.c.id == log_id)
            .values(
                status=SyncStatus(status).value,
                record_count=record_count,
                api_calls=api_calls,
                error_log=hide_secrets(error_log),
                completed_at=self._clock.now(),
                read_at=read_at,
                figures_changed=figures_changed,
                documents=documents,
            )
        )
        if updated.rowcount != 1:
            raise LookupError(f"the sync log has no row {log_id}")

    def fail(self, log_id: int, *, api_calls: int, error_log: ErrorLog) -> None:
        """Record that a sync failed and wrote no figures, in a transaction of its own."""
        with self._engine.begin() as connection:
            self.finish(
                connection,
                log_id,
                status=SyncStatus.FAILED,
                record_count=0,
                api_calls=api_calls,
                error_log=error_log,
            )

    def finish_overtaken(self, log_id: int, newer: LogEntry, *, api_calls: int) -> str:
        """Record that a sync which began later has landed the week, and return the note that says so.

        The week has landed, so the row has the status of that landing.
        """
        run = f"run {newer.dagster_run_id}" if newer.dagster_run_id else "another sync"
        what = f"{run} landed the newer figures (log {newer.id}), which stay"
        note = f"This {newer.week.NOUN} was read again meanwhile: {what}."
        error_log = dict(newer.error_log) if isinstance(newer.error_log, Mapping) else {}
        error_log["notes"] = [note]
        with self._engine.begin() as connection:
            self.finish(
                connection,
                log_id,
                status=newer.status,
                record_count=newer.record_count,
                api_calls=api_calls,
                error_log=error_log,
                figures_changed=False,
            )
        return note

    def list_newest(
        self,
        limit: int,
        *,
        tenant_id: str | None = None,
        sync_type: str | None = None,
        week: Period | None = None,
        status: str | None = None,
        period: type[Period] | None = None,
        ended_since: datetime | None = None,
    ) -> list[LogEntry]:
        """The newest rows, newest first; only those of one organisation, kind, week or status if it is given.

        Args:
            period: only rows about weeks, or about months.
            ended_since: only syncs that ended at that moment or later.
        """
        filters = {"tenant_id": tenant_id, "sync_type": sync_type, "status": status}
        where = [logs.c[name] == str(value) for name, value in filters.items() if value is not None]
        if week is not None:
            where.append(logs.c.week_ending == week.ending)
        if period is not None:
            where.append(logs.c.sync_type.in_([kind.value for kind in SyncType if kind.period is period]))
        if ended_since is not None:
            where.append(logs.c.completed_at >= ended_since)
        return self._read(*where, limit=limit)

    def list_for_run(self, run_id: str) -> list[LogEntry]:
        """Every row of one Dagster run, newest first."""
        return self._read(logs.c.dagster_run_id == run_id)

    def get_last(self, tenant_id: str, sync_type: str, week: Period) -> LogEntry | None:
        """The newest row of that organisation, kind and week, with any status."""
        entries = self.list_newest(1, tenant_id=tenant_id, sync_type=sync_type, week=week)
        return entries[0] if entries else None

    def list_landed_weeks(self, tenant_id: str, since: date) -> dict[str, dict[Week, int]]:
        """For each kind of figures, the landed weeks ending on or after `since`, with the id of the last landing."""
        return self.list_landed(tenant_id, since, Week)

    def list_landed(self, tenant_id: str, since: date, period: type[AnyPeriod]) -> dict[str, dict[AnyPeriod, int]]:
        """For each kind of figures of weeks, or of months, those that have landed, with the id of the last landing.

        Args:
            since: only those ending on or after this day.
        """
        kinds = [kind.value for kind in SyncType if kind.period is period]
        query = (
            select(logs.c.sync_type, logs.c.week_ending, func.max(logs.c.id).label("last_id"))
            .where(logs.c.tenant_id == tenant_id, logs.c.week_ending >= since, logs.c.status.in_(LANDED))
            .where(logs.c.sync_type.in_(kinds))
            .group_by(logs.c.sync_type, logs.c.week_ending)
            .order_by(logs.c.week_ending)
        )
        landed: dict[str, dict[AnyPeriod, int]] = {kind: {} for kind in kinds}
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                landed[row.sync_type][period(row.week_ending)] = row.last_id
        return landed

    def list_landed_since(self, tenant_id: str, moment: datetime) -> dict[str, set[Week]]:
        """For each kind of figures, the weeks that landed from a sync that began after this moment."""
        landed_since = (logs.c.tenant_id == tenant_id, logs.c.started_at > moment, logs.c.status.in_(LANDED))
        is_weekly = logs.c.sync_type.not_in(MONTHLY_TYPES)
        query = select(logs.c.sync_type, logs.c.week_ending).where(*landed_since, is_weekly)
        landed: dict[str, set[Week]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                landed.setdefault(row.sync_type, set()).add(Week(row.week_ending))
        return landed

    def close_interrupted(self, *, run_id: str) -> int:
        """Set the `running` rows of a Dagster run that is over to `failed`, and return their number."""
        with self._engine.begin() as connection:
            return self._mark_interrupted(connection, logs.c.dagster_run_id == run_id)

    def fail_if_running(self, log_id: int, *, api_calls: int, error_log: ErrorLog) -> None:
        """Record that a sync was cut off, unless it had ended just before."""
        failed = {"status": SyncStatus.FAILED.value, "api_calls": api_calls, "error_log": hide_secrets(error_log)}
        is_running = (logs.c.id == log_id, logs.c.status == SyncStatus.RUNNING.value)
        with self._engine.begin() as connection:
            connection.execute(update(logs).where(*is_running).values(**failed, completed_at=self._clock.now()))

    def _mark_interrupted(self, connection: Connection, *where: ColumnElement[bool]) -> int:
        return connection.execute(
            update(logs)
            .where(logs.c.status == SyncStatus.RUNNING.value, *where)
            .values(status=SyncStatus.FAILED.value, error_log=dict(INTERRUPTED), completed_at=self._clock.now())
        ).rowcount

    def accept(self, log_id: int, *, who: str, note: str | None = None) -> LogEntry:
        """Record that a person accepts the differences of a `partial` row, and return the row.

        Its status and figures stay. Accepting it again changes nothing.

        Raises:
            NoSuchLogRow: there is no such row.
            NothingToAccept: it is not `partial`, names no difference, or its week has other figures by now.
        """
        entries = self._read(logs.c.id == log_id)
        if not entries:
            raise NoSuchLogRow(f"The sync log has no row {log_id}.")
        entry = entries[0]
        if entry.status != SyncStatus.PARTIAL:
            raise NothingToAccept(f"Row {log_id} of the sync log is {entry.status}, not partial.")
        if not list_differences(entry.error_log):
            raise NothingToAccept(f"Row {log_id} of the sync log names no difference.")
        newest = self._read(*_of_same_week(entry), logs.c.status.in_(LANDED), limit=1)[0]
        if list(map(normalise_difference, list_differences(newest.error_log))) != list(
            map(normalise_difference, list_differences(entry.error_log))
        ):
            raise NothingToAccept(
                f"The week of row {log_id} has been read again since, with other figures: row {newest.id} is "
                f"{newest.status}."
            )
        with self._engine.begin() as connection:
            week = (entry.tenant_id, entry.sync_type, entry.week.ending)
            insert_acceptances(connection, week, entry.error_log, who=who, note=note, now=self._clock.now())
        return self._read(logs.c.id == log_id)[0]

    def _read(self, *where: ColumnElement[bool], limit: int | None = None) -> list[LogEntry]:
        query = select(logs).where(*where).order_by(logs.c.id.desc()).limit(limit)
        with self._engine.connect() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
            partial = [_get_synced_week(row) for row in rows if row["status"] == SyncStatus.PARTIAL]
            accepted = read_accepted_differences(connection, partial)
        return [_to_entry(row, accepted) for row in rows]


def _of_same_week(entry: LogEntry) -> tuple[ColumnElement[bool], ...]:
    return (
        logs.c.tenant_id == entry.tenant_id,
        logs.c.sync_type == entry.sync_type,
        logs.c.week_ending == entry.week.ending,
    )


def _get_synced_week(row: Mapping[str, Any]) -> SyncedWeek:
    return row["tenant_id"], row["sync_type"], row["week_ending"]


def has_landed(connection: Connection, tenant_id: str, sync_type: str, week: Period) -> bool:
    """Whether that organisation's week or month has ever landed."""
    key = {"tenant_id": tenant_id, "sync_type": str(sync_type), "week_ending": week.ending}
    return connection.execute(_LANDED_BEFORE, key).first() is not None


def _lock_week(connection: Connection, tenant_id: str, sync_type: str, week: Period) -> None:
    """Make two syncs of a week begin one after the other, so that the higher id is that of the later reading.

    SQLite has one writer at a time. PostgreSQL gives out ids before the transactions that use them are committed.
    """
    if connection.dialect.name == "postgresql":
        key = compute_advisory_key(f"sync:{tenant_id}:{sync_type}:{week}")
        connection.execute(select(func.pg_advisory_xact_lock(key)))


def _to_entry(values: dict[str, Any], accepted: AcceptedDifferences) -> LogEntry:
    is_partial = values["status"] == SyncStatus.PARTIAL
    acceptance = accepted.get_for_all(_get_synced_week(values), values["error_log"]) if is_partial else None
    entry = {name: value for name, value in values.items() if name in _ENTRY_COLUMNS}
    period = SyncType(values["sync_type"]).period
    return LogEntry(week=period(values["week_ending"]), accepted=acceptance, **entry)
