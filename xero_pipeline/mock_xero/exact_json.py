"""JSON text in which a `Decimal` is a number, written digit for digit: no binary float on the way.

The standard library's encoder knows no such number. Decimals travel through it as marked strings, and the
marks fall away with their quotes afterwards, which is far quicker than an encoder in Python.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

# A character that no text of the mock's books holds; the encoder writes it as an escape.
_MARK = "\x01"
_OPENING = '"\\u0001'
_CLOSING = '\\u0001"'


def dump_json(payload: Any) -> bytes:
    """The payload as JSON in UTF-8; `Decimal` as a number with its own digits."""
    text = json.dumps(payload, default=_marked, separators=(",", ":"))
    return text.replace(_OPENING, "").replace(_CLOSING, "").encode()


def _marked(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{_MARK}{value:f}{_MARK}"
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def clean_text(text: str) -> str:
    """A text from outside without control characters, so that none can pass for a mark."""
    return "".join(character for character in text if character.isprintable())
