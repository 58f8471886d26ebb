"""How every asset walks its weeks: one week of one organisation at a time, each landing whole or not at all.

What a week's figures are is the asset's own business: it hands in `extract`, which fetches one
organisation's week and says how to write it. Here they are written, logged and reported; a failed week
stops no other.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import Field

from xero_pipeline.assets.metadata import columns_metadata, table_metadata, week_metadata
from xero_pipeline.assets.outcomes import Extract, ExtractedWeek, WeekOutcome
from xero_pipeline.assets.progress import Progress
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.warehouse.errors import DatabaseUnavailable, Superseded, UnknownOrganisation
from xero_pipeline.warehouse.logs.sync_log import INTERRUPTED, SyncType
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient, Xero
from xero_pipeline.xero.errors import NotConnected, OrganisationDisconnected, ReconnectNeeded, XeroUnavailable

# So many weeks in a row for which Xero was unavailable, and the rest of the run is not asked for.
GIVES_UP_AFTER = 3
# A tag is an index of Dagster's database, and no place for a list of fifty names.
_TAG_LONG = 200


class Unexpected(PipelineError):
    """A defect, or an error that nobody has put into words; the run's log has all of it."""

    code = "unexpected"


class WeeklySyncConfig(dg.Config):
    """What a run may be told."""

    organisations: list[str] = Field(
        default_factory=list, description="The tenant ids to sync; none named: every organisation that is kept."
    )


@dataclass(frozen=True)
class WeekSync:
    """One asset's way through the weeks of a run."""

    sync_type: str
    xero: Xero
    warehouse: Warehouse
    progress: Progress
    data_source: str
    outages: dict[str, int] = field(default_factory=dict)
    """How many weeks in a row each organisation was asked for in vain."""

    def materialize(
        self, context: dg.AssetExecutionContext, config: WeeklySyncConfig, extract: Extract
    ) -> dg.MaterializeResult[Any]:
        """Sync every week of the run.

        Raises:
            dagster.Failure: a week of an organisation did not land; the others landed all the same, and
                each of their partitions is marked as materialised.
        """
        weeks = [Week.from_key(key) for key in context.partition_keys]
        failed: list[WeekOutcome] = []
        try:
            organisations = choose_organisations(self.xero, config.organisations)
        except PipelineError as error:
            errors = {"errors": dg.MetadataValue.json([error.code])}
            raise dg.Failure(str(error), metadata=errors, allow_retries=False) from None
        _tag_run(context, weeks, organisations)
        self.progress.begin(self.sync_type, len(weeks))
        for number, week in enumerate(weeks, start=1):
            outcomes = [self._sync(context, organisation, week, extract) for organisation in organisations]
            lost = [outcome for outcome in outcomes if not outcome.landed]
            failed += lost
            if not lost:
                if week == weeks[-1]:
                    self._report_table(context, week, organisations)
                self._report(context, week, outcomes, alone=len(weeks) == 1)
            calls = sum(outcome.calls for outcome in outcomes)
            context.log.info("week %d of %d, ending %s: %d calls", number, len(weeks), week, calls)
            self.progress.week_done(self.sync_type, week, landed=not lost)
        if failed:
            raise _failure(failed, len(weeks) * len(organisations))
        return dg.MaterializeResult()

    def _report(
        self, context: dg.AssetExecutionContext, week: Week, outcomes: Sequence[WeekOutcome], *, alone: bool
    ) -> None:
        metadata = week_metadata(week, outcomes)
        context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=week.key)
        if not alone:
            # Dagster marks a range's partitions only when the whole run succeeds. Said now, a week that
            # landed stays materialised whatever becomes of the ones after it.
            context.log_event(
                dg.AssetMaterialization(asset_key=context.asset_key, partition=week.key, metadata=metadata)
            )

    def _report_table(
        self, context: dg.AssetExecutionContext, newest: Week, organisations: Sequence[OrganisationClient]
    ) -> None:
        """Only the run's newest week tells of the whole table: Dagster shows it first, and keeps events for ever."""
        kind = SyncType(self.sync_type)
        names = {organisation.tenant_id: organisation.name for organisation in organisations}
        context.add_asset_metadata(
            table_metadata(self.warehouse, kind, names), asset_key=context.asset_key, partition_key=newest.key
        )
        context.add_asset_metadata(columns_metadata(kind), asset_key=context.asset_key)

    def _sync(
        self, context: dg.AssetExecutionContext, organisation: OrganisationClient, week: Week, extract: Extract
    ) -> WeekOutcome:
        log_id = self.warehouse.log.start(organisation.tenant_id, self.sync_type, week, context.run.run_id)
        before = organisation.attempts
        try:
            self._require_up(organisation)
            outcome = self._read_and_land(organisation, week, extract, log_id, context.run.run_id, before)
        except Exception as error:
            # Whatever is wrong with one week, the others are worth a try.
            if not isinstance(error, PipelineError):
                context.log.exception("%s, week ending %s: a defect", organisation.name, week)
                error = _unexpected(error)
            outcome = WeekOutcome(
                organisation.tenant_id, organisation.name, week, "failed", organisation.attempts - before, error=error
            )
            self._write_failure(organisation, log_id, outcome.calls, error)
            context.log.error("%s, week ending %s: %s", organisation.name, week, error)
        except BaseException as error:
            # The end of this process: the run ends with it.
            self._write_failure(organisation, log_id, organisation.attempts - before, error)
            raise
        down = isinstance(outcome.error, XeroUnavailable)
        self.outages[outcome.tenant_id] = self.outages.get(outcome.tenant_id, 0) + 1 if down else 0
        for difference in outcome.differences:
            context.log.warning("%s, week ending %s: %s", organisation.name, week, difference)
        return outcome

    def _require_up(self, organisation: OrganisationClient) -> None:
        """An outage of Xero's must not spend the day's calls: each week asked in vain costs several."""
        if self.outages.get(organisation.tenant_id, 0) >= GIVES_UP_AFTER:
            raise XeroUnavailable(
                f"Xero was unavailable for the {GIVES_UP_AFTER} weeks before, so it was not asked for this one."
            )

    def _read_and_land(
        self, organisation: OrganisationClient, week: Week, extract: Extract, log_id: int, run_id: str, before: int
    ) -> WeekOutcome:
        """Read a week and write it; once more, where another process has meanwhile written a newer reading.

        Args:
            before: the attempts made before this week, so that its calls are those of both readings.
        """
        try:
            return self._read_and_land_once(organisation, week, extract, log_id, run_id, before)
        except Superseded:
            self.warehouse.log.begin_again(log_id)
            return self._read_and_land_once(organisation, week, extract, log_id, run_id, before)

    def _read_and_land_once(
        self, organisation: OrganisationClient, week: Week, extract: Extract, log_id: int, run_id: str, before: int
    ) -> WeekOutcome:
        extracted = extract(organisation, week)
        status = "partial" if extracted.differences else "success"
        calls = organisation.attempts - before
        landing = self.warehouse.land(
            extracted.write,
            tenant_id=organisation.tenant_id,
            week=week,
            currency=extracted.currency,
            data_source=self.data_source,
            run_id=run_id,
            log_id=log_id,
            status=status,
            api_calls=calls,
            error_log=_error_log(extracted),
        )
        return WeekOutcome(
            organisation.tenant_id,
            organisation.name,
            week,
            status,
            calls,
            rows=landing.rows,
            currency=extracted.currency,
            totals=extracted.totals,
            restated=landing.restated,
            differences=extracted.differences,
            notes=extracted.notes,
        )

    def _write_failure(self, organisation: OrganisationClient, log_id: int, calls: int, error: BaseException) -> None:
        # What cannot be written now, since the database is away, is closed as interrupted later.
        with contextlib.suppress(DatabaseUnavailable):
            self.warehouse.log.fail(log_id, api_calls=calls, error_log=_describe(error))
            if isinstance(error, (OrganisationDisconnected, ReconnectNeeded)):
                # Disconnected at Xero's side: from now on this is shown, and Xero is not asked in vain.
                self.warehouse.tokens.set_status(
                    organisation.tenant_id,
                    ConnectionStatus.RECONNECT_NEEDED,
                    grant_id=organisation.organisation.grant_id,
                )


