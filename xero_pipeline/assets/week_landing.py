"""Lands a week, or month, of an organisation that was read, or logs why it could not be: in one transaction each."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import dagster as dg

from xero_pipeline.assets.outcomes import ExtractedWeek, WeekOutcome
from xero_pipeline.assets.week_reading import ReadWeek, WeekReader
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.errors import DatabaseUnavailable, Superseded
from xero_pipeline.warehouse.figures.account_revenue import read_revenue_by_account
from xero_pipeline.warehouse.logs.sync_log import INTERRUPTED, LANDED, SyncType
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.errors import OrganisationDisconnected


class Unexpected(PipelineError):
    """A defect, or an error without a class of its own. The run's log has the traceback: it is the cause."""

    code = "unexpected"


@dataclass(frozen=True)
class WeekLander:
    """Lands the weeks of one run."""

    warehouse: Warehouse
    data_source: str
    run_id: str

    def finish(self, read: ReadWeek) -> WeekOutcome:
        """Land a week that was read, or log why it could not be."""
        organisation, week, log_id = read.organisation, read.week, read.log_id
        if log_id is None:
            raise read.error or RuntimeError("the week has no row in the sync log")
        try:
            if read.extracted is None:
                raise read.error or RuntimeError("the week was not read")
            return self._land(read, read.extracted, log_id)
        except Exception as error:  # noqa: BLE001 - an error in one week does not stop the others
            named = error if isinstance(error, PipelineError) else build_unexpected(error)
            calls = read.reading.calls
            self._write_failure(organisation, log_id, calls, named)
            return WeekOutcome(organisation.tenant_id, organisation.name, week, "failed", calls, error=named)

    def interrupt(self, reader: WeekReader, error: BaseException) -> None:
        """Begin no further week of that reader, and close the rows of the weeks that were being read."""
        # Where the database is unavailable, the rows stay `running` and are closed as interrupted later.
        with contextlib.suppress(DatabaseUnavailable):
            for log_id, reading in reader.stop().items():
                self.warehouse.log.fail_if_running(
                    log_id, api_calls=reading.calls, error_log=_describe_interruption(error)
                )

    def read_landed_revenue(self, tenant_id: str, week: Period) -> Mapping[str, Decimal] | None:
        """The net revenue by account of a week that this run has landed; `None` if it has not."""
        if not isinstance(week, Week):
            return None
        entry = self.warehouse.log.get_last(tenant_id, SyncType.INVOICES, week)
        if entry is None or entry.dagster_run_id != self.run_id or entry.status not in LANDED:
            return None
        return read_revenue_by_account(self.warehouse.engine, tenant_id, week)

    def _land(self, read: ReadWeek, extracted: ExtractedWeek, log_id: int) -> WeekOutcome:
        """Write a week. If a later reading has landed meanwhile, its figures stay: the week has landed."""
        organisation, week = read.organisation, read.week
        status = "partial" if extracted.differences else "success"
        calls = read.reading.calls
        outcome = WeekOutcome(
            organisation.tenant_id, organisation.name, week, status, calls, currency=extracted.currency
        )
        try:
            result = self.warehouse.land(
                extracted.write,
                tenant_id=organisation.tenant_id,
                week=week,
                currency=extracted.currency,
                data_source=self.data_source,
                run_id=self.run_id,
                log_id=log_id,
                status=status,
                api_calls=calls,
                error_log=_build_error_log(extracted),
                read_at=extracted.read_at or read.reading.began_at,
            )
        except Superseded as overtaken:
            newer = overtaken.newer
            note = self.warehouse.log.finish_overtaken(log_id, newer, api_calls=calls)
            return replace(outcome, status=newer.status, rows=newer.record_count, notes=(note,))
        differences = [*extracted.differences, *result.differences]
        return replace(
            outcome,
            status="partial" if differences else "success",
            rows=result.rows,
            totals=extracted.totals,
            restated=result.restated,
            differences=differences,
            notes=extracted.notes,
        )

    def _write_failure(self, organisation: OrganisationClient, log_id: int, calls: int, error: PipelineError) -> None:
        # Where the database is unavailable, the row stays `running` and is closed as interrupted later.
        with contextlib.suppress(DatabaseUnavailable):
            self.warehouse.log.fail(log_id, api_calls=calls, error_log=_describe_error(error))
            if isinstance(error, OrganisationDisconnected):
                # Xero no longer lists the organisation. (A refused refresh token is recorded where it was refused.)
                # From now on the status says that the organisation has to be reconnected, and no call is made for it.
                self.warehouse.tokens.set_status(
                    organisation.tenant_id,
                    ConnectionStatus.RECONNECT_NEEDED,
                    grant_id=organisation.organisation.grant_id,
                )


def build_unexpected(error: BaseException) -> Unexpected:
    """Build the error that is shown for one without a class of its own. Its cause is `error`."""
    # The text of an unknown exception may hold a secret or a figure, so only its class is shown.
    unexpected = Unexpected(f"{type(error).__name__}; the run's log says more.")
    unexpected.__cause__ = error
    return unexpected


def _build_error_log(extracted: ExtractedWeek) -> dict[str, Any] | None:
    error_log: dict[str, Any] = {}
    if extracted.differences:
        error_log["differences"] = [difference.as_dict() for difference in extracted.differences]
    if extracted.notes:
        error_log["notes"] = list(extracted.notes)
    return error_log or None


def _describe_error(error: PipelineError) -> dict[str, Any]:
    retry_at = getattr(error, "retry_at", None)
    description = {"error": error.code, "message": error.what, "advice": error.advice}
    return description | ({"retry_at": retry_at.isoformat()} if retry_at else {})


def _describe_interruption(error: BaseException) -> dict[str, Any]:
    if isinstance(error, Exception) and not isinstance(error, dg.DagsterExecutionInterruptedError):
        return _describe_error(error if isinstance(error, PipelineError) else build_unexpected(error))
    return dict(INTERRUPTED)
