"""The shapes of the data dictionary's entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnDoc:
    """What a column means, and the fields of Xero's answers that it is computed from (`endpoint.field`)."""

    meaning: str
    sources: Sequence[str] = ()


@dataclass(frozen=True)
class TableDoc:
    """What a row of a table or view is, and what its columns mean, by name."""

    meaning: str
    columns: Mapping[str, ColumnDoc]
    is_view: bool = False
