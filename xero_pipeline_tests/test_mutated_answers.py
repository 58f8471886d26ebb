"""The mock's own answers with values replaced, taken away or doubled, through the whole of a week's sync.

Whatever is changed, a table has the figures of the books, or is `partial` with the difference, or failed with an error
that has a name; and the next clean sync puts everything right. `ANSWERS` is the number of trials (40 by default, 2,000
in a nightly run). Nothing in Xero's answer contradicts another name or option of a line's tracking, so these are not
changed.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from xero_pipeline.mock_xero import MockXero
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.warehouse.logs.sync_log import WEEKLY_TYPES
from xero_pipeline_tests.deployment import run_deployment
from xero_pipeline_tests.fault_matrix import FaultMatrix

TRIALS = int(os.environ.get("ANSWERS", "40"))
NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 10**30, 0.005, 12345678901234567890.12, "", " ", "NaN", "Infinity", "1e400", "1,2,3", "(5.00)",
    "\x00", "2026-02-30", "/Date(99999999999999999)/", "/Date(-1)/", "x" * 3000, [], {}, [[]], [None], {"Name": None},
)  # fmt: skip
ENDPOINTS = ("Organisation", "Accounts", "ProfitAndLoss", "BankSummary", "Invoices", "CreditNotes")


def list_places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
    """Every container of a payload with each of its keys, and the way there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key, (*path, key)
        yield from list_places(value[key], (*path, key))


class Mutator:
    """Changes one value in the answers of one endpoint."""

    def __init__(self, mock: MockXero, monkeypatch: pytest.MonkeyPatch) -> None:
        self._handle = mock.handle
        self._endpoint: str | None = None
        self._draw = random.Random()
        self.changed = ""
        monkeypatch.setattr(mock, "handle", self.handle)

    def arm(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._endpoint, self.changed = self._draw.choice(ENDPOINTS), ""

    def disarm(self) -> None:
        self._endpoint = None

    def handle(self, request: MockRequest) -> MockResponse:
        answer = self._handle(request)
        if self._endpoint is None or not request.path.endswith(f"/{self._endpoint}") or answer.status != 200:
            return answer
        payload = json.loads(answer.body)
        places = [one for one in list_places(payload) if not ("Tracking" in one[2] and one[1] in ("Name", "Option"))]
        container, key, path = self._draw.choice(places)
        change = self._draw.choice(("replace", "replace", "remove", "double"))
        if change == "replace":
            container[key] = self._draw.choice(NASTY)
        elif change == "remove":
            del container[key]
        elif isinstance(container, list):
            container.append(container[key])
        self.changed = f"{self._endpoint}: {change} {'/'.join(map(str, path))}"
        return replace(answer, body=json.dumps(payload).encode())


def test_a_mutated_answer_gives_the_right_figures_a_difference_or_an_error_with_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = []
    with run_deployment(tmp_path, PIPELINE_START_DATE="2026-11-01") as deployed:
        matrix = FaultMatrix(deployed)
        mutator = Mutator(deployed.mock, monkeypatch)
        for seed in range(TRIALS):
            mutator.arm(seed)
            matrix.edit(Decimal("1.00"))
            entries = matrix.sync_week(WEEKLY_TYPES)
            mutator.disarm()
            what = f"{seed}, {mutator.changed}"
            if problem := matrix.find_wrong_failure(entries):
                problems.append(f"{what}: {problem}")
            landed = {
                kind for kind in WEEKLY_TYPES for one in entries if one.sync_type == kind and one.status == "success"
            }
            if problem := matrix.compare_with_books(landed):
                problems.append(f"{what}: success, and {problem}")
            deployed.clock.advance(days=1, minutes=2)
            if failed := [one for one in matrix.sync_week(WEEKLY_TYPES) if one.status != "success"]:
                problems.append(f"{what}: afterwards {[(one.sync_type, one.error_log) for one in failed]}")
            if problem := matrix.compare_with_books(set(WEEKLY_TYPES)):
                problems.append(f"{what}: afterwards {problem}")
    assert not problems, "\n".join(problems)
