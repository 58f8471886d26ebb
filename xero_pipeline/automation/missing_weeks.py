"""`missing_weeks`: fills every gap by itself, the newest weeks first.

A gap is the history after a first Connect, weeks missed during downtime (Dagster's schedules do not catch up),
weeks that a day limit or an outage cut off, and weeks whose figures are on another basis than `XERO_BASIS`.

`GapFinder` reads the sync log, not Dagster's partitions: a partition does not know organisations, and only the
log says what landed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

import dagster as dg

from xero_pipeline.automation.jobs import ASSETS
from xero_pipeline.automation.planning import (
    BACKFILL_PENDING,
    RunPlan,
    TickPlan,
    WeeksUnderWay,
    build_run_key,
    count_affordable_weeks,
    find_weeks_in_backoff,
    find_weeks_under_way,
    is_backfill_pending,
)
from xero_pipeline.grants import Organisation
from xero_pipeline.periods import Period, group_into_ranges
from xero_pipeline.resources import Deployment, DeploymentOpener, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.queries import find_periods_of_another_basis
from xero_pipeline.warehouse.logs.sync_log import WEEKLY_TYPES
from xero_pipeline.weeks import NoSuchWeek, Week

# How many weeks of an organisation one tick requests at most: half a year, a few minutes of Xero's time.
MAX_WEEKS_PER_TICK = 26

ChooseRange = Callable[[Organisation], tuple[Period, Period] | str]
"""Chooses the first and last period to request for an organisation, or says why there is none."""


class GapFinder:
    """Finds the weeks that are missing, and how many of them may be fetched now."""

    name = "missing_weeks"
    assets: tuple[str, ...] = ASSETS

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._calendar = deployment.settings.calendar

    def plan_runs(self, under_way: WeeksUnderWay) -> TickPlan:
        """Plan the runs to request now. Only reads; a second call returns the same plan."""
        organisations = self._deployment.warehouse.tokens.list_connected()
        if not organisations:
            return TickPlan([], "No organisation is connected.")
        try:
            self._calendar.find_latest_week(self._deployment.clock.now())
        except NoSuchWeek as error:
            return TickPlan([], str(error))
        return self._plan_ranges(
            organisations, lambda one: self._choose_next_range(one, under_way.list_of(one.tenant_id))
        )

    def _plan_ranges(self, organisations: Sequence[Organisation], choose: ChooseRange) -> TickPlan:
        """Plan the runs for the range that is chosen for each organisation."""
        tenants_by_range: dict[tuple[Period, Period], list[str]] = defaultdict(list)
        reasons = []
        for organisation in organisations:
            chosen = choose(organisation)
            if isinstance(chosen, str):
                reasons.append(f"{organisation.display_name}: {chosen}")
            else:
                tenants_by_range[chosen].append(organisation.tenant_id)
        return TickPlan(list(self._build_runs(tenants_by_range)), " ".join(reasons))

    def _choose_next_range(self, organisation: Organisation, under_way: Set[Week]) -> tuple[Week, Week] | str:
        """Return the first and last week to request for an organisation, or the reason why there is none."""
        now = self._deployment.clock.now()
        missing = self.list_missing_weeks(organisation, now)
        if not missing:
            return "no week is missing."
        in_backoff = find_weeks_in_backoff(self._deployment.warehouse.log, organisation.tenant_id, now)
        due = [week for week in missing if week not in under_way and week not in in_backoff]
        if not due:
            return f"{len(missing)} weeks are missing; each is under way, or waits after a failure."
        # Reserves two daily syncs, in case one has to be repeated.
        affordable = count_affordable_weeks(self._deployment, organisation.tenant_id, reserved_daily_syncs=2)
        if affordable < 1:
            return f"{len(missing)} weeks are missing; today's calls are kept for the daily sync."
        first, last = group_into_ranges(due)[0]
        return max(first, last.shift(1 - min(affordable, MAX_WEEKS_PER_TICK))), last

    def list_missing_weeks(self, organisation: Organisation, now: datetime) -> list[Week]:
        """List the weeks since the start date that lack some kind of figures, oldest first.

        Weeks whose figures landed on another basis than `XERO_BASIS` count as missing.
        """
        warehouse, tenant_id = self._deployment.warehouse, organisation.tenant_id
        landed = warehouse.log.list_landed_weeks(tenant_id, self._calendar.start_date)
        basis = self._deployment.settings.basis
        on_other_basis = find_periods_of_another_basis(warehouse.engine, tenant_id, basis, Week)
        return [
            week
            for week in self._calendar.list_weeks(now)
            if week in on_other_basis or any(week not in landed[sync_type] for sync_type in WEEKLY_TYPES)
        ]

    def _build_runs(self, tenants_by_range: Mapping[tuple[Period, Period], Sequence[str]]) -> Iterator[RunPlan]:
        newest = self._deployment.warehouse.log.list_newest(1)
        # Each try adds a row to the sync log. Until then the same gap has the same key, which Dagster launches once;
        # after a try it has another key.
        state = newest[0].id if newest else 0
        tenant_count = sum(len(tenants) for tenants in tenants_by_range.values())
        for (first, last), tenants in tenants_by_range.items():
            covers_all = (
                len(tenants_by_range) == 1
                and tenant_count == len(self._deployment.warehouse.tokens.list_organisations())
                and tenant_count <= self._deployment.settings.organisations_per_run
            )
            key = build_run_key(self.name, first, last, tenants, state, self._deployment.clock.now())
            yield RunPlan(first, last, () if covers_all else tuple(sorted(tenants)), key, self.assets)


def build_missing_weeks_sensor(
    settings: Settings, job: Any, *, opener: DeploymentOpener = open_deployment
) -> dg.SensorDefinition:
    """Build the sensor. It is stopped until somebody starts it."""

    @dg.sensor(
        name="missing_weeks",
        job=job,
        minimum_interval_seconds=settings.missing_weeks_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Requests every week since PIPELINE_START_DATE that has not landed yet, newest first, as far as "
        "today's calls go.",
    )
    def missing_weeks(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if is_backfill_pending(context.instance):
            return dg.SensorResult(skip_reason=BACKFILL_PENDING)
        with opener(settings) as deployment:
            plan = GapFinder(deployment).plan_runs(find_weeks_under_way(context.instance))
        if not plan.runs:
            return dg.SensorResult(skip_reason=plan.skip_reason)
        return dg.SensorResult(run_requests=plan.build_run_requests("missing_weeks", settings.organisations_per_run))

    return missing_weeks
