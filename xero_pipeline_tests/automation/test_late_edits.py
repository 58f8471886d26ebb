"""`late_edits`: which closed weeks an edit in Xero makes stale, and until when they are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from xero_pipeline.automation.late_edits import LateEdits, LateEditsFailed
from xero_pipeline.automation.planning import RunPlan, calls_left
from xero_pipeline.mock_xero import FaultKind, MockFault, MockLine
from xero_pipeline.rate_limits import CallPermit, RateLimitHeaders
from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import TENANT, Running, running

START = "2026-10-25"
WEEKS = 4


@pytest.fixture(scope="module")
def synced_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment with four weeks, synced once for all tests and copied for each."""
    home = tmp_path_factory.mktemp("synced")
    with running(home, PIPELINE_START_DATE=START) as deployed:
        assert deployed.sync(deployed.latest.shift(1 - WEEKS), deployed.latest).success
    return home


@pytest.fixture
def deployed(synced_home: Path, tmp_path: Path) -> Iterator[Running]:
    """An hour after the sync; whatever the books say has landed."""
    home = tmp_path / "home"
    shutil.copytree(synced_home, home)
    with running(home, PIPELINE_START_DATE=START) as deployed:
        deployed.clock.advance(hours=1)
        assert look(deployed) == []
        deployed.clock.advance(minutes=10)
        yield deployed


def look(deployed: Running, under_way: set[Week] | None = None) -> list[RunPlan]:
    return list(LateEdits(deployed.deployment).plan(under_way or set()).runs)


def spans(runs: list[RunPlan]) -> list[tuple[Week, Week]]:
    return [(run.first, run.last) for run in runs]


def sale(deployed: Running, week: Week) -> Any:
    """A sales invoice of that week which counts."""
    return next(
        one
        for one in deployed.mock.books(TENANT).documents(week)
        if one.kind.value == "ACCREC" and one.status.is_counted and not one.is_foreign
    )


def line(amount: str) -> MockLine:
    return MockLine(amount=Decimal(amount), revenue_type="Residential", region="North")


def read_again(deployed: Running, runs: list[RunPlan]) -> None:
    for run in runs:
        assert deployed.sync(run.first, run.last, organisations=run.organisations).success


def test_an_edited_week_is_asked_for_until_it_has_been_read_again(deployed: Running) -> None:
    week = deployed.latest.shift(-2)
    deployed.mock.edit_invoice(TENANT, sale(deployed, week).id, change=Decimal("0.01"))
    runs = look(deployed)
    assert spans(runs) == [(week, week)]
    assert look(deployed) == runs, "the same finding is the same run, however often it is looked at"
    deployed.clock.advance(minutes=1)
    read_again(deployed, runs)
    held = deployed.warehouse.week_figures(TENANT, week).profit_and_loss
    assert held is not None
    assert held["net_profit"] == deployed.mock.books(TENANT).profit_and_loss(week).net_profit
    assert look(deployed) == []


def test_a_run_that_left_no_trace_of_a_try_is_asked_for_again_the_next_day(deployed: Running) -> None:
    """Dagster launches a key once: a run that was cancelled before its first week would never come again."""
    week = deployed.latest.shift(-2)
    deployed.mock.edit_invoice(TENANT, sale(deployed, week).id, change=Decimal("0.01"))
    (cancelled,) = look(deployed)
    deployed.clock.advance(days=1)
    (again,) = look(deployed)
    assert (again.first, again.last) == (cancelled.first, cancelled.last)
    assert again.key != cancelled.key


def test_on_cash_basis_the_week_of_the_payment_is_stale_when_a_paid_document_changes(tmp_path: Path) -> None:
    with running(tmp_path, PIPELINE_START_DATE="2026-09-20", XERO_BASIS="cash") as deployed:
        weeks = [deployed.latest.shift(-n) for n in range(7)]
        assert deployed.sync(weeks[-1], weeks[0]).success
        deployed.clock.advance(hours=1)
        assert look(deployed) == []
        deployed.clock.advance(minutes=10)
        invoice, paid = next(
            (one, Week.containing(one.paid_on))
            for week in weeks
            for one in deployed.mock.books(TENANT).documents(week)
            if one.kind.value == "ACCREC" and one.status.is_counted and not one.is_foreign
            if one.paid_on and Week.containing(one.paid_on) in set(weeks) - {week}
        )
        # To another account: what was paid, and when, stays as it was.
        recoded = [
            MockLine(
                amount=Decimal(one.amount) / 100,
                tax=Decimal(one.tax) / 100,
                account_code="260",
                revenue_type=one.revenue_type,
                region=one.region,
            )
            for one in invoice.lines
        ]
        deployed.mock.edit_invoice(TENANT, invoice.id, lines=recoded)
        asked = {week for run in look(deployed) for week in weeks if run.first <= week <= run.last}
        assert {Week.containing(invoice.date), paid} <= asked


def test_a_document_that_moved_makes_the_week_stale_that_it_left_and_the_one_that_it_came_to(
    deployed: Running,
) -> None:
    left, came_to = deployed.latest.shift(-3), deployed.latest.shift(-1)
    deployed.mock.move_invoice(TENANT, sale(deployed, left).id, came_to.start)
    assert spans(look(deployed)) == [(came_to, came_to), (left, left)]


def test_a_voided_document_makes_its_old_week_stale(deployed: Running) -> None:
    week = deployed.latest.shift(-1)
    deployed.mock.void_invoice(TENANT, sale(deployed, week).id)
    assert spans(look(deployed)) == [(week, week)]


def test_a_new_document_that_is_dated_back_makes_its_week_stale(deployed: Running) -> None:
    week = deployed.latest.shift(-3)
    deployed.mock.add_credit_note(TENANT, date=week.start + timedelta(days=2), lines=[line("80.00")])
    assert spans(look(deployed)) == [(week, week)]


