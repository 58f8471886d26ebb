"""`late_edits`: which closed weeks an edit in Xero makes stale, and until when they are requested."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from xero_pipeline.automation.late_edits import CURSOR, LateEditFinder, LateEditsFailed
from xero_pipeline.automation.planning import RunPlan, WeeksUnderWay, read_call_usage
from xero_pipeline.mock_xero import DocumentKind, FaultKind, MockFault, MockLine
from xero_pipeline.rate_limits import CallPermit, RateLimitHeaders
from xero_pipeline.warehouse.logs.cursors import read_cursor, write_cursor
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.deployment import TENANT, RunningDeployment, run_deployment
from xero_pipeline_tests.mock_books import find_wrong_weeks

START = "2026-10-25"
WEEKS = 4


@pytest.fixture(scope="module")
def synced_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment with four weeks, synced once and copied for each test."""
    home = tmp_path_factory.mktemp("synced")
    with run_deployment(home, PIPELINE_START_DATE=START) as deployed:
        assert deployed.sync(deployed.latest.shift(1 - WEEKS), deployed.latest).success
    return home


@pytest.fixture
def deployed(synced_home: Path, tmp_path: Path) -> Iterator[RunningDeployment]:
    """The deployment an hour after the sync, with everything in the books landed."""
    home = tmp_path / "home"
    shutil.copytree(synced_home, home)
    with run_deployment(home, PIPELINE_START_DATE=START) as deployed:
        deployed.clock.advance(hours=1)
        assert plan_runs(deployed) == []
        deployed.clock.advance(minutes=10)
        yield deployed


def plan_runs(deployed: RunningDeployment, under_way: set[Week] | None = None) -> list[RunPlan]:
    return list(LateEditFinder(deployed.deployment).plan_runs(WeeksUnderWay(under_way or set())).runs)


def list_ranges(runs: list[RunPlan]) -> list[tuple[Week, Week]]:
    return [(run.first, run.last) for run in runs]


def find_sale(deployed: RunningDeployment, week: Week) -> Any:
    """Find a sales invoice in base currency that counts in that week."""
    return next(
        document
        for document in deployed.mock.books(TENANT).documents(week)
        if document.kind.value == "ACCREC" and document.status.is_counted and not document.is_foreign
    )


def make_line(amount: str) -> MockLine:
    return MockLine(amount=Decimal(amount), revenue_type="Residential", region="North")


def sync_runs(deployed: RunningDeployment, runs: list[RunPlan]) -> None:
    for run in runs:
        assert deployed.sync(run.first, run.last, organisations=run.organisations).success


def test_an_edited_week_is_requested_until_it_has_been_read_again(deployed: RunningDeployment) -> None:
    week = deployed.latest.shift(-2)
    deployed.mock.edit_invoice(TENANT, find_sale(deployed, week).id, change=Decimal("0.01"))
    runs = plan_runs(deployed)
    assert list_ranges(runs) == [(week, week)]
    assert plan_runs(deployed) == runs, "the same stale week is the same run, however often it is planned"
    deployed.clock.advance(minutes=1)
    sync_runs(deployed, runs)
    figures = deployed.warehouse.read_week_figures(TENANT, week).profit_and_loss
    assert figures is not None
    assert figures["net_profit"] == deployed.mock.books(TENANT).profit_and_loss(week).net_profit
    assert plan_runs(deployed) == []


def test_a_run_that_left_no_trace_of_a_try_is_requested_again_the_next_day(deployed: RunningDeployment) -> None:
    """Dagster launches a key once: with the same key, a run that was cancelled at its start would never come again."""
    week = deployed.latest.shift(-2)
    deployed.mock.edit_invoice(TENANT, find_sale(deployed, week).id, change=Decimal("0.01"))
    (cancelled,) = plan_runs(deployed)
    deployed.clock.advance(days=1)
    (again,) = plan_runs(deployed)
    assert (again.first, again.last) == (cancelled.first, cancelled.last)
    assert again.key != cancelled.key


