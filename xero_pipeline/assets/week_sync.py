"""How every asset syncs its weeks: one week of one organisation at a time, each in one transaction.

The asset passes `extract`, which fetches one organisation's week and says how to write it. `WeekSync` writes it, logs
it and reports it to Dagster. A week that fails does not stop the others.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
from pydantic import Field

from xero_pipeline.assets.metadata import build_columns_metadata, build_table_metadata, build_week_metadata
from xero_pipeline.assets.outcomes import Extract, ExtractedWeek, WeekOutcome
from xero_pipeline.assets.progress import Progress
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.warehouse.errors import DatabaseUnavailable, Superseded, UnknownOrganisation
from xero_pipeline.warehouse.logs.sync_log import INTERRUPTED, SyncType
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient, Xero
from xero_pipeline.xero.errors import (
    DayLimitReached,
    NotConnected,
    OrganisationDisconnected,
    RateLimited,
    ReconnectNeeded,
    XeroUnavailable,
)

# After so many weeks in a row in which Xero was unavailable, the run makes no more calls for the organisation.
MAX_OUTAGE_WEEKS = 3
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
    """The sync of one asset's weeks in one run."""

    sync_type: str
    xero: Xero
    warehouse: Warehouse
    progress: Progress
    data_source: str
    outages: dict[str, int] = field(default_factory=dict)
    """By tenant id: for how many weeks in a row Xero has been unavailable."""

    def materialize(
        self, context: dg.AssetExecutionContext, config: WeeklySyncConfig, extract: Extract
    ) -> dg.MaterializeResult[Any]:
        """Sync every week of the run.

        Raises:
            dagster.Failure: a week of an organisation did not land. The other weeks have landed, and each partition
                in which every organisation landed is marked as materialised.
        """
        weeks = [Week.from_key(key) for key in context.partition_keys]
        failed: list[WeekOutcome] = []
        try:
            organisations = choose_organisations(self.xero, config.organisations)
        except PipelineError as error:
            errors = {"errors": dg.MetadataValue.json([error.code])}
            raise dg.Failure(str(error), metadata=errors, allow_retries=False) from None
        for left_out in list_left_out_organisations(self.xero, config.organisations):
            context.log.warning("%s is left out: it has to be connected again", left_out.name)
        _tag_run(context, weeks, organisations)
        self.progress.begin(self.sync_type, len(weeks))
        for number, week in enumerate(weeks, start=1):
            outcomes = [self._sync_week(context, organisation, week, extract) for organisation in organisations]
            failed_outcomes = [outcome for outcome in outcomes if not outcome.has_landed]
            failed += failed_outcomes
            if not failed_outcomes:
                if week == weeks[-1]:
                    self._report_table(context, week, organisations)
                self._report_week(context, week, outcomes, is_only_week=len(weeks) == 1)
            calls = sum(outcome.calls for outcome in outcomes)
            context.log.info("week %d of %d, ending %s: %d calls", number, len(weeks), week, calls)
            self.progress.finish_week(self.sync_type, week, landed=not failed_outcomes)
        if failed:
            raise _build_failure(failed, len(weeks) * len(organisations))
        return dg.MaterializeResult()

    def _report_week(
        self, context: dg.AssetExecutionContext, week: Week, outcomes: Sequence[WeekOutcome], *, is_only_week: bool
    ) -> None:
        metadata = build_week_metadata(week, outcomes)
        context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=week.key)
        if not is_only_week:
            # Dagster marks the partitions of a range only when the whole run succeeds. With an event of its own, a
            # week that landed stays materialised even if a later week fails.
            context.log_event(
                dg.AssetMaterialization(asset_key=context.asset_key, partition=week.key, metadata=metadata)
            )

    def _report_table(
        self, context: dg.AssetExecutionContext, newest: Week, organisations: Sequence[OrganisationClient]
    ) -> None:
        """Describe the whole table, in the run's newest week only.

        Dagster shows the newest week first, and it stores events for ever.
        """
        kind = SyncType(self.sync_type)
        names = {organisation.tenant_id: organisation.name for organisation in organisations}
        context.add_asset_metadata(
            build_table_metadata(self.warehouse, kind, names), asset_key=context.asset_key, partition_key=newest.key
        )
        context.add_asset_metadata(build_columns_metadata(kind), asset_key=context.asset_key)

    def _sync_week(
        self, context: dg.AssetExecutionContext, organisation: OrganisationClient, week: Week, extract: Extract
    ) -> WeekOutcome:
        log_id = self.warehouse.log.start(organisation.tenant_id, self.sync_type, week, context.run.run_id)
        attempts_before = organisation.attempts
        try:
            self._require_available(organisation)
            outcome = self._read_and_land(organisation, week, extract, log_id, context.run.run_id, attempts_before)
        except Exception as error:
            # An error in one week does not stop the others.
            if not isinstance(error, PipelineError):
                context.log.exception("%s, week ending %s: unexpected error", organisation.name, week)
                error = _build_unexpected(error)
            calls = organisation.attempts - attempts_before
            outcome = WeekOutcome(organisation.tenant_id, organisation.name, week, "failed", calls, error=error)
            self._write_failure(organisation, log_id, outcome.calls, error)
            context.log.error("%s, week ending %s: %s", organisation.name, week, error)
        except BaseException as error:
            # The process is ending, and the run with it.
            self._write_failure(organisation, log_id, organisation.attempts - attempts_before, error)
            raise
        is_outage = _is_outage(outcome.error)
        self.outages[outcome.tenant_id] = self.outages.get(outcome.tenant_id, 0) + 1 if is_outage else 0
        for difference in outcome.differences:
            context.log.warning("%s, week ending %s: %s", organisation.name, week, difference)
        return outcome

    def _require_available(self, organisation: OrganisationClient) -> None:
        """Raise without a call after `MAX_OUTAGE_WEEKS`, so that an outage does not use up the day's calls.

        Each week takes several calls, even when all of them fail.
        """
        if self.outages.get(organisation.tenant_id, 0) >= MAX_OUTAGE_WEEKS:
            raise XeroUnavailable(
                f"Xero did not answer for the previous {MAX_OUTAGE_WEEKS} weeks of this run, so no call was made for "
                "this one."
            )

    def _read_and_land(
        self,
        organisation: OrganisationClient,
        week: Week,
        extract: Extract,
        log_id: int,
        run_id: str,
        attempts_before: int,
    ) -> WeekOutcome:
        """Read a week and write it. If a later reading has landed meanwhile, its figures stay: the week has landed.

        Args:
            attempts_before: the client's attempts before this week.
        """
        organisation.begin_reading()
        extracted = extract(organisation, week)
        status = "partial" if extracted.differences else "success"
        calls = organisation.attempts - attempts_before
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
                read_at=organisation.reading_began_at,
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

    def _write_failure(self, organisation: OrganisationClient, log_id: int, calls: int, error: BaseException) -> None:
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