def test_weeks_that_lie_together_are_one_run(deployed: Running) -> None:
    for number in (1, 2):
        deployed.mock.add_invoice(TENANT, date=deployed.latest.shift(-number).start, lines=[line("12.30")])
    assert spans(look(deployed)) == [(deployed.latest.shift(-2), deployed.latest.shift(-1))]


def test_no_more_weeks_are_read_again_than_todays_calls_allow_beside_the_daily_sync(
    deployed: Running, tmp_path: Path
) -> None:
    newest, edited = deployed.latest, [deployed.latest.shift(-number) for number in range(3)]
    for week in edited:
        deployed.mock.edit_invoice(TENANT, sale(deployed, week).id, change=Decimal("0.01"))
    # The look's own two, two mornings of 4 + 2 calls, and the run's 2: what is left is two weeks of 4.
    spent = calls_left(deployed.deployment, TENANT).today
    only = {"SYNC_LOOKBACK_WEEKS": 0, "XERO_CALLS_PER_DAY": spent + 2 + 2 * 6 + 2 + 2 * 4}
    with running(tmp_path / "home", deployed.clock, PIPELINE_START_DATE=START, **only) as limited:
        found = LateEdits(limited.deployment).plan(set())
        assert spans(list(found.runs)) == [(newest.shift(-1), newest)]
        assert look(limited, {newest, newest.shift(-1)}) == [], "what is under way has yet to spend its calls"
        limited.clock.advance(minutes=1)
        read_again(limited, list(found.runs))
        put_off = LateEdits(limited.deployment).plan(set())
        assert put_off.runs == []
        assert "today's other calls are kept for the daily sync: 1 of these weeks." in put_off.why_none
        limited.clock.advance(days=1)
        assert spans(look(limited)) == [(edited[-1], edited[-1])]


def test_xero_is_not_asked_while_a_sync_spends_the_minutes_calls(deployed: Running, tmp_path: Path) -> None:
    week = deployed.latest
    deployed.mock.edit_invoice(TENANT, sale(deployed, week).id, change=Decimal("0.01"))
    with running(tmp_path / "home", deployed.clock, PIPELINE_START_DATE=START, XERO_CALLS_PER_MINUTE=6) as limited:
        budget = limited.warehouse.budget(limited.deployment.limits)
        for _ in range(3):
            slot = budget.acquire(TENANT, limited.clock.now())
            assert isinstance(slot, CallPermit)
            budget.release(slot, limited.clock.now(), RateLimitHeaders())
        before = calls_left(limited.deployment, TENANT).today
        plan = LateEdits(limited.deployment).plan(set())
        assert (plan.runs, calls_left(limited.deployment, TENANT).today) == ([], before)
        assert "a sync is spending this minute's calls" in plan.why_none
        limited.clock.advance(minutes=1)
        assert spans(look(limited)) == [(week, week)]


def test_a_week_that_is_not_over_and_one_that_never_landed_are_nobodys_late_edit(deployed: Running) -> None:
    for day in (deployed.latest.shift(1).start, date(2026, 9, 1)):
        deployed.mock.add_invoice(TENANT, date=day, lines=[line("50.00")])
    assert look(deployed) == []


def test_a_payment_moves_no_revenue_but_the_balances_of_every_later_week(deployed: Running) -> None:
    paid = deployed.latest.shift(-2)
    invoice = next(
        one
        for one in deployed.mock.books(TENANT).documents(deployed.latest.shift(-3))
        if one.kind.value == "ACCREC" and one.status.is_counted and one.paid_on is None and not one.is_foreign
    )
    deployed.mock.edit_invoice(TENANT, invoice.id, paid_on=paid.start)
    runs = look(deployed)
    assert spans(runs) == [(paid, paid)]
    deployed.clock.advance(minutes=1)
    read_again(deployed, runs)
    (balances,) = look(deployed)
    assert (balances.first, balances.last) == (deployed.latest.shift(-1), deployed.latest)
    assert balances.assets == ("cash_position_weekly",), "nothing else of those weeks has changed"


def test_weeks_that_somebody_has_in_hand_are_asked_for_afterwards(deployed: Running) -> None:
    week = deployed.latest.shift(-1)
    deployed.mock.void_invoice(TENANT, sale(deployed, week).id)
    assert look(deployed, under_way={week}) == []
    assert spans(look(deployed)) == [(week, week)]


def test_a_sync_that_fails_leaves_the_week_stale_and_is_tried_again_by_another_key(deployed: Running) -> None:
    week = deployed.latest.shift(-1)
    deployed.mock.void_invoice(TENANT, sale(deployed, week).id)
    runs = look(deployed)
    deployed.mock.add_fault(MockFault(FaultKind.STATUS, path="Invoices|Reports|CreditNotes", times=None, status=503))
    deployed.clock.advance(minutes=1)
    assert not deployed.sync(week, week).success
    deployed.mock.clear_faults()
    assert look(deployed) == [], "it rests after a failure"
    deployed.clock.advance(minutes=20)
    again = look(deployed)
    assert spans(again) == spans(runs)
    assert again[0].key != runs[0].key


def test_an_edit_is_found_by_the_next_look_where_xero_did_not_answer_this_one(deployed: Running) -> None:
    week = deployed.latest.shift(-1)
    deployed.mock.void_invoice(TENANT, sale(deployed, week).id)
    deployed.mock.add_fault(MockFault(FaultKind.STATUS, path="CreditNotes", times=3, status=503))
    with pytest.raises(LateEditsFailed, match="Mock Organisation"):
        look(deployed)
    assert spans(look(deployed)) == [(week, week)]
