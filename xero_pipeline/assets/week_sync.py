"""How every asset syncs its weeks, or months: one week of one organisation at a time, each in one transaction.

The asset passes how a week is extracted, which threads do side by side (`week_reading.py`, `fetch_ahead.py`).
`WeekSync` lands each week, logs it and reports it to Dagster (`week_reports.py`), in the run's own thread. A week that
fails does not stop the others.
"""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from xero_pipeline.assets.fetch_ahead import FetchAhead
from xero_pipeline.assets.outcomes import BeginExtracting, ExtractedWeek, RunScope, WeekOutcome
from xero_pipeline.assets.progress import Progress
from xero_pipeline.assets.run_organisations import choose_run_organisations, list_left_out_organisations
from xero_pipeline.assets.turns import take_turn
from xero_pipeline.assets.week_reading import ReadWeek, WeekReader
from xero_pipeline.assets.week_reports import WeekReports
from xero_pipeline.dagster_internals import WITHOUT_MATERIALIZATION
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.errors import DatabaseUnavailable, Superseded
from xero_pipeline.warehouse.figures.account_revenue import read_revenue_by_account
from xero_pipeline.warehouse.logs.sync_log import INTERRUPTED, LANDED, SyncType
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient, Xero
from xero_pipeline.xero.errors import OrganisationDisconnected

# Dagster indexes the tags of its runs, so tags are kept short.
_MAX_TAG_LENGTH = 200


class Unexpected(PipelineError):
    """A defect, or an error without a class of its own. The run's log has the traceback."""

    code = "unexpected"


class WeeklySyncConfig(dg.Config):
    """The configuration of a run."""

    organisations: list[str] = Field(
        default_factory=list, description="Tenant ids to sync. Leave it empty for every connected organisation."
    )


