"""The provenance of a week's figures, and the result of replacing them. `weekly.py` replaces them.

These classes have their own module because most commands open the warehouse without landing anything, and so need
not import pandas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from xero_pipeline.differences import Difference
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.figures.restatements import Restatement


@dataclass(frozen=True, slots=True)
class Provenance:
    """The organisation and the week or month of a set of figures, and the origin that each of its rows states."""

    tenant_id: str
    week: Period
    currency: str
    data_source: str
    run_id: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class ReplaceResult:
    """The result of replacing a week.

    `rows` is the number of rows that the week has now. `previous` is whether it had landed before; only then can
    figures be restated. `differences` are those between the answer and the figures held before: with any of them the
    week is `partial`. `documents` is how many documents the week's revenue consists of.
    """

    rows: int
    restated: list[Restatement]
    previous: bool
    differences: Sequence[Difference] = ()
    documents: int | None = None
