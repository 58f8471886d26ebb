"""`daily_sync`: which weeks a morning reads again, for whom, and that a morning is launched once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from xero_pipeline.automation.planning import weeks_of_run
from xero_pipeline.automation.schedule import daily_sync_schedule
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.weeks import Week
from xero_pipeline_tests.dagster_internals import schedule_execution_time_iterator
from xero_pipeline_tests.deployment import SECOND, SMALL, Running, running

SYDNEY = ZoneInfo("Australia/Sydney")
SUNDAY = datetime(2026, 11, 22, 6, tzinfo=SYDNEY)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, organisations=(SMALL, SECOND), SYNC_LOOKBACK_WEEKS=2) as deployed:
        yield deployed


def schedule_of(deployed: Running) -> dg.ScheduleDefinition:
    job = deployed.definitions.resolve_job_def("weekly_sync")
    return daily_sync_schedule(deployed.deployment.settings, job, opening=lambda _: nullcontext(deployed.deployment))


def requested(deployed: Running, moment: datetime) -> dg.RunRequest | None:
    context = dg.build_schedule_context(scheduled_execution_time=moment, instance=deployed.instance)
    requests = schedule_of(deployed).evaluate_tick(context).run_requests
    return requests[0] if requests else None


def test_a_morning_reads_the_latest_week_and_the_ones_to_look_back_at(deployed: Running) -> None:
    request = requested(deployed, SUNDAY)
    assert request is not None
    latest = Week(date(2026, 11, 21))
    assert weeks_of_run(request.tags) == [latest.shift(-2), latest.shift(-1), latest]
    assert request.tags["source"] == "daily_sync"


def test_a_week_is_not_read_before_it_is_over(deployed: Running) -> None:
    request = requested(deployed, datetime(2026, 11, 21, 23, 59, tzinfo=SYDNEY))
    assert request is not None
    assert weeks_of_run(request.tags)[-1] == Week(date(2026, 11, 14))


def test_a_morning_has_one_key_and_every_morning_its_own(deployed: Running) -> None:
    once, again = requested(deployed, SUNDAY), requested(deployed, SUNDAY)
    monday = requested(deployed, SUNDAY.replace(day=23))
    assert once is not None
    assert again is not None
    assert monday is not None
    assert once.run_key == again.run_key != monday.run_key


def test_only_connected_organisations_are_asked_for_and_without_one_nothing_is_run(deployed: Running) -> None:
    everybody = requested(deployed, SUNDAY)
    assert everybody is not None
    assert "ops" not in everybody.run_config
    deployed.warehouse.tokens.set_status(SECOND.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    one = requested(deployed, SUNDAY)
    assert one is not None
    named = {tuple(op["config"]["organisations"]) for op in one.run_config["ops"].values()}
    assert named == {(SMALL.tenant_id,)}
    deployed.warehouse.tokens.set_status(SMALL.tenant_id, ConnectionStatus.RECONNECT_NEEDED)
    assert requested(deployed, SUNDAY) is None


def test_it_is_six_in_the_morning_there_also_after_a_change_of_clocks_and_off_until_switched_on(
    deployed: Running,
) -> None:
    schedule = schedule_of(deployed)
    eve = datetime(2026, 10, 2, 12, tzinfo=UTC)  # Sydney's clocks go forward in the night to 4 October
    ticks = schedule_execution_time_iterator(eve.timestamp(), schedule.cron_schedule, schedule.execution_timezone)
    mornings = list(islice(ticks, 3))
    assert [moment.astimezone(SYDNEY).strftime("%d %H:%M") for moment in mornings] == [
        "03 06:00",
        "04 06:00",
        "05 06:00",
    ]
    assert [moment.astimezone(UTC).hour for moment in mornings] == [20, 19, 19]
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_before_the_first_week_is_over_it_says_so_and_runs_nothing(tmp_path: Path) -> None:
    with running(tmp_path, PIPELINE_START_DATE="2026-12-06") as deployed:
        context = dg.build_schedule_context(scheduled_execution_time=SUNDAY, instance=deployed.instance)
        tick = schedule_of(deployed).evaluate_tick(context)
    assert tick.run_requests == []
    assert tick.skip_message is not None
    assert "is over yet" in tick.skip_message