@dataclass(frozen=True)
class WeekSync:
    """The sync of one asset's weeks in one run.

    `at_once` is how many weeks of one organisation are read at once, `organisations_per_run` how many organisations a
    run takes that names none, and `read_together` whether the weeks of an
    organisation are read with one request (`WeekReader`).
    """

    sync_type: str
    xero: Xero
    warehouse: Warehouse
    progress: Progress
    data_source: str
    organisations_per_run: int
    at_once: int = 1
    read_together: bool = False

    def materialize(
        self, context: dg.AssetExecutionContext, config: WeeklySyncConfig, begin: BeginExtracting[Any]
    ) -> dg.MaterializeResult[Any]:
        """Sync every week of the run.

        Raises:
            dagster.Failure: a week of an organisation did not land. The other weeks have landed, and each partition
                that every connected organisation has landed is marked as materialised.
        """
        period = SyncType(self.sync_type).period
        weeks = [period.from_key(key) for key in context.partition_keys]
        try:
            organisations = choose_run_organisations(
                context, self.xero, config.organisations, self.organisations_per_run
            )
        except PipelineError as error:
            errors = {"errors": dg.MetadataValue.json([error.code])}
            raise dg.Failure(str(error), metadata=errors, allow_retries=False) from None
        for left_out in list_left_out_organisations(self.xero, config.organisations):
            context.log.warning("%s is left out: it has to be connected again", left_out.name)
        _tag_run(context, weeks, organisations)
        self.progress.begin(self.sync_type, len(weeks))
        reports = WeekReports(
            context,
            self.warehouse,
            SyncType(self.sync_type),
            weeks,
            organisations,
            others_connected=_are_others_connected(self.xero, organisations),
        )
        with ExitStack() as stack:
            extract = begin(RunScope(weeks, partial(self._read_landed_revenue, context.run.run_id), stack))
            reader = WeekReader(
                self.sync_type,
                self.warehouse.log,
                context.run.run_id,
                extract,
                weeks,
                read_together=self.read_together,
            )
            answered = stack.enter_context(
                contextlib.closing(self._read_in_turns(context, reader, organisations, weeks))
            )
            try:
                for read in answered:
                    outcome = self._finish_week(context, read)
                    if read.log_id is not None:
                        reader.end_row(read.log_id)
                    if reports.add(outcome):
                        self.progress.finish_week(self.sync_type, read.week, landed=reports.has_landed(read.week))
            except BaseException as error:
                # The process is ending, and the run with it.
                self._interrupt(reader, error)
                reports.mark_landed_weeks()
                raise
        if reports.failed:
            reports.mark_landed_weeks()
            raise _build_failure(reports.failed, len(weeks) * len(organisations))
        if reports.incomplete:
            reports.mark_landed_weeks()
            return dg.MaterializeResult(metadata=WITHOUT_MATERIALIZATION)
        return dg.MaterializeResult()

    def _read_in_turns(
        self,
        context: dg.AssetExecutionContext,
        reader: WeekReader,
        organisations: Sequence[OrganisationClient],
        weeks: Sequence[Period],
    ) -> Generator[ReadWeek]:
        """Read every week, first of the organisations that no other run is reading, then of the others."""

        def log_wait(organisation: OrganisationClient) -> None:
            context.log.info("%s: another run reads these weeks, so this one waits", organisation.name)

        while organisations:
            with take_turn(self.warehouse.locks, self.sync_type, organisations, weeks, log_wait) as taken:
                lanes = [[(organisation, week) for week in weeks] for organisation in taken]
                yield from FetchAhead(
                    lanes, reader.read, at_once=self.at_once, is_answered=lambda read: not read.is_outage
                )
            organisations = [one for one in organisations if one not in taken]

    def _finish_week(self, context: dg.AssetExecutionContext, read: ReadWeek) -> WeekOutcome:
        """Land a week that was read, or log why it could not be."""
        organisation, week, log_id = read.organisation, read.week, read.log_id
        if log_id is None:
            raise read.error or RuntimeError("the week has no row in the sync log")
        try:
            if read.extracted is None:
                raise read.error or RuntimeError("the week was not read")
            outcome = self._land(read, read.extracted, log_id, context.run.run_id)
        except Exception as error:
            # An error in one week does not stop the others.
            if not isinstance(error, PipelineError):
                context.log.exception("%s, %s ending %s: unexpected error", organisation.name, week.NOUN, week)
                error = _build_unexpected(error)
            calls = read.reading.calls
            outcome = WeekOutcome(organisation.tenant_id, organisation.name, week, "failed", calls, error=error)
            self._write_failure(organisation, log_id, calls, error)
            context.log.error("%s, %s ending %s: %s", organisation.name, week.NOUN, week, error)
        for difference in outcome.differences:
            context.log.warning("%s, %s ending %s: %s", organisation.name, week.NOUN, week, difference)
        return outcome

    def _land(self, read: ReadWeek, extracted: ExtractedWeek, log_id: int, run_id: str) -> WeekOutcome:
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
                run_id=run_id,
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

    def _read_landed_revenue(self, run_id: str, tenant_id: str, week: Period) -> Mapping[str, Decimal] | None:
        """The net revenue by account of a week that this run has landed; `None` if it has not."""
        if not isinstance(week, Week):
            return None
        entry = self.warehouse.log.get_last(tenant_id, SyncType.INVOICES, week)
        if entry is None or entry.dagster_run_id != run_id or entry.status not in LANDED:
            return None
        return read_revenue_by_account(self.warehouse.engine, tenant_id, week)

    def _interrupt(self, reader: WeekReader, error: BaseException) -> None:
        """Close the rows of the weeks that were being read."""
        # Where the database is unavailable, the rows stay `running` and are closed as interrupted later.
        with contextlib.suppress(DatabaseUnavailable):
            for log_id, reading in reader.stop().items():
                self.warehouse.log.fail_if_running(
                    log_id, api_calls=reading.calls, error_log=_describe_interruption(error)
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


def _are_others_connected(xero: Xero, organisations: Sequence[OrganisationClient]) -> bool:
    synced = {organisation.tenant_id for organisation in organisations}
    return any(
        client.organisation.status is ConnectionStatus.CONNECTED and client.tenant_id not in synced
        for client in xero.list_organisations()
    )


def _tag_run(
    context: dg.AssetExecutionContext, weeks: Sequence[Period], organisations: Sequence[OrganisationClient]
) -> None:
    """Tag the run, however it was started, so that Dagster's list of runs can be searched by week and organisation."""
    names = ", ".join(organisation.name for organisation in organisations)
    if len(names) > _MAX_TAG_LENGTH:
        names = f"{names[:_MAX_TAG_LENGTH]}…"
    week_range = str(weeks[-1]) if len(weeks) == 1 else f"{weeks[0]} to {weeks[-1]}"
    tags = {weeks[-1].COLUMN: week_range, "organisation": names}
    context.instance.add_run_tags(context.run.run_id, tags)


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
        return _describe_error(error if isinstance(error, PipelineError) else _build_unexpected(error))
    return dict(INTERRUPTED)


def _build_unexpected(error: BaseException) -> Unexpected:
    # The text of an unknown exception may hold a secret or a figure, so only its class is shown.
    return Unexpected(f"{type(error).__name__}; the run's log says more.")


def _build_failure(failed: Sequence[WeekOutcome], total: int) -> dg.Failure:
    lines = [
        f"{outcome.tenant_name}, {outcome.week.NOUN} ending {outcome.week}: {outcome.error}" for outcome in failed[:10]
    ]
    more = f" … and {len(failed) - 10} more" if len(failed) > 10 else ""
    return dg.Failure(
        f"{len(failed)} of {total} {failed[0].week.NOUN}s of organisations did not land. " + " | ".join(lines) + more,
        metadata={
            "failed_weeks": dg.MetadataValue.json(sorted({str(outcome.week) for outcome in failed})),
            "organisations": dg.MetadataValue.json(sorted({outcome.tenant_name for outcome in failed})),
            "errors": dg.MetadataValue.json(sorted({outcome.error.code for outcome in failed if outcome.error})),
        },
        allow_retries=False,
    )
