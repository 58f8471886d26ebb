"""`missing_weeks`: which gap is filled next, how much of it, for which organisations, and when it is tried again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from xero_pipeline.automation.missing_weeks import MAX_WEEKS_PER_TICK, GapFinder
from xero_pipeline.automation.planning import RunPlan, WeeksUnderWay
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.rate_limits import CallPermit, RateLimitHeaders
from xero_pipeline.warehouse.logs.sync_log import WEEKLY_TYPES, SyncType
from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import SECOND, SMALL, TENANT, RunningDeployment, run_deployment

HISTORY = 40


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[RunningDeployment]:
    """One connected organisation with forty weeks, none of which has landed."""
    with run_deployment(tmp_path, PIPELINE_START_DATE="2026-02-15", SYNC_LOOKBACK_WEEKS=0) as deployed:
        assert len(deployed.deployment.settings.calendar.list_weeks(deployed.clock.now())) == HISTORY
        yield deployed


def plan_runs(deployed: RunningDeployment, under_way: Iterable[Week] = ()) -> list[RunPlan]:
    return list(GapFinder(deployed.deployment).plan_runs(WeeksUnderWay(set(under_way))).runs)


def get_skip_reason(deployed: RunningDeployment, under_way: Iterable[Week] = ()) -> str:
    plan = GapFinder(deployed.deployment).plan_runs(WeeksUnderWay(set(under_way)))
    assert not plan.runs
    return plan.skip_reason


def get_requested_range(deployed: RunningDeployment, under_way: Iterable[Week] = ()) -> tuple[Week, Week]:
    (run,) = plan_runs(deployed, under_way)
    return run.first, run.last


def land(
    deployed: RunningDeployment, weeks: Iterable[Week], tenant: str = TENANT, sync_types: Iterable[str] = WEEKLY_TYPES
) -> None:
    """Log the weeks as landed. The log alone decides whether a week is missing, so no figures are written."""
    for week in weeks:
        for sync_type in sync_types:
            log_id = deployed.warehouse.log.start(tenant, sync_type, week, None)
            with deployed.warehouse.engine.begin() as connection:
                deployed.warehouse.log.finish(connection, log_id, status="success", record_count=1, api_calls=1)


def fail(deployed: RunningDeployment, week: Week, error: str = "xero_unavailable") -> None:
    log_id = deployed.warehouse.log.start(TENANT, SyncType.INVOICES, week, None)
    deployed.warehouse.log.fail(log_id, api_calls=1, error_log={"error": error})


def list_weeks_back(deployed: RunningDeployment, *numbers: int) -> list[Week]:
    """List weeks by how many weeks before the latest one they are."""
    return [deployed.latest.shift(-number) for number in numbers]


def test_after_a_first_connect_the_newest_half_year_comes_first_and_then_the_weeks_before_it(
    deployed: RunningDeployment,
) -> None:
    assert get_requested_range(deployed) == (deployed.latest.shift(1 - MAX_WEEKS_PER_TICK), deployed.latest)
    land(deployed, list_weeks_back(deployed, *range(MAX_WEEKS_PER_TICK)))
    assert get_requested_range(deployed) == (
        deployed.latest.shift(1 - HISTORY),
        deployed.latest.shift(-MAX_WEEKS_PER_TICK),
    )
    land(deployed, list_weeks_back(deployed, *range(MAX_WEEKS_PER_TICK, HISTORY)))
    assert "no week is missing" in get_skip_reason(deployed)


def test_a_week_is_missing_as_long_as_one_kind_of_its_figures_is_missing(deployed: RunningDeployment) -> None:
    land(deployed, list_weeks_back(deployed, *range(HISTORY)), sync_types=[SyncType.PROFIT_AND_LOSS, SyncType.INVOICES])
    land(
        deployed, list_weeks_back(deployed, *(n for n in range(HISTORY) if n != 7)), sync_types=[SyncType.BANK_SUMMARY]
    )
    assert get_requested_range(deployed) == (deployed.latest.shift(-7), deployed.latest.shift(-7))


def test_weeks_on_another_basis_are_missing_until_they_are_read_again(tmp_path: Path) -> None:
    start = {"PIPELINE_START_DATE": "2026-11-08"}
    with run_deployment(tmp_path, **start) as deployed:
        first, last = deployed.latest.shift(-1), deployed.latest
        assert deployed.sync(first, last).success
        assert get_skip_reason(deployed) == "Mock Organisation: no week is missing."
        clock = deployed.clock
    with run_deployment(tmp_path, clock, XERO_BASIS="cash", **start) as changed:
        assert get_requested_range(changed) == (first, last)
        assert changed.sync(last, last).success
        assert get_requested_range(changed) == (first, first)
        assert changed.sync(first, first).success
        assert "no week is missing" in get_skip_reason(changed)


def test_the_newest_of_several_gaps_is_filled_first(deployed: RunningDeployment) -> None:
    land(deployed, list_weeks_back(deployed, *(n for n in range(HISTORY) if n not in (3, 4, 20))))
    assert get_requested_range(deployed) == (deployed.latest.shift(-4), deployed.latest.shift(-3))


def test_a_new_week_is_missing_as_soon_as_it_is_over(deployed: RunningDeployment) -> None:
    land(deployed, list_weeks_back(deployed, *range(HISTORY)))
    assert plan_runs(deployed) == []
    deployed.clock.advance(days=7)
    assert get_requested_range(deployed) == (deployed.latest, deployed.latest)


def test_weeks_under_way_are_not_requested(deployed: RunningDeployment) -> None:
    land(deployed, list_weeks_back(deployed, *range(2, HISTORY)))
    assert get_requested_range(deployed, under_way=list_weeks_back(deployed, 0)) == (
        deployed.latest.shift(-1),
        deployed.latest.shift(-1),
    )
    assert "under way" in get_skip_reason(deployed, under_way=list_weeks_back(deployed, 0, 1))


def test_a_week_that_failed_waits_and_is_then_requested_with_another_key(deployed: RunningDeployment) -> None:
    land(deployed, list_weeks_back(deployed, *range(1, HISTORY)))
    (first,) = plan_runs(deployed)
    fail(deployed, deployed.latest)
    assert "waits after a failure" in get_skip_reason(deployed)
    deployed.clock.advance(minutes=15, seconds=1)
    (second,) = plan_runs(deployed)
    assert (second.first, second.last) == (first.first, first.last)
    assert second.key != first.key
    fail(deployed, deployed.latest)
    deployed.clock.advance(minutes=15, seconds=1)
    assert plan_runs(deployed) == [], "after a second failure it waits for twice as long"
    deployed.clock.advance(minutes=15)
    assert len(plan_runs(deployed)) == 1


def test_a_second_plan_has_the_same_key_so_that_dagster_launches_the_run_once(deployed: RunningDeployment) -> None:
    assert plan_runs(deployed) == plan_runs(deployed)


def test_no_more_weeks_are_requested_than_todays_calls_allow_besides_the_daily_sync(tmp_path: Path) -> None:
    # Two daily syncs of 2 + 6 calls are reserved, and the run itself takes 6: five weeks of 2 calls are left.
    settings = {"PIPELINE_START_DATE": "2026-02-15", "SYNC_LOOKBACK_WEEKS": 0, "XERO_CALLS_PER_DAY": 33}
    with run_deployment(tmp_path, **settings) as deployed:
        assert get_requested_range(deployed) == (deployed.latest.shift(-4), deployed.latest)
        budget = deployed.warehouse.make_call_budget(deployed.deployment.limits)
        for _ in range(17):
            permit = budget.acquire(TENANT, deployed.clock.now())
            assert isinstance(permit, CallPermit)
            budget.release(permit, deployed.clock.now(), RateLimitHeaders())
        assert "kept for the daily sync" in get_skip_reason(deployed)
        deployed.clock.advance(days=1)
        assert get_requested_range(deployed) == (deployed.latest.shift(-4), deployed.latest)


def test_organisations_with_the_same_gap_share_a_run_and_others_have_their_own(tmp_path: Path) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND), PIPELINE_START_DATE="2026-10-04") as deployed:
        (shared,) = plan_runs(deployed)
        assert shared.organisations == (), "a run that names no organisation is for all"
        land(deployed, list_weeks_back(deployed, 0, 1))
        first_run, second_run = sorted(plan_runs(deployed), key=lambda run: run.last)
        assert (first_run.last, first_run.organisations) == (deployed.latest.shift(-2), (TENANT,))
        assert (second_run.last, second_run.organisations) == (deployed.latest, (SECOND.tenant_id,))
        assert first_run.key != second_run.key
        deployed.warehouse.tokens.set_status(SECOND.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
        (alone,) = plan_runs(deployed)
        assert alone.organisations == (TENANT,), "not for all: the other organisation is not connected"


def test_a_gap_of_more_organisations_than_one_run_takes_names_them_so_that_it_can_be_split(tmp_path: Path) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND), ORGANISATIONS_PER_RUN=1) as deployed:
        (plan,) = GapFinder(deployed.deployment).plan_runs(WeeksUnderWay()).runs
    assert [part.organisations for part in plan.split(1)] == [(SMALL.tenant_id,), (SECOND.tenant_id,)]


def test_without_a_connection_nothing_is_requested(deployed: RunningDeployment) -> None:
    deployed.warehouse.tokens.set_status(TENANT, ConnectionStatus.RECONNECT_NEEDED)
    assert get_skip_reason(deployed) == "No organisation is connected."


def test_after_a_day_limit_a_week_waits_until_the_time_that_xero_named(deployed: RunningDeployment) -> None:
    land(deployed, list_weeks_back(deployed, *range(1, HISTORY)))
    retry_at = deployed.clock.now() + timedelta(hours=9)
    log_id = deployed.warehouse.log.start(TENANT, SyncType.INVOICES, deployed.latest, None)
    error = {"error": "day_limit_reached", "retry_at": retry_at.isoformat()}
    deployed.warehouse.log.fail(log_id, api_calls=1, error_log=error)
    deployed.clock.moment = retry_at - timedelta(seconds=1)
    assert plan_runs(deployed) == []
    deployed.clock.moment = retry_at
    assert len(plan_runs(deployed)) == 1


def test_before_the_first_week_is_over_nothing_is_missing(tmp_path: Path) -> None:
    with run_deployment(tmp_path, PIPELINE_START_DATE="2026-12-06") as deployed:
        assert get_skip_reason(deployed).startswith("No week since PIPELINE_START_DATE (2026-12-06) is over yet.")
