"""Text from outside, made harmless for a terminal and a log: an organisation's name may contain any character.

ESC would begin a command to the terminal, a line break would begin a line of its own in the log, and a mark of
direction (U+202E) would show the rest of a line backwards.
"""

from __future__ import annotations

import json
import logging
from typing import Any


def replace_control_characters(text: str) -> str:
    """Return the text with a blank in place of each character that is no visible one: controls, line breaks, marks."""
    return "".join(character if character.isprintable() else " " for character in text)


def dump_harmless_json(value: Any, *, indent: int | None = None) -> str:
    """Write JSON whose texts keep their letters; a character that a terminal would act on is written as `\\uXXXX`."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "".join(one if one == "\n" or one.isprintable() else json.dumps(one)[1:-1] for one in text)


class HarmlessFormatter(logging.Formatter):
    """Formats a log record so that no text in it can act on a terminal or pass for a record of its own.

    The lines of a stack trace are kept. Every line but the first is indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        return "\n    ".join(replace_control_characters(line) for line in lines)
