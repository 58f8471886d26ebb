"""skeleton"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd

from xero_pipeline.weeks import Week
from xero_pipeline.xero.reports import Difference


@dataclass(frozen=True)
class Revenue:
    cells: pd.DataFrame
    documents: int
    differences: list[Difference]
    notes: list[str]

    @property
    def totals(self) -> dict[str, Decimal]:
        raise NotImplementedError


def document_key(document: Mapping[str, Any]) -> str:
    raise NotImplementedError


def document_date(document: Mapping[str, Any]) -> date:
    raise NotImplementedError


def updated_at(document: Mapping[str, Any]) -> datetime | None:
    raise NotImplementedError


def reaches_reports(document: Mapping[str, Any]) -> bool:
    raise NotImplementedError


def read_revenue(
    invoices: Sequence[Mapping[str, Any]],
    credit_notes: Sequence[Mapping[str, Any]],
    *,
    week: Week,
    base_currency: str,
    revenue_tracking: str,
    region_tracking: str,
) -> Revenue:
    raise NotImplementedError
