"""Months, and what they have in common with weeks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.assets.partitions import build_monthly_partitions
from xero_pipeline.periods import Month, NoSuchMonth, group_into_ranges, iterate_periods
from xero_pipeline.weeks import Calendar

SYDNEY = ZoneInfo("Australia/Sydney")
DAYS = st.dates(date(2000, 1, 1), date(2100, 12, 31))


@given(DAYS)
def test_a_month_contains_each_of_its_days_and_no_other(day: date) -> None:
    month = Month.containing(day)
    assert day in month
    assert (month.start.day, (month.ending + timedelta(days=1)).day) == (1, 1)
    assert month.start - timedelta(days=1) not in month
    assert Month.from_key(month.key) == month
    assert str(month) == month.ending.isoformat()


@given(DAYS, st.integers(-300, 300))
def test_shifting_a_month_there_and_back_is_the_same_month(day: date, count: int) -> None:
    month = Month.containing(day)
    assert month.shift(count).shift(-count) == month
    assert month.previous.ending == month.start - timedelta(days=1)


def test_a_month_is_named_by_its_last_day() -> None:
    assert Month(date(2028, 2, 29)).start == date(2028, 2, 1)
    with pytest.raises(NoSuchMonth, match=r"2026-02-27 is not the last day of a month.* Its month is 2026-02-28\."):
        Month(date(2026, 2, 27))


def test_months_are_grouped_into_ranges_like_weeks() -> None:
    december = Month(date(2026, 12, 31))
    months = list(iterate_periods(december.shift(-2), december))
    assert group_into_ranges([*months, december.shift(-6)]) == [
        (december.shift(-2), december),
        (december.shift(-6), december.shift(-6)),
    ]


@pytest.mark.parametrize("start", [date(2026, 1, 1), date(2026, 1, 2), date(2025, 12, 31)])
def test_the_months_that_can_be_synced_are_the_partitions_of_dagster(start: date) -> None:
    calendar = Calendar(start, SYDNEY)
    # In Sydney May is over, in UTC it is not.
    now = datetime(2026, 5, 31, 14, 30, tzinfo=UTC)
    partitions = build_monthly_partitions(calendar)
    keys = partitions.get_partition_keys(current_time=now)
    assert [month.key for month in calendar.list_months(now)] == list(keys)
    assert calendar.find_latest_month(now) == Month(date(2026, 5, 31))
    assert isinstance(partitions, dg.MonthlyPartitionsDefinition)


def test_a_month_that_is_not_over_or_lies_before_the_start_cannot_be_synced() -> None:
    calendar, now = Calendar(date(2026, 1, 15), SYDNEY), datetime(2026, 5, 20, tzinfo=UTC)
    assert calendar.require_month(date(2026, 2, 28), now) == calendar.first_month
    for ending, problem in (
        (date(2026, 1, 31), "before the first one, 2026-02-28"),
        (date(2026, 5, 31), "not over yet. The latest one is 2026-04-30"),
    ):
        with pytest.raises(NoSuchMonth, match=problem):
            calendar.require_month(ending, now)
    with pytest.raises(NoSuchMonth, match="The first one ends on 2026-02-28"):
        calendar.find_latest_month(datetime(2026, 2, 10, tzinfo=UTC))


def test_the_last_month_of_all_is_one_too() -> None:
    assert Month.containing(date.max) == Month(date.max)
    with pytest.raises(NoSuchMonth, match="Its month is 9999-12-31"):
        Month(date(9999, 12, 15))
