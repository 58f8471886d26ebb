"""Storing and listing restatements: each figure that a later sync changed, with both values, the time and the run.

`weekly.py` finds the differences, in the transaction that replaces the week.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from xero_pipeline.periods import Month, Period
from xero_pipeline.warehouse.schema import cash_position_monthly, financial_monthly, financial_monthly_lines
from xero_pipeline.warehouse.schema import restatements as table
from xero_pipeline.weeks import Week

MONTHLY_TABLES = tuple(one.name for one in (financial_monthly, financial_monthly_lines, cash_position_monthly))


@dataclass(frozen=True, slots=True)
class Restatement:
    """One figure of a week, or of a month in a monthly table, that changed.

    If the old value is `None` the row is new; if the new value is `None` it is gone.

    `row_key` is the row's key within its week (an account's id, or `residential / north`). `row_name` is what people
    call the row.
    """

    tenant_id: str
    week: Period
    table_name: str
    row_key: str
    row_name: str
    column_name: str
    old_value: str | None
    new_value: str | None
    restated_at: datetime
    dagster_run_id: str | None

    def as_dict(self) -> dict[str, Any]:
        """The form of `--json`."""
        return {
            "tenantId": self.tenant_id,
            "weekEnding": str(self.week),
            "table": self.table_name,
            "key": self.row_key,
            "name": self.row_name,
            "column": self.column_name,
            "old": self.old_value,
            "new": self.new_value,
            "restatedAt": self.restated_at.isoformat(),
            "dagsterRunId": self.dagster_run_id,
        }


def insert_restatements(connection: Connection, restated: Sequence[Restatement]) -> None:
    """Store restatements in the transaction that changes the figures."""
    if restated:
        rows = [{**asdict(restatement), "week_ending": restatement.week.ending} for restatement in restated]
        connection.execute(insert(table), [{k: v for k, v in row.items() if k != "week"} for row in rows])


def list_restatements(
    engine: Engine,
    since: datetime | None = None,
    tenant_id: str | None = None,
    limit: int | None = None,
    week: Period | None = None,
) -> list[Restatement]:
    """Restatements, those of the newest sync first; within one sync in the order of table and key.

    Args:
        since: list only those that were found at that moment or later.
        week: list only those of this week or month.
    """
    query = select(table).order_by(table.c.restated_at.desc(), table.c.id).limit(limit)
    if since is not None:
        query = query.where(table.c.restated_at >= since)
    if tenant_id is not None:
        query = query.where(table.c.tenant_id == tenant_id)
    if week is not None:
        of_months = table.c.table_name.in_(MONTHLY_TABLES)
        query = query.where(table.c.week_ending == week.ending, of_months if isinstance(week, Month) else ~of_months)
    with engine.connect() as connection:
        return [_to_restatement(dict(row._mapping)) for row in connection.execute(query)]


def _to_restatement(values: dict[str, Any]) -> Restatement:
    del values["id"]
    period = Month if values["table_name"] in MONTHLY_TABLES else Week
    return Restatement(week=period(values.pop("week_ending")), **values)
