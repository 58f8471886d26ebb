"""`reconcile` against a Xero that is not the mock: silent edits in weeks of three years, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal

import dagster as dg
import pytest

from xero_pipeline.automation.jobs import build_range_tags, build_run_config
from xero_pipeline.automation.reconciliation import ASSET_OF_TYPE
from xero_pipeline.definitions import build_defs
from xero_pipeline.reconciliation.blocks import list_blocks
from xero_pipeline.reconciliation.episode import reconcile_organisation
from xero_pipeline.reconciliation.readings import ReadingPlan, ReadingResult
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.figures.stale_weeks import read_landing_times
from xero_pipeline.warehouse.logs.reconciliations import Reconciliation, ReconciliationLog
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline_tests.deployment import remove_checks
from xero_pipeline_tests.ledger_xero import BANK, COSTS, RENT, SALES, WAGES, LedgerXero, Posting
from xero_pipeline_tests.on_request import only_on_request
from xero_pipeline_tests.plain_xero import TENANT, open_connected_deployment, sync

FIRST = Week(date(2023, 12, 2))
WEEKS = list(WeekRange(FIRST, FIRST.shift(155)))


class Books:
    """156 stored weeks and the ledger that they come from."""

    def __init__(self, deployment: Deployment, xero: LedgerXero) -> None:
        self.deployment = deployment
        self.xero = xero

    def day(self, number: int) -> date:
        return WEEKS[number].start + timedelta(days=3)

    def post(self, number: int, account: str, amount: str, cash: str = "0.00") -> None:
        self.xero.postings.append(Posting(self.day(number), account, Decimal(amount), Decimal(cash)))

    def reconcile(self) -> tuple[list[Reconciliation], int]:
        """Reconcile all weeks; return the rows and the calls that the server has seen."""
        warehouse, calls_before = self.deployment.warehouse, len(self.xero.calls)
        client = self.deployment.xero.list_organisations()[0]
        rows = reconcile_organisation(
            client,
            warehouse.engine,
            list_blocks(read_landing_times(warehouse.engine, TENANT)),
            cash_basis=False,
            read_again=self._read_again,
            now=self.deployment.clock.now(),
        )
        return rows, len(self.xero.calls) - calls_before

    def _read_again(self, plans: Sequence[ReadingPlan]) -> ReadingResult:
        result = ReadingResult()
        definitions = build_defs(
            settings=self.deployment.settings,
            resource_overrides={
                "xero": self.deployment.xero,
                "warehouse": self.deployment.warehouse,
                "deployment": self.deployment,
            },
        )
        job = definitions.resolve_job_def("weekly_sync")
        for plan in plans:
            with dg.DagsterInstance.ephemeral() as instance:
                run = remove_checks(job, plan.assets).execute_in_process(
                    instance=instance,
                    run_config=build_run_config([TENANT], plan.assets),
                    tags=build_range_tags(plan.weeks.first, plan.weeks.last),
                    raise_on_error=False,
                )
            result.run_id = run.run_id
            for entry in self.deployment.warehouse.log.list_for_run(run.run_id):
                reading = (entry.week, ASSET_OF_TYPE[SyncType(entry.sync_type)])
                result.calls[reading] = entry.api_calls
                if entry.status in LANDED:
                    result.landed.add(reading)
        return result

    def find_wrong_weeks(self) -> list[str]:
        """The weeks whose tables are not what the ledger says."""
        wrong = []
        for week in WEEKS:
            stored = self.deployment.warehouse.read_week_figures(TENANT, week)
            profit = self.xero.sum_profit(week.start, week.ending)
            lines = {
                line["account_id"]: line["amount"]
                * (1 if line["category"] in ("trading_income", "other_income") else -1)
                for line in stored.lines
            }
            types = {line["account_id"]: line["account_type"] for line in stored.lines}
            bank = [
                tuple(row[name] for name in ("opening_balance", "cash_received", "cash_spent", "closing_balance"))
                for row in stored.cash
                if row["bank_account_id"] == BANK
            ]
            count = sum(week.start <= day <= week.ending for day in self.xero.invoices.values())
            checks = {
                "profit": lines == profit,
                "net profit": (stored.profit_and_loss or {})["net_profit"] == sum(profit.values()),
                "types": all(self.xero.types[account] == kind for account, kind in types.items()),
                "bank": bank == [self.xero.sum_bank(week.start, week.ending)],
                "invoices": sum(cell["invoice_count"] for cell in stored.revenue) == count,
            }
            wrong += [f"{week} {name}" for name, is_right in checks.items() if not is_right]
        return wrong


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    xero = LedgerXero()
    xero.keep_books(WEEKS)
    with open_connected_deployment(tmp_path_factory.mktemp("books"), xero) as (deployment, _server):
        assert sync(deployment, WEEKS[0], WEEKS[-1]).success
        yield Books(deployment, xero)


def assert_equal_at_little_cost(books: Books) -> None:
    rows, calls = books.reconcile()
    assert {(row.kind.value, row.status.value) for row in rows} == {
        ("profit_and_loss", "equal"),
        ("bank_summary", "equal"),
        ("documents", "equal"),
    }
    assert len(rows) == 9
    assert calls == sum(row.api_calls for row in rows) <= 12


def test_equal_books_are_proven_with_four_calls_a_year(books: Books) -> None:
    assert books.find_wrong_weeks() == []
    assert_equal_at_little_cost(books)


def test_one_journal_in_three_years_is_found_with_few_calls(books: Books) -> None:
    for number in (20, 103, 155):
        books.post(number, RENT, "-1000.00")
        rows, calls = books.reconcile()
        assert calls == sum(row.api_calls for row in rows) <= 30
        assert {row.status.value for row in rows} == {"equal", "mended"}
        assert books.find_wrong_weeks() == []


def test_twelve_silent_edits_of_every_kind_are_all_found_and_restated(books: Books) -> None:
    before = len(books.deployment.warehouse.list_restatements())
    for number, account in ((3, SALES), (31, COSTS), (47, RENT), (60, SALES), (83, COSTS), (99, WAGES)):
        books.post(number, account, f"{12 * number}.34")
    for number, amount in ((10, "-15.01"), (110, "77.70"), (130, "-0.01"), (151, "400.00")):
        books.post(number, SALES if amount[0] != "-" else RENT, amount, amount)
    wages = next(one for one in books.xero.postings if one.account == WAGES and one.day in WEEKS[70])
    wages.day += timedelta(days=7)
    books.xero.types[COSTS] = "EXPENSE"
    rows, _calls = books.reconcile()
    assert books.find_wrong_weeks() == []
    assert {row.status.value for row in rows if row.kind.value == "profit_and_loss"} == {"mended"}
    restated = {
        (one.week, one.table_name)
        for one in books.deployment.warehouse.list_restatements()[
            : len(books.deployment.warehouse.list_restatements()) - before
        ]
    }
    for number in (3, 31, 47, 60, 70, 71, 83, 99, 10, 110, 130, 151):
        assert (WEEKS[number], "financial_weekly") in restated
    for number in (10, 110, 130, 151):
        assert (WEEKS[number], "cash_position_weekly") in restated
    assert_equal_at_little_cost(books)


def test_an_invoice_that_came_or_went_unseen_is_found(books: Books) -> None:
    for number in (55, 120):
        key = next(key for key, day in books.xero.invoices.items() if day in WEEKS[number])
        del books.xero.invoices[key]
    rows, calls = books.reconcile()
    assert [row.status.value for row in rows if row.kind.value == "documents"] == ["equal", "mended", "mended"]
    assert calls <= 60
    books.xero.invoices["10000000-0000-4000-8000-999999999999"] = books.day(3)
    rows, calls = books.reconcile()
    assert [row.status.value for row in rows if row.kind.value == "documents"] == ["mended", "equal", "equal"]
    assert calls <= 30
    assert books.find_wrong_weeks() == []


@only_on_request
def test_what_never_adds_up_is_left_over_named_and_not_searched_again(books: Books) -> None:
    books.xero.residue = Decimal("0.07")
    rows, _calls = books.reconcile()
    different = [row for row in rows if not row.is_proven]
    assert [row.kind.value for row in different] == ["profit_and_loss"] * 3
    assert all(row.is_left_over for row in different)
    assert {figure["account_name"] for row in different for figure in row.difference["figures"]} == {"Rent"}
    assert {figure["difference"] for row in different for figure in row.difference["figures"]} == {"0.07"}
    again, calls = books.reconcile()
    assert [row.status for row in again] == [row.status for row in rows]
    assert calls <= 12
    books.post(33, SALES, "5.00")
    books.reconcile()
    assert books.find_wrong_weeks() == []
    books.xero.residue = Decimal(0)
    assert all(row.is_proven for row in books.reconcile()[0])
    assert all(row.is_proven for row in ReconciliationLog(books.deployment.warehouse.engine).list_current(TENANT))
