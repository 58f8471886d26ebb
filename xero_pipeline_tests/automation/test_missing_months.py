"""`missing_months`: when a month is read, and when it is read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import pytest

from xero_pipeline.automation import missing_months
from xero_pipeline.automation.jobs import MONTHLY_ASSETS
from xero_pipeline.automation.missing_months import MAX_MONTHS_PER_TICK, MonthGapFinder, list_weeks_of
from xero_pipeline.automation.planning import RunPlan, TickPlan, UnderWay, WeeksUnderWay
from xero_pipeline.periods import Month, Period, iterate_periods
from xero_pipeline.warehouse.logs.sync_log import MONTHLY_TYPES, WEEKLY_TYPES
from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import TENANT, RunningDeployment, run_deployment

# The deployment's clock says 24 November 2026.
OCTOBER = Month(date(2026, 10, 31))
FIRST = Month(date(2026, 3, 31))


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[RunningDeployment]:
    """One connected organisation; March is the first whole month, none has landed."""
    with run_deployment(tmp_path, PIPELINE_START_DATE="2026-02-15", SYNC_LOOKBACK_WEEKS=0) as deployed:
        yield deployed


def plan(
    deployed: RunningDeployment, weeks_under_way: Iterable[Week] = (), under_way: Iterable[Month] = ()
) -> TickPlan:
    finder = MonthGapFinder(deployed.deployment, WeeksUnderWay(set(weeks_under_way)))
    return finder.plan_month_runs(UnderWay(set(under_way)))


def land(deployed: RunningDeployment, *periods: Period) -> None:
    """Log the periods as landed. The log alone decides what is read, so no figures are written."""
    for period in periods:
        for kind in MONTHLY_TYPES if isinstance(period, Month) else WEEKLY_TYPES:
            log_id = deployed.warehouse.log.start(TENANT, kind, period, None)
            with deployed.warehouse.engine.begin() as connection:
                deployed.warehouse.log.finish(connection, log_id, status="success", record_count=1, api_calls=1)


def get_range(deployed: RunningDeployment) -> tuple[Period, Period]:
    (run,) = plan(deployed).runs
    return run.first, run.last


def test_months_follow_their_weeks_and_are_read_again_with_them(deployed: RunningDeployment) -> None:
    calendar, now = deployed.deployment.settings.calendar, deployed.clock.now()
    weeks = calendar.list_weeks(now)
    assert plan(deployed).skip_reason.endswith("no month is due."), "no week has been read yet"

    land(deployed, *(week for week in weeks if week >= Week.containing(OCTOBER.start)))
    assert get_range(deployed) == (OCTOBER, OCTOBER)
    assert plan(deployed, weeks_under_way=[weeks[-4]]).runs == []
    assert plan(deployed, under_way=[OCTOBER]).runs == []
    # A week that failed does not keep its months from being read.
    failed = deployed.warehouse.log.start(TENANT, "profit_and_loss", list_weeks_of(OCTOBER.previous)[0], None)
    deployed.warehouse.log.fail(failed, api_calls=1, error_log={"error": "payload_not_understood"})
    land(deployed, *list_weeks_of(OCTOBER.previous)[1:])
    bank = deployed.warehouse.log.start(TENANT, "bank_summary", list_weeks_of(OCTOBER.previous)[0], None)
    deployed.warehouse.log.fail(bank, api_calls=1, error_log={"error": "payload_not_understood"})
    assert get_range(deployed) == (OCTOBER.previous, OCTOBER)

    land(deployed, *weeks)
    (run,) = plan(deployed).runs
    assert (run.first, run.last, run.assets) == (FIRST, OCTOBER, MONTHLY_ASSETS)
    assert run.to_run_request("missing_months").tags["month_ending"] == f"{FIRST} to {OCTOBER}"
    land(deployed, *iterate_periods(FIRST, OCTOBER))
    assert plan(deployed).runs == []

    # The daily sync reads a week again that has days in two months.
    both = Week.containing(OCTOBER.start)
    assert both.start in OCTOBER.previous
    land(deployed, both)
    assert get_range(deployed) == (OCTOBER.previous, OCTOBER)

    # What moved within one week from a month to the next is found because every month is read again now and then.
    land(deployed, OCTOBER.previous, OCTOBER)
    deployed.clock.advance(days=27)
    land(deployed, *calendar.list_weeks(deployed.clock.now())[-3:])
    assert OCTOBER not in list_due(deployed)
    deployed.clock.advance(days=1)
    assert set(iterate_periods(FIRST, OCTOBER)) <= list_due(deployed)


def test_nothing_is_read_about_failures_while_no_month_is_due(
    deployed: RunningDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(missing_months, "find_in_backoff", lambda _log, tenant_id, *_: asked.append(tenant_id) or set())
    assert plan(deployed).skip_reason.endswith("no month is due.")
    assert asked == []
    land(deployed, *list_weeks_of(OCTOBER))
    assert get_range(deployed) == (OCTOBER, OCTOBER)
    assert asked == [TENANT]


def list_due(deployed: RunningDeployment) -> set[Month]:
    (organisation,) = deployed.warehouse.tokens.list_connected()
    finder = MonthGapFinder(deployed.deployment, WeeksUnderWay())
    return set(finder.list_due_months(organisation, deployed.clock.now()))


def test_a_month_that_failed_waits_and_few_calls_read_the_newest_months(deployed: RunningDeployment) -> None:
    land(deployed, *deployed.deployment.settings.calendar.list_weeks(deployed.clock.now()))
    log_id = deployed.warehouse.log.start(TENANT, MONTHLY_TYPES[0], OCTOBER, None)
    deployed.warehouse.log.fail(log_id, api_calls=1, error_log={"error": "xero_unavailable"})
    assert get_range(deployed) == (FIRST, OCTOBER.previous)
    assert len(list(iterate_periods(FIRST, OCTOBER))) <= MAX_MONTHS_PER_TICK
    runs: list[RunPlan] = list(plan(deployed, under_way=iterate_periods(FIRST, OCTOBER)).runs)
    assert runs == []


def test_a_month_on_another_basis_is_read_again(tmp_path: Path) -> None:
    with run_deployment(tmp_path, PIPELINE_START_DATE="2026-10-01") as deployed:
        deployed.sync_months(OCTOBER)
        land(deployed, *list_weeks_of(OCTOBER)[1:])
        deployed.sync_months(OCTOBER)
        assert plan(deployed).runs == []
        settings = deployed.deployment.settings.model_copy(update={"basis": "cash"})
        deployed.deployment.settings = settings
        assert get_range(deployed) == (OCTOBER, OCTOBER)