def choose_organisations(xero: Xero, wanted: Sequence[str]) -> list[OrganisationClient]:
    """The organisations to sync.

    Raises:
        NotConnected: none is kept at all.
        UnknownOrganisation: one that was named is not kept.
    """
    kept = xero.list_organisations()
    if not kept:
        raise NotConnected("No organisation is connected yet.")
    unknown = set(wanted) - {organisation.tenant_id for organisation in kept}
    if unknown:
        raise UnknownOrganisation(f"No organisation with the id {', '.join(sorted(unknown))} is connected.")
    return [organisation for organisation in kept if not wanted or organisation.tenant_id in wanted]


def _tag_run(
    context: dg.AssetExecutionContext, weeks: Sequence[Week], organisations: Sequence[OrganisationClient]
) -> None:
    """Whoever started the run: Dagster's list of runs can be searched by its weeks and organisations."""
    names = ", ".join(organisation.name for organisation in organisations)
    weeks_named = str(weeks[-1]) if len(weeks) == 1 else f"{weeks[0]} to {weeks[-1]}"
    tags = {"week_ending": weeks_named, "organisation": names if len(names) <= _TAG_LONG else f"{names[:_TAG_LONG]}…"}
    context.instance.add_run_tags(context.run.run_id, tags)


def _error_log(extracted: ExtractedWeek) -> dict[str, Any] | None:
    said: dict[str, Any] = {}
    if extracted.differences:
        said["differences"] = [difference.as_dict() for difference in extracted.differences]
    if extracted.notes:
        said["notes"] = list(extracted.notes)
    return said or None


def _describe(error: BaseException) -> dict[str, Any]:
    if isinstance(error, (dg.DagsterExecutionInterruptedError, KeyboardInterrupt, SystemExit)):
        return dict(INTERRUPTED)
    if not isinstance(error, PipelineError):
        error = _unexpected(error)
    retry_at = getattr(error, "retry_at", None)
    said = {"error": error.code, "message": error.what, "advice": error.advice}
    return said | ({"retry_at": retry_at.isoformat()} if retry_at else {})


def _unexpected(error: BaseException) -> Unexpected:
    # Anybody's exception may carry anything in its text; its kind is enough here, the run's log has the rest.
    return Unexpected(f"{type(error).__name__}; the run's log says more.")


def _failure(failed: Sequence[WeekOutcome], of: int) -> dg.Failure:
    shown = [f"{outcome.tenant_name}, week ending {outcome.week}: {outcome.error}" for outcome in failed[:10]]
    more = f" … and {len(failed) - 10} more" if len(failed) > 10 else ""
    return dg.Failure(
        f"{len(failed)} of {of} did not land. " + " | ".join(shown) + more,
        metadata={
            "failed_weeks": dg.MetadataValue.json(sorted({str(outcome.week) for outcome in failed})),
            "organisations": dg.MetadataValue.json(sorted({outcome.tenant_name for outcome in failed})),
            "errors": dg.MetadataValue.json(sorted({o.error.code for o in failed if o.error})),
        },
        allow_retries=False,
    )
