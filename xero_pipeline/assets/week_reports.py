"""Reports the weeks of a run to Dagster, as soon as every organisation of a week is done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from xero_pipeline.assets.metadata import build_columns_metadata, build_table_metadata, build_week_metadata
from xero_pipeline.assets.outcomes import WeekOutcome
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient

# Dagster marks the partitions of a range when the whole run succeeds. While it goes on, the weeks that have landed are
# marked every so many seconds, so that they stay marked if the process is killed. Each mark costs as much as landing.
_MARK_EVERY = 60.0


class WeekReports:
    """The reports of one asset in one run.

    Attributes:
        failed: the organisations' weeks that did not land.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        warehouse: Warehouse,
        kind: SyncType,
        weeks: Sequence[Week],
        organisations: Sequence[OrganisationClient],
    ) -> None:
        self._context = context
        self._warehouse = warehouse
        self._kind = kind
        self._weeks = weeks
        self._organisations = organisations
        self._order = {organisation.tenant_id: number for number, organisation in enumerate(organisations)}
        self._outcomes: dict[Week, list[WeekOutcome]] = {}
        self._landed: set[Week] = set()
        self._unmarked: dict[Week, Mapping[str, Any]] = {}
        self._marked_at = time.monotonic()
        self._done = 0
        self.failed: list[WeekOutcome] = []

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

    def has_landed(self, week: Week) -> bool:
        """Whether every organisation has landed this week."""
        return week in self._landed

    def mark_landed_weeks(self) -> None:
        """Mark the weeks that have landed as materialised, whatever becomes of the run."""
        if len(self._weeks) > 1:
            for week, metadata in self._unmarked.items():
                event = dg.AssetMaterialization(
                    asset_key=self._context.asset_key, partition=week.key, metadata=dict(metadata)
                )
                self._context.log_event(event)
        self._unmarked.clear()
        self._marked_at = time.monotonic()

    def _report(self, week: Week, outcomes: Sequence[WeekOutcome]) -> None:
        self._done += 1
        if all(outcome.has_landed for outcome in outcomes):
            self._landed.add(week)
            if week == self._weeks[-1]:
                self._report_table(week)
            metadata = build_week_metadata(week, outcomes)
            self._context.add_asset_metadata(metadata, asset_key=self._context.asset_key, partition_key=week.key)
            self._unmarked[week] = metadata
            if time.monotonic() >= self._marked_at + _MARK_EVERY:
                self.mark_landed_weeks()
        calls = sum(outcome.calls for outcome in outcomes)
        self._context.log.info("week %d of %d, ending %s: %d calls", self._done, len(self._weeks), week, calls)

    def _report_table(self, newest: Week) -> None:
        """Describe the whole table, in the run's newest week only.

        Dagster shows the newest week first, and it stores events for ever.
        """
        names = {organisation.tenant_id: organisation.name for organisation in self._organisations}
        metadata = build_table_metadata(self._warehouse, self._kind, names)
        self._context.add_asset_metadata(metadata, asset_key=self._context.asset_key, partition_key=newest.key)
        self._context.add_asset_metadata(build_columns_metadata(self._kind), asset_key=self._context.asset_key)
