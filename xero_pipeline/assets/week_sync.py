"""How every asset syncs its weeks, or months: it has them read and landed, and says how it went.

The weeks of a run are read side by side (`side_by_side.py`), each week of an organisation is landed in one transaction
(`week_landing.py`), and each is reported to Dagster (`week_reports.py`). A week that fails does not stop the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field

from xero_pipeline.assets.outcomes import TableExtraction, WeekOutcome
from xero_pipeline.assets.progress import Progress
from xero_pipeline.assets.run_organisations import choose_run_organisations, list_left_out_organisations
from xero_pipeline.assets.run_weeks import RunWeeks
from xero_pipeline.assets.side_by_side import SideBySide
from xero_pipeline.assets.week_landing import WeekLander
from xero_pipeline.dagster_internals import WITHOUT_MATERIALIZATION
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.xero.client import OrganisationClient, Xero

# Dagster indexes the tags of its runs, so tags are kept short.
_MAX_TAG_LENGTH = 200


class WeeklySyncConfig(dg.Config):
    """The configuration of a run."""

    organisations: list[str] = Field(
        default_factory=list, description="Tenant ids to sync. Leave it empty for every connected organisation."
    )


@dataclass(frozen=True)
class WeekSync:
    """The sync of one asset's weeks in one run.

    `at_once` is how many weeks of one organisation are read at once, and `organisations_per_run` how many organisations
    a run takes that names none.
    """

    extraction: TableExtraction[Any]
    xero: Xero
    warehouse: Warehouse
    progress: Progress
    run_weeks: RunWeeks
    data_source: str
    organisations_per_run: int
    at_once: int = 1

    def materialize(self, context: dg.AssetExecutionContext, config: WeeklySyncConfig) -> dg.MaterializeResult[Any]:
        """Sync every week of the run.

        Raises:
            dagster.Failure: a week of an organisation did not land. The other weeks have landed, and each partition
                that every connected organisation has landed is marked as materialised.
        """
        kind, weeks = self.extraction.kind, _list_weeks(context, self.extraction)
        side_by_side = self.run_weeks.take(kind) or self._begin(context, config, weeks)
        for left_out in list_left_out_organisations(self.xero, config.organisations):
            context.log.warning("%s is left out: it has to be connected again", left_out.name)
        self.progress.begin(kind.value, len(weeks))
        reports = side_by_side.finish(kind, context)
        if reports.failed:
            reports.mark_landed_weeks(context.log_event)
            raise _build_failure(reports.failed, len(weeks) * side_by_side.number_of_organisations)
        if reports.incomplete:
            reports.mark_landed_weeks(context.log_event)
            return dg.MaterializeResult(metadata=WITHOUT_MATERIALIZATION)
        return dg.MaterializeResult()

    def _begin(
        self, context: dg.AssetExecutionContext, config: WeeklySyncConfig, weeks: Sequence[Period]
    ) -> SideBySide:
        """Begin the weeks of this asset, and of those that follow it in this process."""
        try:
            organisations = choose_run_organisations(
                context, self.xero, config.organisations, self.organisations_per_run
            )
        except PipelineError as error:
            errors = {"errors": dg.MetadataValue.json([error.code])}
            raise dg.Failure(str(error), metadata=errors, allow_retries=False) from None
        _tag_run(context, weeks, organisations)
        side_by_side = SideBySide(
            [(self.extraction, context.asset_key), *self.run_weeks.list_following(context, self.extraction)],
            organisations,
            weeks,
            WeekLander(self.warehouse, self.data_source, context.run.run_id),
            self.progress,
            at_once=self.at_once,
            others_connected=_are_others_connected(self.xero, organisations),
        )
        self.run_weeks.keep(side_by_side, self.extraction.kind)
        return side_by_side


def _list_weeks(context: dg.AssetExecutionContext, extraction: TableExtraction[Any]) -> list[Period]:
    return [extraction.kind.period.from_key(key) for key in context.partition_keys]


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
