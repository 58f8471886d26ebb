"""The stored figures of a range of weeks, week by week, so that they can be compared with Xero's totals.

Accounts and documents are keyed by `normalise_id`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import cached_property

from sqlalchemy import Connection, Engine, and_, or_, select
from sqlalchemy.sql import ColumnElement

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.money import ZERO
from xero_pipeline.warehouse.figures.document_index import synced_documents
from xero_pipeline.warehouse.figures.queries import open_snapshot
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.warehouse.schema import cash_position_weekly as cash
from xero_pipeline.warehouse.schema import financial_weekly_lines as lines
from xero_pipeline.warehouse.schema import restatements
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.weeks import Week, WeekRange

_INCOME = ("trading_income", "other_income")
_MOVEMENTS = ("cash_received", "cash_spent", "currency_gain")


@dataclass(frozen=True, slots=True)
class ProfitLineTotal:
    """What one account adds to the profit of a week, with the type and the category that the stored line has."""

    contribution: Decimal
    account_type: str | None
    category: str


@dataclass(frozen=True, slots=True)
class BankTotals:
    """One bank account over a range of weeks, as the bank summary of the range states it."""

    opening_balance: Decimal = ZERO
    cash_received: Decimal = ZERO
    cash_spent: Decimal = ZERO
    currency_gain: Decimal = ZERO
    closing_balance: Decimal = ZERO

    def list_figures(self) -> dict[str, Decimal]:
        """The figures by column name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class HeldFigures:
    """What the tables hold of one organisation, by week.

    Attributes:
        profit: each account's line in each week.
        bank: each bank account's row in each week.
        documents: each counted document's key in each week, with the fingerprint of its figures.
        names: the accounts' names, by id.
    """

    profit: dict[Week, dict[str, ProfitLineTotal]]
    bank: dict[Week, dict[str, BankTotals]]
    documents: dict[Week, dict[str, str]]
    names: dict[str, str]

    def sum_profit(self, weeks: Iterable[Week]) -> dict[str, Decimal]:
        """What each account adds to the profit of these weeks."""
        sums: dict[str, Decimal] = {}
        for week in weeks:
            for account_id, line in self.profit.get(week, {}).items():
                sums[account_id] = sums.get(account_id, ZERO) + line.contribution
        return sums

    def sum_bank(self, weeks: WeekRange) -> dict[str, BankTotals]:
        """Each bank account's totals: the first week's opening, the last week's closing, the sums between.

        An account without a row in the first or last week has no balance there.
        """
        accounts = {account_id for week in weeks for account_id in self.bank.get(week, {})}
        return {account_id: self._sum_account(account_id, weeks) for account_id in accounts}

    def _sum_account(self, account_id: str, weeks: WeekRange) -> BankTotals:
        nothing = BankTotals()
        rows = [self.bank.get(week, {}).get(account_id, nothing) for week in weeks]
        return BankTotals(
            opening_balance=rows[0].opening_balance,
            cash_received=sum((row.cash_received for row in rows), ZERO),
            cash_spent=sum((row.cash_spent for row in rows), ZERO),
            currency_gain=sum((row.currency_gain for row in rows), ZERO),
            closing_balance=rows[-1].closing_balance,
        )

    @cached_property
    def document_keys(self) -> set[str]:
        """The keys of all counted documents."""
        return {key for documents in self.documents.values() for key in documents}


def read_held_figures(engine: Engine, tenant_id: str, weeks: WeekRange) -> HeldFigures:
    """Read the stored figures of these weeks, all as of one moment."""
    with open_snapshot(engine) as connection:
        names: dict[str, str] = {}
        profit = _read_profit(connection, _match(lines.c, tenant_id, weeks), names)
        bank = _read_bank(connection, _match(cash.c, tenant_id, weeks), names)
        documents: dict[Week, dict[str, str]] = {}
        query = select(synced_documents).where(_match(synced_documents.c, tenant_id, weeks))
        for row in connection.execute(query):
            documents.setdefault(Week(row.week_ending), {})[normalise_id(row.document_id)] = row.figures
    return HeldFigures(profit, bank, documents, names)


def _match(columns: object, tenant_id: str, weeks: WeekRange) -> ColumnElement[bool]:
    return and_(
        columns.tenant_id == tenant_id,  # type: ignore[attr-defined]
        columns.week_ending.between(weeks.first.ending, weeks.last.ending),  # type: ignore[attr-defined]
    )


def _read_profit(
    connection: Connection, where: ColumnElement[bool], names: dict[str, str]
) -> dict[Week, dict[str, ProfitLineTotal]]:
    profit: dict[Week, dict[str, ProfitLineTotal]] = {}
    for row in connection.execute(select(lines).where(where).order_by(lines.c.week_ending)):
        account_id = normalise_id(row.account_id)
        names[account_id] = row.account_name
        contribution = row.amount if row.category in _INCOME else -row.amount
        profit.setdefault(Week(row.week_ending), {})[account_id] = ProfitLineTotal(
            contribution, row.account_type, row.category
        )
    return profit


def _read_bank(
    connection: Connection, where: ColumnElement[bool], names: dict[str, str]
) -> dict[Week, dict[str, BankTotals]]:
    bank: dict[Week, dict[str, BankTotals]] = {}
    for row in connection.execute(select(cash).where(where).order_by(cash.c.week_ending)):
        account_id = normalise_id(row.bank_account_id)
        names[account_id] = row.bank_account_name
        bank.setdefault(Week(row.week_ending), {})[account_id] = BankTotals(
            row.opening_balance, row.cash_received, row.cash_spent, row.currency_gain, row.closing_balance
        )
    return bank


def find_weeks_with_changed_movements(engine: Engine, tenant_id: str) -> set[Week]:
    """Find the weeks whose bank movements were restated by a run that did not read their profit and loss, too.

    Money spent or received that somebody entered later changes both reports of its week. A week whose profit and loss
    was read after the restatement is left out. The order is that of the sync log's rows, not of anybody's clock.
    """
    bank, profit = logs.alias("bank"), logs.alias("profit")
    same_week = and_(profit.c.tenant_id == bank.c.tenant_id, profit.c.week_ending == bank.c.week_ending)
    restated_by_run = (
        select(restatements.c.id)
        .where(
            restatements.c.tenant_id == bank.c.tenant_id,
            restatements.c.week_ending == bank.c.week_ending,
            restatements.c.dagster_run_id == bank.c.dagster_run_id,
            restatements.c.table_name == cash.name,
            restatements.c.column_name.in_(_MOVEMENTS),
        )
        .exists()
    )
    read_too = (
        select(profit.c.id)
        .where(
            same_week,
            profit.c.sync_type == SyncType.PROFIT_AND_LOSS.value,
            profit.c.status.in_(LANDED),
            or_(profit.c.id > bank.c.id, profit.c.dagster_run_id == bank.c.dagster_run_id),
        )
        .exists()
    )
    query = select(bank.c.week_ending).where(
        bank.c.tenant_id == tenant_id,
        bank.c.sync_type == SyncType.BANK_SUMMARY.value,
        bank.c.status.in_(LANDED),
        restated_by_run,
        ~read_too,
    )
    with engine.connect() as connection:
        return {Week(row.week_ending) for row in connection.execute(query)}
