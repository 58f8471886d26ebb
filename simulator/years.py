"""Runs years, and shortens one that breaks a law."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from simulator.laws import LawBroken
from simulator.plan import draw_plan
from simulator.world import Outcome, World, stand_ins

Mutate = Callable[[], AbstractContextManager[object]]


def simulate(
    seed: int,
    *,
    weeks: int = 52,
    events: int | None = None,
    postgres: bool | None = None,
    mutate: Mutate = nullcontext,
) -> Outcome:
    """Simulate the year of a seed, or its first events. Never raises for a broken law."""
    began = time.process_time()
    plan = draw_plan(seed, weeks=weeks, postgres=postgres)
    world = World(plan)
    broken: list[str] = []
    try:
        with stand_ins(world), mutate():
            world.live(events)
    except LawBroken:
        broken = world.broken
    finally:
        world.close()
    counts = dict(world.machine.counts)
    counts |= {"landings": world.laws.landings, "restatements": world.laws.restated, "calls": world.network.calls}
    days = (world.now() - plan.begin).total_seconds() / 86400
    return Outcome(seed, broken, world.happened, days, counts, time.process_time() - began)


def shorten(failed: Outcome, *, weeks: int, postgres: bool | None, mutate: Mutate = nullcontext) -> int:
    """Find the smallest number of a seed's first events that still breaks a law."""
    low, high = 0, failed.events
    while low < high:
        middle = (low + high) // 2
        if simulate(failed.seed, weeks=weeks, events=middle, postgres=postgres, mutate=mutate).broken:
            high = middle
        else:
            low = middle + 1
    return high
