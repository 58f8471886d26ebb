"""By when a week must have landed: the first tick of the daily sync after it is over, and some hours for it."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from xero_pipeline.dagster_internals import cron_string_iterator
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import NoSuchWeek, Week

# For the sync itself, and for an outage or a minute's limit on its way.
MARGIN = timedelta(hours=6)


def weeks_due(settings: Settings, warehouse: Warehouse) -> dict[str, Week]:
    """For each connected organisation the newest week that must have landed by now, if there is one."""
    now = warehouse.clock.now()
    due = {
        organisation.tenant_id: week_due(settings, organisation.connected_at, now)
        for organisation in warehouse.tokens.connected()
    }
    return {tenant_id: week for tenant_id, week in due.items() if week is not None}


def week_due(settings: Settings, connected_at: datetime, now: datetime) -> Week | None:
    """The newest week that must have landed, of an organisation that has been connected since then."""
    calendar = settings.calendar
    try:
        week = calendar.find_latest_week(now)
    except NoSuchWeek:
        return None
    while week >= calendar.first:
        over = datetime.combine(week.ending + timedelta(days=1), time(), calendar.timezone)
        if next_tick(settings, max(over, connected_at)) + MARGIN <= now:
            return week
        if over <= connected_at:
            # Nothing has ticked since it was connected, so no older week is due either.
            return None
        week = week.previous
    return None


def next_tick(settings: Settings, after: datetime) -> datetime:
    """When `SYNC_CRON` next ticks at or after a moment."""
    ticks = cron_string_iterator(after.timestamp(), settings.sync_cron, settings.timezone_name)
    return next(tick for tick in ticks if tick >= after)
