"""After any fault of Xero's, and after any two, the next clean sync puts the tables right, and nobody has to help.

By default a selection is tried. `FAULT_MATRIX=full` tries every fault and every pair of faults at seven endpoints:
about 24,000 trials, which take ten minutes with `pytest -n 2`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from xero_pipeline_tests.deployment import run_deployment
from xero_pipeline_tests.fault_matrix import (
    ENDPOINTS,
    FAULTS,
    FaultMatrix,
    TrialFault,
    list_double_trials,
    list_single_trials,
)

_IS_FULL = os.environ.get("FAULT_MATRIX") == "full"
_CHUNKS = 64 if _IS_FULL else 2


def choose_trials() -> list[tuple[TrialFault, ...]]:
    """Every trial, or else every fourth single fault that lasts, and a few of the others.

    There are 31 faults, so each of them is tried at one endpoint or two.
    """
    singles, doubles = list_single_trials(), list_double_trials()
    if _IS_FULL:
        return [*singles, *doubles]
    chance = random.Random(16)
    lasting = [trial for trial in singles if trial[0].is_lasting]
    passing = [trial for trial in singles if not trial[0].is_lasting]
    return [*lasting[::4], *chance.sample(passing, 10), *chance.sample(doubles, 20)]


def list_problems(trials: Sequence[Sequence[TrialFault]], folder: Path) -> dict[str, str]:
    with run_deployment(folder, PIPELINE_START_DATE="2026-11-01") as deployed:
        matrix = FaultMatrix(deployed)
        problems = {" + ".join(map(str, trial)): matrix.try_faults(*trial) for trial in trials}
    return {trial: problem for trial, problem in problems.items() if problem is not None}


@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_after_any_one_or_two_faults_the_next_clean_sync_equals_the_books(tmp_path: Path, chunk: int) -> None:
    assert list_problems(choose_trials()[chunk::_CHUNKS], tmp_path) == {}


def test_the_matrix_has_seven_endpoints_and_every_kind_of_fault() -> None:
    assert len(ENDPOINTS) == 7
    assert len(FAULTS) == 31
    assert len(list_double_trials()) == 217 * 218 / 2
