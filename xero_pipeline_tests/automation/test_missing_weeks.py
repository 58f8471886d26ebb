"""`missing_weeks`: which gap is filled next, how much of it, for whom, and when it is tried again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from xero_pipeline.automation.missing_weeks import WEEKS_A_TICK, GapFinder
from xero_pipeline.automation.planning import RunPlan
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.rate_limits import CallPermit, RateLimitHeaders
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import SECOND, SMALL, TENANT, Running, running

HISTORY = 40


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Running]:
    """One organisation, connected, of forty weeks; nothing has landed."""
    with running(tmp_path, PIPELINE_START_DATE="2026-02-15", SYNC_LOOKBACK_WEEKS=0) as deployed:
        assert len(deployed.deployment.settings.calendar.list_weeks(deployed.clock.now())) == HISTORY
        yield deployed


def plan(deployed: Running, under_way: Iterable[Week] = ()) -> list[RunPlan]:
    return list(GapFinder(deployed.deployment).plan(set(under_way)).runs)


def why_none(deployed: Running, under_way: Iterable[Week] = ()) -> str:
    found = GapFinder(deployed.deployment).plan(set(under_way))
    assert not found.runs
    return found.why_none


def asked_for(deployed: Running, under_way: Iterable[Week] = ()) -> tuple[Week, Week]:
    (run,) = plan(deployed, under_way)
    return run.first, run.last


def land(deployed: Running, weeks: Iterable[Week], tenant: str = TENANT, kinds: Iterable[str] = SyncType) -> None:
    """As the log says it; no figures are needed to know that a week is there."""
    for week in weeks:
        for kind in kinds:
            log_id = deployed.warehouse.log.start(tenant, kind, week, None)
            with deployed.warehouse.engine.begin() as connection:
                deployed.warehouse.log.finish(connection, log_id, status="success", record_count=1, api_calls=1)


def fail(deployed: Running, week: Week, error: str = "xero_unavailable") -> None:
    log_id = deployed.warehouse.log.start(TENANT, SyncType.INVOICES, week, None)
    deployed.warehouse.log.fail(log_id, api_calls=1, error_log={"error": error})


def back(deployed: Running, *numbers: int) -> list[Week]:
    """Weeks by how many lie between them and the latest one."""
    return [deployed.latest.shift(-number) for number in numbers]


def test_after_a_first_connect_the_newest_half_year_comes_first_and_then_what_is_before_it(deployed: Running) -> None:
    assert asked_for(deployed) == (deployed.latest.shift(1 - WEEKS_A_TICK), deployed.latest)
    land(deployed, back(deployed, *range(WEEKS_A_TICK)))
    assert asked_for(deployed) == (deployed.latest.shift(1 - HISTORY), deployed.latest.shift(-WEEKS_A_TICK))
    land(deployed, back(deployed, *range(WEEKS_A_TICK, HISTORY)))
    assert "every week is there" in why_none(deployed)


def test_a_week_is_missing_as_long_as_one_kind_of_its_figures_is(deployed: Running) -> None:
    land(deployed, back(deployed, *range(HISTORY)), kinds=[SyncType.PROFIT_AND_LOSS, SyncType.INVOICES])
    land(deployed, back(deployed, *(n for n in range(HISTORY) if n != 7)), kinds=[SyncType.BANK_SUMMARY])
    assert asked_for(deployed) == (deployed.latest.shift(-7), deployed.latest.shift(-7))


def test_weeks_that_are_held_by_another_basis_are_missing_until_they_are_read_anew(tmp_path: Path) -> None:
    start = {"PIPELINE_START_DATE": "2026-11-08"}
    with running(tmp_path, **start) as deployed:
        first, last = deployed.latest.shift(-1), deployed.latest
        assert deployed.sync(first, last).success
        assert why_none(deployed) == "Mock Organisation: every week is there."
        clock = deployed.clock
    with running(tmp_path, clock, XERO_BASIS="cash", **start) as changed:
        assert asked_for(changed) == (first, last)
        assert changed.sync(last, last).success
        assert asked_for(changed) == (first, first)
        assert changed.sync(first, first).success
        assert "every week is there" in why_none(changed)


def test_of_several_gaps_the_newest_is_filled_first(deployed: Running) -> None:
    land(deployed, back(deployed, *(n for n in range(HISTORY) if n not in (3, 4, 20))))
    assert asked_for(deployed) == (deployed.latest.shift(-4), deployed.latest.shift(-3))


def test_a_new_week_is_missing_as_soon_as_it_is_over(deployed: Running) -> None:
    land(deployed, back(deployed, *range(HISTORY)))
    assert plan(deployed) == []
    deployed.clock.advance(days=7)
    assert asked_for(deployed) == (deployed.latest, deployed.latest)


def test_weeks_that_somebody_has_in_hand_are_left_to_them(deployed: Running) -> None:
    land(deployed, back(deployed, *range(2, HISTORY)))
    assert asked_for(deployed, under_way=back(deployed, 0)) == (deployed.latest.shift(-1), deployed.latest.shift(-1))
    assert "under way" in why_none(deployed, under_way=back(deployed, 0, 1))


def test_a_week_that_failed_rests_and_is_then_asked_for_by_another_key(deployed: Running) -> None:
    land(deployed, back(deployed, *range(1, HISTORY)))
    (first,) = plan(deployed)
    fail(deployed, deployed.latest)
    assert "rests after a failure" in why_none(deployed)
    deployed.clock.advance(minutes=15, seconds=1)
    (second,) = plan(deployed)
    assert (second.first, second.last) == (first.first, first.last)
    assert second.key != first.key
    fail(deployed, deployed.latest)
    deployed.clock.advance(minutes=15, seconds=1)
    assert plan(deployed) == [], "after a second failure it rests for twice as long"
    deployed.clock.advance(minutes=15)
    assert len(plan(deployed)) == 1


def test_the_same_look_has_the_same_key_so_that_dagster_launches_it_once(deployed: Running) -> None:
    assert plan(deployed) == plan(deployed)


def test_no_more_is_asked_for_than_todays_calls_allow_beside_the_daily_sync(tmp_path: Path) -> None:
    # Two mornings of 4 + 2 calls stay kept, and the run's own 2: what is left is five weeks of 4.
    only = {"PIPELINE_START_DATE": "2026-02-15", "SYNC_LOOKBACK_WEEKS": 0, "XERO_CALLS_PER_DAY": 34}
    with running(tmp_path, **only) as deployed:
        assert asked_for(deployed) == (deployed.latest.shift(-4), deployed.latest)
        budget = deployed.warehouse.budget(deployed.deployment.limits)
        for _ in range(17):
            slot = budget.acquire(TENANT, deployed.clock.now())
            assert isinstance(slot, CallPermit)
            budget.release(slot, deployed.clock.now(), RateLimitHeaders())
        assert "kept for the daily sync" in why_none(deployed)
        deployed.clock.advance(days=1)
        assert asked_for(deployed) == (deployed.latest.shift(-4), deployed.latest)


def test_organisations_with_the_same_gap_share_a_run_and_others_have_their_own(tmp_path: Path) -> None:
    with running(tmp_path, organisations=(SMALL, SECOND), PIPELINE_START_DATE="2026-10-04") as deployed:
        (shared,) = plan(deployed)
        assert shared.organisations == (), "a run that names nobody is for all"
        land(deployed, back(deployed, 0, 1))
        one, other = sorted(plan(deployed), key=lambda run: run.last)
        assert (one.last, one.organisations) == (deployed.latest.shift(-2), (TENANT,))
        assert (other.last, other.organisations) == (deployed.latest, (SECOND.tenant_id,))
        assert one.key != other.key
        deployed.warehouse.tokens.set_status(SECOND.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
        (alone,) = plan(deployed)
        assert alone.organisations == (TENANT,), "not for all: the other one cannot be asked"


def test_without_a_connection_nothing_is_asked_for(deployed: Running) -> None:
    deployed.warehouse.tokens.set_status(TENANT, ConnectionStatus.RECONNECT_NEEDED)
    assert why_none(deployed) == "No organisation is connected."


def test_a_day_limit_is_waited_for_to_the_moment_that_xero_named(deployed: Running) -> None:
    land(deployed, back(deployed, *range(1, HISTORY)))
    retry_at = deployed.clock.now() + timedelta(hours=9)
    log_id = deployed.warehouse.log.start(TENANT, SyncType.INVOICES, deployed.latest, None)
    said = {"error": "day_limit_reached", "retry_at": retry_at.isoformat()}
    deployed.warehouse.log.fail(log_id, api_calls=1, error_log=said)
    deployed.clock.moment = retry_at - timedelta(seconds=1)
    assert plan(deployed) == []
    deployed.clock.moment = retry_at
    assert len(plan(deployed)) == 1


def test_before_the_first_week_is_over_nothing_is_missing(tmp_path: Path) -> None:
    with running(tmp_path, PIPELINE_START_DATE="2026-12-06") as deployed:
        assert why_none(deployed).startswith("No week since PIPELINE_START_DATE (2026-12-06) is over yet.")
