"""`daily_sync`: the latest week and the weeks before it that are read again, as one run."""

from __future__ import annotations

from typing import Any

import dagster as dg

from xero_pipeline.automation.jobs import range_tags
from xero_pipeline.settings import Settings


def daily_sync_schedule(settings: Settings, job: Any) -> dg.ScheduleDefinition:
    """The schedule; stopped until somebody starts it."""
    calendar = settings.calendar

    @dg.schedule(
        name="daily_sync",
        job=job,
        cron_schedule=settings.sync_cron,
        execution_timezone=settings.timezone_name,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"The latest week and the {settings.lookback_weeks} before it, which Xero's users may have edited.",
    )
    def daily_sync(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        weeks = calendar.last_weeks(1 + settings.lookback_weeks, context.scheduled_execution_time)
        # The key names the tick, so that evaluating it twice launches nothing twice.
        tick = context.scheduled_execution_time.isoformat()
        return dg.RunRequest(run_key=f"daily_sync:{tick}", tags=range_tags(weeks[0], weeks[-1]))

    return daily_sync
