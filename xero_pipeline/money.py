"""Exact amounts: reading a decimal and rounding it to the cent. Binary floats are rejected."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")
ZERO = Decimal("0.00")

# Xero writes plain decimals: no grouping, no currency sign, no exponent.
_PLAIN = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")

# NUMERIC(18, 2) holds amounts below this; a larger one is a mistake in the data.
_LIMIT = Decimal(10) ** 16


def to_decimal(value: object) -> Decimal:
    """Read a JSON amount (a string or a number parsed with `parse_float=Decimal`) exactly.

    Raises:
        ValueError: the value is not a plain decimal number, is out of range, or is a binary float.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise ValueError(f"a {type(value).__name__} is not an exact amount")
    if isinstance(value, str):
        text = value.strip()
        if not _PLAIN.fullmatch(text):
            raise ValueError(f"{text[:40]!r} is not a plain decimal number")
        value = Decimal(text)
    number = Decimal(value)
    if not number.is_finite() or abs(number) >= _LIMIT:
        raise ValueError("the amount is out of range")
    return number


def to_cents(value: Decimal) -> Decimal:
    """Round to the cent, half away from zero, as Xero does. The result is never a negative zero."""
    return value.quantize(CENT, rounding=ROUND_HALF_UP) + ZERO
