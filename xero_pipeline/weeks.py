"""What a week is: Sunday to Saturday in the pipeline's zone, named by its Saturday.

Pure dates. Dagster's partitions are made from this in `assets/partitions.py`; nothing here knows of them
but the name of a partition's key, the week's Sunday.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from xero_pipeline.errors import PipelineError

_SUNDAY = 6
_SATURDAY = 5

# Between which days PIPELINE_START_DATE can lie, and so how many weeks there can ever be.
EARLIEST, LATEST = date(2000, 1, 1), date(2100, 12, 31)
MOST_WEEKS = (LATEST - EARLIEST).days // 7


class NoSuchWeek(PipelineError):
    """A date that names no week which can be synced."""

    code = "no_such_week"


@dataclass(frozen=True, order=True, slots=True)
class Week:
    """One week, Sunday to Saturday, by its Saturday."""

    ending: date

    def __post_init__(self) -> None:
        if self.ending.weekday() != _SATURDAY:
            raise NoSuchWeek(
                f"{self.ending.isoformat()} is a {self.ending:%A}, and a week is named by its Saturday.",
                # The calendar's last days lie in a week that it has no Saturday for.
                advice=f"The week it lies in is {Week.containing(self.ending)}." if self.ending <= LATEST else None,
            )

    @classmethod
    def containing(cls, day: date) -> Week:
        """The week that a day lies in."""
        return cls(day + timedelta(days=(_SATURDAY - day.weekday()) % 7))

    @classmethod
    def from_key(cls, key: str) -> Week:
        """The week of a Dagster partition key, its Sunday as `YYYY-MM-DD`."""
        return cls(date.fromisoformat(key) + timedelta(days=6))

    @property
    def start(self) -> date:
        """The week's first day, a Sunday."""
        return self.ending - timedelta(days=6)

    @property
    def key(self) -> str:
        """Dagster's partition key: the Sunday as `YYYY-MM-DD`."""
        return self.start.isoformat()

    @property
    def previous(self) -> Week:
        return self.shift(-1)

    def shift(self, weeks: int) -> Week:
        """The week so many weeks later (or earlier)."""
        return Week(self.ending + timedelta(weeks=weeks))

    def __contains__(self, day: date) -> bool:
        return self.start <= day <= self.ending

    def __str__(self) -> str:
        return self.ending.isoformat()


@dataclass(frozen=True, slots=True)
class Calendar:
    """Which weeks there are: from `PIPELINE_START_DATE` to the newest one that is over."""

    start_date: date
    timezone: ZoneInfo

    @property
    def first(self) -> Week:
        """The first week that begins on or after the start date (as Dagster counts partitions)."""
        return Week.containing(self.start_date + timedelta(days=(_SUNDAY - self.start_date.weekday()) % 7))

    def today(self, now: datetime) -> date:
        """The day it is in the pipeline's zone."""
        return now.astimezone(self.timezone).date()

    def midnight(self, day: date) -> datetime:
        """The moment (UTC) at which that day begins in the pipeline's zone; of a day that no calendar here has, the
        nearest one's."""
        day = min(max(day, EARLIEST), LATEST)
        return datetime.combine(day, time.min, self.timezone).astimezone(UTC)

    def latest(self, now: datetime) -> Week:
        """The newest week that is over, by midnight in the pipeline's zone.

        Raises:
            NoSuchWeek: no week since the start date is over yet.
        """
        week = Week.containing(self.today(now)).previous
        if week < self.first:
            raise NoSuchWeek(
                f"No week since PIPELINE_START_DATE ({self.start_date.isoformat()}) is over yet.",
                advice=f"The first one ends on {self.first}.",
            )
        return week

    def require(self, ending: date, now: datetime) -> Week:
        """The week with that Saturday, if it can be synced.

        Raises:
            NoSuchWeek: it is no Saturday, is not over yet, or lies before the first week.
        """
        week = Week(ending)
        if week < self.first:
            raise NoSuchWeek(
                f"The week ending {week} lies before the first one, {self.first}.",
                advice="Set PIPELINE_START_DATE to an earlier date to sync older weeks.",
            )
        if week > self.latest(now):
            raise NoSuchWeek(
                f"The week ending {week} is not over yet.", advice=f"The latest one is {self.latest(now)}."
            )
        return week

    def between(self, first: Week, last: Week) -> Iterator[Week]:
        """Every week from `first` to `last`, both included, oldest first."""
        week = first
        while week <= last:
            yield week
            week = week.shift(1)

    def every(self, now: datetime) -> list[Week]:
        """Every week that can be synced, oldest first."""
        return list(self.between(self.first, self.latest(now)))

    def last_weeks(self, count: int, now: datetime) -> list[Week]:
        """The latest `count` weeks (fewer where the start date is nearer), oldest first."""
        return self.every(now)[-count:]
