"""Weeks from Sunday to Saturday in the pipeline's time zone, named by their Saturday.

This module only computes dates. `assets/partitions.py` makes Dagster's partitions from it; the one thing that this
module knows about partitions is their key, the week's Sunday.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from xero_pipeline.errors import PipelineError
from xero_pipeline.periods import AnyPeriod, Month, Period, iterate_periods

_SUNDAY = 6
_SATURDAY = 5

# The first and last date that PIPELINE_START_DATE may have, which bound the number of weeks.
EARLIEST_DATE, LATEST_DATE = date(2000, 1, 1), date(2100, 12, 31)
MAX_WEEKS = (LATEST_DATE - EARLIEST_DATE).days // 7


class NoSuchWeek(PipelineError):
    """The date does not name a week that can be synced."""

    code = "no_such_week"


@dataclass(frozen=True, order=True, slots=True)
class Week(Period):
    """One week from Sunday to Saturday, identified by its Saturday."""

    NOUN = "week"
    COLUMN = "week_ending"
    ERROR = NoSuchWeek

    def __post_init__(self) -> None:
        if self.ending.weekday() != _SATURDAY:
            raise NoSuchWeek(
                f"{self.ending.isoformat()} is a {self.ending:%A}, but a week is named by its Saturday.",
                # `date.max` is a Friday, so the last days of the calendar have no Saturday.
                advice=f"Its week is {Week.containing(self.ending)}." if self.ending <= LATEST_DATE else None,
            )

    @classmethod
    def containing(cls, day: date) -> Week:
        """Return the week that contains this day."""
        return cls(day + timedelta(days=(_SATURDAY - day.weekday()) % 7))

    @classmethod
    def from_key(cls, key: str) -> Week:
        """Return the week of a Dagster partition key, its Sunday as `YYYY-MM-DD`."""
        return cls(date.fromisoformat(key) + timedelta(days=6))

    @property
    def start(self) -> date:
        """The week's first day, a Sunday."""
        return self.ending - timedelta(days=6)

    def shift(self, count: int) -> Week:
        """Return the week that lies so many weeks later, or earlier for a negative number."""
        return Week(self.ending + timedelta(weeks=count))


@dataclass(frozen=True, order=True, slots=True)
class WeekRange:
    """Consecutive weeks from `first` to `last`, both included."""

    first: Week
    last: Week

    @property
    def start(self) -> date:
        """The first day of the first week."""
        return self.first.start

    @property
    def ending(self) -> date:
        """The last day of the last week."""
        return self.last.ending

    def __len__(self) -> int:
        return (self.last.ending - self.first.ending).days // 7 + 1

    def __iter__(self) -> Iterator[Week]:
        return (self.first.shift(number) for number in range(len(self)))

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class Calendar:
    """The weeks and months that can be synced: from `PIPELINE_START_DATE` to the newest one that is over."""

    start_date: date
    timezone: ZoneInfo

    @property
    def first(self) -> Week:
        """The first week that begins on or after the start date, as in Dagster's partitions."""
        return Week.containing(self.start_date + timedelta(days=(_SUNDAY - self.start_date.weekday()) % 7))

    def today(self, now: datetime) -> date:
        """Return the current date in the pipeline's time zone."""
        return now.astimezone(self.timezone).date()

    def start_of_day(self, day: date) -> datetime:
        """Return the moment (UTC) at which that day begins in the pipeline's time zone.

        A day outside of `EARLIEST_DATE` and `LATEST_DATE` is replaced by the nearer of the two.
        """
        day = min(max(day, EARLIEST_DATE), LATEST_DATE)
        return datetime.combine(day, time.min, self.timezone).astimezone(UTC)

    def find_latest_week(self, now: datetime) -> Week:
        """Return the newest week that is over. A week is over at midnight in the pipeline's time zone.

        Raises:
            NoSuchWeek: no week since the start date is over yet.
        """
        return self._find_latest(self.first, now)

    def require_week(self, ending: date, now: datetime) -> Week:
        """Return the week that ends on this Saturday, if it can be synced.

        Raises:
            NoSuchWeek: the day is not a Saturday, or its week is not over yet or lies before the first week.
        """
        return self._require(self.first, ending, now)

    def iterate_weeks(self, first: Week, last: Week) -> Iterator[Week]:
        """Yield every week from `first` to `last`, both included, oldest first."""
        return iterate_periods(first, last)

    def list_weeks(self, now: datetime) -> list[Week]:
        """Return every week that can be synced, oldest first."""
        return list(self.iterate_weeks(self.first, self.find_latest_week(now)))

    def list_latest_weeks(self, count: int, now: datetime) -> list[Week]:
        """Return the latest `count` weeks, oldest first; fewer if the start date is more recent."""
        return self.list_weeks(now)[-count:]

    @property
    def first_month(self) -> Month:
        """The first month that begins on or after the start date, as in Dagster's partitions."""
        month = Month.containing(self.start_date)
        return month if month.start == self.start_date else month.shift(1)

    def find_latest_month(self, now: datetime) -> Month:
        """Return the newest month that is over. A month is over at midnight in the pipeline's time zone.

        Raises:
            NoSuchMonth: no month since the start date is over yet.
        """
        return self._find_latest(self.first_month, now)

    def require_month(self, ending: date, now: datetime) -> Month:
        """Return the month that ends on this day, if it can be synced.

        Raises:
            NoSuchMonth: the day is not the last of a month, or its month is not over yet or lies before the first one.
        """
        return self._require(self.first_month, ending, now)

    def list_months(self, now: datetime) -> list[Month]:
        """Return every month that can be synced, oldest first."""
        return list(iterate_periods(self.first_month, self.find_latest_month(now)))

    def _find_latest(self, first: AnyPeriod, now: datetime) -> AnyPeriod:
        period = type(first).containing(self.today(now)).previous
        if period < first:
            raise first.ERROR(
                f"No {first.NOUN} since PIPELINE_START_DATE ({self.start_date.isoformat()}) is over yet.",
                advice=f"The first one ends on {first}.",
            )
        return period

    def _require(self, first: AnyPeriod, ending: date, now: datetime) -> AnyPeriod:
        period, noun = type(first)(ending), first.NOUN
        if period < first:
            raise first.ERROR(
                f"The {noun} ending {period} lies before the first one, {first}.",
                advice=f"Set PIPELINE_START_DATE to an earlier date to sync older {noun}s.",
            )
        latest = self._find_latest(first, now)
        if period > latest:
            raise first.ERROR(f"The {noun} ending {period} is not over yet.", advice=f"The latest one is {latest}.")
        return period
