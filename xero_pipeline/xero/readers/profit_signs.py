"""Finds which sections of a profit and loss add to the profit and which reduce it, by the report's profit lines.

This module only computes with whole cents. `profit_and_loss.py` reads the rows and makes the figures.

A report is a sequence of blocks (the rows of a section) with lines between them. Most lines state the profit up to
their position, some only sum up the sections above them ("Total Expenses"), and one may be wrong. The chosen solution
is the one that leaves the fewest lines unexplained, and among those the one with the fewest unusual signs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations

# The most combinations of signs that are tried between two profit lines, the usual signs first. Real layouts need a
# handful.
_MAX_COMBINATIONS = 5_000
# The most consecutive lines that may be other than profit lines; real layouts have two or three in all.
_MAX_LINES_BETWEEN_PROFITS = 6
# By how many cents a profit line may differ from its rows and still decide their signs: Xero rounds the revaluation of
# each account by itself.
_ROUNDING_CENTS = 10
# The cost of a section of income that reduces the profit. A section of expenses that adds to it costs 1.
_FLIPPED_INCOME_COST = 3


class Nature(Enum):
    """What the type of a row's account says about the row."""

    INCOME = "income"
    EXPENSE = "expense"
    UNKNOWN = "unknown"


class Role(Enum):
    """What a line states."""

    PROFIT = "profit"
    """The profit up to its position, even if the amount is wrong."""
    SUBTOTAL = "subtotal"
    """The sum of some of the sections above it."""


@dataclass(frozen=True, slots=True)
class AccountBlock:
    """The rows of a section between two lines: the cents of each nature, and the number of the line that follows."""

    cents: dict[Nature, int]
    line: int

    @property
    def total(self) -> int:
        return sum(self.cents.values())

    @property
    def is_mixed(self) -> bool:
        return Nature.INCOME in self.cents and Nature.EXPENSE in self.cents


@dataclass(frozen=True, slots=True)
class ProfitLine:
    """The amount of a line, in cents.

    `may_be_empty_total` says that the line may also be the total of a section without rows.
    """

    cents: int
    may_be_empty_total: bool = False


Signs = dict[tuple[int, Nature], int]
"""+1 or -1, by the number of the block and the nature of its rows."""

