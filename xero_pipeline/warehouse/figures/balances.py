"""Whether the bank balances held hang together from week to week, and which weeks to read again if not.

A payment that is dated back moves the balances of every later week, and Xero tells of none of them. But a
week that opens otherwise than the one before closed gives it away, without a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Engine, func, select

from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.warehouse.schema import cash_position_weekly as cash
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.weeks import Week


@dataclass(frozen=True, slots=True)
class _WeekBalances:
    """A week's bank summary: when and by which run it was last read, and since when its figures are what they are."""

    began_at: datetime
    run_id: str | None
    unchanged_since: datetime


_Accounts = dict[str, tuple[Decimal, Decimal]]


def weeks_with_old_balances(engine: Engine, tenant_id: str) -> tuple[Week, Week] | None:
    """The range of weeks whose bank summaries have to be read again; `None` when all hang together.

    It begins at the oldest link that does not hold: with the week before it, if that was read earlier than
    the week after it (and then it is that week alone), or else with the week after it and every later one.
    Two weeks that one run has read are as Xero has them, whether they fit or not; and so are two of which the
    one was read again after the other, and was as it had been before.
    """
    weeks, readings = _balances(engine, tenant_id), _readings(engine, tenant_id)
    for week in sorted(weeks):
        after = week.shift(1)
        if after not in weeks or _fits(weeks[week], weeks[after]):
            continue
        before, then = readings.get(week), readings.get(after)
        if before is None or then is None or _stood_together(before, then):
            continue
        return (week, week) if before.began_at < then.began_at else (after, max(weeks))
    return None


def _stood_together(one: _WeekBalances, other: _WeekBalances) -> bool:
    """Whether Xero had both weeks' figures at one and the same moment."""
    if one.run_id is not None and one.run_id == other.run_id:
        return True
    first, last = sorted((one, other), key=lambda reading: reading.began_at)
    return last.unchanged_since <= first.began_at


def _fits(week: _Accounts, after: _Accounts) -> bool:
    return all(week[account][1] == opening for account, (opening, _) in after.items() if account in week)


def _balances(engine: Engine, tenant_id: str) -> dict[Week, _Accounts]:
    """Each account's opening and closing balance, by week."""
    columns = (cash.c.week_ending, cash.c.bank_account_id, cash.c.opening_balance, cash.c.closing_balance)
    weeks: dict[Week, _Accounts] = {}
    with engine.connect() as connection:
        for row in connection.execute(select(*columns).where(cash.c.tenant_id == tenant_id)):
            accounts = weeks.setdefault(Week(row.week_ending), {})
            accounts[row.bank_account_id] = (row.opening_balance, row.closing_balance)
    return weeks


def _readings(engine: Engine, tenant_id: str) -> Mapping[Week, _WeekBalances]:
    """How each week's bank summary was last read."""
    changes = (
        select(cash.c.week_ending, func.max(cash.c.updated_at).label("at"))
        .where(cash.c.tenant_id == tenant_id)
        .group_by(cash.c.week_ending)
        .subquery()
    )
    query = (
        select(logs.c.week_ending, logs.c.started_at, logs.c.dagster_run_id, changes.c.at)
        .join(changes, changes.c.week_ending == logs.c.week_ending)
        .where(
            logs.c.tenant_id == tenant_id,
            logs.c.sync_type == SyncType.BANK_SUMMARY.value,
            logs.c.status.in_(LANDED),
        )
        .order_by(logs.c.started_at, logs.c.id)
    )
    with engine.connect() as connection:
        return {
            Week(row.week_ending): _WeekBalances(row.started_at, row.dagster_run_id, row.at)
            for row in connection.execute(query)
        }
