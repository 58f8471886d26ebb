"""The weeks as Dagster partitions: one definition, shared by every asset."""

from __future__ import annotations

import dagster as dg

from xero_pipeline.weeks import Calendar


def weekly_partitions(calendar: Calendar) -> dg.WeeklyPartitionsDefinition:
    """Sunday weeks in the pipeline's zone, from the start date to the newest one that is over.

    The key is the week's Sunday; `day_offset` 0 is Dagster's Sunday, and `end_offset` 0 leaves the running
    week out.
    """
    return dg.WeeklyPartitionsDefinition(
        start_date=calendar.start_date.isoformat(), timezone=str(calendar.timezone), day_offset=0, end_offset=0
    )
