"""The warehouse as one object, which the layers above use. Each part's own rules are in its module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL

from xero_pipeline.clock import Clock
from xero_pipeline.periods import Period
from xero_pipeline.rate_limits import CallLimits
from xero_pipeline.warehouse.access.audit_log import AuditLog
from xero_pipeline.warehouse.access.persons import Persons
from xero_pipeline.warehouse.access.sessions import SessionStore
from xero_pipeline.warehouse.call_budget.budget import SqlCallBudget
from xero_pipeline.warehouse.connections.cipher import Cipher
from xero_pipeline.warehouse.connections.facts import FactStore
from xero_pipeline.warehouse.connections.tokens import TokenStore
from xero_pipeline.warehouse.database import migrating
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.locks import Locks
from xero_pipeline.warehouse.errors import Superseded
from xero_pipeline.warehouse.figures import queries as figures
from xero_pipeline.warehouse.figures import restatements
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.figures.queries import WeekFigures, WeekSummary
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.warehouse.logs.sync_log import ErrorLog, SyncLog, SyncStatus
from xero_pipeline.weeks import Week


class Warehouse:
    """A deployment's database. Opening it neither connects nor checks the schema; `require_current` checks it.

    Args:
        locks: what excludes other processes; by default the locks of this database.
    """

    def __init__(self, engine: Engine, cipher: Cipher, clock: Clock, locks: Locks | None = None) -> None:
        self.engine = engine
        self.cipher = cipher
        self.clock = clock
        self.locks = locks or Locks(engine)
        self.tokens = TokenStore(engine, cipher, clock, self.locks)
        self.facts = FactStore(engine)
        self.log = SyncLog(engine, clock)
        self.persons = Persons(engine)
        self.sessions = SessionStore(engine)
        self.audit = AuditLog(engine)

    @classmethod
    def open(cls, url: URL | str, keys: Sequence[bytes], clock: Clock) -> Warehouse:
        """
        Args:
            keys: the encryption key, then the retired ones, each of 32 bytes.
        """
        return cls(open_engine(url), Cipher(keys), clock)

    def migrate(self) -> str:
        """Migrate the database to the newest schema and return its revision. See `migrating.migrate`."""
        return migrating.migrate(self.engine)

    def require_current(self) -> None:
        """Check that the database has the schema that this version needs. See `migrating.require_current`.

        Raises:
            NotMigrated: its schema is older, newer or missing.
            DatabaseUnavailable: it cannot be reached.
        """
        migrating.require_current(self.engine)

    def make_call_budget(self, limits: CallLimits) -> SqlCallBudget:
        """The call permits, shared by every process that uses this database."""
        return SqlCallBudget(self.engine, limits, self.locks)

    def land(
        self,
        write: Callable[[Connection, Provenance], ReplaceResult],
        *,
        tenant_id: str,
        week: Period,
        currency: str,
        data_source: str,
        run_id: str | None,
        log_id: int,
        status: str,
        api_calls: int,
        error_log: ErrorLog = None,
        read_at: datetime | None = None,
    ) -> ReplaceResult:
        """Replace the figures of a week or a month and finish its row of the sync log, in one transaction.

        Args:
            write: replaces them, for example `replace_revenue` with its data frame.
            log_id: the row that `log.start` wrote.
            status: `success` or `partial`. It becomes `partial` if the result of `write` has differences.
            read_at: by Xero's clock, the moment before which every edit is in the figures, as far as Xero stated it.

        Raises:
            Superseded: a sync that began later has already landed this week. Its figures are newer and stay.
        """
        provenance = Provenance(tenant_id, week, currency, data_source, run_id, self.clock.now())
        with self.engine.begin() as connection:
            result = write(connection, provenance)
            # Check after `write`, which has waited for any other process that writes the same week.
            if newer := self.log.find_newer(connection, log_id):
                raise Superseded(
                    f"Another sync has read the {week.NOUN} ending {week} again in the meantime.",
                    log_id=log_id,
                    newer=newer,
                )
            self.log.finish(
                connection,
                log_id,
                status=SyncStatus.PARTIAL if result.differences else status,
                record_count=result.rows,
                api_calls=api_calls,
                error_log=_add_differences(error_log, result),
                read_at=read_at,
                figures_changed=bool(result.restated) or not result.previous,
                documents=result.documents,
            )
            self.tokens.touch_synced(tenant_id, provenance.now, connection=connection)
        return result

    def read_week_figures(self, tenant_id: str, week: Week) -> WeekFigures:
        """All stored figures of one organisation's week."""
        return figures.read_figures(self.engine, tenant_id, week)

    def read_summary(self, tenant_id: str, first: Week, last: Week) -> list[WeekSummary]:
        """The weeks from `first` to `last` that have figures, oldest first."""
        return figures.read_summary(self.engine, tenant_id, first, last)

    def list_restatements(
        self,
        since: datetime | None = None,
        tenant_id: str | None = None,
        limit: int | None = None,
        week: Period | None = None,
    ) -> list[Restatement]:
        """The figures that a later sync changed, newest first. See `restatements.list_restatements`."""
        return restatements.list_restatements(self.engine, since, tenant_id, limit, week)

    def close(self) -> None:
        """Close every connection."""
        self.locks.close()
        self.engine.dispose()


def _add_differences(error_log: ErrorLog, result: ReplaceResult) -> ErrorLog:
    if not result.differences:
        return error_log
    entries = dict(error_log) if isinstance(error_log, Mapping) else {}
    found = [difference.as_dict() for difference in result.differences]
    return entries | {"differences": [*entries.get("differences", ()), *found]}
