"""`daily_sync`: the latest week and the weeks before it that are read again, in one run for every 20 organisations
(`ORGANISATIONS_PER_RUN`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import dagster as dg

from xero_pipeline.automation.planning import RunPlan
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import Deployment, DeploymentOpener, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.weeks import NoSuchWeek


def plan_daily_sync(deployment: Deployment, scheduled_at: datetime) -> list[dg.RunRequest] | dg.SkipReason:
    """Plan the runs of the tick at that moment, or say why there are none."""
    settings = deployment.settings
    organisations = deployment.warehouse.tokens.list_organisations()
    connected_ids = [one.tenant_id for one in organisations if one.status is ConnectionStatus.CONNECTED]
    if not connected_ids:
        # No alert here: `connection_health` and `run_failure_alert` report a lost connection once, not each day.
        return dg.SkipReason("No organisation is connected.")
    try:
        weeks = settings.calendar.list_latest_weeks(1 + settings.lookback_weeks, scheduled_at)
    except NoSuchWeek as error:
        return dg.SkipReason(str(error))
    is_for_all = len(connected_ids) == len(organisations) <= settings.organisations_per_run
    # The run key names the tick, so a tick that is evaluated twice launches each run once.
    key = f"daily_sync:{scheduled_at.isoformat()}"
    plan = RunPlan(weeks[0], weeks[-1], () if is_for_all else tuple(sorted(connected_ids)), key)
    return [part.to_run_request("daily_sync") for part in plan.split(settings.organisations_per_run)]


def build_daily_sync_schedule(
    settings: Settings, job: Any, *, opener: DeploymentOpener = open_deployment
) -> dg.ScheduleDefinition:
    """Build the schedule. It is stopped until somebody starts it."""

    @dg.schedule(
        name="daily_sync",
        job=job,
        cron_schedule=settings.sync_cron,
        execution_timezone=settings.timezone_name,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"The latest week and the {settings.lookback_weeks} before it, which Xero's users may have edited.",
    )
    def daily_sync(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        with opener(settings) as deployment:
            return plan_daily_sync(deployment, context.scheduled_execution_time)

    return daily_sync
