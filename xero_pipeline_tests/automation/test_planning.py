"""Which weeks are under way, which wait after a failure, and which go into one run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from xero_pipeline.assets.run_organisations import TENANTS_TAG
from xero_pipeline.automation.jobs import build_range_tags
from xero_pipeline.automation.planning import (
    RunPlan,
    build_run_key,
    count_affordable_weeks,
    find_weeks_in_backoff,
    find_weeks_under_way,
    is_backfill_pending,
    parse_run_weeks,
)
from xero_pipeline.dagster_internals import BulkActionStatus
from xero_pipeline.periods import group_into_ranges
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.automation.scene import launch_run
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.dagster_internals import PartitionBackfill, create_run_for_test
from xero_pipeline_tests.deployment import TENANT, run_deployment

WEEK = Week(date(2026, 11, 21))
RANGE = {WEEK.shift(-2), WEEK.shift(-1), WEEK}
TAGS = build_range_tags(WEEK.shift(-2), WEEK)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.parametrize("status", ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_the_weeks_of_a_run_that_is_not_over_are_under_way(instance: dg.DagsterInstance, status: str) -> None:
    launch_run(instance, tags=TAGS, status=dg.DagsterRunStatus[status])
    assert find_weeks_under_way(instance).of_all == RANGE


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "CANCELED"])
def test_the_weeks_of_a_run_that_is_over_are_not_under_way(instance: dg.DagsterInstance, status: str) -> None:
    launch_run(instance, tags=TAGS, status=dg.DagsterRunStatus[status])
    assert find_weeks_under_way(instance).of_all == set()


def test_the_weeks_of_a_crashed_run_are_under_way_until_dagster_has_created_its_retry(
    instance: dg.DagsterInstance,
) -> None:
    crashed = launch_run(instance, tags=TAGS | {"dagster/will_retry": "true"}, status=dg.DagsterRunStatus.FAILURE)
    assert find_weeks_under_way(instance).of_all == RANGE
    instance.add_run_tags(crashed.run_id, {"dagster/auto_retry_run_id": "another"})
    assert find_weeks_under_way(instance).of_all == set()


def test_a_crashed_run_of_the_command_line_is_never_retried(instance: dg.DagsterInstance) -> None:
    tags = TAGS | {"dagster/will_retry": "true"}
    create_run_for_test(instance, job_name="weekly_sync", tags=tags, status=dg.DagsterRunStatus.FAILURE)
    assert find_weeks_under_way(instance).of_all == set()


def test_a_run_over_one_week_is_named_by_its_partition() -> None:
    assert parse_run_weeks({"dagster/partition": WEEK.key}) == [WEEK]
    assert parse_run_weeks({"source": "somebody"}) == []


def request_backfill(instance: dg.DagsterInstance, asset: str, **changes: Any) -> PartitionBackfill:
    values: dict[str, Any] = {
        "backfill_id": "bf",
        "status": BulkActionStatus.REQUESTED,
        "from_failure": False,
        "tags": {},
        "backfill_timestamp": datetime.now(UTC).timestamp(),
        "asset_selection": [dg.AssetKey(asset)],
    }
    backfill = PartitionBackfill(**values | changes)
    instance.add_backfill(backfill)
    return backfill


def test_a_requested_backfill_is_pending_until_its_run_exists(instance: dg.DagsterInstance) -> None:
    assert not is_backfill_pending(instance)
    request_backfill(instance, "revenue_weekly")
    assert is_backfill_pending(instance)
    launch_run(instance, tags={"dagster/backfill": "bf"})
    assert not is_backfill_pending(instance)


@pytest.mark.parametrize(
    ("asset", "changes"),
    [
        ("somebody_elses", {}),
        ("revenue_weekly", {"status": BulkActionStatus.COMPLETED_SUCCESS}),
        ("revenue_weekly", {"backfill_timestamp": (datetime.now(UTC) - timedelta(hours=1)).timestamp()}),
    ],
)
def test_other_backfills_are_not_pending(instance: dg.DagsterInstance, asset: str, changes: dict[str, Any]) -> None:
    request_backfill(instance, asset, **changes)
    assert not is_backfill_pending(instance)


def test_a_run_of_many_organisations_is_split_and_each_part_has_a_key_and_a_tag_that_can_be_indexed() -> None:
    tenants = [str(uuid.UUID(int=number)) for number in range(300)]
    week, now = Week(date(2026, 11, 21)), datetime(2026, 11, 24, tzinfo=UTC)
    plan = RunPlan(week, week, tuple(tenants), build_run_key("missing_weeks", week, week, tenants, 7, now))
    parts = plan.split(50)
    assert [tenant for part in parts for tenant in part.organisations] == sorted(tenants)
    assert len({part.key for part in parts}) == len(parts) == 6
    for request in (part.to_run_request("missing_weeks") for part in parts):
        # PostgreSQL's limit for a value in an index.
        assert len(request.run_key or "") < 2700
        assert len(request.tags[TENANTS_TAG]) < 2700
    assert plan.split(300) == [plan]
    everybody = RunPlan(week, week, (), "key")
    assert everybody.split(1) == [everybody]
    assert everybody.to_run_request("missing_weeks").tags[TENANTS_TAG] == "all"


@pytest.mark.parametrize("file", [ROOT / "dagster.yaml", ROOT / "deploy" / "dagster.yaml"])
def test_dagsters_queue_lets_one_run_of_the_same_organisations_go_on_at_a_time(file: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(file.read_text())
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"concurrency": settings["concurrency"]}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.tag_concurrency_limits == [
        {"key": TENANTS_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
    ]


def test_consecutive_weeks_form_one_range_and_the_newest_range_comes_first() -> None:
    weeks = [WEEK, WEEK.shift(-5), WEEK.shift(-1), WEEK.shift(-4), WEEK.shift(-9), WEEK]
    assert group_into_ranges(weeks) == [
        (WEEK.shift(-1), WEEK),
        (WEEK.shift(-5), WEEK.shift(-4)),
        (WEEK.shift(-9), WEEK.shift(-9)),
    ]


def log_failure(warehouse: Warehouse, error: dict[str, Any]) -> None:
    warehouse.log.fail(warehouse.log.start(TENANT, "invoices", WEEK, None), api_calls=1, error_log=error)


def test_a_week_that_fails_again_and_again_waits_longer_each_time_up_to_a_day(
    sqlite_warehouse: Warehouse, clock: FakeClock
) -> None:
    waits = []
    for _ in range(9):
        log_failure(sqlite_warehouse, {"error": "xero_unavailable"})
        minutes = 0
        while find_weeks_in_backoff(sqlite_warehouse.log, TENANT, clock.now()):
            clock.advance(minutes=15)
            minutes += 15
        waits.append(minutes)
    assert waits == [15, 30, 60, 120, 240, 480, 960, 1440, 1440]


def test_a_week_waits_until_the_day_limit_is_over_and_not_at_all_after_a_restart(
    sqlite_warehouse: Warehouse, clock: FakeClock
) -> None:
    log_failure(sqlite_warehouse, {"error": "day_limit", "retry_at": (clock.now() + timedelta(hours=9)).isoformat()})
    clock.advance(hours=8)
    assert find_weeks_in_backoff(sqlite_warehouse.log, TENANT, clock.now()) == {WEEK}
    clock.advance(hours=1)
    assert find_weeks_in_backoff(sqlite_warehouse.log, TENANT, clock.now()) == set()
    log_failure(sqlite_warehouse, {"error": "interrupted"})
    assert find_weeks_in_backoff(sqlite_warehouse.log, TENANT, clock.now()) == set()


def test_a_week_that_has_landed_since_does_not_wait(sqlite_warehouse: Warehouse, clock: FakeClock) -> None:
    log_failure(sqlite_warehouse, {"error": "xero_unavailable"})
    log_id = sqlite_warehouse.log.start(TENANT, "invoices", WEEK, None)
    with sqlite_warehouse.engine.begin() as connection:
        sqlite_warehouse.log.finish(connection, log_id, status="success", record_count=0, api_calls=1)
    assert find_weeks_in_backoff(sqlite_warehouse.log, TENANT, clock.now()) == set()


def test_affordable_weeks_are_todays_calls_less_the_reserved_daily_syncs(tmp_path: Path) -> None:
    with run_deployment(tmp_path, SYNC_LOOKBACK_WEEKS=4) as scene:
        settings = scene.deployment.settings.model_copy(update={"calls_per_day": 100})
        scene.deployment.settings = settings
        # Two daily syncs take 5 weeks of 2 calls and 6 more each; the run itself takes 6: 62 calls are left.
        assert count_affordable_weeks(scene.deployment, TENANT, reserved_daily_syncs=2) == 31
        assert count_affordable_weeks(scene.deployment, TENANT, reserved_daily_syncs=6) == -1