def test_on_cash_basis_the_week_of_the_payment_is_stale_when_a_paid_document_changes(tmp_path: Path) -> None:
    with run_deployment(tmp_path, PIPELINE_START_DATE="2026-09-20", XERO_BASIS="cash") as deployed:
        weeks = [deployed.latest.shift(-n) for n in range(7)]
        assert deployed.sync(weeks[-1], weeks[0]).success
        deployed.clock.advance(hours=1)
        assert plan_runs(deployed) == []
        deployed.clock.advance(minutes=10)
        invoice, paid_week = next(
            (document, Week.containing(document.paid_on))
            for week in weeks
            for document in deployed.mock.books(TENANT).documents(week)
            if document.kind.value == "ACCREC" and document.status.is_counted and not document.is_foreign
            if document.paid_on and Week.containing(document.paid_on) in set(weeks) - {week}
        )
        # Only the account changes; the amount and the date of the payment stay as they were.
        recoded = [
            MockLine(
                amount=Decimal(invoice_line.amount) / 100,
                tax=Decimal(invoice_line.tax) / 100,
                account_code="260",
                revenue_type=invoice_line.revenue_type,
                region=invoice_line.region,
            )
            for invoice_line in invoice.lines
        ]
        deployed.mock.edit_invoice(TENANT, invoice.id, lines=recoded)
        requested = {week for run in plan_runs(deployed) for week in weeks if run.first <= week <= run.last}
        assert {Week.containing(invoice.date), paid_week} <= requested


def test_a_document_that_moved_makes_its_old_and_its_new_week_stale(
    deployed: RunningDeployment,
) -> None:
    old_week, new_week = deployed.latest.shift(-3), deployed.latest.shift(-1)
    deployed.mock.move_invoice(TENANT, find_sale(deployed, old_week).id, new_week.start)
    assert list_ranges(plan_runs(deployed)) == [(new_week, new_week), (old_week, old_week)]


def test_a_voided_document_makes_its_old_week_stale(deployed: RunningDeployment) -> None:
    week = deployed.latest.shift(-1)
    deployed.mock.void_invoice(TENANT, find_sale(deployed, week).id)
    assert list_ranges(plan_runs(deployed)) == [(week, week)]


def test_a_new_document_that_is_dated_back_makes_its_week_stale(deployed: RunningDeployment) -> None:
    week = deployed.latest.shift(-3)
    deployed.mock.add_credit_note(TENANT, date=week.start + timedelta(days=2), lines=[make_line("80.00")])
    assert list_ranges(plan_runs(deployed)) == [(week, week)]


def test_consecutive_weeks_are_one_run(deployed: RunningDeployment) -> None:
    for number in (1, 2):
        deployed.mock.add_invoice(TENANT, date=deployed.latest.shift(-number).start, lines=[make_line("12.30")])
    assert list_ranges(plan_runs(deployed)) == [(deployed.latest.shift(-2), deployed.latest.shift(-1))]


def test_no_more_weeks_are_read_again_than_todays_calls_allow_besides_the_daily_sync(
    deployed: RunningDeployment, tmp_path: Path
) -> None:
    newest, edited = deployed.latest, [deployed.latest.shift(-number) for number in range(3)]
    for week in edited:
        deployed.mock.edit_invoice(TENANT, find_sale(deployed, week).id, change=Decimal("0.01"))
    # The check takes 2 calls, two daily syncs reserve 2 + 6 each, the run takes 6: two weeks of 2 calls are left.
    spent = read_call_usage(deployed.deployment, TENANT).today
    settings = {"SYNC_LOOKBACK_WEEKS": 0, "XERO_CALLS_PER_DAY": spent + 2 + 2 * 8 + 6 + 2 * 2}
    with run_deployment(tmp_path / "home", deployed.clock, PIPELINE_START_DATE=START, **settings) as limited:
        plan = LateEditFinder(limited.deployment).plan_runs(WeeksUnderWay())
        assert list_ranges(list(plan.runs)) == [(newest.shift(-1), newest)]
        assert plan_runs(limited, {newest, newest.shift(-1)}) == [], "weeks under way have not used their calls yet"
        limited.clock.advance(minutes=1)
        sync_runs(limited, list(plan.runs))
        postponed = LateEditFinder(limited.deployment).plan_runs(WeeksUnderWay())
        assert postponed.runs == []
        assert (
            "1 of these weeks are postponed: today's remaining calls are kept for the daily sync."
            in postponed.skip_reason
        )
        limited.clock.advance(days=1)
        assert list_ranges(plan_runs(limited)) == [(edited[-1], edited[-1])]


