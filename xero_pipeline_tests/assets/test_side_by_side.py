"""The tables of a run are read side by side: who waits for whom, and what is left when the process ends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from xero_pipeline.assets.week_reports import WeekReports
from xero_pipeline.automation.jobs import ASSETS, build_range_tags
from xero_pipeline.definitions import build_defs
from xero_pipeline.mock_xero import FaultKind, MockFault
from xero_pipeline.warehouse.errors import DatabaseUnavailable
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline_tests.deployment import SECOND, SMALL, TENANT, RunningDeployment, run_deployment

WAIT = 30.0
CASH, PROFIT = "cash_position_weekly", "financial_weekly"


def block_invoices(monkeypatch: pytest.MonkeyPatch, tenant_id: str, until: Callable[[], object]) -> None:
    """Let Xero's list of one organisation's invoices take until then."""
    read_invoices = OrganisationClient.read_invoices

    def read(client: OrganisationClient, weeks: WeekRange, sink: Any) -> Any:
        if client.tenant_id == tenant_id:
            until()
        return read_invoices(client, weeks, sink)

    monkeypatch.setattr(OrganisationClient, "read_invoices", read)


def count_landed(deployed: RunningDeployment, tenant_id: str) -> int:
    return len(deployed.warehouse.log.list_newest(100, tenant_id=tenant_id, status="success"))


def wait_until(condition: Callable[[], bool]) -> None:
    ended = threading.Event()
    for _ in range(int(WAIT * 20)):
        if condition():
            return
        ended.wait(0.05)
    pytest.fail("what the test waits for did not happen")


def read_statuses(deployed: RunningDeployment, kind: SyncType) -> list[str]:
    return [entry.status for entry in deployed.warehouse.log.list_newest(100, sync_type=kind.value)]


def test_an_organisation_whose_first_table_is_slow_holds_up_no_table_of_another(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND), database_url=database_url) as deployed:
        weeks = [deployed.latest.shift(-1), deployed.latest]

        def wait_for_the_other() -> None:
            wait_until(lambda: count_landed(deployed, SECOND.tenant_id) == len(ASSETS) * len(weeks))

        block_invoices(monkeypatch, TENANT, wait_for_the_other)
        assert deployed.sync(weeks[0], weeks[1]).success
        assert count_landed(deployed, TENANT) == len(ASSETS) * len(weeks)
        for asset in ASSETS:
            assert deployed.list_materialised_weeks(asset) == set(weeks)


def test_a_table_that_landed_before_its_turn_is_reported_in_its_own_step(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.mock.add_fault(MockFault(FaultKind.STATUS, path="Reports/BankSummary", status=503, times=None))
        result = deployed.sync(deployed.latest.shift(-1), deployed.latest)
        failed = [event.step_key for event in result.all_events if event.is_step_failure]
        assert failed == [CASH]
        records = deployed.instance.all_logs(result.run_id)
        errors = {record.step_key for record in records if "Xero is unavailable" in record.user_message}
        assert errors <= {CASH, None}
        weeks = [record for record in records if "week 2 of 2" in record.user_message]
        assert sorted(str(record.step_key) for record in weeks) == sorted(ASSETS)
        for asset in (PROFIT, "revenue_weekly"):
            assert deployed.list_materialised_weeks(asset) == {deployed.latest.shift(-1), deployed.latest}
        assert deployed.list_materialised_weeks(CASH) == set()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
def test_when_the_process_ends_in_the_first_table_the_weeks_of_all_tables_are_landed_or_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    with run_deployment(tmp_path) as deployed:
        weeks = [deployed.latest.shift(-1), deployed.latest]
        fetch = OrganisationClient.fetch_profit_and_loss

        def end(client: OrganisationClient, week: Week, **options: Any) -> Any:
            if week == weeks[1]:
                wait_until(lambda: read_statuses(deployed, SyncType.PROFIT_AND_LOSS).count("success") == 1)
                raise stop
            return fetch(client, week, **options)

        monkeypatch.setattr(OrganisationClient, "fetch_profit_and_loss", end)
        with contextlib.suppress(stop):
            deployed.sync(weeks[0], weeks[1])
        entries = deployed.warehouse.log.list_newest(100)
        assert {entry.status for entry in entries} <= {"success", "failed"}
        interrupted = [entry for entry in entries if entry.status == "failed"]
        assert {(entry.error_log or {})["error"] for entry in interrupted} == {"interrupted"}
        landed = {
            asset: {entry.week for entry in entries if entry.status == "success" and entry.sync_type == kind.value}
            for asset, kind in ((CASH, SyncType.BANK_SUMMARY), (PROFIT, SyncType.PROFIT_AND_LOSS))
        }
        assert landed[PROFIT] == {weeks[0]}
        for asset, landed_weeks in landed.items():
            assert deployed.list_materialised_weeks(asset) == landed_weeks, "Dagster holds what has landed"
        monkeypatch.undo()
        assert deployed.sync(weeks[0], weeks[1]).success, "no lock is left"


def test_a_table_whose_step_ended_unexpectedly_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_deployment(tmp_path) as deployed:
        attend, is_first = WeekReports.attend, True

        def fail_once(reports: WeekReports, context: dg.AssetExecutionContext) -> None:
            nonlocal is_first
            if is_first:
                is_first = False
                raise DatabaseUnavailable("The database is away.")
            attend(reports, context)

        monkeypatch.setattr(WeekReports, "attend", fail_once)
        result = deployed.sync()
        assert [event.step_key for event in result.all_events if event.is_step_failure] == ["revenue_weekly"]
        for asset in (CASH, PROFIT):
            assert deployed.list_materialised_weeks(asset) == {deployed.latest}
        assert "running" not in {entry.status for entry in deployed.warehouse.log.list_newest(100)}


def test_a_table_that_syncs_other_organisations_begins_its_own_weeks(tmp_path: Path) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND)) as deployed:
        job = deployed.definitions.resolve_job_def("weekly_sync")
        config = {CASH: [TENANT], PROFIT: [SECOND.tenant_id], "revenue_weekly": [TENANT]}
        result = job.execute_in_process(
            run_config={"ops": {op: {"config": {"organisations": ids}} for op, ids in config.items()}},
            instance=deployed.instance,
            tags=build_range_tags(deployed.latest, deployed.latest),
        )
        assert result.success
        read = {(entry.sync_type, entry.tenant_id) for entry in deployed.warehouse.log.list_newest(100)}
        assert read == {
            ("invoices", TENANT),
            ("bank_summary", TENANT),
            ("profit_and_loss", SECOND.tenant_id),
        }


def test_assets_with_a_prefix_of_their_own_are_read_side_by_side_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_deployment(tmp_path, organisations=(SMALL, SECOND)) as deployed:

        def wait_for_the_other() -> None:
            wait_until(lambda: count_landed(deployed, SECOND.tenant_id) == len(ASSETS))

        block_invoices(monkeypatch, TENANT, wait_for_the_other)
        overrides = {
            "deployment": deployed.deployment,
            "xero": deployed.deployment.xero,
            "warehouse": deployed.warehouse,
        }
        pipeline = build_defs(settings=deployed.deployment.settings, resource_overrides=overrides)
        renamed = {dg.AssetKey(asset): dg.AssetKey(["books", asset]) for asset in ASSETS}
        prefixed = dg.Definitions(
            assets=[
                asset.with_attributes(asset_key_replacements=renamed)
                for asset in pipeline.assets or []
                if isinstance(asset, dg.AssetsDefinition) and asset.key in renamed
            ],
            resources=pipeline.resources,
        )
        job = prefixed.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(
            instance=deployed.instance, tags=build_range_tags(deployed.latest, deployed.latest)
        ).success
        assert len(deployed.warehouse.log.list_newest(100)) == 2 * len(ASSETS)
