"""What a week and a month have in common, and the months.

Whatever syncs, stores or checks figures by week does the same by month. Only what Xero itself counts in weeks or
months differs, and that is here and in `weeks.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Self, TypeVar

from xero_pipeline.errors import PipelineError


class NoSuchMonth(PipelineError):
    """The date does not name a month that can be synced."""

    code = "no_such_month"


@dataclass(frozen=True, order=True, slots=True)
class Period(ABC):
    """A week or a month, named by its last day.

    Attributes:
        NOUN: what people call it.
        COLUMN: the column of the tables that has its last day.
        ERROR: what is raised for a date that names none that can be synced.
    """

    ending: date

    NOUN: ClassVar[str]
    COLUMN: ClassVar[str]
    ERROR: ClassVar[type[PipelineError]]

    @classmethod
    @abstractmethod
    def from_key(cls, key: str) -> Self:
        """Return the period of a Dagster partition key, its first day as `YYYY-MM-DD`."""

    @classmethod
    @abstractmethod
    def containing(cls, day: date) -> Self:
        """Return the period that contains this day."""

    @property
    @abstractmethod
    def start(self) -> date:
        """The period's first day."""

    @abstractmethod
    def shift(self, count: int) -> Self:
        """Return the period that lies so many periods later, or earlier for a negative number."""

    @property
    def key(self) -> str:
        """Dagster's partition key: the first day as `YYYY-MM-DD`."""
        return self.start.isoformat()

    @property
    def previous(self) -> Self:
        return self.shift(-1)

    def __contains__(self, day: date) -> bool:
        return self.start <= day <= self.ending

    def __str__(self) -> str:
        return self.ending.isoformat()


@dataclass(frozen=True, order=True, slots=True)
class Month(Period):
    """One calendar month, identified by its last day."""

    NOUN = "month"
    COLUMN = "month_ending"
    ERROR = NoSuchMonth

    def __post_init__(self) -> None:
        if self.ending.day != monthrange(self.ending.year, self.ending.month)[1]:
            raise NoSuchMonth(
                f"{self.ending.isoformat()} is not the last day of a month, and a month is named by its last day.",
                advice=f"Its month is {Month.containing(self.ending)}.",
            )

    @classmethod
    def from_key(cls, key: str) -> Month:
        """Return the month of a Dagster partition key, its first day as `YYYY-MM-DD`."""
        return cls.containing(date.fromisoformat(key))

    @classmethod
    def containing(cls, day: date) -> Month:
        """Return the month that contains this day."""
        return cls(day.replace(day=monthrange(day.year, day.month)[1]))

    @property
    def start(self) -> date:
        """The month's first day."""
        return self.ending.replace(day=1)

    def shift(self, count: int) -> Month:
        """Return the month that lies so many months later, or earlier for a negative number."""
        months = self.ending.year * 12 + self.ending.month - 1 + count
        return Month.containing(date(months // 12, months % 12 + 1, 1))


AnyPeriod = TypeVar("AnyPeriod", bound=Period)


def iterate_periods(first: AnyPeriod, last: AnyPeriod) -> Iterator[AnyPeriod]:
    """Yield every period from `first` to `last`, both included, oldest first."""
    period = first
    while period.ending <= last.ending:
        yield period
        period = period.shift(1)


def group_into_ranges(periods: Iterable[AnyPeriod]) -> list[tuple[AnyPeriod, AnyPeriod]]:
    """Group periods of one kind into the fewest ranges (first, last) without a gap, the newest range first."""
    ranges: list[tuple[AnyPeriod, AnyPeriod]] = []
    for period in sorted(set(periods), key=lambda one: one.ending, reverse=True):
        if ranges and ranges[-1][0] == period.shift(1):
            ranges[-1] = (period, ranges[-1][1])
        else:
            ranges.append((period, period))
    return ranges
