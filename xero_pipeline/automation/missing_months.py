"""`missing_months`: reads each month when its weeks have been read, and again whenever one of them has been read since.

So a month is read on the first day after it, then once after each daily sync for as long as the sync's look-back
touches it, and whenever a late edit or a reconciliation has one of its weeks read again. That takes two calls.

Something that moved from one month to the next within the same week changes no figure of that week, so nothing of the
above sees it. Therefore every month is read again at least every 28 days, too.

A month waits while one of its weeks is being read or has never been tried, so that a first backfill reads it once.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from xero_pipeline.automation.jobs import MONTHLY_ASSETS
from xero_pipeline.automation.missing_weeks import GapFinder
from xero_pipeline.automation.planning import (
    BACKFILL_PENDING,
    CALLS_PER_WEEK,
    TickPlan,
    UnderWay,
    WeeksUnderWay,
    count_affordable_weeks,
    find_in_backoff,
    find_under_way,
    find_weeks_under_way,
    is_backfill_pending,
)
from xero_pipeline.grants import Organisation
from xero_pipeline.periods import Month, NoSuchMonth, group_into_ranges, iterate_periods
from xero_pipeline.resources import Deployment, DeploymentOpener, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.queries import find_periods_of_another_basis
from xero_pipeline.warehouse.figures.stale_weeks import read_landing_times_of
from xero_pipeline.warehouse.logs.sync_log import MONTHLY_TYPES, SyncType
from xero_pipeline.weeks import NoSuchWeek, Week

SENSOR = "missing_months"
# When a month is read again although none of its weeks was: two calls for each stored month in four weeks.
READ_AGAIN_AFTER = timedelta(days=28)
# How many months of an organisation one tick requests at most.
MAX_MONTHS_PER_TICK = 24
_CALLS_PER_MONTH = len(MONTHLY_ASSETS)
# A month is compared with its weeks by these kinds: no table of the months is made of invoices.
_REPORTS = (SyncType.PROFIT_AND_LOSS, SyncType.BANK_SUMMARY)


class MonthGapFinder(GapFinder):
    """Finds the months that have to be read, and how many of them may be read now.

    Args:
        weeks_under_way: the weeks that runs are reading.
    """

    name = SENSOR
    assets = MONTHLY_ASSETS

    def __init__(self, deployment: Deployment, weeks_under_way: WeeksUnderWay) -> None:
        super().__init__(deployment)
        self._weeks_under_way = weeks_under_way

    def plan_month_runs(self, under_way: UnderWay[Month]) -> TickPlan:
        """Plan the runs to request now. Only reads; a second call returns the same plan."""
        organisations = self._deployment.warehouse.tokens.list_connected()
        if not organisations:
            return TickPlan([], "No organisation is connected.")
        return self._plan_ranges(
            organisations, lambda one: self._choose_next_months(one, under_way.list_of(one.tenant_id))
        )

    def _choose_next_months(self, organisation: Organisation, under_way: Set[Month]) -> tuple[Month, Month] | str:
        now, tenant_id = self._deployment.clock.now(), organisation.tenant_id
        due = self.list_due_months(organisation, now)
        if not due:
            return "no month is due."
        in_backoff = find_in_backoff(self._deployment.warehouse.log, tenant_id, now, Month)
        ready = [month for month in due if month not in under_way and month not in in_backoff]
        if not ready:
            return f"{len(due)} months are due; each is under way, or waits after a failure."
        affordable = count_affordable_weeks(self._deployment, tenant_id, reserved_daily_syncs=2)
        months = affordable * CALLS_PER_WEEK // _CALLS_PER_MONTH
        if months < 1:
            return f"{len(due)} months are due; today's calls are kept for the daily sync."
        first, last = group_into_ranges(ready)[0]
        return max(first, last.shift(1 - min(months, MAX_MONTHS_PER_TICK))), last

    def list_due_months(self, organisation: Organisation, now: datetime) -> list[Month]:
        """List the months that have to be read, oldest first.

        These have not landed, or landed on another basis than `XERO_BASIS` or long ago, or one of their weeks has been
        read since.
        """
        warehouse, tenant_id = self._deployment.warehouse, organisation.tenant_id
        try:
            months, latest = self._calendar.list_months(now), self._calendar.find_latest_week(now)
        except (NoSuchMonth, NoSuchWeek):
            return []
        basis = self._deployment.settings.basis
        on_other_basis = find_periods_of_another_basis(warehouse.engine, tenant_id, basis, Month)
        since = self._calendar.start_date
        months_landed = warehouse.log.list_landed(tenant_id, since, Month)
        weeks_landed = warehouse.log.list_landed_weeks(tenant_id, since)
        under_way = self._weeks_under_way.list_of(tenant_id)
        long_ago = {
            month
            for month, at in read_landing_times_of(warehouse.engine, tenant_id, Month).items()
            if now - at >= READ_AGAIN_AFTER
        }
        due = []
        for month in months:
            weeks = [week for week in list_weeks_of(month) if self._calendar.first <= week <= latest]
            read_at = [months_landed[kind].get(month, 0) for kind in MONTHLY_TYPES]
            read_since = max((weeks_landed[kind].get(week, 0) for kind in _REPORTS for week in weeks), default=0)
            if min(read_at) > read_since and month not in on_other_basis | long_ago:
                continue
            if not any(week in under_way or not self._was_tried(tenant_id, week, weeks_landed) for week in weeks):
                due.append(month)
        return due

    def _was_tried(self, tenant_id: str, week: Week, landed: dict[str, dict[Week, int]]) -> bool:
        log = self._deployment.warehouse.log
        return all(week in landed[kind] or log.get_last(tenant_id, kind, week) is not None for kind in _REPORTS)


def list_weeks_of(month: Month) -> list[Week]:
    """List the weeks that have a day in this month."""
    return list(iterate_periods(Week.containing(month.start), Week.containing(month.ending)))


def build_missing_months_sensor(
    settings: Settings, job: Any, *, opener: DeploymentOpener = open_deployment
) -> dg.SensorDefinition:
    """Build the sensor. It is stopped until somebody starts it."""

    @dg.sensor(
        name=SENSOR,
        job=job,
        minimum_interval_seconds=settings.missing_weeks_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Requests every month since PIPELINE_START_DATE that has not landed yet, and those of which a week "
        "has been read again since, as the daily sync does.",
    )
    def missing_months(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if is_backfill_pending(context.instance):
            return dg.SensorResult(skip_reason=BACKFILL_PENDING)
        with opener(settings) as deployment:
            finder = MonthGapFinder(deployment, find_weeks_under_way(context.instance))
            plan = finder.plan_month_runs(find_under_way(context.instance, Month))
        if not plan.runs:
            return dg.SensorResult(skip_reason=plan.skip_reason)
        return dg.SensorResult(run_requests=plan.build_run_requests(SENSOR, settings.organisations_per_run))

    return missing_months
