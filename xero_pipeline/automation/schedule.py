"""`daily_sync`: the latest week and the weeks before it that are read again, as one run."""

from __future__ import annotations

from typing import Any

import dagster as dg

from xero_pipeline.automation.jobs import range_tags, sync_config
from xero_pipeline.resources import Opening, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.weeks import NoSuchWeek


def daily_sync_schedule(settings: Settings, job: Any, *, opening: Opening = open_deployment) -> dg.ScheduleDefinition:
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
    def daily_sync(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with opening(settings) as deployment:
            kept = deployment.warehouse.tokens.organisations()
            connected = [one.tenant_id for one in deployment.warehouse.tokens.connected()]
        if not connected:
            # People are told of that once, by whoever looks after connections; not again every morning.
            return dg.SkipReason("No organisation is connected.")
        try:
            weeks = calendar.list_latest_weeks(1 + settings.lookback_weeks, context.scheduled_execution_time)
        except NoSuchWeek as error:
            return dg.SkipReason(str(error))
        # The key names the tick, so that evaluating it twice launches nothing twice.
        return dg.RunRequest(
            run_key=f"daily_sync:{context.scheduled_execution_time.isoformat()}",
            tags=range_tags(weeks[0], weeks[-1]) | {"source": "daily_sync"},
            run_config=sync_config(connected if len(connected) < len(kept) else ()),
        )

    return daily_sync
