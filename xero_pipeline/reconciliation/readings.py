"""Which weeks are read again by which assets, in as few runs as possible, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from xero_pipeline.reconciliation.blocks import group_weeks
from xero_pipeline.reconciliation.comparison import Comparison, Reading
from xero_pipeline.weeks import Week, WeekRange


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """Consecutive weeks that the same assets read again, in one run."""

    weeks: WeekRange
    assets: tuple[str, ...]

    def list_readings(self) -> set[Reading]:
        return {(week, asset) for week in self.weeks for asset in self.assets}


@dataclass
class ReadingResult:
    """What came of a plan.

    Attributes:
        landed: what was read and landed.
        calls: the calls of each reading.
        run_id: the newest run.
    """

    landed: set[Reading] = field(default_factory=set)
    calls: dict[Reading, int] = field(default_factory=dict)
    run_id: str | None = None


ReadAgain = Callable[[Sequence[ReadingPlan]], ReadingResult]
"""Reads weeks again, each plan in a run of its own."""


def plan_readings(comparisons: Iterable[Comparison], done: Iterable[Reading] = ()) -> list[ReadingPlan]:
    """Plan the runs that read again what these comparisons ask for, oldest weeks first.

    Args:
        done: what has been read since the comparison's difference was first seen; it is not read once more.
    """
    readings = {reading for comparison in comparisons for reading in comparison.list_readings()}
    return group_readings(readings.difference(done))


def group_readings(readings: Iterable[Reading]) -> list[ReadingPlan]:
    """Group each asset's weeks into ranges without a gap. Assets with the same range share a run."""
    weeks_by_asset: dict[str, list[Week]] = {}
    for week, asset in readings:
        weeks_by_asset.setdefault(asset, []).append(week)
    assets_by_range: dict[WeekRange, list[str]] = {}
    for asset, weeks in sorted(weeks_by_asset.items()):
        for week_range in group_weeks(weeks):
            assets_by_range.setdefault(week_range, []).append(asset)
    return [ReadingPlan(weeks, tuple(assets)) for weeks, assets in sorted(assets_by_range.items())]
