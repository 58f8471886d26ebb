"""`daily_sync`: one run over the latest week and the weeks before it that are read again."""

from __future__ import annotations

from typing import Any

import dagster as dg

from xero_pipeline.automation.jobs import build_range_tags, build_run_config
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import DeploymentOpener, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.weeks import NoSuchWeek


def build_daily_sync_schedule(
    settings: Settings, job: Any, *, opener: DeploymentOpener = open_deployment
) -> dg.ScheduleDefinition:
    """Build the schedule. It is stopped until somebody starts it."""
    calendar = settings.calendar

    @dg.schedule(
        name="daily_sync",
        job=job,
        cron_schedule=settings.sync_cron,
        execution_timezone=settings.timezone_name,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"The latest week and the {settings.lookback_weeks} before it, which Xero's users may have edited.",
    )
    def daily_sync(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with opener(settings) as deployment:
            organisations = deployment.warehouse.tokens.list_organisations()
        connected_ids = [one.tenant_id for one in organisations if one.status is ConnectionStatus.CONNECTED]
        if not connected_ids:
            # No alert here: `connection_health` and `run_failure_alert` report a lost connection once, not each day.
            return dg.SkipReason("No organisation is connected.")
        try:
            weeks = calendar.list_latest_weeks(1 + settings.lookback_weeks, context.scheduled_execution_time)
        except NoSuchWeek as error:
            return dg.SkipReason(str(error))
        # The run key names the tick, so a tick that is evaluated twice launches one run.
        return dg.RunRequest(
            run_key=f"daily_sync:{context.scheduled_execution_time.isoformat()}",
            tags=build_range_tags(weeks[0], weeks[-1]) | {"source": "daily_sync"},
            run_config=build_run_config(connected_ids if len(connected_ids) < len(organisations) else ()),
        )

    return daily_sync
