"""Stored weeks and the ledger that they come from, without HTTP and without Dagster. There is no test in this module.

The answers are those of `LedgerXero`, and the package's readers read them. Weeks land by plain SQL. So a whole
reconciliation takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from sqlalchemy import delete, insert

from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.reconciliation.blocks import list_blocks
from xero_pipeline.reconciliation.episode import reconcile_organisation
from xero_pipeline.reconciliation.readings import ReadingPlan, ReadingResult
from xero_pipeline.reconciliation.reconciler import Reconciler
from xero_pipeline.warehouse.figures.document_index import synced_documents
from xero_pipeline.warehouse.figures.stale_weeks import read_landing_times
from xero_pipeline.warehouse.logs.reconciliations import Reconciliation
from xero_pipeline.warehouse.schema import cash_position_weekly, financial_weekly_lines, xero_sync_logs
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.errors import XeroError
from xero_pipeline.xero.readers.accounts import read_accounts
from xero_pipeline_tests.ledger_xero import BANK, SALES, LedgerXero, Posting
from xero_pipeline_tests.plain_xero import TENANT

_CATEGORIES = {"SALES": "trading_income", "DIRECTCOSTS": "cost_of_sales", "EXPENSE": "operating_expenses"}
_TYPES = {
    "financial_weekly": "profit_and_loss",
    "revenue_weekly": "invoices",
    "cash_position_weekly": "bank_summary",
}
Reading = tuple[Week, str]


class LedgerClient:
    """The calls of an `OrganisationClient` that a reconciliation makes, answered by the ledger.

    Attributes:
        asked: each call, as its name and its weeks.
        extra_invoices: how many invoices Xero counts too many over more than a week.
        extra_received: what Xero adds to the cash received over more than a week, and to the closing balance.
        part_residue: what Xero adds to the rent over any range but the whole block and a single week.
        on_call: called before every call, so that it can fail.
    """

    def __init__(self, xero: LedgerXero) -> None:
        self.xero = xero
        self.tenant_id, self.name = TENANT, "Demo"
        self.organisation = SimpleNamespace(
            tenant_id=TENANT, status=ConnectionStatus.CONNECTED, grant_id="grant", display_name="Demo"
        )
        self.asked: list[tuple[str, WeekRange]] = []
        self.extra_invoices = 0
        self.extra_received, self.part_residue = Decimal(0), Decimal(0)
        self.block: WeekRange | None = None
        self.on_call: Callable[[], None] = lambda: None

    @property
    def attempts(self) -> int:
        return len(self.asked)

    @property
    def accounts(self) -> dict[str, Any]:
        return read_accounts(self.xero._answer_accounts(None))

    def forget_accounts(self) -> None:
        pass

    def fetch_profit_and_loss(self, weeks: WeekRange, *, cash_basis: bool) -> Any:
        request = self._ask("profit", weeks)
        residue = self.xero.residue
        if weeks != self.block:
            self.xero.residue += self.part_residue
        try:
            return self.xero._answer_profit_and_loss(request)
        finally:
            self.xero.residue = residue

    def fetch_bank_summary(self, weeks: WeekRange) -> Any:
        request = self._ask("bank", weeks)
        extra = self.extra_received if len(weeks) > 1 else Decimal(0)
        # Booked for the answer alone, so that it counts for ranges and for no week.
        self.xero.postings.append(Posting(weeks.ending, SALES, Decimal(0), extra))
        try:
            return self.xero._answer_bank_summary(request)
        finally:
            self.xero.postings.pop()

    def count_invoices(self, weeks: WeekRange) -> int:
        self._ask("invoices", weeks)
        count = sum(weeks.start <= day <= weeks.ending for day in self.xero.invoices.values())
        return count + (self.extra_invoices if len(weeks) > 1 else 0)

    def fetch_credit_notes(self, weeks: WeekRange) -> list[Any]:
        self._ask("credit notes", weeks)
        return []

    def _ask(self, what: str, weeks: WeekRange) -> Any:
        self.on_call()
        self.asked.append((what, weeks))
        return SimpleNamespace(query={"fromDate": str(weeks.start), "toDate": str(weeks.ending)})


class LedgerBooks:
    """Stored weeks of a ledger.

    Attributes:
        before_reading: called before weeks are read again.
        failing: readings that do not land.
        reread: what has been read again so far.
    """

    def __init__(self, warehouse: Warehouse, weeks: Iterable[Week]) -> None:
        self.warehouse = warehouse
        self.weeks = list(weeks)
        self.xero = LedgerXero()
        self.xero.keep_books(self.weeks)
        self.client = LedgerClient(self.xero)
        self.client.block = WeekRange(self.weeks[0], self.weeks[-1])
        self.before_reading: Callable[[object], None] = lambda _plans: None
        self.failing: set[Reading] = set()
        self.reread: list[Reading] = []
        self._runs = 0
        self.land(self.weeks)

    def post(self, number: int, account: str, amount: str, cash: str = "0.00") -> None:
        day = self.weeks[number].start + timedelta(days=3)
        self.xero.postings.append(Posting(day, account, Decimal(amount), Decimal(cash)))

    def land(self, weeks: Iterable[Week], assets: Sequence[str] = tuple(_TYPES)) -> set[Reading]:
        """Read these weeks from the ledger in one run, and return what has landed."""
        self._runs += 1
        landed = set()
        with self.warehouse.engine.begin() as connection:
            for asset in assets:
                for week in weeks:
                    has_failed = (week, asset) in self.failing
                    connection.execute(insert(xero_sync_logs).values(**self._log_row(week, asset, has_failed)))
                    if has_failed:
                        continue
                    table, rows = self._read_rows(week, asset)
                    connection.execute(
                        delete(table).where(table.c.tenant_id == TENANT, table.c.week_ending == week.ending)
                    )
                    if rows:
                        connection.execute(insert(table), rows)
                    landed.add((week, asset))
        return landed

    def read_again(self, plans: Sequence[ReadingPlan]) -> ReadingResult:
        self.before_reading(plans)
        result = ReadingResult()
        for plan in plans:
            result.landed |= self.land(list(plan.weeks), plan.assets)
            result.calls |= dict.fromkeys(plan.list_readings(), 1)
            self.reread += sorted(plan.list_readings())
        result.run_id = f"run-{self._runs}"
        return result

    def reconcile(self, blocks: Sequence[WeekRange] | None = None, **options: Any) -> dict[str, Reconciliation]:
        """Reconcile these blocks, by default all, and return the rows by kind, those of the newest block."""
        self.client.asked.clear()
        self.reread.clear()
        rows = reconcile_organisation(
            self.client,
            self.warehouse.engine,
            list_blocks(read_landing_times(self.warehouse.engine, TENANT)) if blocks is None else blocks,
            cash_basis=False,
            read_again=self.read_again,
            now=self.warehouse.clock.now(),
            **options,
        )
        return {row.kind.value: row for row in rows}

    def make_reconciler(self, **options: Any) -> Reconciler:
        return Reconciler(self.client, self.warehouse.engine, cash_basis=False, **options)

    def list_asked(self, what: str) -> list[WeekRange]:
        """The ranges that the ledger was asked about."""
        return [weeks for name, weeks in self.client.asked if name == what]

    def _log_row(self, week: Week, asset: str, has_failed: bool) -> dict[str, Any]:
        now = self.warehouse.clock.now()
        return {
            "tenant_id": TENANT,
            "sync_type": _TYPES[asset],
            "week_ending": week.ending,
            "status": "failed" if has_failed else "success",
            "record_count": 1,
            "api_calls": 1,
            "dagster_run_id": f"run-{self._runs}",
            "started_at": now,
            "completed_at": now,
        }

    def _read_rows(self, week: Week, asset: str) -> tuple[Any, list[dict[str, Any]]]:
        now = self.warehouse.clock.now()
        key = {"tenant_id": TENANT, "week_ending": week.ending}
        provenance = {"currency": "NZD", "data_source": "xero", "updated_at": now}
        if asset == "financial_weekly":
            return financial_weekly_lines, [
                {
                    "account_id": account,
                    "account_name": account,
                    "account_type": self.xero.types[account],
                    "category": _CATEGORIES[self.xero.types[account]],
                    "amount": amount if self.xero.types[account] == "SALES" else -amount,
                }
                | key
                | provenance
                for account, amount in self.xero.sum_profit(week.start, week.ending).items()
            ]
        if asset == "cash_position_weekly":
            opening, received, spent, closing = self.xero.sum_bank(week.start, week.ending)
            amounts = {
                "opening_balance": opening,
                "cash_received": received,
                "cash_spent": spent,
                "currency_gain": Decimal(0),
                "closing_balance": closing,
            }
            named = {"bank_account_id": BANK, "bank_account_name": "Bank"}
            return cash_position_weekly, [key | named | amounts | provenance]
        return synced_documents, [
            key | {"document_id": document, "figures": "", "payments": {}, "edited_at": now}
            for document, day in self.xero.invoices.items()
            if week.start <= day <= week.ending
        ]


def make_weeks(count: int, first: date = date(2023, 12, 2)) -> list[Week]:
    return list(WeekRange(Week(first), Week(first).shift(count - 1)))


def fail() -> None:
    raise XeroError("Xero is away.")
