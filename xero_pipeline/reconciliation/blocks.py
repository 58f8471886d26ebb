"""The blocks of weeks that are compared with Xero's totals, and the places where a block is split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xero_pipeline.weeks import Week, WeekRange

# Xero's reports cover at most a year.
MAX_BLOCK_WEEKS = 52


def list_blocks(weeks: Iterable[Week]) -> list[WeekRange]:
    """Divide weeks into blocks of consecutive weeks, oldest first.

    Each run of consecutive weeks is divided from its oldest week on, so that a block stays the same while weeks are
    added at the end.
    """
    return group_weeks(weeks, MAX_BLOCK_WEEKS)


def group_weeks(weeks: Iterable[Week], max_weeks: int | None = None) -> list[WeekRange]:
    """Group weeks into ranges without a gap, oldest first, none longer than `max_weeks`."""
    ranges: list[WeekRange] = []
    for week in sorted(set(weeks)):
        newest = ranges[-1] if ranges else None
        if newest is not None and week == newest.last.shift(1) and (max_weeks is None or len(newest) < max_weeks):
            ranges[-1] = WeekRange(newest.first, week)
        else:
            ranges.append(WeekRange(week, week))
    return ranges


def group_blocks(blocks: Iterable[WeekRange]) -> list[list[WeekRange]]:
    """Group blocks that follow each other without a gap."""
    groups: list[list[WeekRange]] = []
    for block in sorted(blocks):
        if groups and groups[-1][-1].last.shift(1) == block.first:
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def choose_split(weeks: WeekRange, look: int) -> WeekRange | None:
    """Choose the first part of a block that is compared as well, so that edits that cancel out are found.

    A payroll run that moves from one week to another leaves the block's totals as they were. Each look splits the
    block elsewhere: first in the middle, then in the quarters, until every place has been used; then from the start.

    Returns:
        The weeks before the split; `None` for a block of one week.
    """
    places = list(_iterate_split_places(len(weeks)))
    if not places:
        return None
    return WeekRange(weeks.first, weeks.first.shift(places[look % len(places)] - 1))


def _iterate_split_places(count: int) -> Iterator[int]:
    """Yield the numbers from 1 to `count - 1`, each once, the middles of the largest gaps first."""
    ranges = [(0, count)]
    while ranges:
        following = []
        for start, end in ranges:
            if end - start > 1:
                middle = (start + end) // 2
                yield middle
                following += [(start, middle), (middle, end)]
        ranges = following
