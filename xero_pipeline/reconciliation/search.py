"""Narrowing the difference of a block down to weeks with few calls.

Xero's totals add up: what differs over a block is the sum of what differs in its weeks. So a range is divided, Xero
is asked for one part, and the rest follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise

from xero_pipeline.money import ZERO
from xero_pipeline.weeks import WeekRange

Figure = tuple[str, str]
"""An account's id and the column of its figure; for documents, what was counted and `count`."""

# How many calls narrow down one difference: three for the quarters of 52 weeks, four within a quarter.
CALLS_FOR_ONE = 8
# Where exactly two places differ, as when something was moved from one week to another.
CALLS_FOR_TWO = 15
# From so many weeks on, a range is first divided into quarters. That also finds what has moved between two of them.
_QUARTERED_FROM = 8


class Search:
    """The search for the weeks in which a block differs.

    Args:
        compare: asks Xero about a range and returns what differs there, by figure; zeros are left out.
        may_ask: whether another call may be made now.
    """

    def __init__(
        self, compare: Callable[[WeekRange], Mapping[Figure, Decimal]], may_ask: Callable[[], bool] = lambda: True
    ) -> None:
        self._compare = compare
        self._may_ask = may_ask
        self._asked = 0

    def find(self, block: WeekRange, difference: Mapping[Figure, Decimal]) -> list[WeekRange]:
        """Find the ranges in which a block differs, as small as the calls allow.

        With three differences or more, reading the whole block again costs little more, and it also finds what was
        moved between two weeks of the same range. Then the block itself is returned.
        """
        if not difference:
            return []
        suspects = [(block, dict(difference))]
        if len(block) >= _QUARTERED_FROM:
            suspects = self._divide(suspects.pop(), 4)
        while True:
            divisible = [suspect for suspect in suspects if len(suspect[0]) > 1]
            if not divisible:
                break
            limit = CALLS_FOR_ONE if len(suspects) == 1 else CALLS_FOR_TWO if len(suspects) == 2 else 0
            if self._asked >= limit or not self._may_ask():
                return [block] if len(suspects) > 2 else [weeks for weeks, _ in suspects]
            largest = max(divisible, key=lambda suspect: len(suspect[0]))
            suspects.remove(largest)
            suspects += self._divide(largest, 2)
        return [weeks for weeks, _ in suspects]

    def _divide(
        self, suspect: tuple[WeekRange, dict[Figure, Decimal]], parts: int
    ) -> list[tuple[WeekRange, dict[Figure, Decimal]]]:
        """Divide a range, ask Xero about each part but the last, and return the parts that differ."""
        weeks, rest = suspect
        divided = _divide_weeks(weeks, parts)
        suspects = []
        for part in divided[:-1]:
            if not self._may_ask():
                break
            self._asked += 1
            difference = dict(self._compare(part))
            rest = subtract(rest, difference)
            if difference:
                suspects.append((part, difference))
        else:
            part = divided[-1]
        if rest:
            suspects.append((WeekRange(part.first, weeks.last), rest))
        return suspects


def subtract(amounts: Mapping[Figure, Decimal], others: Mapping[Figure, Decimal]) -> dict[Figure, Decimal]:
    """Subtract amounts by key. Zeros are left out."""
    keys = dict.fromkeys([*amounts, *others])
    differences = {key: amounts.get(key, ZERO) - others.get(key, ZERO) for key in keys}
    return {key: amount for key, amount in differences.items() if amount}


def _divide_weeks(weeks: WeekRange, parts: int) -> Sequence[WeekRange]:
    bounds = [len(weeks) * number // parts for number in range(parts + 1)]
    return [WeekRange(weeks.first.shift(start), weeks.first.shift(end - 1)) for start, end in pairwise(bounds)]
