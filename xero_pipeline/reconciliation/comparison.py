"""The comparison of one block with Xero's totals: what Xero states, what the tables hold, where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from xero_pipeline.money import ZERO
from xero_pipeline.reconciliation.search import Figure
from xero_pipeline.warehouse.figures.totals import BankTotals
from xero_pipeline.warehouse.logs.reconciliations import ReconciliationKind
from xero_pipeline.weeks import Week, WeekRange

_MOVEMENTS = ("cash_received", "cash_spent", "currency_gain")


@dataclass(frozen=True, slots=True)
class FigureDifference:
    """One figure of a block that differs."""

    account_id: str
    account_name: str
    figure: str
    stated: Decimal
    held: Decimal

    def as_dict(self) -> dict[str, str]:
        return {
            "account_id": self.account_id,
            "account_name": self.account_name,
            "figure": self.figure,
            "stated": str(self.stated),
            "held": str(self.held),
            "difference": str(self.stated - self.held),
        }


@dataclass
class Comparison:
    """One kind of figures of one block.

    Attributes:
        stated: Xero's net profit, sum of closing balances, or number of documents.
        held: the same from the tables.
        weeks_to_read: the weeks that may differ and so are read again, each with the assets that read it.
        calls: the calls that it took.
    """

    tenant_id: str
    kind: ReconciliationKind
    weeks: WeekRange
    stated: Decimal = ZERO
    held: Decimal = ZERO
    differences: list[FigureDifference] = field(default_factory=list)
    weeks_to_read: dict[Week, set[str]] = field(default_factory=dict)
    calls: int = 0

    @property
    def is_equal(self) -> bool:
        return not self.differences

    def read_again(self, weeks: Iterable[Week], assets: Iterable[str]) -> None:
        """Have these weeks read again by these assets."""
        for week in weeks:
            self.weeks_to_read.setdefault(week, set()).update(assets)

    def as_json(self, *, left_over: bool) -> dict[str, Any]:
        """The column `difference` of the table `reconciliations`.

        Args:
            left_over: whether the difference is there although its weeks have been read again.
        """
        return {
            "stated": str(self.stated),
            "held": str(self.held),
            "difference": str(self.stated - self.held),
            "figures": [difference.as_dict() for difference in self.differences],
            "weeks": sorted(str(week) for week in self.weeks_to_read),
            "left_over": left_over,
        }


def compare_profit(
    stated: Mapping[str, Decimal], held: Mapping[str, Decimal], names: Mapping[str, str]
) -> list[FigureDifference]:
    """Compare what each account adds to the profit. An account without a row adds nothing."""
    return [
        FigureDifference(account_id, names.get(account_id, account_id), "contribution", *amounts)
        for account_id in _list_keys(stated, held)
        if (amounts := (stated.get(account_id, ZERO), held.get(account_id, ZERO)))[0] != amounts[1]
    ]


def compare_bank(
    stated: Mapping[str, BankTotals], held: Mapping[str, BankTotals], names: Mapping[str, str]
) -> list[FigureDifference]:
    """Compare each figure of each bank account. An account without a row has no balance and no movement."""
    differences = []
    for account_id in _list_keys(stated, held):
        of_xero = stated.get(account_id, BankTotals()).list_figures()
        of_tables = held.get(account_id, BankTotals()).list_figures()
        differences += [
            FigureDifference(account_id, names.get(account_id, account_id), figure, amount, of_tables[figure])
            for figure, amount in of_xero.items()
            if amount != of_tables[figure]
        ]
    return differences


def list_amounts(differences: Iterable[FigureDifference]) -> dict[Figure, Decimal]:
    """The differences by account and figure, as `search.py` adds and subtracts them."""
    return {(one.account_id, one.figure): one.stated - one.held for one in differences}


def list_movements(differences: Iterable[FigureDifference]) -> dict[Figure, Decimal]:
    """The same without opening and closing balances, which do not add up over weeks."""
    return {key: amount for key, amount in list_amounts(differences).items() if key[1] in _MOVEMENTS}


def read_amounts(difference: Mapping[str, Any]) -> dict[Figure, Decimal]:
    """Read the differences of an earlier look from the column `difference`."""
    return {(one["account_id"], one["figure"]): Decimal(one["difference"]) for one in difference.get("figures", [])}


def _list_keys(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    return sorted({*first, *second})
