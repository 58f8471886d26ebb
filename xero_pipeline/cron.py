"""What a cron line may say: Dagster takes five fields of numbers, and a line that never comes due tells nobody."""

from __future__ import annotations

import re

# Minute, hour, day of the month, month, day of the week.
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))

# How many days each month can have.
_LONGEST = {month: 29 if month == 2 else 30 if month in {4, 6, 9, 11} else 31 for month in range(1, 13)}


def require_cron(line: str) -> None:
    """Accept a line that comes due.

    Raises:
        ValueError: it cannot be read, or names a day that never comes; the text goes on after the setting's name.
    """
    fields = line.split()
    values = list(map(_values, fields, _RANGES))
    if len(fields) != len(_RANGES) or not all(values):
        raise ValueError("must be a cron line of five fields in numbers, such as 0 6 * * *")
    days, months = values[2:4]
    # A day of the week beside a day of the month is another way for it to come.
    if fields[4].startswith("*") and min(days) > max(_LONGEST[month] for month in months):
        raise ValueError("names a day that none of its months has")


def _values(field: str, limits: tuple[int, int]) -> set[int]:
    """The numbers that a field of a cron line stands for; none for one that cannot be read."""
    values: set[int] = set()
    for part in field.split(","):
        found = re.fullmatch(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([1-9][0-9]?))?", part)
        if not found:
            return set()
        first, last, step = (int(number) if number is not None else None for number in found.groups())
        if first is None:
            first, last = limits
        elif last is None:
            # As cron has it: 5/15 goes on to the end.
            last = first if step is None else limits[1]
        if not limits[0] <= first <= last <= limits[1]:
            return set()
        values.update(range(first, last + 1, step or 1))
    return values
