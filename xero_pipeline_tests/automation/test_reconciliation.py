"""`reconciliation`: which blocks are compared when, and what becomes of weeks that differ from Xero's totals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.planning import RunPlan, WeeksUnderWay
from xero_pipeline.automation.reconciliation import ReconciliationCheckFailed, ReconciliationPlanner
from xero_pipeline.mock_xero import FaultKind, MockFault
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline.warehouse.logs.reconciliations import Reconciliation, ReconciliationLog
from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import TENANT, RunningDeployment, run_deployment
from xero_pipeline_tests.mock_books import find_wrong_weeks

WEEKS = 10


@pytest.fixture(scope="module")
def synced_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment with ten weeks, synced once and copied for each test."""
    home = tmp_path_factory.mktemp("synced")
    with run_deployment(home) as deployed:
        assert deployed.sync(deployed.latest.shift(1 - WEEKS), deployed.latest).success
    return home


@pytest.fixture
def deployed(synced_home: Path, tmp_path: Path) -> Iterator[RunningDeployment]:
    home = tmp_path / "home"
    shutil.copytree(synced_home, home)
    with run_deployment(home) as deployed:
        deployed.clock.advance(hours=1)
        yield deployed


def plan_runs(deployed: RunningDeployment, under_way: set[Week] | None = None) -> list[RunPlan]:
    """Evaluate one tick."""
    planner = ReconciliationPlanner(deployed.deployment, open_alerter(deployed.deployment))
    return list(planner.plan_runs(WeeksUnderWay(under_way or set())).runs)


def run_until_quiet(deployed: RunningDeployment) -> list[RunPlan]:
    """Evaluate a tick each minute and run what it requests, until it requests nothing more."""
    launched: list[RunPlan] = []
    for _ in range(10):
        deployed.clock.advance(minutes=1)
        runs = plan_runs(deployed)
        if not runs:
            return launched
        assert len({run.key for run in runs}) == len(runs)
        deployed.clock.advance(seconds=5)
        for run in runs:
            assert deployed.sync(run.first, run.last, organisations=run.organisations, assets=run.assets).success
        launched += runs
    raise AssertionError("the sensor requests runs without end")


def list_current(deployed: RunningDeployment) -> list[Reconciliation]:
    return ReconciliationLog(deployed.warehouse.engine).list_current(TENANT)


def list_weeks(deployed: RunningDeployment) -> list[Week]:
    return [deployed.latest.shift(-number) for number in range(WEEKS)]


def test_stored_weeks_that_are_the_books_are_proven_once_a_day(deployed: RunningDeployment) -> None:
    assert plan_runs(deployed) == []
    first_look = list_current(deployed)
    assert [row.status.value for row in first_look] == ["equal"] * 3
    assert {row.weeks.last for row in first_look} == {deployed.latest}
    deployed.clock.advance(hours=23)
    plan_runs(deployed)
    assert list_current(deployed) == first_look, "a day has not passed"
    deployed.clock.advance(hours=1)
    plan_runs(deployed)
    assert list_current(deployed) == first_look, "the daily sync of this day has not run yet"
    assert deployed.sync().success
    deployed.clock.advance(seconds=5)
    plan_runs(deployed)
    assert {row.checked_at for row in list_current(deployed)} == {deployed.clock.now()}


def test_without_a_daily_sync_the_totals_are_compared_half_a_day_later(deployed: RunningDeployment) -> None:
    plan_runs(deployed)
    deployed.clock.advance(hours=36)
    plan_runs(deployed)
    assert {row.checked_at for row in list_current(deployed)} == {deployed.clock.now()}


@pytest.mark.parametrize("edit", ["journal", "bank movement", "payroll", "retyped account"])
def test_a_silent_edit_is_found_read_again_and_recorded_as_mended(deployed: RunningDeployment, edit: str) -> None:
    run_until_quiet(deployed)
    week = deployed.latest.shift(-7)
    day = week.start + timedelta(days=2)
    if edit == "journal":
        deployed.mock.post_journal(TENANT, date=day, account_code="400", amount=Decimal("-1000"))
    elif edit == "bank movement":
        deployed.mock.add_bank_movement(TENANT, date=day, account_code="400", amount=Decimal("-12.34"))
    elif edit == "payroll":
        deployed.mock.move_payroll(TENANT, from_date=day, to_date=day + timedelta(days=7), amount=Decimal("500"))
    else:
        deployed.mock.retype_account(TENANT, "400", "DIRECTCOSTS")
    assert find_wrong_weeks(deployed, list_weeks(deployed)) or edit == "retyped account"
    deployed.clock.advance(hours=36)
    assert run_until_quiet(deployed)
    assert find_wrong_weeks(deployed, list_weeks(deployed)) == {}
    assert all(row.is_proven for row in list_current(deployed))
    looks = ReconciliationLog(deployed.warehouse.engine).list_newest(100)
    mended = {row.kind.value for row in looks if row.status.value == "mended"}
    assert mended == {"profit_and_loss", *({"bank_summary"} if edit == "bank movement" else ())}
    assert AlertLog(deployed.warehouse.engine).list_open() == []


def test_while_weeks_are_being_read_nothing_is_compared(deployed: RunningDeployment) -> None:
    assert plan_runs(deployed, {deployed.latest}) == []
    assert list_current(deployed) == []


def test_weeks_whose_run_failed_are_requested_again_an_hour_later(deployed: RunningDeployment) -> None:
    week = deployed.latest.shift(-4)
    deployed.mock.post_journal(TENANT, date=week.start, account_code="400", amount=Decimal("-1"))
    (run,) = plan_runs(deployed)
    assert (run.first, run.last) == (week, week)
    assert plan_runs(deployed) == [], "the run has been requested"
    deployed.clock.advance(minutes=61)
    (again,) = plan_runs(deployed)
    assert (again.first, again.last) == (week, week)


def test_xero_being_away_records_nothing_and_says_so(deployed: RunningDeployment) -> None:
    deployed.mock.add_fault(MockFault(FaultKind.STATUS, status=503, times=None))
    with pytest.raises(ReconciliationCheckFailed, match="Mock Organisation"):
        plan_runs(deployed)
    assert list_current(deployed) == []


def test_a_week_that_was_added_is_compared_with_its_block(deployed: RunningDeployment) -> None:
    plan_runs(deployed)
    deployed.clock.advance(days=7)
    assert deployed.sync().success
    deployed.clock.advance(seconds=5)
    plan_runs(deployed)
    rows = list_current(deployed)
    assert len(rows) == 3
    assert {(len(row.weeks), row.status.value) for row in rows} == {(WEEKS + 1, "equal")}
