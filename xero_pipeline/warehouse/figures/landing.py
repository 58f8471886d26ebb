"""What is said of one organisation's week as it lands, and what came of it. How it lands is `weekly.py`'s.

Apart from it since most commands open the warehouse and land nothing: they need not wait for pandas.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.weeks import Week


@dataclass(frozen=True, slots=True)
class Provenance:
    """Whose week it is, and what every row of it says of its origin."""

    tenant_id: str
    week: Week
    currency: str
    data_source: str
    run_id: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class ReplaceResult:
    """What became of a replacement.

    `rows` is how many rows the week has now; `previous` whether it had landed before, which it must have
    for anything to be restated.
    """

    rows: int
    restated: list[Restatement]
    previous: bool
