"""`daily_sync`: which weeks it reads, for which organisations, and that each tick launches one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from xero_pipeline.assets.run_organisations import TENANTS_TAG
from xero_pipeline.automation.planning import parse_run_weeks
from xero_pipeline.automation.schedule import build_daily_sync_schedule
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.mock_xero import MockOrganisation
from xero_pipeline.weeks import Week
from xero_pipeline_tests.dagster_internals import schedule_execution_time_iterator
from xero_pipeline_tests.deployment import SECOND, SMALL, RunningDeployment, run_deployment

SYDNEY = ZoneInfo("Australia/Sydney")
SUNDAY = datetime(2026, 11, 22, 6, tzinfo=SYDNEY)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[RunningDeployment]:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND), SYNC_LOOKBACK_WEEKS=2) as deployed:
        yield deployed


def build_schedule(deployed: RunningDeployment) -> dg.ScheduleDefinition:
    job = deployed.definitions.resolve_job_def("weekly_sync")
    return build_daily_sync_schedule(
        deployed.deployment.settings, job, opener=lambda _: nullcontext(deployed.deployment)
    )


def request_runs(deployed: RunningDeployment, moment: datetime) -> list[dg.RunRequest]:
    context = dg.build_schedule_context(scheduled_execution_time=moment, instance=deployed.instance)
    return list(build_schedule(deployed).evaluate_tick(context).run_requests or [])


def request_run(deployed: RunningDeployment, moment: datetime) -> dg.RunRequest | None:
    requests = request_runs(deployed, moment)
    assert len(requests) <= 1
    return requests[0] if requests else None


def test_a_daily_sync_reads_the_latest_week_and_the_lookback_weeks(deployed: RunningDeployment) -> None:
    request = request_run(deployed, SUNDAY)
    assert request is not None
    latest = Week(date(2026, 11, 21))
    assert parse_run_weeks(request.tags) == [latest.shift(-2), latest.shift(-1), latest]
    assert request.tags["source"] == "daily_sync"


def test_a_week_is_not_read_before_it_is_over(deployed: RunningDeployment) -> None:
    request = request_run(deployed, datetime(2026, 11, 21, 23, 59, tzinfo=SYDNEY))
    assert request is not None
    assert parse_run_weeks(request.tags)[-1] == Week(date(2026, 11, 14))


def test_each_tick_has_one_key_and_different_ticks_have_different_keys(deployed: RunningDeployment) -> None:
    first, second = request_run(deployed, SUNDAY), request_run(deployed, SUNDAY)
    monday = request_run(deployed, SUNDAY.replace(day=23))
    assert first is not None
    assert second is not None
    assert monday is not None
    assert first.run_key == second.run_key != monday.run_key


def test_only_connected_organisations_are_synced_and_without_one_nothing_is_run(deployed: RunningDeployment) -> None:
    for_all = request_run(deployed, SUNDAY)
    assert for_all is not None
    assert "ops" not in for_all.run_config
    deployed.warehouse.tokens.set_status(SECOND.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    for_one = request_run(deployed, SUNDAY)
    assert for_one is not None
    tenant_ids = {tuple(op["config"]["organisations"]) for op in for_one.run_config["ops"].values()}
    assert tenant_ids == {(SMALL.tenant_id,)}
    deployed.warehouse.tokens.set_status(SMALL.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    assert request_run(deployed, SUNDAY) is None


def test_more_organisations_than_one_run_takes_become_several_runs_tagged_with_their_ids(tmp_path: Path) -> None:
    organisations = [MockOrganisation(tenant_id=f"tenant-{number}", documents=1) for number in range(5)]
    with run_deployment(tmp_path, organisations=organisations, ORGANISATIONS_PER_RUN=2) as deployed:
        requests = request_runs(deployed, SUNDAY)
        again = request_runs(deployed, SUNDAY)
    groups = [["tenant-0", "tenant-1"], ["tenant-2", "tenant-3"], ["tenant-4"]]
    assert [request.tags[TENANTS_TAG].split(",") for request in requests] == groups
    assert [request.run_config["ops"]["revenue_weekly"]["config"]["organisations"] for request in requests] == groups
    assert len({request.run_key for request in requests}) == 3
    assert [request.run_key for request in requests] == [request.run_key for request in again]


def test_the_schedule_runs_at_six_local_time_over_a_change_of_clocks_and_is_off_by_default(
    deployed: RunningDeployment,
) -> None:
    schedule = build_schedule(deployed)
    eve = datetime(2026, 10, 2, 12, tzinfo=UTC)  # Sydney's clocks go forward in the night before 4 October
    ticks = schedule_execution_time_iterator(eve.timestamp(), schedule.cron_schedule, schedule.execution_timezone)
    mornings = list(islice(ticks, 3))
    assert [moment.astimezone(SYDNEY).strftime("%d %H:%M") for moment in mornings] == [
        "03 06:00",
        "04 06:00",
        "05 06:00",
    ]
    assert [moment.astimezone(UTC).hour for moment in mornings] == [20, 19, 19]
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_before_the_first_week_is_over_the_schedule_says_so_and_runs_nothing(tmp_path: Path) -> None:
    with run_deployment(tmp_path, PIPELINE_START_DATE="2026-12-06") as deployed:
        context = dg.build_schedule_context(scheduled_execution_time=SUNDAY, instance=deployed.instance)
        tick = build_schedule(deployed).evaluate_tick(context)
    assert tick.run_requests == []
    assert tick.skip_message is not None
    assert "is over yet" in tick.skip_message