def _is_outage(error: PipelineError | None) -> bool:
    """Whether Xero could not be asked. That includes a minute limit that waiting does not end.

    A spent day does not count: it costs neither calls nor time, and its error says when to continue.
    """
    return isinstance(error, (XeroUnavailable, RateLimited)) and not isinstance(error, DayLimitReached)


def choose_organisations(xero: Xero, wanted: Sequence[str]) -> list[OrganisationClient]:
    """Choose the organisations to sync: those with the tenant ids in `wanted`, or every connected one if it is empty.

    Raises:
        NotConnected: no organisation is connected.
        ReconnectNeeded: every one has to be connected again.
        UnknownOrganisation: a wanted organisation is not connected.
    """
    organisations = xero.list_organisations()
    if not organisations:
        raise NotConnected("No organisation is connected yet.")
    unknown = set(wanted) - {organisation.tenant_id for organisation in organisations}
    if unknown:
        raise UnknownOrganisation(f"No organisation with the id {', '.join(sorted(unknown))} is connected.")
    if wanted:
        return [organisation for organisation in organisations if organisation.tenant_id in wanted]
    left_out = list_left_out_organisations(xero, wanted)
    if len(left_out) == len(organisations):
        names = ", ".join(organisation.name for organisation in organisations)
        raise ReconnectNeeded(f"No organisation is connected to Xero any longer ({names}).")
    return [organisation for organisation in organisations if organisation not in left_out]


def list_left_out_organisations(xero: Xero, wanted: Sequence[str]) -> list[OrganisationClient]:
    """List the organisations that `choose_organisations` leaves out: those that have to be connected again.

    Each of their weeks would fail, so one that is gone for good would fail every sync.
    """
    lost = ConnectionStatus.RECONNECT_NEEDED
    return [client for client in xero.list_organisations() if not wanted and client.organisation.status is lost]


def _tag_run(
    context: dg.AssetExecutionContext, weeks: Sequence[Week], organisations: Sequence[OrganisationClient]
) -> None:
    """Tag the run, however it was started, so that Dagster's list of runs can be searched by week and organisation."""
    names = ", ".join(organisation.name for organisation in organisations)
    if len(names) > _MAX_TAG_LENGTH:
        names = f"{names[:_MAX_TAG_LENGTH]}…"
    week_range = str(weeks[-1]) if len(weeks) == 1 else f"{weeks[0]} to {weeks[-1]}"
    tags = {"week_ending": week_range, "organisation": names}
    context.instance.add_run_tags(context.run.run_id, tags)


def _build_error_log(extracted: ExtractedWeek) -> dict[str, Any] | None:
    error_log: dict[str, Any] = {}
    if extracted.differences:
        error_log["differences"] = [difference.as_dict() for difference in extracted.differences]
    if extracted.notes:
        error_log["notes"] = list(extracted.notes)
    return error_log or None


def _describe_error(error: BaseException) -> dict[str, Any]:
    if isinstance(error, (dg.DagsterExecutionInterruptedError, KeyboardInterrupt, SystemExit)):
        return dict(INTERRUPTED)
    if not isinstance(error, PipelineError):
        error = _build_unexpected(error)
    retry_at = getattr(error, "retry_at", None)
    description = {"error": error.code, "message": error.what, "advice": error.advice}
    return description | ({"retry_at": retry_at.isoformat()} if retry_at else {})


def _build_unexpected(error: BaseException) -> Unexpected:
    # The text of an unknown exception may hold a secret or a figure, so only its class is shown.
    return Unexpected(f"{type(error).__name__}; the run's log says more.")


def _build_failure(failed: Sequence[WeekOutcome], total: int) -> dg.Failure:
    lines = [f"{outcome.tenant_name}, week ending {outcome.week}: {outcome.error}" for outcome in failed[:10]]
    more = f" … and {len(failed) - 10} more" if len(failed) > 10 else ""
    return dg.Failure(
        f"{len(failed)} of {total} weeks of organisations did not land. " + " | ".join(lines) + more,
        metadata={
            "failed_weeks": dg.MetadataValue.json(sorted({str(outcome.week) for outcome in failed})),
            "organisations": dg.MetadataValue.json(sorted({outcome.tenant_name for outcome in failed})),
            "errors": dg.MetadataValue.json(sorted({outcome.error.code for outcome in failed if outcome.error})),
        },
        allow_retries=False,
    )
