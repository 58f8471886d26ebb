"""One organisation's week inside an asset: extracted from Xero, then landed or failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from sqlalchemy import Connection

from xero_pipeline.errors import PipelineError
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.readers.reports import Difference


@dataclass(frozen=True)
class ExtractedWeek:
    """One organisation's week as it was read from Xero.

    `write` replaces the week in the tables, inside a transaction. `differences` are those between the figures and
    Xero's own totals: with any of them the week lands as `partial`.
    """

    write: Callable[[Connection, Provenance], ReplaceResult]
    currency: str
    totals: dict[str, Decimal]
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


Extract = Callable[[OrganisationClient, Week], ExtractedWeek]
"""Fetches and reads one organisation's week."""


@dataclass(frozen=True)
class WeekOutcome:
    """The result of one organisation's week: `success`, `partial`, or `failed` with an `error`.

    `calls` counts the HTTP attempts that the week took.
    """

    tenant_id: str
    tenant_name: str
    week: Week
    status: str
    calls: int
    rows: int = 0
    currency: str = ""
    totals: dict[str, Decimal] = field(default_factory=dict)
    restated: Sequence[Restatement] = ()
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()
    error: PipelineError | None = None

    @property
    def has_landed(self) -> bool:
        return self.error is None
