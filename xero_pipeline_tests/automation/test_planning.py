"""Which weeks are somebody's already, which rest after a failure, and which belong into one run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from xero_pipeline.automation.jobs import range_tags
from xero_pipeline.automation.planning import (
    affordable_weeks,
    as_ranges,
    is_backfill_to_come,
    resting_weeks,
    weeks_of_run,
    weeks_under_way,
)
from xero_pipeline.dagster_internals import BulkActionStatus
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.automation.scene import launched
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.dagster_internals import PartitionBackfill, create_run_for_test
from xero_pipeline_tests.deployment import TENANT, running

WEEK = Week(date(2026, 11, 21))
RANGE = {WEEK.shift(-2), WEEK.shift(-1), WEEK}
TAGS = range_tags(WEEK.shift(-2), WEEK)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.parametrize("status", ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_the_weeks_of_a_run_that_is_not_over_are_under_way(instance: dg.DagsterInstance, status: str) -> None:
    launched(instance, tags=TAGS, status=dg.DagsterRunStatus[status])
    assert weeks_under_way(instance) == RANGE


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "CANCELED"])
def test_the_weeks_of_a_run_that_is_over_are_nobodys(instance: dg.DagsterInstance, status: str) -> None:
    launched(instance, tags=TAGS, status=dg.DagsterRunStatus[status])
    assert weeks_under_way(instance) == set()


def test_the_weeks_of_a_crashed_run_are_under_way_until_dagster_has_made_the_next_one(
    instance: dg.DagsterInstance,
) -> None:
    crashed = launched(instance, tags=TAGS | {"dagster/will_retry": "true"}, status=dg.DagsterRunStatus.FAILURE)
    assert weeks_under_way(instance) == RANGE
    instance.add_run_tags(crashed.run_id, {"dagster/auto_retry_run_id": "another"})
    assert weeks_under_way(instance) == set()


def test_a_run_of_the_command_line_that_crashed_is_never_run_again(instance: dg.DagsterInstance) -> None:
    tags = TAGS | {"dagster/will_retry": "true"}
    create_run_for_test(instance, job_name="weekly_sync", tags=tags, status=dg.DagsterRunStatus.FAILURE)
    assert weeks_under_way(instance) == set()


def test_a_week_alone_is_named_by_its_partition() -> None:
    assert weeks_of_run({"dagster/partition": WEEK.key}) == [WEEK]
    assert weeks_of_run({"source": "somebody"}) == []


def backfill(instance: dg.DagsterInstance, asset: str, **of: Any) -> PartitionBackfill:
    asked: dict[str, Any] = {
        "backfill_id": "bf",
        "status": BulkActionStatus.REQUESTED,
        "from_failure": False,
        "tags": {},
        "backfill_timestamp": datetime.now(UTC).timestamp(),
        "asset_selection": [dg.AssetKey(asset)],
    }
    made = PartitionBackfill(**asked | of)
    instance.add_backfill(made)
    return made


def test_a_backfill_that_was_just_asked_for_is_waited_for_until_its_run_is_there(instance: dg.DagsterInstance) -> None:
    assert not is_backfill_to_come(instance)
    backfill(instance, "revenue_weekly")
    assert is_backfill_to_come(instance)
    launched(instance, tags={"dagster/backfill": "bf"})
    assert not is_backfill_to_come(instance)


@pytest.mark.parametrize(
    ("asset", "of"),
    [
        ("somebody_elses", {}),
        ("revenue_weekly", {"status": BulkActionStatus.COMPLETED_SUCCESS}),
        ("revenue_weekly", {"backfill_timestamp": (datetime.now(UTC) - timedelta(hours=1)).timestamp()}),
    ],
)
def test_other_backfills_are_not_waited_for(instance: dg.DagsterInstance, asset: str, of: dict[str, Any]) -> None:
    backfill(instance, asset, **of)
    assert not is_backfill_to_come(instance)


def test_weeks_without_a_gap_are_one_range_and_the_newest_comes_first() -> None:
    weeks = [WEEK, WEEK.shift(-5), WEEK.shift(-1), WEEK.shift(-4), WEEK.shift(-9), WEEK]
    assert as_ranges(weeks) == [
        (WEEK.shift(-1), WEEK),
        (WEEK.shift(-5), WEEK.shift(-4)),
        (WEEK.shift(-9), WEEK.shift(-9)),
    ]


def fail(warehouse: Warehouse, said: dict[str, Any]) -> None:
    warehouse.log.fail(warehouse.log.start(TENANT, "invoices", WEEK, None), api_calls=1, error_log=said)


def test_a_week_that_fails_again_and_again_rests_longer_each_time_up_to_a_day(
    sqlite_warehouse: Warehouse, clock: FakeClock
) -> None:
    minutes = []
    for _ in range(9):
        fail(sqlite_warehouse, {"error": "xero_unavailable"})
        rested = 0
        while resting_weeks(sqlite_warehouse.log, TENANT, clock.now()):
            clock.advance(minutes=15)
            rested += 15
        minutes.append(rested)
    assert minutes == [15, 30, 60, 120, 240, 480, 960, 1440, 1440]


def test_a_week_rests_until_the_day_limit_is_over_and_not_at_all_after_a_restart(
    sqlite_warehouse: Warehouse, clock: FakeClock
) -> None:
    fail(sqlite_warehouse, {"error": "day_limit", "retry_at": (clock.now() + timedelta(hours=9)).isoformat()})
    clock.advance(hours=8)
    assert resting_weeks(sqlite_warehouse.log, TENANT, clock.now()) == {WEEK}
    clock.advance(hours=1)
    assert resting_weeks(sqlite_warehouse.log, TENANT, clock.now()) == set()
    fail(sqlite_warehouse, {"error": "interrupted"})
    assert resting_weeks(sqlite_warehouse.log, TENANT, clock.now()) == set()


def test_a_week_that_has_landed_since_does_not_rest(sqlite_warehouse: Warehouse, clock: FakeClock) -> None:
    fail(sqlite_warehouse, {"error": "xero_unavailable"})
    log_id = sqlite_warehouse.log.start(TENANT, "invoices", WEEK, None)
    with sqlite_warehouse.engine.begin() as connection:
        sqlite_warehouse.log.finish(connection, log_id, status="success", record_count=0, api_calls=1)
    assert resting_weeks(sqlite_warehouse.log, TENANT, clock.now()) == set()


def test_todays_calls_allow_so_many_weeks_once_the_daily_sync_has_its_share(tmp_path: Path) -> None:
    with running(tmp_path, SYNC_LOOKBACK_WEEKS=4) as scene:
        settings = scene.deployment.settings.model_copy(update={"calls_per_day": 100})
        scene.deployment.settings = settings
        # 5 weeks of 4 calls and 2 more for the run, twice over; then 2 for the run itself: 54 are left.
        assert affordable_weeks(scene.deployment, TENANT, daily_syncs_kept=2) == 13
        assert affordable_weeks(scene.deployment, TENANT, daily_syncs_kept=5) == -3
