"""Weeks in every time zone and across clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.assets.partitions import build_weekly_partitions
from xero_pipeline.weeks import MAX_WEEKS, Calendar, NoSuchWeek, Week

ZONES = ["Australia/Sydney", "Europe/London", "America/New_York", "Pacific/Auckland", "Pacific/Apia", "UTC"]
SYDNEY = ZoneInfo("Australia/Sydney")

days = st.dates(min_value=date(2000, 1, 1), max_value=date(2100, 1, 1))


@given(days)
def test_every_day_lies_in_exactly_one_week_from_sunday_to_saturday(day: date) -> None:
    week = Week.containing(day)
    assert day in week
    assert (week.start.weekday(), week.ending.weekday()) == (6, 5)
    assert day not in week.previous
    assert day not in week.shift(1)
    assert Week.from_key(week.key) == week


@given(st.dates(min_value=date(2015, 1, 1), max_value=date(2026, 6, 1)), st.sampled_from(ZONES), st.integers(0, 10**8))
def test_weeks_equal_dagsters_partitions_at_any_moment_in_any_zone(start: date, zone: str, seconds: int) -> None:
    calendar = Calendar(start, ZoneInfo(zone))
    now = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    keys = build_weekly_partitions(calendar).get_partition_keys(current_time=now)
    try:
        assert [week.key for week in calendar.list_weeks(now)] == list(keys)
    except NoSuchWeek:
        assert list(keys) == []


def test_the_latest_week_changes_at_midnight_in_the_pipelines_zone() -> None:
    calendar = Calendar(date(2023, 1, 1), SYDNEY)
    saturday_night = datetime(2026, 11, 21, 23, 59, 59, tzinfo=SYDNEY)
    assert calendar.find_latest_week(saturday_night) == Week(date(2026, 11, 14))
    assert calendar.find_latest_week(saturday_night + timedelta(seconds=1)) == Week(date(2026, 11, 21))


@pytest.mark.parametrize("change", [datetime(2026, 4, 5, tzinfo=SYDNEY), datetime(2026, 10, 4, tzinfo=SYDNEY)])
def test_a_sunday_on_which_the_clocks_change_still_begins_its_week_at_midnight(change: datetime) -> None:
    calendar = Calendar(date(2023, 1, 1), SYDNEY)
    assert calendar.find_latest_week(change - timedelta(seconds=1)) == calendar.find_latest_week(change).previous
    assert calendar.find_latest_week(change + timedelta(hours=12)) == calendar.find_latest_week(change)


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (date(2026, 11, 20), "named by its Saturday. Its week is 2026-11-21"),
        (date(2026, 11, 28), "not over yet. The latest one is 2026-11-21"),
        (date(2022, 12, 31), "before the first one, 2023-01-07"),
    ],
)
def test_a_date_that_names_no_week_is_refused_with_advice(ending: date, text: str) -> None:
    calendar = Calendar(date(2023, 1, 1), SYDNEY)
    with pytest.raises(NoSuchWeek, match=text):
        calendar.require_week(ending, datetime(2026, 11, 24, tzinfo=UTC))


def test_the_latest_weeks_never_begin_before_the_start_date() -> None:
    calendar = Calendar(date(2026, 11, 1), SYDNEY)
    weeks = calendar.list_latest_weeks(13, datetime(2026, 11, 24, tzinfo=UTC))
    assert [str(week) for week in weeks] == ["2026-11-07", "2026-11-14", "2026-11-21"]


def test_a_request_for_more_weeks_than_exist_returns_all_of_them() -> None:
    calendar, now = Calendar(date(2026, 11, 1), ZoneInfo("Australia/Sydney")), datetime(2026, 11, 24, tzinfo=UTC)
    assert (
        calendar.list_latest_weeks(10**12, now)
        == calendar.list_latest_weeks(MAX_WEEKS, now)
        == calendar.list_weeks(now)
    )
    assert calendar.list_latest_weeks(2, now) == calendar.list_weeks(now)[-2:]


def test_a_day_begins_at_midnight_in_the_pipelines_zone() -> None:
    calendar = Calendar(date(2023, 1, 1), SYDNEY)
    assert calendar.start_of_day(date(2026, 11, 24)) == datetime(2026, 11, 23, 13, tzinfo=UTC)
    assert calendar.start_of_day(date(2026, 7, 1)) == datetime(2026, 6, 30, 14, tzinfo=UTC)
    assert calendar.start_of_day(date.min) < calendar.start_of_day(date.max)


@pytest.mark.parametrize("day", [date.min, date.max])
def test_the_first_and_last_date_of_python_name_no_week(day: date) -> None:
    with pytest.raises(NoSuchWeek, match="a week is named by its Saturday"):
        Week(day)
