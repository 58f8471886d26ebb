"""A deployment over the mock Xero, for any test that wants the real thing from settings to Dagster.

Everything is as in production but for three parts: time is the test's, the mock has the organisations that
the test names, and runs are executed in this process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from xero_pipeline.automation.jobs import ASSETS, MONTHLY_ASSETS, build_range_tags, build_run_config
from xero_pipeline.clock import Clock
from xero_pipeline.connection import ConnectionService
from xero_pipeline.definitions import build_defs
from xero_pipeline.mock_xero import DEFAULT_ORGANISATIONS, MockLimits, MockOrganisation, MockTransport, MockXero
from xero_pipeline.periods import Month
from xero_pipeline.resources import Deployment, XeroBackend, choose_backend
from xero_pipeline.settings import Settings, load_settings
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables

TENANT = DEFAULT_ORGANISATIONS[0].tenant_id
# Few documents: these tests ask what becomes of a week, not how much there is in it.
SMALL = MockOrganisation(documents=6)
SECOND = MockOrganisation(tenant_id="mock-tenant-002", name="Second Organisation", documents=6)


_NO_LIMITS = {"XERO_CALLS_PER_MINUTE": 100_000, "XERO_APP_CALLS_PER_MINUTE": 100_000, "XERO_CALLS_PER_DAY": 1_000_000}


class MockDeployment(Deployment):
    """A deployment whose mock has these organisations, and perhaps another clock."""

    def __init__(
        self, settings: Settings, clock: FakeClock, organisations: Sequence[MockOrganisation], mock_clock: Clock
    ) -> None:
        super().__init__(settings, clock=clock)
        self._organisations = tuple(organisations)
        self._mock_clock = mock_clock

    @cached_property
    def backend(self) -> XeroBackend:
        known = choose_backend(self.settings, self.clock)
        mock = MockXero(
            self.settings.data_folder / "mock-xero.db",
            self._mock_clock,
            organisations=self._organisations,
            # The tests of the session hold the limits; here they would only be in the way.
            limits=MockLimits(per_minute=100_000, per_day=1_000_000),
        )
        return XeroBackend(known.app, MockTransport(mock), mock)


@dataclass
class RunningDeployment:
    """A deployment in use, with Dagster's storage beside it."""

    deployment: Deployment
    instance: dg.DagsterInstance
    clock: FakeClock

    @property
    def warehouse(self) -> Warehouse:
        return self.deployment.warehouse

    @property
    def mock(self) -> MockXero:
        assert self.deployment.backend.mock is not None
        return self.deployment.backend.mock

    @property
    def latest(self) -> Week:
        return self.deployment.settings.calendar.find_latest_week(self.clock.now())

    @cached_property
    def definitions(self) -> dg.Definitions:
        return build_defs(
            settings=self.deployment.settings,
            resource_overrides={
                "deployment": self.deployment,
                "xero": self.deployment.xero,
                "warehouse": self.deployment.warehouse,
            },
        )

    def sync(
        self,
        first: Week | None = None,
        last: Week | None = None,
        *,
        organisations: Sequence[str] = (),
        assets: Sequence[str] = ASSETS,
        checks: bool = False,
    ) -> dg.ExecuteInProcessResult:
        """Run `weekly_sync` over these weeks (by default the latest one), as every start of it does."""
        first = first or self.latest
        job = self.definitions.resolve_job_def("weekly_sync")
        return (job if checks else remove_checks(job, assets)).execute_in_process(
            run_config=build_run_config(organisations, assets),
            instance=self.instance,
            tags=build_range_tags(first, last or first),
            raise_on_error=False,
        )

    def sync_months(self, first: Month, last: Month | None = None) -> dg.ExecuteInProcessResult:
        """Run `monthly_sync` over these months, without its checks."""
        job = remove_checks(self.definitions.resolve_job_def("monthly_sync"), MONTHLY_ASSETS)
        return job.execute_in_process(
            instance=self.instance, tags=build_range_tags(first, last or first), raise_on_error=False
        )

    def run_checks(self, *checks: tuple[str, str]) -> dg.ExecuteInProcessResult:
        """Start these checks (asset, name) by themselves, as somebody does in Dagster's UI; by default all."""
        whole = self.definitions.resolve_implicit_global_asset_job_def()
        keys = {dg.AssetCheckKey(dg.AssetKey(asset), name) for asset, name in checks}
        chosen = keys or set(whole.asset_layer.asset_graph.asset_check_keys)
        return whole.get_subset(asset_selection=set(), asset_check_selection=chosen).execute_in_process(
            instance=self.instance, raise_on_error=False
        )

    def list_materialised_weeks(self, asset: str) -> set[Week]:
        """The weeks that Dagster holds as materialised."""
        keys = self.instance.get_materialized_partitions(dg.AssetKey(asset))
        return {Week.from_key(key) for key in keys}


@contextmanager
def run_deployment(
    folder: Path,
    clock: FakeClock | None = None,
    *,
    organisations: Sequence[MockOrganisation] = (SMALL,),
    database_url: str | None = None,
    mock_clock: Clock | None = None,
    **settings: Any,
) -> Iterator[RunningDeployment]:
    """Migrated and connected by the mock's consent; nothing synced yet.

    Args:
        mock_clock: Xero's own clock; by default the deployment's.
    """
    clock = clock or FakeClock()
    read = load_settings(
        XERO_MOCK_MODE="true",
        XERO_ENCRYPTION_KEY="5e" * 32,
        DAGSTER_HOME=str(folder),
        **_NO_LIMITS | ({"DATABASE_URL": database_url} if database_url else {}) | settings,
    )
    with (
        MockDeployment(read, clock, organisations, mock_clock or clock) as deployment,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        make_tables(deployment.warehouse.engine)
        ConnectionService(deployment).connect_mock()
        yield RunningDeployment(deployment, instance, clock)


def remove_checks(job: dg.JobDefinition, assets: Sequence[str] = ASSETS) -> dg.JobDefinition:
    """Its assets alone: what Dagster writes down of the checks is most of a run's work, and nothing to many tests."""
    return job.get_subset(asset_selection={dg.AssetKey(asset) for asset in assets}, asset_check_selection=set())


def describe_failing_checks(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """What each failing check of a run says, by `asset.check`."""
    return {
        f"{evaluation.asset_key.to_user_string()}.{evaluation.check_name}": evaluation.description or ""
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    }
