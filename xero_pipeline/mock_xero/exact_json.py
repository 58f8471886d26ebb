"""JSON in which a `Decimal` is a number with exactly its own digits, without a binary float in between.

The standard library's encoder cannot write a `Decimal`. So each is encoded as a marked string, and the marks
and quotes are removed from the text afterwards, which is far quicker than an encoder in Python.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

# A character that no text in the mock's books contains. The encoder writes it as an escape.
_MARK = "\x01"
_OPENING = '"\\u0001'
_CLOSING = '\\u0001"'


def dump_json(payload: Any) -> bytes:
    """The payload as JSON in UTF-8; a `Decimal` becomes a number with its own digits."""
    text = json.dumps(payload, default=_mark_decimal, separators=(",", ":"))
    return text.replace(_OPENING, "").replace(_CLOSING, "").encode()


def _mark_decimal(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{_MARK}{value:f}{_MARK}"
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def clean_text(text: str) -> str:
    """A text from a command without control characters, so that none is taken for a mark."""
    return "".join(character for character in text if character.isprintable())
