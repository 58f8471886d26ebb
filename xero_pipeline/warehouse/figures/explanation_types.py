"""What an explanation of a figure consists of. `explanation.py` makes it, `explanation_json.py` writes it as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from xero_pipeline.warehouse.figures.document_queries import DocumentChange, DocumentSums, SelectedDocument
from xero_pipeline.weeks import Week

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a figure is made of. `key` names the figure that explains it further, if there is one."""

    name: str
    amount: Decimal
    note: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class WeekAmount:
    """The same figure in another week. `share` is its part of the category's total in percent, if that is not zero."""

    week: Week
    amount: Decimal
    share: Decimal | None = None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One restatement of a figure, and the documents that the same run found changed."""

    row: Row
    documents: Sequence[DocumentChange]


@dataclass(frozen=True)
class Explanation:
    """What a figure is made of.

    Attributes:
        kind: `total`, `account`, `revenue` or `bank`.
        figure: the column whose value is `amount`.
        figures: every figure of the same row.
        documents: the documents with a line in the figure, as many as were asked for.
        sums: what all documents of the figure add up to; `None` where they are not stored or do not matter.
    """

    tenant_id: str
    week: Week
    currency: str
    kind: str
    name: str
    figure: str
    amount: Decimal
    parts: Sequence[Part]
    figures: Mapping[str, Any] = field(default_factory=dict)
    share: Decimal | None = None
    documents: Sequence[SelectedDocument] = ()
    sums: DocumentSums | None = None
    weeks: Sequence[WeekAmount] = ()
    history: Sequence[HistoryEntry] = ()
    note: str | None = None
