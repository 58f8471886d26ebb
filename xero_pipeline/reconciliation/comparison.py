"""The comparison of one block with Xero's totals: what Xero states, what the tables hold, where they differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from xero_pipeline.identifiers import CURRENCY_GAINS
from xero_pipeline.money import ZERO
from xero_pipeline.reconciliation.search import Figure
from xero_pipeline.warehouse.figures.totals import BankTotals
from xero_pipeline.warehouse.logs.reconciliations import ReconciliationKind
from xero_pipeline.weeks import Week, WeekRange

_MOVEMENTS = ("cash_received", "cash_spent", "currency_gain")

Reading = tuple[Week, str]
"""One week read by one asset."""


@dataclass(frozen=True, slots=True)
class FigureDifference:
    """One figure of a block that differs; with `part`, one that only differs over that part of the block."""

    account_id: str
    account_name: str
    figure: str
    stated: Decimal
    held: Decimal
    part: WeekRange | None = None

    @property
    def key(self) -> Figure:
        return self.account_id, self.figure

    @property
    def amount(self) -> Decimal:
        return self.stated - self.held

    def as_dict(self) -> dict[str, str]:
        part = {"first_week": str(self.part.first), "last_week": str(self.part.last)} if self.part else {}
        return {
            "account_id": self.account_id,
            "account_name": self.account_name,
            "figure": self.figure,
            "stated": str(self.stated),
            "held": str(self.held),
            "difference": str(self.amount),
            **part,
        }


@dataclass(frozen=True, slots=True)
class KnownDifferences:
    """What the last look at a block has left.

    Attributes:
        block: what was left over of the whole block when its weeks had been read again. It is not searched again.
        parts: the parts of the block that differed, each with what was left over there. They are compared again.
    """

    block: Mapping[Figure, Decimal] = field(default_factory=dict)
    parts: Mapping[WeekRange, Mapping[Figure, Decimal]] = field(default_factory=dict)


@dataclass
class Comparison:
    """One kind of figures of one block.

    Attributes:
        stated: Xero's net profit, sum of closing balances, or number of documents.
        held: the same from the tables.
        differences: what differs over the whole block.
        part_differences: what differs over parts of the block only. It never counts as a difference of the block.
        known: the figures whose difference an earlier look has left over, to the cent.
        has_unknown: whether something differs that is not known, so that it is searched and read again.
        is_searched: whether the weeks to read are all weeks that may explain what is unknown.
        weeks_to_read: the weeks that may differ and so are read again, each with the assets that read it.
        calls: the calls that it took.
    """

    tenant_id: str
    kind: ReconciliationKind
    weeks: WeekRange
    stated: Decimal = ZERO
    held: Decimal = ZERO
    differences: list[FigureDifference] = field(default_factory=list)
    part_differences: list[FigureDifference] = field(default_factory=list)
    known: set[Figure] = field(default_factory=set)
    has_unknown: bool = False
    is_searched: bool = False
    weeks_to_read: dict[Week, set[str]] = field(default_factory=dict)
    calls: int = 0

    @property
    def is_equal(self) -> bool:
        return not self.differences and not self.part_differences

    def recognise(self, known: KnownDifferences) -> None:
        """Note which of the block's differences are known. Currency gains need not add up, so they explain nothing."""
        amounts = list_amounts(self.differences)
        self.known = {key for key, amount in amounts.items() if known.block.get(key) == amount}
        self.has_unknown = any(key not in self.known and key[0] != CURRENCY_GAINS for key in amounts)

    def list_searched(
        self, differences: Iterable[FigureDifference], left_out: Collection[Figure] = ()
    ) -> dict[Figure, Decimal]:
        """List the differences that are searched, of the block or of a part of it alike.

        Known differences are left out, since nobody knows in which part they lie, and so are currency gains, which
        need not add up over weeks. Opening and closing balances do not add up over weeks either.
        """
        return {
            key: amount
            for key, amount in list_amounts(differences).items()
            if key[0] != CURRENCY_GAINS
            and key not in self.known
            and key not in left_out
            and (self.kind is not ReconciliationKind.BANK_SUMMARY or key[1] in _MOVEMENTS)
        }

    def list_readings(self) -> set[Reading]:
        """List what has to be read again."""
        return {(week, asset) for week, assets in self.weeks_to_read.items() for asset in assets}

    def is_left_over(self, landed: Collection[Reading], *, is_being_explained: bool = False) -> bool:
        """Whether the block differs, and reading weeks again does not change that.

        That is so if the whole difference is known, or if it was searched and everything that may explain it has
        been read again.

        Args:
            landed: what has landed since the difference was first seen.
            is_being_explained: whether weeks are being read for figures of another kind, which may explain it.
        """
        if self.is_equal:
            return False
        if not self.has_unknown:
            return True
        return self.is_searched and not is_being_explained and self.list_readings() <= set(landed)

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
            "figures": self.list_figures(),
            "left_over": left_over,
        }

    def list_figures(self) -> list[dict[str, Any]]:
        """The differences of the block and of its parts, as the column `difference` lists them."""
        return [difference.as_dict() for difference in (*self.differences, *self.part_differences)]


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
    return {one.key: one.amount for one in differences}


def read_known_differences(difference: Mapping[str, Any], *, is_left_over: bool) -> KnownDifferences:
    """Read what an earlier look has left from the column `difference`."""
    block: dict[Figure, Decimal] = {}
    parts: dict[WeekRange, dict[Figure, Decimal]] = {}
    for one in difference.get("figures", []):
        amounts = block
        if "first_week" in one:
            first, last = (Week(date.fromisoformat(one[name])) for name in ("first_week", "last_week"))
            amounts = parts.setdefault(WeekRange(first, last), {})
        if is_left_over:
            amounts[one["account_id"], one["figure"]] = Decimal(one["difference"])
    return KnownDifferences(block, parts)


def _list_keys(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    return sorted({*first, *second})
