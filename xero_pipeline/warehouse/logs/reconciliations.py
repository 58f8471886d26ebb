"""The log of reconciliations: one row for each block of weeks, kind and look, with what Xero stated.

A row with the status `differs` is the last word only if the difference was left over after its weeks were read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, func, insert, select

from xero_pipeline.warehouse.schema import reconciliations as table
from xero_pipeline.weeks import Week, WeekRange


class ReconciliationKind(StrEnum):
    PROFIT_AND_LOSS = "profit_and_loss"
    BANK_SUMMARY = "bank_summary"
    DOCUMENTS = "documents"


class ReconciliationStatus(StrEnum):
    """`equal`: the tables are what Xero states. `mended`: they are after weeks were read again. `differs`: not."""

    EQUAL = "equal"
    MENDED = "mended"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One row of the log.

    `difference` has the texts `stated`, `held` and `difference` (net profit, closing balances or number of documents),
    `figures` with every single figure that differs, `weeks` that have to be read again, and `left_over`.
    """

    tenant_id: str
    kind: ReconciliationKind
    weeks: WeekRange
    status: ReconciliationStatus
    difference: dict[str, Any]
    weeks_read_again: int
    api_calls: int
    dagster_run_id: str | None
    checked_at: datetime
    id: int | None = None

    @property
    def is_proven(self) -> bool:
        """Whether the tables are equal to Xero's totals."""
        return self.status is not ReconciliationStatus.DIFFERS

    @property
    def is_left_over(self) -> bool:
        """Whether the block still differs although its weeks have been read again."""
        return not self.is_proven and bool(self.difference.get("left_over"))

    def as_dict(self) -> dict[str, Any]:
        """The form of the HTTP API and of `--json`."""
        return {
            "tenantId": self.tenant_id,
            "kind": self.kind.value,
            "firstWeek": str(self.weeks.first),
            "lastWeek": str(self.weeks.last),
            "status": self.status.value,
            "stated": self.difference.get("stated"),
            "held": self.difference.get("held"),
            "difference": self.difference.get("difference"),
            "figures": [
                {
                    "accountId": figure["account_id"],
                    "accountName": figure["account_name"],
                    "figure": figure["figure"],
                    "stated": figure["stated"],
                    "held": figure["held"],
                    "difference": figure["difference"],
                }
                for figure in self.difference.get("figures", [])
            ],
            "weeksReadAgain": self.weeks_read_again,
            "apiCalls": self.api_calls,
            "dagsterRunId": self.dagster_run_id,
            "checkedAt": self.checked_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """How far an organisation's stored weeks are proven against Xero's totals.

    Attributes:
        proven_up_to: up to this week every block is equal to Xero's totals, of every kind; `None` if none is.
        last_checked_at: when a block was last compared.
        differing_blocks: how many comparisons of a block and a kind differ at their last look.
    """

    proven_up_to: Week | None
    last_checked_at: datetime
    differing_blocks: int

    def __str__(self) -> str:
        proven = f"proven up to {self.proven_up_to}" if self.proven_up_to else "not proven"
        if not self.differing_blocks:
            return proven
        differ = "comparison differs" if self.differing_blocks == 1 else "comparisons differ"
        return f"{proven}, {self.differing_blocks} {differ}"

    def as_dict(self) -> dict[str, Any]:
        """The form of the HTTP API and of `--json`."""
        return {
            "provenUpTo": str(self.proven_up_to) if self.proven_up_to else None,
            "lastCheckedAt": self.last_checked_at.isoformat(),
            "differingBlocks": self.differing_blocks,
        }


class ReconciliationLog:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, rows: Iterable[Reconciliation]) -> None:
        """Store these rows, all in one transaction."""
        with self._engine.begin() as connection:
            for row in rows:
                connection.execute(
                    insert(table).values(
                        tenant_id=row.tenant_id,
                        kind=row.kind.value,
                        first_week=row.weeks.first.ending,
                        last_week=row.weeks.last.ending,
                        status=row.status.value,
                        difference=row.difference,
                        weeks_read_again=row.weeks_read_again,
                        api_calls=row.api_calls,
                        dagster_run_id=row.dagster_run_id,
                        checked_at=row.checked_at,
                    )
                )

    def list_newest(self, limit: int, *, tenant_id: str | None = None) -> list[Reconciliation]:
        """The newest rows, newest first."""
        query = select(table).order_by(table.c.id.desc()).limit(limit)
        if tenant_id is not None:
            query = query.where(table.c.tenant_id == tenant_id)
        with self._engine.connect() as connection:
            return [_to_reconciliation(row) for row in connection.execute(query)]

    def list_current(self, tenant_id: str | None = None) -> list[Reconciliation]:
        """The newest row of each organisation, kind and first week, ordered by these.

        A block keeps its first week while its last week moves on, so each block is listed once.
        """
        newest = select(func.max(table.c.id)).group_by(table.c.tenant_id, table.c.kind, table.c.first_week)
        query = select(table).where(table.c.id.in_(newest))
        if tenant_id is not None:
            query = query.where(table.c.tenant_id == tenant_id)
        query = query.order_by(table.c.tenant_id, table.c.kind, table.c.first_week)
        with self._engine.connect() as connection:
            return [_to_reconciliation(row) for row in connection.execute(query)]

    def read_proof(self, tenant_id: str) -> Proof | None:
        """How far an organisation's weeks are proven; `None` if nothing has been compared yet."""
        rows = self.list_current(tenant_id)
        if not rows:
            return None
        proven_up_to = None
        for first in sorted({row.weeks.first for row in rows}):
            of_block = [row for row in rows if row.weeks.first == first]
            if len(of_block) < len(ReconciliationKind) or not all(row.is_proven for row in of_block):
                break
            proven_up_to = min(row.weeks.last for row in of_block)
        return Proof(
            proven_up_to,
            max(row.checked_at for row in rows),
            sum(not row.is_proven for row in rows),
        )

    def find_episode_start(
        self, tenant_id: str, kind: ReconciliationKind, first: Week, figures: Sequence[Mapping[str, Any]]
    ) -> datetime | None:
        """When these differences of a block were first seen, whose weeks are being read again; `None` if none is.

        What was read for other differences of the same block explains nothing about these: somebody may have edited
        the week since.

        Args:
            figures: the differences as a row's `difference` lists them.
        """
        present = {_identify(figure) for figure in figures}
        query = (
            select(table)
            .where(table.c.tenant_id == tenant_id, table.c.kind == kind.value, table.c.first_week == first.ending)
            .order_by(table.c.id.desc())
        )
        began_at = None
        with self._engine.connect() as connection:
            for row in map(_to_reconciliation, connection.execute(query)):
                if row.is_proven or row.is_left_over:
                    break
                if present and present.isdisjoint(map(_identify, row.difference.get("figures", ()))):
                    break
                began_at = row.checked_at
        return began_at

    def count_looks(self, tenant_id: str, first: Week) -> int:
        """How often the block that begins with this week has been compared with Xero's profit and loss."""
        query = select(func.count()).where(
            table.c.tenant_id == tenant_id,
            table.c.kind == ReconciliationKind.PROFIT_AND_LOSS.value,
            table.c.first_week == first.ending,
        )
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())


def _identify(figure: Mapping[str, Any]) -> tuple[Any, ...]:
    """A difference by its figure, its amount and, for a part of a block, its weeks."""
    return tuple(figure.get(name) for name in ("account_id", "figure", "difference", "first_week", "last_week"))


def _to_reconciliation(row: Any) -> Reconciliation:
    return Reconciliation(
        id=row.id,
        tenant_id=row.tenant_id,
        kind=ReconciliationKind(row.kind),
        weeks=WeekRange(Week(row.first_week), Week(row.last_week)),
        status=ReconciliationStatus(row.status),
        difference=row.difference or {},
        weeks_read_again=row.weeks_read_again,
        api_calls=row.api_calls,
        dagster_run_id=row.dagster_run_id,
        checked_at=row.checked_at,
    )
