"""The weeks and the months as Dagster partitions. The assets of weeks share one definition, those of months another."""

from __future__ import annotations

import dagster as dg

from xero_pipeline.weeks import Calendar


def build_weekly_partitions(calendar: Calendar) -> dg.WeeklyPartitionsDefinition:
    """Build the weeks from Sunday to Saturday in the pipeline's time zone, from the start date to the latest week.

    A partition's key is the week's Sunday. In Dagster `day_offset` 0 is Sunday, and `end_offset` 0 leaves out the
    week that is not over yet.
    """
    return dg.WeeklyPartitionsDefinition(
        start_date=calendar.start_date.isoformat(), timezone=str(calendar.timezone), day_offset=0, end_offset=0
    )


def build_monthly_partitions(calendar: Calendar) -> dg.MonthlyPartitionsDefinition:
    """Build the calendar months in the pipeline's time zone, from the start date to the latest month.

    A partition's key is the month's first day. A month that began before the start date is left out.
    """
    return dg.MonthlyPartitionsDefinition(
        start_date=calendar.start_date.isoformat(), timezone=str(calendar.timezone), day_offset=1, end_offset=0
    )
