"""The part of a sync of a week or month that threads do side by side: begin its row of the sync log, fetch, read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xero_pipeline.assets.outcomes import Extract, ExtractedWeek
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.logs.sync_log import SyncLog
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.errors import DayLimitReached, RateLimited, XeroUnavailable
from xero_pipeline.xero.reading import Reading, begin_reading

# After so many weeks in a row in which Xero was unavailable, the run makes no more calls for the organisation.
MAX_OUTAGE_WEEKS = 3

Job = tuple[OrganisationClient, Period]


class _Stopped(Exception):
    """The run ends, so no further week is begun."""


@dataclass
class ReadWeek:
    """One organisation's week as a thread has read it: `extracted`, or the `error` that it met.

    `log_id` is `None` only if its row could not be begun.
    """

    organisation: OrganisationClient
    week: Period
    reading: Reading = field(default_factory=Reading)
    log_id: int | None = None
    extracted: ExtractedWeek | None = None
    error: Exception | None = None

    @property
    def is_outage(self) -> bool:
        """Whether Xero could not be asked. That includes a minute limit that waiting does not end.

        A spent day does not count: it costs neither calls nor time, and its error says when to continue.
        """
        return isinstance(self.error, (XeroUnavailable, RateLimited)) and not isinstance(self.error, DayLimitReached)


class WeekReader:
    """Reads the weeks of one asset in one run. Safe to use from several threads.

    Args:
        weeks: all weeks of the run. If they are `read_together`, the rows of an organisation's weeks begin together,
            before its first call: a row's id says which of two readings began later.
    """

    def __init__(
        self,
        sync_type: str,
        log: SyncLog,
        run_id: str,
        extract: Extract[Any],
        weeks: Sequence[Period],
        *,
        read_together: bool,
    ) -> None:
        self._sync_type = sync_type
        self._log = log
        self._run_id = run_id
        self._extract = extract
        self._weeks = weeks
        self._read_together = read_together
        # Rows begin one after the other, and none begins once the run has stopped. The thread that lands weeks ends
        # rows meanwhile, so it must not wait for a row that is being written.
        self._begin_lock = threading.Lock()
        self._lock = threading.Lock()
        self._log_ids: dict[tuple[str, Period], int] = {}
        self._open: dict[int, Reading] = {}
        self._outages: dict[str, int] = {}
        self._is_stopped = False

    def read(self, job: Job) -> ReadWeek:
        organisation, week = job
        with begin_reading() as reading:
            read = ReadWeek(organisation, week, reading)
            try:
                read.log_id = self._begin_row(organisation, week, reading)
                self._require_available(organisation)
                read.extracted = self._extract(organisation, week)
            except Exception as error:  # noqa: BLE001 - the thread that lands the weeks decides what to do with it
                read.error = error
        with self._lock:
            tenant_id = organisation.tenant_id
            self._outages[tenant_id] = self._outages.get(tenant_id, 0) + 1 if read.is_outage else 0
        return read

    def end_row(self, log_id: int) -> None:
        """The row of the sync log has its result."""
        with self._lock:
            self._open.pop(log_id, None)

    def stop(self) -> dict[int, Reading]:
        """Begin no further week, and return the rows that have no result, with their readings so far."""
        with self._begin_lock:
            self._is_stopped = True
        with self._lock:
            return dict(self._open)

    def _begin_row(self, organisation: OrganisationClient, week: Period, reading: Reading) -> int:
        tenant_id = organisation.tenant_id
        with self._begin_lock:
            if self._is_stopped:
                raise _Stopped
            if (tenant_id, week) not in self._log_ids:
                for one in self._weeks if self._read_together else [week]:
                    log_id = self._log.start(tenant_id, self._sync_type, one, self._run_id)
                    self._log_ids[tenant_id, one] = log_id
                    with self._lock:
                        self._open[log_id] = Reading()
            log_id = self._log_ids[tenant_id, week]
        with self._lock:
            self._open[log_id] = reading
        return log_id

    def _require_available(self, organisation: OrganisationClient) -> None:
        """Raise without a call after `MAX_OUTAGE_WEEKS`, so that an outage does not use up the day's calls.

        Each week takes several calls, even when all of them fail.
        """
        with self._lock:
            outages = self._outages.get(organisation.tenant_id, 0)
        if outages >= MAX_OUTAGE_WEEKS:
            raise XeroUnavailable(
                f"Xero did not answer for the previous {MAX_OUTAGE_WEEKS} weeks of this run, so no call was made for "
                "this one."
            )
