"""When a week must have landed: at the first tick of the daily sync after the week is over, plus `MARGIN`."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from xero_pipeline.dagster_internals import cron_string_iterator
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import NoSuchWeek, Week

# Time for the sync itself, and for an outage or a wait for a rate limit.
MARGIN = timedelta(hours=6)


def find_weeks_due(settings: Settings, warehouse: Warehouse) -> dict[str, Week]:
    """Find the newest week that must have landed by now, by tenant id of each connected organisation that has one."""
    now = warehouse.clock.now()
    due = {
        organisation.tenant_id: find_week_due(settings, organisation.connected_at, now)
        for organisation in warehouse.tokens.list_connected()
    }
    return {tenant_id: week for tenant_id, week in due.items() if week is not None}


def find_week_due(settings: Settings, connected_at: datetime, now: datetime) -> Week | None:
    """Find the newest week that must have landed for an organisation that was connected at `connected_at`."""
    calendar = settings.calendar
    try:
        week = calendar.find_latest_week(now)
    except NoSuchWeek:
        return None
    while week >= calendar.first:
        week_end = datetime.combine(week.ending + timedelta(days=1), time(), calendar.timezone)
        if find_next_tick(settings, max(week_end, connected_at)) + MARGIN <= now:
            return week
        if week_end <= connected_at:
            # The schedule has not ticked since the organisation was connected, so no older week is due either.
            return None
        week = week.previous
    return None


def find_next_tick(settings: Settings, after: datetime) -> datetime:
    """Find the first tick of `SYNC_CRON` at or after a moment."""
    ticks = cron_string_iterator(after.timestamp(), settings.sync_cron, settings.timezone_name)
    return next(tick for tick in ticks if tick >= after)
