"""One organisation's week, or month, of a table: how it is extracted from Xero, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Generic

from sqlalchemy import Connection

from xero_pipeline.errors import PipelineError
from xero_pipeline.periods import AnyPeriod, Period
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.readers.reports import Difference


@dataclass(frozen=True)
class ExtractedWeek:
    """One organisation's week as it was read from Xero.

    `write` replaces the week in the tables, inside a transaction. `differences` are those between the figures and
    Xero's own totals: with any of them the week lands as `partial`. `read_at` is when Xero worked on the first answer,
    if the week was read together with earlier ones.
    """

    write: Callable[[Connection, Provenance], ReplaceResult]
    currency: str
    totals: dict[str, Decimal]
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()
    read_at: datetime | None = None


Extract = Callable[[OrganisationClient, AnyPeriod], ExtractedWeek]
"""Fetches and reads one organisation's week or month. Called from several threads."""


@dataclass(frozen=True)
class RunScope(Generic[AnyPeriod]):
    """What the weeks, or months, of one asset in one run have in common.

    Attributes:
        weeks: all weeks of the run, the oldest first.
        read_landed_revenue: the net revenue by account of an organisation's week, if this run has landed it; else
            `None`.
        stack: closes what has been opened, when the run's asset ends.
    """

    weeks: Sequence[AnyPeriod]
    read_landed_revenue: Callable[[str, AnyPeriod], Mapping[str, Decimal] | None]
    stack: ExitStack


BeginExtracting = Callable[[RunScope[AnyPeriod]], Extract[AnyPeriod]]
"""Begins an asset's part of a run."""


@dataclass(frozen=True)
class TableExtraction(Generic[AnyPeriod]):
    """How the weeks, or months, of one table are extracted.

    Attributes:
        table: the name of the table and of its asset.
        kind: what the sync log calls its figures, which says whether they are those of weeks or of months.
        read_together: whether the weeks of an organisation are read with one request.
        after: the kind whose same week, if the run has that kind too, is landed before this one is read.
    """

    table: str
    kind: SyncType
    begin: BeginExtracting[AnyPeriod]
    read_together: bool = False
    after: SyncType | None = None


@dataclass(frozen=True)
class WeekOutcome:
    """The result of one organisation's week: `success`, `partial`, or `failed` with an `error`.

    `calls` counts the HTTP attempts that the week took.
    """

    tenant_id: str
    tenant_name: str
    week: Period
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
