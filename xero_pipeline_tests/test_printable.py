"""An organisation's name may hold any character; in a terminal and a log it must do nothing but be read."""

from __future__ import annotations

import json
import logging
import sys

from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.errors import PipelineError
from xero_pipeline.printable import HarmlessFormatter, dump_harmless_json, replace_control_characters

HOSTILE = "Acme\x1b[2J\x1b]0;owned\x07\r\nerror: nothing\x9b31m\u202egnp.exe\u2028"


def has_only_visible(text: str) -> bool:
    return all(character.isprintable() for character in text)


@given(st.text())
def test_no_control_character_is_left_and_no_letter_is_lost(text: str) -> None:
    shown = replace_control_characters(text)
    assert has_only_visible(shown)
    assert [one for one in shown if one != " "] == [one for one in text if one.isprintable() and one != " "]


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_harmless_and_reads_as_the_same(value: object) -> None:
    text = dump_harmless_json(value, indent=2)
    assert all(has_only_visible(line) for line in text.split("\n"))
    assert json.loads(text) == value


def test_a_log_line_cannot_pass_for_another_one() -> None:
    record = logging.LogRecord("admin", logging.INFO, "", 0, "connected %s", (HOSTILE,), None)
    lines = HarmlessFormatter("%(levelname)s %(message)s").format(record).split("\n")
    assert lines[0].startswith("INFO connected Acme [2J ]0;owned")
    assert all(line.startswith("    ") for line in lines[1:])
    assert all(has_only_visible(line) for line in lines)


def test_a_stack_trace_in_the_log_keeps_its_lines() -> None:
    try:
        raise RuntimeError(HOSTILE)
    except RuntimeError:
        record = logging.LogRecord("admin", logging.ERROR, "", 0, "it failed", (), sys.exc_info())
    lines = HarmlessFormatter().format(record).split("\n")
    assert lines[:2] == ["it failed", "    Traceback (most recent call last):"]
    assert all(has_only_visible(line) for line in lines)


def test_the_text_of_an_error_is_one_harmless_line() -> None:
    error = PipelineError(f"The tokens of {HOSTILE} cannot be read.", advice=f"Ask {HOSTILE}.")
    assert has_only_visible(str(error))
