"""Validation of cron lines: five numeric fields, as Dagster accepts them, that come due at some time.

Dagster does not report a line that never comes due, so it is rejected here.
"""

from __future__ import annotations

import re

# Minute, hour, day of the month, month, day of the week.
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))

# The most days that each month can have.
_MONTH_LENGTHS = {month: 29 if month == 2 else 30 if month in {4, 6, 9, 11} else 31 for month in range(1, 13)}


def require_cron(line: str) -> None:
    """Accept a line that can be read and comes due at some time.

    Raises:
        ValueError: the line cannot be read, or names a day that never comes. The text continues a sentence that
            begins with the setting's name.
    """
    fields = line.split()
    values = list(map(_parse_field, fields, _RANGES))
    if len(fields) != len(_RANGES) or not all(values):
        raise ValueError("must be a cron line of five fields in numbers, such as 0 6 * * *")
    days, months = values[2:4]
    # With a day of the week as well, cron runs when either of the two days matches.
    if fields[4].startswith("*") and min(days) > max(_MONTH_LENGTHS[month] for month in months):
        raise ValueError("names a day that none of its months has")


def _parse_field(field: str, limits: tuple[int, int]) -> set[int]:
    """Return the numbers that a cron field stands for; an empty set if it cannot be read."""
    values: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([1-9][0-9]?))?", part)
        if not match:
            return set()
        first, last, step = (int(number) if number is not None else None for number in match.groups())
        if first is None:
            first, last = limits
        elif last is None:
            # In cron, 5/15 runs from 5 to the end of the range.
            last = first if step is None else limits[1]
        if not limits[0] <= first <= last <= limits[1]:
            return set()
        values.update(range(first, last + 1, step or 1))
    return values
