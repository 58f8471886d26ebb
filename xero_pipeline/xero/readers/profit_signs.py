"""Which sections of a profit and loss add to the profit and which take from it: settled by its profit lines.

Pure numbers, in whole cents. What a row is, and what the figures then are, is `profit_and_loss.py`'s matter.

A report is a run of blocks (a section's rows) with lines between them. Most lines state the profit up to
there; some only sum up what stands above them ("Total Expenses"); and one may be plain wrong. The reading
is chosen under which the fewest lines stay unexplained, and then the fewest signs are unusual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations

# What is tried out for one stretch at most; the usual signs come first. Real layouts need a handful.
_TRIES = 5_000
# How many lines in a row may be no profit lines; real layouts have two or three in all.
_LINES_PASSED = 6
# By how many cents a profit line may miss its rows and still say which signs they have: Xero rounds each account's
# revaluation by itself.
_ROUNDED = 10
# How strange it is that a section of income takes from the profit; one of expenses that adds to it is 1.
_INCOME_TURNED = 3


class Nature(Enum):
    """What the type of a row's account says of it."""

    EARNS = "earns"
    COSTS = "costs"
    STRANGE = "strange"


class Role(Enum):
    """What a line turned out to be."""

    PROFIT = "profit"
    """The profit up to there, or meant to be."""
    SUBTOTAL = "subtotal"
    """The sum of some sections above it."""


@dataclass(frozen=True, slots=True)
class AccountBlock:
    """A section's rows between two lines: how many cents there are of each nature, and which line follows."""

    cents: dict[Nature, int]
    line: int

    @property
    def total(self) -> int:
        return sum(self.cents.values())

    @property
    def is_mixed(self) -> bool:
        return Nature.EARNS in self.cents and Nature.COSTS in self.cents


@dataclass(frozen=True, slots=True)
class ProfitLine:
    """What a line states, in cents. `of_nothing`: it may as well be the total of a section without rows."""

    cents: int
    of_nothing: bool = False


Signs = dict[tuple[int, Nature], int]
"""+1 or -1 by the block's place and the nature of its rows."""

