"""One organisation's week on its way through an asset: extracted from Xero, then landed or failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from xero_pipeline.errors import PipelineError
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.readers.reports import Difference


@dataclass(frozen=True)
class ExtractedWeek:
    """One organisation's week as frames. `write` replaces the week in the tables, inside a transaction."""

    write: Callable[[Connection, Provenance], ReplaceResult]
    currency: str
    totals: dict[str, Decimal]
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


Extract = Callable[[OrganisationClient, Week], ExtractedWeek]


@dataclass(frozen=True)
class WeekOutcome:
    """How one organisation's week went."""

    tenant_id: str
    tenant_name: str
    week: Week
    status: str
    calls: int
    rows: int = 0
    currency: str = ""
    totals: dict[str, Decimal] = field(default_factory=dict)
    restated: Sequence[Any] = ()
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()
    error: PipelineError | None = None

    @property
    def landed(self) -> bool:
        return self.error is None