def test_xero_is_not_asked_while_a_sync_uses_the_minutes_calls(deployed: RunningDeployment, tmp_path: Path) -> None:
    week = deployed.latest
    deployed.mock.edit_invoice(TENANT, find_sale(deployed, week).id, change=Decimal("0.01"))
    with run_deployment(
        tmp_path / "home", deployed.clock, PIPELINE_START_DATE=START, XERO_CALLS_PER_MINUTE=6
    ) as limited:
        budget = limited.warehouse.make_call_budget(limited.deployment.limits)
        for _ in range(3):
            permit = budget.acquire(TENANT, limited.clock.now())
            assert isinstance(permit, CallPermit)
            budget.release(permit, limited.clock.now(), RateLimitHeaders())
        before = read_call_usage(limited.deployment, TENANT).today
        plan = LateEditFinder(limited.deployment).plan_runs(WeeksUnderWay())
        assert (plan.runs, read_call_usage(limited.deployment, TENANT).today) == ([], before)
        assert "a sync is using this minute's calls" in plan.skip_reason
        limited.clock.advance(minutes=1)
        assert list_ranges(plan_runs(limited)) == [(week, week)]


def test_edits_in_a_week_that_is_not_over_or_never_landed_are_no_late_edits(deployed: RunningDeployment) -> None:
    for day in (deployed.latest.shift(1).start, date(2026, 9, 1)):
        deployed.mock.add_invoice(TENANT, date=day, lines=[make_line("50.00")])
    assert plan_runs(deployed) == []


def test_a_payment_makes_its_week_stale_and_the_balances_of_every_later_week(deployed: RunningDeployment) -> None:
    paid_week = deployed.latest.shift(-2)
    invoice = next(
        document
        for document in deployed.mock.books(TENANT).documents(deployed.latest.shift(-3))
        if document.kind.value == "ACCREC" and document.status.is_counted
        if document.paid_on is None and not document.is_foreign
    )
    deployed.mock.edit_invoice(TENANT, invoice.id, paid_on=paid_week.start)
    runs = plan_runs(deployed)
    assert list_ranges(runs) == [(paid_week, paid_week)]
    deployed.clock.advance(minutes=1)
    sync_runs(deployed, runs)
    (balances,) = plan_runs(deployed)
    assert (balances.first, balances.last) == (deployed.latest.shift(-1), deployed.latest)
    assert balances.assets == ("cash_position_weekly",), "nothing else in those weeks has changed"


def test_old_balances_are_put_right_at_once_and_then_the_profit_and_loss_of_what_moved(
    deployed: RunningDeployment,
) -> None:
    moved = deployed.latest.shift(-3)
    deployed.mock.add_bank_movement(TENANT, date=moved.start, account_code="404", amount=Decimal("-9.90"))
    # The daily sync reads only the latest week again, and so shows that the balances before it are old.
    assert deployed.sync(deployed.latest).success
    deployed.clock.advance(minutes=1)
    (balances,) = plan_runs(deployed)
    assert (balances.first, balances.last) == (moved, deployed.latest.shift(-1)), "all of them in one run"
    assert balances.assets == ("cash_position_weekly",)
    assert deployed.sync(balances.first, balances.last, assets=balances.assets).success
    deployed.clock.advance(minutes=1)
    (movements,) = plan_runs(deployed)
    assert (movements.first, movements.last) == (moved, moved)
    assert movements.assets == ("financial_weekly",), "the bank fee is a cost of that week, too"
    assert deployed.sync(moved, assets=movements.assets).success
    deployed.clock.advance(minutes=1)
    assert plan_runs(deployed) == []
    weeks = [deployed.latest.shift(-number) for number in range(WEEKS)]
    assert find_wrong_weeks(deployed, weeks) == {}


def test_weeks_under_way_are_requested_afterwards(deployed: RunningDeployment) -> None:
    week = deployed.latest.shift(-1)
    deployed.mock.void_invoice(TENANT, find_sale(deployed, week).id)
    assert plan_runs(deployed, under_way={week}) == []
    assert list_ranges(plan_runs(deployed)) == [(week, week)]