_Cost = tuple[int, int, int, int]
"""The numbers of unexplained lines, of unusual signs of known accounts, of subtotals, and of unusual signs of unknown
accounts. The first differing number decides which of two solutions is better."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """Rows that have the same sign. `is_known` says whether the type of their accounts gives the usual sign."""

    parts: tuple[tuple[int, Nature], ...]
    cents: int
    usual_sign: int
    is_known: bool


@dataclass(frozen=True, slots=True)
class _SignSolution:
    cost: _Cost
    signs: Signs
    roles: dict[int, Role]


def solve_signs(blocks: Sequence[AccountBlock], lines: Sequence[ProfitLine]) -> tuple[Signs, list[Role]]:
    """Find the sign of each block's rows and the role of each line.

    Args:
        blocks: in the report's order; `AccountBlock.line` counts from 0 and is `len(lines)` after the last line.
        lines: in the report's order.
    """
    count = len(lines)
    best: list[_SignSolution] = [_SignSolution((0, 0, 0, 0), {}, {})] * (count + 1)
    for first in range(count, -1, -1):
        profit_before = lines[first - 1].cents if first else 0
        # Either no line from here on is a profit line, or `anchor` is the next one.
        solutions = [_solve_without_profit_line(blocks, lines, first)]
        for anchor in range(first, min(count, first + _MAX_LINES_BETWEEN_PROFITS)):
            block_numbers = [n for n, block in enumerate(blocks) if first <= block.line <= anchor]
            signs, cost = _solve_stretch(blocks, block_numbers, lines[anchor].cents - profit_before)
            skipped = _classify_lines(blocks, lines, first, anchor)
            rest = best[anchor + 1]
            total_cost = _add_costs(cost, skipped.cost, rest.cost)
            roles = {anchor: Role.PROFIT} | skipped.roles | rest.roles
            solutions.append(_SignSolution(total_cost, signs | rest.signs, roles))
        best[first] = min(solutions, key=lambda solution: solution.cost)
    return best[0].signs, [best[0].roles[line] for line in range(count)]


def _solve_without_profit_line(
    blocks: Sequence[AccountBlock], lines: Sequence[ProfitLine], first: int
) -> _SignSolution:
    """Return the solution in which no line from `first` on is a profit line: the usual signs, which nothing checks."""
    block_numbers = [n for n, block in enumerate(blocks) if block.line >= first]
    skipped = _classify_lines(blocks, lines, first, len(lines))
    has_unchecked_amounts = any(blocks[n].total for n in block_numbers)
    units = _make_units(blocks, block_numbers, split=False)
    signs = {part: unit.usual_sign for unit in units for part in unit.parts}
    return _SignSolution(_add_costs(skipped.cost, (int(has_unchecked_amounts), 0, 0, 0)), signs, skipped.roles)


def _classify_lines(
    blocks: Sequence[AccountBlock], lines: Sequence[ProfitLine], first: int, anchor: int
) -> _SignSolution:
    """Classify the lines from `first` up to the profit line `anchor` as subtotals or as unexplained."""
    cost: _Cost = (0, 0, 0, 0)
    roles = {}
    for number in range(first, anchor):
        line = lines[number]
        # The last line of all is never a subtotal, because it must state the net profit.
        is_last = all(later.may_be_empty_total for later in lines[number + 1 :])
        is_subtotal = line.may_be_empty_total or (
            not is_last and line.cents in _iterate_subtotals(blocks, first, number)
        )
        roles[number] = Role.SUBTOTAL if is_subtotal else Role.PROFIT
        cost = _add_costs(cost, (0, 0, 1, 0) if is_subtotal else (1, 0, 0, 0))
    return _SignSolution(cost, {}, roles)


def _iterate_subtotals(blocks: Sequence[AccountBlock], first: int, line: int) -> Iterator[int]:
    """Yield every sum of consecutive sections of the same kind right above a line, with either sign."""
    block_numbers = [n for n, block in enumerate(blocks) if first <= block.line <= line]
    total, sign = 0, 0
    for unit in reversed(_make_units(blocks, block_numbers, split=False)):
        if unit.is_known:
            if sign == -unit.usual_sign:
                return
            sign = unit.usual_sign
        total += unit.cents
        yield total
        yield -total


def _make_units(blocks: Sequence[AccountBlock], block_numbers: Sequence[int], *, split: bool) -> list[_Unit]:
    """Group rows that have the same sign: each section as a whole or, with `split`, each nature of a mixed section."""
    units = []
    for number in block_numbers:
        block = blocks[number]
        groups = [[nature] for nature in block.cents] if split and block.is_mixed else [list(block.cents)]
        for natures in groups:
            known = {nature for nature in natures if nature is not Nature.UNKNOWN}
            # Income and expenses share a section only if the expenses are negative (the United States).
            # Of unknown accounts, the first section after a line counts as income, unless a line shows otherwise.
            is_first_after_line = number == 0 or blocks[number - 1].line != block.line
            usual_sign = (-1 if known == {Nature.EXPENSE} else 1) if known else (1 if is_first_after_line else -1)
            parts = tuple((number, nature) for nature in natures)
            units.append(_Unit(parts, sum(block.cents[nature] for nature in natures), usual_sign, bool(known)))
    return units


def _solve_stretch(blocks: Sequence[AccountBlock], block_numbers: Sequence[int], target: int) -> tuple[Signs, _Cost]:
    """Find the signs with which the blocks add up to the target, or the usual signs if none come even close."""
    if exact := _find_cheapest(blocks, block_numbers, target, tolerance=0):
        return exact
    units = _make_units(blocks, block_numbers, split=False)
    usual_sum = sum(unit.usual_sign * unit.cents for unit in units)
    # No signs fit: known accounts keep their usual signs, unknown ones get the signs that come closest.
    closest = min(
        _iterate_flips(units, flip_known=False),
        key=lambda flipped: abs(usual_sum - _compute_reduction(flipped) - target),
    )
    error = abs(usual_sum - _compute_reduction(closest) - target)
    # Signs that fit up to rounding are better only if the error without them is far larger than rounding explains.
    if error > 10 * _ROUNDING_CENTS and (
        rounded := _find_cheapest(blocks, block_numbers, target, tolerance=_ROUNDING_CENTS)
    ):
        signs, cost = rounded
        return signs, _add_costs(cost, (1, 0, 0, 0))
    return _make_signs(units, closest), (1, 0, 0, len(closest))


def _find_cheapest(
    blocks: Sequence[AccountBlock], block_numbers: Sequence[int], target: int, *, tolerance: int
) -> tuple[Signs, _Cost] | None:
    """Find the least unusual signs with which the blocks add up to the target, within `tolerance` cents."""
    candidates: list[tuple[_Cost, Signs]] = []
    for split in (False, True):
        units = _make_units(blocks, block_numbers, split=split)
        if split and not any(blocks[number].is_mixed for number in block_numbers):
            continue
        usual_sum = sum(unit.usual_sign * unit.cents for unit in units)
        for flipped in _iterate_flips(units, flip_known=True):
            # With a tolerance, a section of a similarly small amount could be flipped by chance.
            if any(abs(unit.cents) < 100 * tolerance for unit in flipped):
                continue
            if abs(usual_sum - _compute_reduction(flipped) - target) <= tolerance:
                # Some layouts write expenses as negative amounts; none writes income that reduces the profit.
                known_cost = sum(
                    _FLIPPED_INCOME_COST if unit.usual_sign > 0 else 1 for unit in flipped if unit.is_known
                )
                unknown_cost = sum(not unit.is_known for unit in flipped)
                candidates.append(((0, known_cost + 2 * split, 0, unknown_cost), _make_signs(units, flipped)))
                break
    if not candidates:
        return None
    cost, signs = min(candidates, key=lambda candidate: candidate[0])
    return signs, cost


def _iterate_flips(units: Sequence[_Unit], *, flip_known: bool) -> Iterator[tuple[_Unit, ...]]:
    """Yield the units whose sign to flip: none first, then unknown before known ones, and few before many."""
    known = [unit for unit in units if unit.is_known and unit.cents] if flip_known else []
    # Negative expenses come first: they are the most likely to be written with their sign.
    known.sort(key=lambda unit: (unit.usual_sign > 0, unit.cents >= 0))
    unknown = [unit for unit in units if not unit.is_known and unit.cents]
    combinations_tried = 0
    for known_count in range(len(known) + 1):
        for unknown_count in range(len(unknown) + 1):
            for flipped_known in combinations(known, known_count):
                for flipped_unknown in combinations(unknown, unknown_count):
                    yield flipped_known + flipped_unknown
                    combinations_tried += 1
                    if combinations_tried >= _MAX_COMBINATIONS:
                        return


def _compute_reduction(flipped: Sequence[_Unit]) -> int:
    """Return by how much the sum decreases when these units change their sign."""
    return 2 * sum(unit.usual_sign * unit.cents for unit in flipped)


def _make_signs(units: Sequence[_Unit], flipped: Sequence[_Unit]) -> Signs:
    return {part: -unit.usual_sign if unit in flipped else unit.usual_sign for unit in units for part in unit.parts}


def _add_costs(*costs: _Cost) -> _Cost:
    a, b, c, d = (sum(parts) for parts in zip(*costs, strict=True))
    return a, b, c, d