_Cost = tuple[int, int, int, int]
"""Lines unexplained, sections of known accounts with an unusual sign, subtotals, strangers' unusual signs."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """Rows that share a sign."""

    parts: tuple[tuple[int, Nature], ...]
    cents: int
    usual: int
    is_known: bool


@dataclass(frozen=True, slots=True)
class _SignSolution:
    cost: _Cost
    signs: Signs
    roles: dict[int, Role]


def settle_signs(blocks: Sequence[AccountBlock], lines: Sequence[ProfitLine]) -> tuple[Signs, list[Role]]:
    """The sign of each block's rows, and what each line is.

    Args:
        blocks: in the report's order; `Block.line` counts from 0, `len(lines)` for what follows the last.
        lines: in the report's order.
    """
    count = len(lines)
    best: list[_SignSolution] = [_SignSolution((0, 0, 0, 0), {}, {})] * (count + 1)
    for first in range(count, -1, -1):
        base = lines[first - 1].cents if first else 0
        # Either no line from here on is a profit line, or `anchor` is the next one.
        readings = [_unanchored(blocks, lines, first)]
        for anchor in range(first, min(count, first + _LINES_PASSED)):
            open_blocks = [n for n, block in enumerate(blocks) if first <= block.line <= anchor]
            signs, cost = _solve(blocks, open_blocks, lines[anchor].cents - base)
            passed = _pass_lines(blocks, lines, first, anchor)
            then = best[anchor + 1]
            total = _add(cost, passed.cost, then.cost)
            roles = {anchor: Role.PROFIT} | passed.roles | then.roles
            readings.append(_SignSolution(total, signs | then.signs, roles))
        best[first] = min(readings, key=lambda reading: reading.cost)
    return best[0].signs, [best[0].roles[place] for place in range(count)]


def _unanchored(blocks: Sequence[AccountBlock], lines: Sequence[ProfitLine], first: int) -> _SignSolution:
    """What is left when no line from `first` on is a profit line: usual signs, held by nothing."""
    rest = [n for n, block in enumerate(blocks) if block.line >= first]
    passed = _pass_lines(blocks, lines, first, len(lines))
    unheld = any(blocks[n].total for n in rest)
    signs = {part: unit.usual for unit in _units(blocks, rest, split=False) for part in unit.parts}
    return _SignSolution(_add(passed.cost, (int(unheld), 0, 0, 0)), signs, passed.roles)


def _pass_lines(blocks: Sequence[AccountBlock], lines: Sequence[ProfitLine], first: int, anchor: int) -> _SignSolution:
    """The lines from `first` up to the profit line `anchor`: subtotals, or unexplained."""
    cost: _Cost = (0, 0, 0, 0)
    roles = {}
    for place in range(first, anchor):
        line = lines[place]
        # The last line of all is never taken for a subtotal: it is what holds the net profit.
        is_last = all(other.of_nothing for other in lines[place + 1 :])
        is_subtotal = line.of_nothing or (not is_last and line.cents in _subtotals(blocks, first, place))
        roles[place] = Role.SUBTOTAL if is_subtotal else Role.PROFIT
        cost = _add(cost, (0, 0, 1, 0) if is_subtotal else (1, 0, 0, 0))
    return _SignSolution(cost, {}, roles)


def _subtotals(blocks: Sequence[AccountBlock], first: int, place: int) -> Iterator[int]:
    """Every sum of like sections that end right above a line, either sign."""
    above = [n for n, block in enumerate(blocks) if first <= block.line <= place]
    total, sign = 0, 0
    for unit in reversed(_units(blocks, above, split=False)):
        if unit.is_known:
            if sign == -unit.usual:
                return
            sign = unit.usual
        total += unit.cents
        yield total
        yield -total


def _units(blocks: Sequence[AccountBlock], numbers: Sequence[int], *, split: bool) -> list[_Unit]:
    """The rows that share a sign: a section as a whole, or, split, each nature of a mixed one by itself."""
    units = []
    for number in numbers:
        block = blocks[number]
        groups = [[nature] for nature in block.cents] if split and block.is_mixed else [list(block.cents)]
        for natures in groups:
            known = {nature for nature in natures if nature is not Nature.STRANGE}
            # Both together stand in one section where the expenses are negative (the United States).
            # Of strangers, the first section after a line is taken for income, until a line says otherwise.
            leads = number == 0 or blocks[number - 1].line != block.line
            usual = (-1 if known == {Nature.COSTS} else 1) if known else (1 if leads else -1)
            parts = tuple((number, nature) for nature in natures)
            units.append(_Unit(parts, sum(block.cents[nature] for nature in natures), usual, bool(known)))
    return units


def _solve(blocks: Sequence[AccountBlock], numbers: Sequence[int], wanted: int) -> tuple[Signs, _Cost]:
    """The signs under which the blocks bring what is wanted; the usual ones where none do, not even nearly."""
    if exact := _cheapest(blocks, numbers, wanted, within=0):
        return exact
    units = _units(blocks, numbers, split=False)
    usual = sum(unit.usual * unit.cents for unit in units)
    # Nothing adds up: accounts that say what they are keep their usual signs, strangers come as near as they can.
    nearest = min(_flips(units, known=False), key=lambda flipped: abs(usual - _turned(flipped) - wanted))
    missed = abs(usual - _turned(nearest) - wanted)
    # By how much it is missed then must be another matter than what rounding explains.
    if missed > 10 * _ROUNDED and (rounded := _cheapest(blocks, numbers, wanted, within=_ROUNDED)):
        signs, cost = rounded
        return signs, _add(cost, (1, 0, 0, 0))
    return _signs(units, nearest), (1, 0, 0, len(nearest))


def _cheapest(
    blocks: Sequence[AccountBlock], numbers: Sequence[int], wanted: int, *, within: int
) -> tuple[Signs, _Cost] | None:
    """The least strange signs under which the blocks bring what is wanted, give or take so many cents."""
    found: list[tuple[_Cost, Signs]] = []
    for split in (False, True):
        units = _units(blocks, numbers, split=split)
        if split and not any(blocks[number].is_mixed for number in numbers):
            continue
        usual = sum(unit.usual * unit.cents for unit in units)
        for flipped in _flips(units, known=True):
            # A section that is hardly more than rounding would be turned by chance.
            if any(abs(unit.cents) < 100 * within for unit in flipped):
                continue
            if abs(usual - _turned(flipped) - wanted) <= within:
                # Expenses with their sign are written somewhere; income that takes from the profit nowhere.
                known = sum(_INCOME_TURNED if unit.usual > 0 else 1 for unit in flipped if unit.is_known)
                strange = sum(not unit.is_known for unit in flipped)
                found.append(((0, known + 2 * split, 0, strange), _signs(units, flipped)))
                break
    if not found:
        return None
    cost, signs = min(found, key=lambda one: one[0])
    return signs, cost


def _flips(units: Sequence[_Unit], *, known: bool) -> Iterator[tuple[_Unit, ...]]:
    """Which units to turn round: none first, then strangers before known ones, few before many."""
    sure = [unit for unit in units if unit.is_known and unit.cents] if known else []
    # Expenses that stand negative are the likeliest to be written with their sign.
    sure.sort(key=lambda unit: (unit.usual > 0, unit.cents >= 0))
    strange = [unit for unit in units if not unit.is_known and unit.cents]
    tries = 0
    for many in range(len(sure) + 1):
        for more in range(len(strange) + 1):
            for some in combinations(sure, many):
                for others in combinations(strange, more):
                    yield some + others
                    tries += 1
                    if tries >= _TRIES:
                        return


def _turned(flipped: Sequence[_Unit]) -> int:
    """By how much the sum falls when these units are turned round."""
    return 2 * sum(unit.usual * unit.cents for unit in flipped)


def _signs(units: Sequence[_Unit], flipped: Sequence[_Unit]) -> Signs:
    return {part: -unit.usual if unit in flipped else unit.usual for unit in units for part in unit.parts}


def _add(*costs: _Cost) -> _Cost:
    a, b, c, d = (sum(parts) for parts in zip(*costs, strict=True))
    return a, b, c, d
