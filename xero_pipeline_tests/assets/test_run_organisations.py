"""Which organisations a run syncs that somebody started in Dagster's UI, and how the sensor completes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from xero_pipeline.assets.run_organisations import (
    REMAINING_TAG,
    TENANTS_TAG,
    build_tenant_tags,
    choose_run_organisations,
    parse_tenants,
)
from xero_pipeline.automation.jobs import build_range_tags
from xero_pipeline.automation.planning import find_weeks_under_way, parse_run_weeks
from xero_pipeline.automation.remaining_organisations import build_remaining_organisations_sensor
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.mock_xero import MockOrganisation
from xero_pipeline_tests.automation.scene import launch_run
from xero_pipeline_tests.deployment import RunningDeployment, run_deployment

TENANTS = [f"tenant-{number}" for number in range(5)]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDeployment]:
    """Five organisations, of which a run takes two. The last one has lost its connection."""
    organisations = [MockOrganisation(tenant_id=tenant, documents=1) for tenant in TENANTS]
    folder: Path = tmp_path_factory.mktemp("deployed")
    with run_deployment(folder, organisations=organisations, ORGANISATIONS_PER_RUN=2) as deployed:
        deployed.warehouse.tokens.set_status(TENANTS[4], ConnectionStatus.RECONNECT_NEEDED)
        yield deployed


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def choose(
    deployed: RunningDeployment, instance: dg.DagsterInstance, run: dg.DagsterRun, *wanted: str
) -> tuple[list[str], dict[str, str]]:
    """Choose in a process of Dagster's daemon, and return the tenant ids and the run's tags afterwards."""
    context: Any = SimpleNamespace(
        run=run,
        instance=instance,
        repository_def=deployed.definitions.get_repository_def(),
        log=SimpleNamespace(info=lambda *_: None),
    )
    chosen = choose_run_organisations(cast(dg.AssetExecutionContext, context), deployed.deployment.xero, wanted, 2)
    stored = instance.get_run_by_id(run.run_id)
    assert stored is not None
    return [one.tenant_id for one in chosen], dict(stored.tags)


def evaluate(deployed: RunningDeployment, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    sensor = build_remaining_organisations_sensor(
        deployed.deployment.settings,
        [deployed.definitions.resolve_job_def(name) for name in ("weekly_sync", "monthly_sync")],
        opener=lambda _: nullcontext(deployed.deployment),
    )
    return cast(dg.SensorResult, sensor(dg.build_sensor_context(instance, cursor=cursor)))


def test_a_run_of_the_ui_takes_the_first_organisations_and_the_sensor_requests_the_others_once(
    deployed: RunningDeployment, instance: dg.DagsterInstance
) -> None:
    weeks = build_range_tags(deployed.latest.shift(-2), deployed.latest)
    run = launch_run(instance, job="__ASSET_JOB", tags=weeks | {"dagster/backfill": "one"})
    chosen, tags = choose(deployed, instance, run)
    assert chosen == TENANTS[:2]
    assert choose(deployed, instance, run)[0] == TENANTS[:2], "the run's next asset has the same ones"
    assert parse_tenants(tags) == TENANTS[:2]

    result = evaluate(deployed, instance)
    (request,) = result.run_requests or []
    assert parse_tenants(request.tags) == TENANTS[2:4]
    assert {tuple(op["config"]["organisations"]) for op in request.run_config["ops"].values()} == {tuple(TENANTS[2:4])}
    assert parse_run_weeks(request.tags) == parse_run_weeks(weeks)
    assert request.tags["dagster/backfill"] == "one"
    assert evaluate(deployed, instance, result.cursor).run_requests == []

    # Dagster retries the run, with its tags: the others have been requested, and the organisations are the same.
    retry = launch_run(instance, tags=tags, retry_of=run)
    assert choose(deployed, instance, retry)[0] == TENANTS[:2]
    assert evaluate(deployed, instance, result.cursor).run_requests == []


def test_the_others_are_requested_for_the_assets_of_the_run(
    deployed: RunningDeployment, instance: dg.DagsterInstance
) -> None:
    run = dg.DagsterRun(
        "__ASSET_JOB",
        tags={"dagster/partition": deployed.latest.key, REMAINING_TAG: "to_request"} | build_tenant_tags(TENANTS[:2]),
        asset_selection=frozenset({dg.AssetKey("revenue_weekly")}),
    )
    instance.add_run(run)
    (request,) = evaluate(deployed, instance).run_requests or []
    assert request.asset_selection == [dg.AssetKey("revenue_weekly")]
    assert list(request.run_config["ops"]) == ["revenue_weekly"]
    assert parse_run_weeks(request.tags) == [deployed.latest]


def test_a_run_that_names_organisations_is_not_divided_and_neither_is_one_for_all(
    deployed: RunningDeployment, instance: dg.DagsterInstance
) -> None:
    weeks = build_range_tags(deployed.latest, deployed.latest)
    named = launch_run(instance, tags=weeks)
    assert choose(deployed, instance, named, *TENANTS[1:4])[0] == TENANTS[1:4]
    of_the_page = launch_run(instance, tags=weeks | build_tenant_tags(()))
    assert choose(deployed, instance, of_the_page)[0] == TENANTS[:4]
    deployed.warehouse.tokens.set_status(TENANTS[3], ConnectionStatus.RECONNECT_NEEDED)
    deployed.warehouse.tokens.set_status(TENANTS[2], ConnectionStatus.RECONNECT_NEEDED)
    try:
        chosen, tags = choose(deployed, instance, launch_run(instance, tags=weeks))
    finally:
        for tenant in TENANTS[2:4]:
            deployed.warehouse.tokens.set_status(tenant, ConnectionStatus.CONNECTED)
    assert (chosen, tags[TENANTS_TAG]) == (TENANTS[:2], "all"), "one run takes all that are left"
    assert evaluate(deployed, instance).run_requests == []


def test_the_weeks_of_a_run_are_under_way_for_its_organisations(instance: dg.DagsterInstance) -> None:
    first, last = ({"dagster/partition": key} for key in ("2026-11-08", "2026-11-15"))
    launch_run(instance, tags=first | build_tenant_tags(TENANTS[:2]))
    launch_run(instance, tags=last | build_tenant_tags(()))
    under_way = find_weeks_under_way(instance)
    assert sorted(week.key for week in under_way.list_of(TENANTS[0])) == ["2026-11-08", "2026-11-15"]
    assert [week.key for week in under_way.list_of(TENANTS[2])] == ["2026-11-15"]


def test_a_list_of_organisations_that_cannot_be_indexed_is_tagged_as_all() -> None:
    assert build_tenant_tags([f"{'0' * 36}{number}" for number in range(100)]) == {TENANTS_TAG: "all"}
