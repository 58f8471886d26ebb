"""Finding weeks whose stored bank balances are out of date, without calling Xero.

A back-dated payment changes the balances of every later week, and Xero reports none of these weeks as changed. But
then a week that is read again opens with another balance than the stored closing balance of the week before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Engine, select

from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.warehouse.schema import cash_position_weekly as cash
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.weeks import Week


@dataclass(frozen=True, slots=True)
class _BankReading:
    """The sync and the run that last read a week's bank summary, and the sync since which its figures are unchanged.

    Both syncs are ids of the sync log, where the higher id is that of the later sync.
    """

    sync: int
    run_id: str | None
    unchanged_since: int


_Accounts = dict[str, tuple[Decimal, Decimal]]
"""Each account's opening and closing balance, by the account's id."""


def find_weeks_with_old_balances(engine: Engine, tenant_id: str) -> tuple[Week, Week] | None:
    """The first and last week whose bank summaries must be read again; `None` if all balances agree.

    It looks for the oldest two consecutive weeks whose closing and opening balances differ. If the earlier of the two
    was read before the later one, only the earlier week is read again. Otherwise the later week and every
    following week are read again.

    A difference is accepted if Xero had both weeks' figures at the same moment: if one run read both weeks, or if one
    week was read again after the other and had not changed.
    """
    weeks, readings = _read_balances(engine, tenant_id), _read_readings(engine, tenant_id)
    for week in sorted(weeks):
        next_week = week.shift(1)
        if next_week not in weeks or _balances_agree(weeks[week], weeks[next_week]):
            continue
        reading, next_reading = readings.get(week), readings.get(next_week)
        if reading is None or next_reading is None or _were_valid_together(reading, next_reading):
            continue
        return (week, week) if reading.sync < next_reading.sync else (next_week, max(weeks))
    return None


def _were_valid_together(reading: _BankReading, other: _BankReading) -> bool:
    """Whether Xero had both weeks' figures at the same moment."""
    if reading.run_id is not None and reading.run_id == other.run_id:
        return True
    first, last = sorted((reading, other), key=lambda either: either.sync)
    return last.unchanged_since <= first.sync


def _balances_agree(week: _Accounts, next_week: _Accounts) -> bool:
    return all(week[account][1] == opening for account, (opening, _) in next_week.items() if account in week)


def _read_balances(engine: Engine, tenant_id: str) -> dict[Week, _Accounts]:
    """Each account's opening and closing balance, by week."""
    columns = (cash.c.week_ending, cash.c.bank_account_id, cash.c.opening_balance, cash.c.closing_balance)
    weeks: dict[Week, _Accounts] = {}
    with engine.connect() as connection:
        for row in connection.execute(select(*columns).where(cash.c.tenant_id == tenant_id)):
            accounts = weeks.setdefault(Week(row.week_ending), {})
            accounts[row.bank_account_id] = (row.opening_balance, row.closing_balance)
    return weeks


def _read_readings(engine: Engine, tenant_id: str) -> Mapping[Week, _BankReading]:
    """The last reading of each week's bank summary."""
    columns = (logs.c.id, logs.c.week_ending, logs.c.dagster_run_id, logs.c.figures_changed)
    of_kind = (logs.c.tenant_id == tenant_id, logs.c.sync_type == SyncType.BANK_SUMMARY.value)
    query = select(*columns).where(*of_kind, logs.c.status.in_(LANDED)).order_by(logs.c.id)
    readings: dict[Week, _BankReading] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            week = Week(row.week_ending)
            # Where nothing is noted, as by older releases, the figures may have changed.
            is_same = row.figures_changed is False and week in readings
            unchanged_since = readings[week].unchanged_since if is_same else row.id
            readings[week] = _BankReading(row.id, row.dagster_run_id, unchanged_since)
    return readings
