"""The one spelling of Xero's ids and of names that people type, in which they are compared and stored.

Xero's ids are GUIDs, in which case does not matter, and its endpoints do not always write them alike. Two spellings
of one id must be neither two documents nor two rows.
"""

from __future__ import annotations

import re

CURRENCY_GAINS = "FXGROUPID"
"""Stands where reports have an account's id, for the grouped currency gains. The only id that is no GUID."""

_GUID = re.compile(r"\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?")


def normalise_id(text: str) -> str:
    """Return the id's one spelling: a GUID in lower case with hyphens, `CURRENCY_GAINS` as Xero documents it."""
    spelling = text.strip().lower()
    if spelling == CURRENCY_GAINS.lower():
        return CURRENCY_GAINS
    guid = _GUID.fullmatch(spelling)
    return "-".join(guid.groups()) if guid else spelling


def normalise_name(text: object) -> str:
    """Return a tracking option, a category or an account as names are compared: trimmed, in lower case."""
    return str(text or "").strip().lower()
