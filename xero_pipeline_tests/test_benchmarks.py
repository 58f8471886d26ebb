"""What `make bench` does with what it measures. No test asserts a speed."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.__main__ import SCENARIOS, measure_all
from benchmarks.processes import MeasuredCommandError, run_measured
from benchmarks.report import Goal, Result
from benchmarks.xero_server import Books, get_last_weeks


def measure_python(folder: Path) -> Result:
    """A tiny scenario: a process that prints, one that has memory, and a goal of each outcome."""
    result = Result("Tiny")
    program = "import sys; text = 'x' * 60_000_000; print(len(text))"
    measured = run_measured([sys.executable, "-c", program], folder=folder, environment={}, timeout=30)
    assert measured.output == "60000000\n"
    assert measured.megabytes > 60
    result.add("python", "seconds", [1.0, 4.0, 2.0], "s")
    result.add("python", "calls", [1234])
    result.say("another", "seconds", "not measured: no | such program")
    result.goals = [Goal("calls", "≤", 1300, 1234), Goal("weeks", "≥", 3, 2), Goal("a million", "≤", 400, None)]
    return result


def test_the_table_has_medians_goals_and_errors_and_keeps_what_was_measured_before(tmp_path: Path) -> None:
    def fail() -> Result:
        raise RuntimeError("no database")

    said: list[str] = []
    titles = {"a": "Tiny", "b": "Broken"}
    measure_all({"a": lambda: measure_python(tmp_path)}, titles, tmp_path, say=said.append)
    results = measure_all({"b": fail}, titles, tmp_path, say=said.append)

    assert results["a"].figures[0].median == 2.0
    table = (tmp_path / "bench.md").read_text()
    assert "| python | 2 (1–4) s | 1,234 |" in table
    assert "| another | not measured: no \\| such program |  |" in table
    for line in ("| a | calls | ≤ 1,300 | 1,234 | met |", "| a | weeks | ≥ 3 | 2 | **not met** |"):
        assert line in table
    assert "| a | a million | ≤ 400 |  | not measured |" in table
    assert "| b | Broken | | RuntimeError: no database | **failed** |" in table
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert [goal["is_met"] for goal in kept["scenarios"]["a"]["goals"]] == [True, False, None]
    assert kept["scenarios"]["a"]["figures"][0]["values"] == [1.0, 4.0, 2.0]
    assert "not met: weeks: 2 (≥ 3)" in "\n".join(said)


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with pytest.raises(MeasuredCommandError, match="was ended after"):
        run_measured([sys.executable, "-c", program], folder=tmp_path, environment={}, timeout=0.3)


def test_the_books_of_the_measuring_server_sum_to_what_its_documents_say() -> None:
    first, end = get_last_weeks(2)
    books = Books(invoices=7, credit_notes=3)
    documents = books.list_documents("InvoiceID", first, end - timedelta(days=7), 0, 14)
    assert len({document["InvoiceID"] for document in documents}) == 14
    assert sum(Decimal(str(document["Total"])) for document in documents) == 2 * books.sum_documents(7)


def test_every_scenario_has_a_title_and_a_measure() -> None:
    assert sorted(SCENARIOS) == list("abcdefh")
    assert all(module.TITLE and callable(module.measure) for module in SCENARIOS.values())
