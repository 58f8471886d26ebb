"""Seeds of the simulator, a week each: three, or ten with `SEEDS=full`.

`make simulate` simulates whole years (docs/reliability.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from simulator.database import remove_templates
from simulator.mutants import MUTANTS
from simulator.plan import draw_plan
from simulator.years import shorten, simulate

# One organisation and little history: these are the quickest.
TEN = (14, 17, 19, 15, 25, 27, 52, 57, 63, 66)
# Ten take 20 seconds of processor time, and CI's is limited.
SEEDS = TEN if os.environ.get("SEEDS") == "full" else TEN[:3]
WEEKS = 1


@pytest.fixture(scope="module", autouse=True)
def _templates() -> Iterator[None]:
    yield
    remove_templates()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_law_holds_in_the_first_weeks_of_a_seed(seed: int) -> None:
    outcome = simulate(seed, weeks=WEEKS, postgres=False)
    assert outcome.broken == []
    assert outcome.days == WEEKS * 7
    assert outcome.counts["landings"] > 0


def test_a_seed_draws_the_same_plan_each_time_and_another_seed_another_one() -> None:
    assert draw_plan(3) == draw_plan(3)
    assert draw_plan(3).events != draw_plan(4).events


def test_a_bug_that_is_put_in_is_found_and_the_seed_is_shortened_to_the_events_that_it_needs() -> None:
    bug = next(mutant for mutant in MUTANTS if mutant.name == "drop a restatement")

    @contextmanager
    def mutate() -> Iterator[None]:
        with ExitStack() as stack:
            bug.apply(stack)
            yield

    found = simulate(11, weeks=1, postgres=False, mutate=mutate)
    assert "a change is no restatement" in found.broken[0]
    events = shorten(found, weeks=1, postgres=False, mutate=mutate)
    assert events <= found.events
    again = simulate(11, weeks=1, events=events, postgres=False, mutate=mutate)
    assert "a change is no restatement" in again.broken[0]
