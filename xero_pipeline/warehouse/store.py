"""The warehouse as one object: what the layers above hold of it. Each part's own rules are in its module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL

from xero_pipeline.clock import Clock
from xero_pipeline.rate_limits import CallLimits
from xero_pipeline.warehouse.call_budget.budget import SqlCallBudget
from xero_pipeline.warehouse.connections.cipher import Cipher
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
from xero_pipeline.warehouse.logs.sync_log import ErrorLog, SyncLog
from xero_pipeline.weeks import Week


class Warehouse:
    """A deployment's database. Opening it neither connects nor asks for its schema (`require_current`)."""

    def __init__(self, engine: Engine, cipher: Cipher, clock: Clock) -> None:
        self.engine = engine
        self.cipher = cipher
        self.clock = clock
        self.locks = Locks(engine)
        self.tokens = TokenStore(engine, cipher, clock, self.locks)
        self.log = SyncLog(engine, clock)

    @classmethod
    def open(cls, url: URL | str, keys: Sequence[bytes], clock: Clock) -> Warehouse:
        """
        Args:
            keys: the encryption key, then the retired ones: 32 bytes each.
        """
        return cls(open_engine(url), Cipher(keys), clock)

    def migrate(self) -> str:
        """Bring the database to the newest schema; answers which that is. See `migrating.migrate`."""
        return migrating.migrate(self.engine)

    def require_current(self) -> None:
        """See to it that the database can be used as it is. See `migrating.require_current`.

        Raises:
            NotMigrated, DatabaseUnavailable: it cannot.
        """
        migrating.require_current(self.engine)

    def budget(self, limits: CallLimits) -> SqlCallBudget:
        """The slots of Xero's calls, shared by every process on this database."""
        return SqlCallBudget(self.engine, limits)

    def land(
        self,
        write: Callable[[Connection, Provenance], ReplaceResult],
        *,
        tenant_id: str,
        week: Week,
        currency: str,
        data_source: str,
        run_id: str | None,
        log_id: int,
        status: str,
        api_calls: int,
        error_log: ErrorLog = None,
    ) -> ReplaceResult:
        """Replace a week and finish its row of the sync log, in one transaction: both or neither.

        Args:
            write: replaces the week, such as `replace_revenue` with its frame.
            log_id: the row that `log.start` began.
            status: `success` or `partial`.

        Raises:
            Superseded: a reading that began later has landed already, and must not be undone by this one.
        """
        stamp = Provenance(tenant_id, week, currency, data_source, run_id, self.clock.now())
        with self.engine.begin() as connection:
            landing = write(connection, stamp)
            # Only now, since `write` has waited for whoever writes the same week.
            if self.log.is_superseded(connection, log_id):
                raise Superseded(f"The week ending {week} has been read anew meanwhile.")
            self.log.finish(
                connection,
                log_id,
                status=status,
                record_count=landing.rows,
                api_calls=api_calls,
                error_log=error_log,
            )
            self.tokens.touch_synced(tenant_id, stamp.now, connection=connection)
        return landing

    def week_figures(self, tenant_id: str, week: Week) -> WeekFigures:
        """Everything that is held of one organisation's week."""
        return figures.week_figures(self.engine, tenant_id, week)

    def summary(self, tenant_id: str, first: Week, last: Week) -> list[WeekSummary]:
        """The weeks from `first` to `last` of which anything is held, oldest first."""
        return figures.summary(self.engine, tenant_id, first, last)

    def restatements(
        self,
        since: datetime | None = None,
        tenant_id: str | None = None,
        limit: int | None = None,
        week: Week | None = None,
    ) -> list[Restatement]:
        """Figures that a later sync changed, the newest first. See `restatements.list_restatements`."""
        return restatements.list_restatements(self.engine, since, tenant_id, limit, week)

    def close(self) -> None:
        """Give every connection back."""
        self.locks.close()
        self.engine.dispose()
