"""`missing_weeks`: fills every gap by itself, newest first: the history after a first Connect, what downtime
left out (Dagster's schedules do not catch up), what a day limit or an outage cut off, what is held by another basis.

`GapFinder` looks at the sync log, not at Dagster's partitions: a partition does not know of organisations,
and only the log says what landed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import dagster as dg

from xero_pipeline.automation.planning import (
    BACKFILL_FIRST,
    Plan,
    RunPlan,
    affordable_weeks,
    as_ranges,
    is_backfill_to_come,
    resting_weeks,
    run_key,
    weeks_under_way,
)
from xero_pipeline.grants import Organisation
from xero_pipeline.resources import Deployment, Opening, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.queries import weeks_of_another_basis
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.weeks import NoSuchWeek, Week

# A tick asks for so many weeks of an organisation at most: half a year, a few minutes of Xero's time.
WEEKS_A_TICK = 26


class GapFinder:
    """Which weeks are missing, and how many of them may be fetched now."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._calendar = deployment.settings.calendar

    def plan(self, under_way: set[Week]) -> Plan:
        """The runs to ask for now. Pure but for reading: asked twice, it answers the same."""
        organisations = self._deployment.warehouse.tokens.connected()
        if not organisations:
            return Plan([], "No organisation is connected.")
        try:
            self._calendar.find_latest_week(self._deployment.clock.now())
        except NoSuchWeek as error:
            return Plan([], str(error))
        wanted: dict[tuple[Week, Week], list[str]] = defaultdict(list)
        reasons = []
        for organisation in organisations:
            found = self._next_range(organisation, under_way)
            if isinstance(found, str):
                reasons.append(f"{organisation.tenant_name}: {found}")
            else:
                wanted[found].append(organisation.tenant_id)
        return Plan(list(self._runs(wanted)), " ".join(reasons))

    def _next_range(self, organisation: Organisation, under_way: set[Week]) -> tuple[Week, Week] | str:
        now = self._deployment.clock.now()
        missing = self.missing(organisation, now)
        if not missing:
            return "every week is there."
        resting = resting_weeks(self._deployment.warehouse.log, organisation.tenant_id, now)
        due = [week for week in missing if week not in under_way and week not in resting]
        if not due:
            return f"{len(missing)} weeks are missing; each is under way, or rests after a failure."
        # The daily sync keeps its share, twice over in case it has to be repeated.
        affordable = affordable_weeks(self._deployment, organisation.tenant_id, daily_syncs_kept=2)
        if affordable < 1:
            return f"{len(missing)} weeks are missing; today's calls are kept for the daily sync."
        first, last = as_ranges(due)[0]
        return max(first, last.shift(1 - min(affordable, WEEKS_A_TICK))), last

    def missing(self, organisation: Organisation, now: datetime) -> list[Week]:
        """The weeks since the start date of which some kind of figures never landed, or landed by another basis than
        `XERO_BASIS` says now; oldest first."""
        warehouse, tenant_id = self._deployment.warehouse, organisation.tenant_id
        landed = warehouse.log.landed_weeks(tenant_id, self._calendar.start_date)
        other = weeks_of_another_basis(warehouse.engine, tenant_id, self._deployment.settings.basis)
        return [
            week
            for week in self._calendar.list_weeks(now)
            if week in other or any(week not in landed[kind] for kind in SyncType)
        ]

    def _runs(self, wanted: dict[tuple[Week, Week], list[str]]) -> Iterator[RunPlan]:
        newest = self._deployment.warehouse.log.newest(1)
        # The log moves on with each try: the same look at the same gap gives the same key, which Dagster
        # launches once; a later try gives another.
        state = newest[0].id if newest else 0
        everybody = sum(len(tenants) for tenants in wanted.values())
        for (first, last), tenants in wanted.items():
            alone = len(wanted) == 1 and everybody == len(self._deployment.warehouse.tokens.organisations())
            key = run_key("missing_weeks", first, last, tenants, state, self._deployment.clock.now())
            yield RunPlan(first, last, () if alone else tuple(sorted(tenants)), key)


def missing_weeks_sensor(settings: Settings, job: Any, *, opening: Opening = open_deployment) -> dg.SensorDefinition:
    """The sensor; stopped until somebody starts it."""

    @dg.sensor(
        name="missing_weeks",
        job=job,
        minimum_interval_seconds=settings.missing_weeks_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks for every week since PIPELINE_START_DATE that has not landed yet, newest first, as far as "
        "today's calls go.",
    )
    def missing_weeks(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if is_backfill_to_come(context.instance):
            return dg.SensorResult(skip_reason=BACKFILL_FIRST)
        with opening(settings) as deployment:
            plan = GapFinder(deployment).plan(weeks_under_way(context.instance))
        if not plan.runs:
            return dg.SensorResult(skip_reason=plan.why_none)
        return dg.SensorResult(run_requests=[run.request("missing_weeks") for run in plan.runs])

    return missing_weeks
