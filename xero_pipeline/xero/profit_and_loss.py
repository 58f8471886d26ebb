"""skeleton"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from xero_pipeline.weeks import Week
from xero_pipeline.xero.accounts import Account
from xero_pipeline.xero.reports import Difference


@dataclass(frozen=True)
class ProfitAndLoss:
    totals: dict[str, Decimal]
    lines: pd.DataFrame
    differences: list[Difference]
    notes: list[str]


def read_profit_and_loss(
    payload: Mapping[str, Any], *, week: Week, accounts: Mapping[str, Account]
) -> ProfitAndLoss:
    raise NotImplementedError
