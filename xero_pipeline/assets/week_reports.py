"""Reports the weeks of a run to Dagster, as soon as every organisation of a week is done.

A run may be of some organisations only. Dagster's partitions do not know organisations, so a week is materialised by
the run with which every connected organisation has landed it. A run before that one observes the week.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from xero_pipeline.assets.metadata import build_columns_metadata, build_table_metadata, build_week_metadata
from xero_pipeline.assets.outcomes import WeekOutcome
from xero_pipeline.assets.week_landing import Unexpected
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.logs.complete_weeks import is_week_complete
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.xero.client import OrganisationClient

# Dagster marks the partitions of a range when the whole run succeeds. While it goes on, the weeks that have landed are
# marked every so many seconds, so that they stay marked if the process is killed. Each mark costs as much as landing.
_MARK_EVERY = 60.0


class WeekReports:
    """The reports of one asset in one run. They begin when the asset's turn comes; its weeks may have landed before.

    Args:
        others_connected: whether there are connected organisations that this run does not sync.

    Attributes:
        failed: the organisations' weeks that did not land.
        incomplete: the weeks that this run has landed, and some other organisation has not.
    """

    def __init__(
        self,
        asset_key: dg.AssetKey,
        warehouse: Warehouse,
        kind: SyncType,
        weeks: Sequence[Period],
        organisations: Sequence[OrganisationClient],
        *,
        others_connected: bool,
    ) -> None:
        self._asset_key = asset_key
        self._context: dg.AssetExecutionContext | None = None
        self._warehouse = warehouse
        self._kind = kind
        self._weeks = weeks
        self._organisations = organisations
        self._others_connected = others_connected
        self._order = {organisation.tenant_id: number for number, organisation in enumerate(organisations)}
        self._outcomes: dict[Period, list[WeekOutcome]] = {}
        self._unreported: list[WeekOutcome] = []
        self._unreported_weeks: dict[Period, Sequence[WeekOutcome]] = {}
        self._landed: set[Period] = set()
        self._unmarked: dict[Period, Mapping[str, Any]] = {}
        self._marked_at = time.monotonic()
        self._done = 0
        self.failed: list[WeekOutcome] = []
        self.incomplete: set[Period] = set()

    def add(self, outcome: WeekOutcome) -> bool:
        """Add an organisation's week, and return whether every organisation of that week is done."""
        outcomes = self._outcomes.setdefault(outcome.week, [])
        outcomes.append(outcome)
        if not outcome.has_landed:
            self.failed.append(outcome)
        self._unreported.append(outcome)
        is_done = len(outcomes) == len(self._organisations)
        if is_done:
            del self._outcomes[outcome.week]
            if all(one.has_landed for one in outcomes):
                self._landed.add(outcome.week)
            self._unreported_weeks[outcome.week] = sorted(outcomes, key=lambda one: self._order[one.tenant_id])
        if self._context is not None:
            self._report(self._context)
        return is_done

    def attend(self, context: dg.AssetExecutionContext) -> None:
        """The asset's turn has come: report what is done so far, and from now on at once."""
        self._context = context
        self._report(context)

    def has_landed(self, week: Period) -> bool:
        """Whether every organisation of the run has landed this week."""
        return week in self._landed

    @property
    def is_mark_due(self) -> bool:
        return time.monotonic() >= self._marked_at + _MARK_EVERY

    def mark_landed_weeks(self, log_event: Callable[[dg.AssetMaterialization], None]) -> None:
        """Mark the complete weeks that have landed as materialised, whatever becomes of the run.

        Args:
            log_event: stores the events, for example that of the asset whose turn it is, this one or another.
        """
        for week, outcomes in self._unreported_weeks.items():
            if self.has_landed(week) and self._is_complete(week):
                self._unmarked[week] = build_week_metadata(week, outcomes)
        if len(self._weeks) > 1 or self._context is None:
            for week, metadata in self._unmarked.items():
                event = dg.AssetMaterialization(asset_key=self._asset_key, partition=week.key, metadata=dict(metadata))
                log_event(event)
        self._unmarked.clear()
        self._marked_at = time.monotonic()

    def _report(self, context: dg.AssetExecutionContext) -> None:
        for outcome in self._unreported:
            _log_outcome(context, outcome)
        self._unreported.clear()
        for week in list(self._unreported_weeks):
            self._report_week(context, week, self._unreported_weeks.pop(week))

    def _report_week(self, context: dg.AssetExecutionContext, week: Period, outcomes: Sequence[WeekOutcome]) -> None:
        self._done += 1
        if self.has_landed(week):
            metadata = build_week_metadata(week, outcomes)
            if self._is_complete(week):
                if week == self._weeks[-1]:
                    self._report_table(context, week)
                context.add_asset_metadata(metadata, asset_key=self._asset_key, partition_key=week.key)
                self._unmarked[week] = metadata
            else:
                self._observe(context, week, metadata)
        calls = sum(outcome.calls for outcome in outcomes)
        context.log.info("%s %d of %d, ending %s: %d calls", week.NOUN, self._done, len(self._weeks), week, calls)

    def _is_complete(self, week: Period) -> bool:
        return not self._others_connected or is_week_complete(self._warehouse.engine, self._kind, week)

    def _observe(self, context: dg.AssetExecutionContext, week: Period, metadata: Mapping[str, Any]) -> None:
        """Show what has landed without marking the week as materialised."""
        self.incomplete.add(week)
        event = dg.AssetObservation(asset_key=self._asset_key, partition=week.key, metadata=dict(metadata))
        context.log_event(event)
        context.log.info("week ending %s waits for other organisations before it counts as materialised", week)

    def _report_table(self, context: dg.AssetExecutionContext, newest: Period) -> None:
        """Describe the whole table, in the run's newest week only.

        Dagster shows the newest week first, and it stores events for ever.
        """
        names = {organisation.tenant_id: organisation.name for organisation in self._organisations}
        metadata = build_table_metadata(self._warehouse, self._kind, names) | build_columns_metadata(self._kind)
        context.add_asset_metadata(metadata, asset_key=self._asset_key, partition_key=newest.key)


def _log_outcome(context: dg.AssetExecutionContext, outcome: WeekOutcome) -> None:
    where = f"{outcome.tenant_name}, {outcome.week.NOUN} ending {outcome.week}"
    if outcome.error is not None:
        if isinstance(outcome.error, Unexpected):
            context.log.error("%s: unexpected error", where, exc_info=outcome.error.__cause__)
        context.log.error("%s: %s", where, outcome.error)
    for difference in outcome.differences:
        context.log.warning("%s: %s", where, difference)
