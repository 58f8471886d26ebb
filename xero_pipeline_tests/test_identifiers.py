"""Xero's ids have one spelling."""

from __future__ import annotations

import pytest

from xero_pipeline.identifiers import normalise_id

GUID = "0f2e4b1a-9c3d-4e5f-8a7b-6c5d4e3f2a1b"


@pytest.mark.parametrize(
    "spelling", [GUID, GUID.upper(), f" {GUID}\n", f"{{{GUID.upper()}}}", GUID.replace("-", ""), GUID.title()]
)
def test_every_spelling_of_a_guid_is_the_same_id(spelling: str) -> None:
    assert normalise_id(spelling) == GUID


@pytest.mark.parametrize(
    ("text", "spelling"), [("fxgroupid", "FXGROUPID"), (" FXGROUPID", "FXGROUPID"), ("Acc-1 ", "acc-1"), ("", "")]
)
def test_currency_gains_keep_their_name_and_other_texts_are_in_lower_case(text: str, spelling: str) -> None:
    assert normalise_id(text) == spelling
