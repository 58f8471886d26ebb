"""When a week is due: six hours after the first tick of the daily sync that follows its end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.assets.freshness import MARGIN, find_next_tick, find_week_due
from xero_pipeline.settings import Settings, load_settings
from xero_pipeline.weeks import Week

SYDNEY = ZoneInfo("Australia/Sydney")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WEEK = Week(date(2026, 11, 21))


def build_settings(cron: str = "0 6 * * *", zone: str = "Australia/Sydney") -> Settings:
    return load_settings(
        XERO_MOCK_MODE="true",
        XERO_ENCRYPTION_KEY="5e" * 32,
        DAGSTER_HOME=str(Path()),
        SYNC_CRON=cron,
        PIPELINE_TIMEZONE=zone,
    )


@pytest.mark.parametrize(
    ("hour", "due"),
    [(0, WEEK.previous), (6, WEEK.previous), (11, WEEK.previous), (12, WEEK), (23, WEEK)],
)
def test_a_week_is_due_six_hours_after_the_first_tick_that_follows_its_end(hour: int, due: Week) -> None:
    now = datetime(2026, 11, 22, hour, tzinfo=SYDNEY)
    assert find_week_due(build_settings(), LONG_AGO, now) == due


def test_the_due_time_follows_a_weekly_schedule() -> None:
    tuesday = build_settings("30 7 * * 2")
    assert find_week_due(tuesday, LONG_AGO, datetime(2026, 11, 24, 13, 29, tzinfo=SYDNEY)) == WEEK.previous
    assert find_week_due(tuesday, LONG_AGO, datetime(2026, 11, 24, 13, 30, tzinfo=SYDNEY)) == WEEK


def test_no_week_is_due_for_an_organisation_that_was_connected_after_the_last_tick() -> None:
    now = datetime(2026, 11, 25, 15, tzinfo=SYDNEY)
    connected = now - timedelta(hours=1)
    assert find_week_due(build_settings(), connected, now) is None
    assert find_week_due(build_settings(), connected, datetime(2026, 11, 26, 12, tzinfo=SYDNEY)) == WEEK


def test_no_week_is_due_before_the_first_week_is_over() -> None:
    start = load_settings(
        XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME="", PIPELINE_START_DATE="2026-11-15"
    )
    assert find_week_due(start, LONG_AGO, datetime(2026, 11, 18, tzinfo=SYDNEY)) is None
    assert find_week_due(start, LONG_AGO, datetime(2026, 11, 22, 11, tzinfo=SYDNEY)) is None
    assert find_week_due(start, LONG_AGO, datetime(2026, 11, 22, 12, tzinfo=SYDNEY)) == WEEK


def test_a_schedule_at_half_past_two_ticks_on_the_day_that_has_no_such_hour() -> None:
    """On 4 October 2026 Sydney's clocks go from 02:00 to 03:00."""
    tick = find_next_tick(build_settings("30 2 * * *"), datetime(2026, 10, 4, tzinfo=SYDNEY))
    assert tick.astimezone(SYDNEY).date() == date(2026, 10, 4)


@given(
    st.integers(0, 2 * 365 * 24 * 60).map(
        lambda minutes: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    st.sampled_from(["0 6 * * *", "15 2 * * *", "0 0 * * 0", "30 23 * * 6", "0 9 1 * *"]),
    st.sampled_from(["Australia/Sydney", "America/New_York", "Pacific/Kiritimati", "UTC"]),
)
def test_the_deadline_of_the_due_week_has_passed_and_that_of_the_next_week_has_not(
    now: datetime, cron: str, zone: str
) -> None:
    loaded = build_settings(cron, zone)
    due = find_week_due(loaded, LONG_AGO, now)
    assert due is not None

    def deadline(week: Week) -> datetime:
        week_end = datetime.combine(week.shift(1).start, datetime.min.time(), ZoneInfo(zone))
        return find_next_tick(loaded, week_end) + MARGIN

    assert deadline(due) <= now < deadline(due.shift(1))
    assert due <= loaded.calendar.find_latest_week(now)
