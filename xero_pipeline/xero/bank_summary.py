"""skeleton"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from xero_pipeline.weeks import Week
from xero_pipeline.xero.reports import Difference


@dataclass(frozen=True)
class BankSummary:
    accounts: pd.DataFrame
    differences: list[Difference]
    notes: list[str]


def read_bank_summary(payload: Mapping[str, Any], *, week: Week) -> BankSummary:
    raise NotImplementedError
