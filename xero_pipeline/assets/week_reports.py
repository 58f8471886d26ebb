"""Reports the weeks of a run to Dagster, as soon as every organisation of a week is done.

A run may be of some organisations only. Dagster's partitions do not know organisations, so a week is materialised by
the run with which every connected organisation has landed it. A run before that one observes the week.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from xero_pipeline.assets.metadata import build_columns_metadata, build_table_metadata, build_week_metadata
from xero_pipeline.assets.outcomes import WeekOutcome
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.logs.complete_weeks import is_week_complete
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.xero.client import OrganisationClient

# Dagster marks the partitions of a range when the whole run succeeds. While it goes on, the weeks that have landed are
# marked every so many seconds, so that they stay marked if the process is killed. Each mark costs as much as landing.
_MARK_EVERY = 60.0


class WeekReports:
    """The reports of one asset in one run.

    Args:
        others_connected: whether there are connected organisations that this run does not sync.

    Attributes:
        failed: the organisations' weeks that did not land.
        incomplete: the weeks that this run has landed, and some other organisation has not.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        kind: SyncType,
        weeks: Sequence[Period],
        organisations: Sequence[OrganisationClient],
        *,
        others_connected: bool,
    ) -> None:
        self._context = context
        self._warehouse = warehouse
        self._kind = kind
        self._weeks = weeks
        self._organisations = organisations
        self._others_connected = others_connected
        self._order = {organisation.tenant_id: number for number, organisation in enumerate(organisations)}
        self._outcomes: dict[Period, list[WeekOutcome]] = {}
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
        if len(outcomes) < len(self._organisations):
            return False
        del self._outcomes[outcome.week]
        self._report(outcome.week, sorted(outcomes, key=lambda one: self._order[one.tenant_id]))
        return True

    def has_landed(self, week: Period) -> bool:
        """Whether every organisation of the run has landed this week."""
        return week in self._landed

    def mark_landed_weeks(self) -> None:
        """Mark the complete weeks that have landed as materialised, whatever becomes of the run."""
        if len(self._weeks) > 1:
            for week, metadata in self._unmarked.items():
                event = dg.AssetMaterialization(
                    asset_key=self._context.asset_key, partition=week.key, metadata=dict(metadata)
                )
                self._context.log_event(event)
        self._unmarked.clear()
        self._marked_at = time.monotonic()

    def _report(self, week: Period, outcomes: Sequence[WeekOutcome]) -> None:
        self._done += 1
        if all(outcome.has_landed for outcome in outcomes):
            self._landed.add(week)
            metadata = build_week_metadata(week, outcomes)
            if self._others_connected and not is_week_complete(self._warehouse.engine, self._kind, week):
                self._observe(week, metadata)
            else:
                if week == self._weeks[-1]:
                    self._report_table(week)
                self._context.add_asset_metadata(metadata, asset_key=self._context.asset_key, partition_key=week.key)
                self._unmarked[week] = metadata
            if time.monotonic() >= self._marked_at + _MARK_EVERY:
                self.mark_landed_weeks()
        calls = sum(outcome.calls for outcome in outcomes)
        self._context.log.info("%s %d of %d, ending %s: %d calls", week.NOUN, self._done, len(self._weeks), week, calls)

    def _observe(self, week: Period, metadata: Mapping[str, Any]) -> None:
        """Show what has landed without marking the week as materialised."""
        self.incomplete.add(week)
        event = dg.AssetObservation(asset_key=self._context.asset_key, partition=week.key, metadata=dict(metadata))
        self._context.log_event(event)
        self._context.log.info("week ending %s waits for other organisations before it counts as materialised", week)

    def _report_table(self, newest: Period) -> None:
        """Describe the whole table, in the run's newest week only.

        Dagster shows the newest week first, and it stores events for ever.
        """
        names = {organisation.tenant_id: organisation.name for organisation in self._organisations}
        metadata = build_table_metadata(self._warehouse, self._kind, names) | build_columns_metadata(self._kind)
        self._context.add_asset_metadata(metadata, asset_key=self._context.asset_key, partition_key=newest.key)
