"""Amounts are read and rounded exactly, or refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xero_pipeline.money import to_cents, to_decimal

amounts = st.decimals(min_value=-(10**15), max_value=10**15, places=2, allow_nan=False)


@given(amounts)
def test_a_plain_amount_is_read_exactly_as_text_and_as_a_number(amount: Decimal) -> None:
    assert to_decimal(f"{amount:f}") == amount
    assert to_decimal(amount) == amount
    assert to_cents(amount) == amount


@pytest.mark.parametrize("text", ["", " ", "1,234.00", "(18.40)", "$5", "1e3", "NaN", "Infinity", "--1", "1.2.3", "٣"])
def test_a_text_that_is_not_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a plain decimal"):
        to_decimal(text)


@pytest.mark.parametrize("value", [1.5, True, None, [], {}])
def test_a_binary_float_or_another_type_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not an exact amount"):
        to_decimal(value)


@pytest.mark.parametrize(
    ("exact", "cents"), [("0.005", "0.01"), ("-0.005", "-0.01"), ("2.675", "2.68"), ("-0.001", "0.00")]
)
def test_half_a_cent_is_rounded_away_from_zero_and_zero_has_no_sign(exact: str, cents: str) -> None:
    assert str(to_cents(Decimal(exact))) == cents
