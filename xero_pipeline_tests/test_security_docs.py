"""Each line of the threat model names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "security.md"
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
_HEADINGS = {"it wants", "they want", "---"}


def read_lines() -> list[str]:
    """The rows of the threat model: what somebody wants, what stops them, the test."""
    text = DOCUMENT.read_text().partition("## What nothing here stops")[0]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row.strip("|").split("|")[0].strip() not in _HEADINGS]


@pytest.mark.parametrize("line", read_lines(), ids=lambda line: line.split("|")[1].strip()[:60])
def test_each_line_of_the_threat_model_names_a_test_that_exists(line: str) -> None:
    named = _TEST.findall(line.split("|")[3])
    assert len(named) == 1, line
    ((file, function),) = named
    assert f"\ndef {function}(" in (TESTS / file).read_text(), f"{file} has no test {function}"


def test_the_threat_model_has_lines_and_says_what_nothing_stops() -> None:
    assert len(read_lines()) >= 20
    assert "## What nothing here stops" in DOCUMENT.read_text()


def test_the_threat_model_fits_on_a_page_or_two() -> None:
    assert len(DOCUMENT.read_text().splitlines()) <= 120
