"""Reads the period of a report from its titles, in the formats that Xero uses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta

from xero_pipeline.periods import Period
from xero_pipeline.weeks import WeekRange

Dates = tuple[date, date]

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = r"(?P<{0}m>[A-Za-z]{{3,9}})\.?"
_DAY = r"(?P<{0}d>\d{{1,2}})(?:st|nd|rd|th)?"
_YEAR = r"'?(?P<{0}y>\d{{4}}|\d{{2}})(?!\d)"
_JOIN = r"\s*(?:to|through|thru|until|till|and|-|‐|‑|–|—|−)\s*"


def _day_first(name: str, *, month: str = "", year: str = "") -> str:
    return _DAY.format(name) + (rf"(?:\s+{_MONTH.format(name)})" + month) + (rf"(?:,?\s+{_YEAR.format(name)})" + year)


def _month_first(name: str, *, year: str = "") -> str:
    return _MONTH.format(name) + r"\s+" + _DAY.format(name) + (rf"(?:,?\s+{_YEAR.format(name)})" + year)


def _iso(name: str) -> str:
    return rf"(?P<{name}y>\d{{4}})-(?P<{name}m>\d{{1,2}})-(?P<{name}d>\d{{1,2}})"


_RANGES = [
    re.compile(rf"\b{_iso('a')}{_JOIN}{_iso('b')}\b"),
    re.compile(rf"\b{_day_first('a', month='?', year='?')}{_JOIN}{_day_first('b')}\b", re.IGNORECASE),
    re.compile(rf"\b{_month_first('a', year='?')}{_JOIN}{_month_first('b')}\b", re.IGNORECASE),
    re.compile(
        rf"\b(?P<am>[A-Za-z]{{3,9}})\.?\s+{_DAY.format('a')}{_JOIN}{_DAY.format('b')},?\s+{_YEAR.format('b')}\b",
        re.IGNORECASE,
    ),
]
_NUMBERS = r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})"
_NUMERIC = re.compile(rf"\b{_NUMBERS}{_JOIN}{_NUMBERS}\b")
_HYPHENATED = re.compile(r"\b(\d{1,2})[-/]([A-Za-z]{3,9})[-/](\d{4}|\d{2})\b")
_WEEK_ENDED = re.compile(
    r"(?<!\d )\b(?:(?:1 |one )?week|7 days?|seven days)\s+end(?:ed|ing)\b(?P<rest>.*)", re.IGNORECASE
)
_WEEKDAY = re.compile(r"\b(?:sun|mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?)(?:day)?\b[.,]*\s*", re.IGNORECASE)
_ONE_DAY = [
    re.compile(_day_first("b"), re.IGNORECASE),
    re.compile(_month_first("b"), re.IGNORECASE),
    re.compile(_iso("b")),
]


def read_period(titles: Sequence[str], requested: Period | WeekRange) -> Dates | None:
    """Read the first and last day that the titles name; `None` if no title names a range.

    A numeric date that can be read in two ways is read as the requested week if one of the readings is.
    """
    periods = [period for title in reversed(titles) for period in _find_periods(title)]
    requested_period = (requested.start, requested.ending)
    return requested_period if requested_period in periods else next(iter(periods), None)


def _find_periods(title: str) -> Iterator[Dates]:
    title = _HYPHENATED.sub(r"\1 \2 \3", _WEEKDAY.sub("", title))
    for pattern in _RANGES:
        match = pattern.search(title)
        if match and (period := _parse_groups(match.groupdict())):
            yield period
    if match := _NUMERIC.search(title):
        yield from _parse_numbers([int(part) for part in match.groups()])
    if match := _WEEK_ENDED.search(title):
        for pattern in _ONE_DAY:
            day = pattern.search(match["rest"])
            if day and (end := _make_date(day["by"], day["bm"], day["bd"])):
                yield end - timedelta(days=6), end


def _parse_groups(parts: dict[str, str | None]) -> Dates | None:
    """Parse the two dates of a range. The first may omit its month and year, which are then those of the second."""
    end = _make_date(parts.get("by"), parts.get("bm") or parts.get("am"), parts.get("bd"))
    if end is None:
        return None
    month = parts.get("am") or parts.get("bm")
    start = _make_date(parts.get("ay") or str(end.year), month, parts.get("ad"))
    if start is not None and start > end and not parts.get("ay"):
        start = _make_date(str(end.year - 1), month, parts.get("ad"))
    return (start, end) if start is not None else None


def _parse_numbers(numbers: Sequence[int]) -> Iterable[Dates]:
    """Parse two numeric dates, first as day and month, then as month and day."""
    a, b, year, c, d, end_year = numbers
    for start, end in (((year, b, a), (end_year, d, c)), ((year, a, b), (end_year, c, d))):
        try:
            yield date(*start), date(*end)
        except ValueError:
            continue


def _make_date(year: str | None, month: str | None, day: str | None) -> date | None:
    if not year or not month or not day:
        return None
    try:
        number = int(month) if month.isdigit() else _parse_month(month)
        return date(int(year) + (2000 if len(year) == 2 else 0), number, int(day))
    except ValueError:
        return None


def _parse_month(name: str) -> int:
    prefix = name.lower()
    if len(prefix) >= 3:
        for number, month in enumerate(_MONTHS, start=1):
            if month.startswith(prefix) or (prefix == "sept" and number == 9):
                return number
    raise ValueError(f"{name} is not a month")