def test_a_failed_sync_leaves_the_week_stale_and_is_retried_with_another_key(deployed: RunningDeployment) -> None:
    week = deployed.latest.shift(-1)
    deployed.mock.void_invoice(TENANT, find_sale(deployed, week).id)
    runs = plan_runs(deployed)
    deployed.mock.add_fault(MockFault(FaultKind.STATUS, path="Invoices|Reports|CreditNotes", times=None, status=503))
    deployed.clock.advance(minutes=1)
    assert not deployed.sync(week, week).success
    deployed.mock.clear_faults()
    assert plan_runs(deployed) == [], "it waits after a failure"
    deployed.clock.advance(minutes=20)
    retried = plan_runs(deployed)
    assert list_ranges(retried) == list_ranges(runs)
    assert retried[0].key != runs[0].key


def test_an_edit_is_found_by_the_next_check_if_xero_did_not_answer_this_one(deployed: RunningDeployment) -> None:
    week = deployed.latest.shift(-1)
    deployed.mock.void_invoice(TENANT, find_sale(deployed, week).id)
    deployed.mock.add_fault(MockFault(FaultKind.STATUS, path="CreditNotes", times=3, status=503))
    with pytest.raises(LateEditsFailed, match="Mock Organisation"):
        plan_runs(deployed)
    assert list_ranges(plan_runs(deployed)) == [(week, week)]


class XerosClock:
    """A clock that differs from the deployment's by a number of minutes."""

    def __init__(self, clock: FakeClock, minutes: float) -> None:
        self._clock = clock
        self._offset = timedelta(minutes=minutes)

    def now(self) -> datetime:
        return self._clock.now() + self._offset

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


@pytest.mark.parametrize("minutes", [-10, -5, 0, 5, 10])
def test_no_edit_is_missed_where_xeros_clock_differs(tmp_path: Path, minutes: float) -> None:
    """Edits soon after the sync, soon after the first search, and soon after a week has been read again."""
    clock = FakeClock()
    with run_deployment(tmp_path, clock, mock_clock=XerosClock(clock, minutes), PIPELINE_START_DATE=START) as deployed:
        weeks = [deployed.latest.shift(-n) for n in range(WEEKS)]
        assert deployed.sync(weeks[-1], weeks[0]).success
        for number in range(4):
            week = weeks[number % 2 + 1]
            deployed.clock.advance(minutes=1)
            kind = DocumentKind.BILL if number % 2 else DocumentKind.SALE
            account = "469" if kind is DocumentKind.BILL else "200"
            line = MockLine(amount=Decimal("10.00"), account_code=account)
            deployed.mock.add_invoice(TENANT, date=week.start, lines=[line], kind=kind)
            deployed.clock.advance(minutes=1)
            runs = plan_runs(deployed)
            assert any(run.first <= week <= run.last for run in runs), f"edit {number} was missed"
            sync_runs(deployed, runs)
            figures = deployed.warehouse.read_week_figures(TENANT, week).profit_and_loss
            assert figures is not None
            assert figures["net_profit"] == deployed.mock.books(TENANT).profit_and_loss(week).net_profit
        deployed.clock.advance(minutes=30)
        assert plan_runs(deployed) == [], "a week that has been read again is not requested for ever"


def test_the_next_search_begins_where_xero_says_that_this_one_was(deployed: RunningDeployment) -> None:
    plan_runs(deployed)
    cursor = read_cursor(deployed.warehouse.engine, TENANT, CURSOR)
    assert cursor is not None
    assert timedelta(0) <= deployed.clock.now() - cursor < timedelta(seconds=5)


def test_a_cursor_of_a_clock_a_year_ahead_hides_no_edit(deployed: RunningDeployment) -> None:
    with deployed.warehouse.engine.begin() as connection:
        write_cursor(connection, TENANT, CURSOR, deployed.clock.now() + timedelta(days=365))
    deployed.mock.edit_invoice(TENANT, find_sale(deployed, deployed.latest).id, change=Decimal("1.00"))
    assert list_ranges(plan_runs(deployed)) == [(deployed.latest, deployed.latest)]
