"""The names of everything that Dagster loads. Users, links, alerts and the admin page rely on them.

A change here changes the contract, so it must be intended.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from xero_pipeline.automation.dagster_health import AUTOMATIONS
from xero_pipeline.definitions import build_defs
from xero_pipeline.settings import load_settings

DEFINITIONS = {
    "assets": {
        "cash_position_weekly": "xero, weekly from 2023-01-01 Australia/Sydney, team:finance, single run",
        "cash_position_monthly": "xero, monthly from 2023-01-01 Australia/Sydney, team:finance, single run",
        "financial_monthly": "xero, monthly from 2023-01-01 Australia/Sydney, team:finance, single run",
        "financial_weekly": "xero, weekly from 2023-01-01 Australia/Sydney, team:finance, single run",
        "revenue_weekly": "xero, weekly from 2023-01-01 Australia/Sydney, team:finance, single run",
    },
    "checks": {
        "cash_position_monthly": [
            "adds_up_in_xero",
            "closing_follows_from_opening",
            "no_duplicates",
            "no_gaps",
            "opening_is_the_closing_before",
        ],
        "financial_monthly": [
            "adds_up_in_xero",
            "gross_and_net_add_up",
            "lines_add_up",
            "no_duplicates",
            "no_gaps",
        ],
        "cash_position_weekly": [
            "adds_up_in_xero",
            "closing_follows_from_opening",
            "fresh",
            "matches_xero_totals",
            "no_duplicates",
            "no_gaps",
            "opening_is_the_closing_before",
            "within_history",
        ],
        "financial_weekly": [
            "adds_up_in_xero",
            "fresh",
            "gross_and_net_add_up",
            "lines_add_up",
            "matches_xero_totals",
            "no_duplicates",
            "no_gaps",
            "within_history",
        ],
        "revenue_weekly": [
            "adds_up_in_xero",
            "documents_add_up",
            "fresh",
            "matches_xero_totals",
            "net_is_invoiced_less_credited",
            "no_duplicates",
            "no_gaps",
            "revenue_accounts_have_income",
            "revenue_matches_income",
            "within_history",
        ],
    },
    "jobs": ["monthly_sync", "weekly_sync"],
    "schedules": {"daily_sync": "weekly_sync at 0 6 * * * Australia/Sydney, STOPPED"},
    "sensors": {
        "connection_health": "nothing, STOPPED",
        "late_edits": "weekly_sync, STOPPED",
        "reconciliation": "weekly_sync, STOPPED",
        "missing_weeks": "weekly_sync, STOPPED",
        "missing_months": "monthly_sync, STOPPED",
        "remaining_organisations": "weekly_sync and monthly_sync, RUNNING",
        "run_failure_alert": "nothing, RUNNING",
        "weekly_digest": "nothing, STOPPED",
    },
    "resources": ["deployment", "progress", "run_weeks", "warehouse", "xero"],
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs(
        settings=load_settings(XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(Path()))
    )


def _summarise(definitions: dg.Definitions) -> Mapping[str, Any]:
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    checks: dict[str, list[str]] = {}
    for key in graph.asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    return {
        "assets": {key.to_user_string(): _summarise_asset(graph.get(key)) for key in graph.get_all_asset_keys()},
        "checks": {asset: sorted(names) for asset, names in checks.items()},
        "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
        "schedules": {
            schedule.name: f"{schedule.job_name} at {schedule.cron_schedule} {schedule.execution_timezone}, "
            f"{schedule.default_status.value}"
            for schedule in repository.schedule_defs
        },
        "sensors": {
            sensor.name: f"{' and '.join(job.name for job in sensor.jobs) if sensor.has_jobs else 'nothing'}, "
            f"{sensor.default_status.value}"
            for sensor in repository.sensor_defs
        },
        "resources": sorted(name for name in repository.get_top_level_resources() if name != "io_manager"),
    }


def _summarise_asset(node: Any) -> str:
    partitions = node.partitions_def
    is_weekly = isinstance(partitions, dg.WeeklyPartitionsDefinition)
    assert is_weekly or isinstance(partitions, dg.MonthlyPartitionsDefinition)
    assert (partitions.day_offset, partitions.end_offset) == (0 if is_weekly else 1, 0)
    is_single_run = node.backfill_policy == dg.BackfillPolicy.single_run()
    grain = "weekly" if is_weekly else "monthly"
    return (
        f"{node.group_name}, {grain} from {partitions.start:%Y-%m-%d} {partitions.timezone}, {' '.join(node.owners)}, "
        f"{'single run' if is_single_run else 'many runs'}"
    )


def test_the_code_location_has_exactly_these_definitions(definitions: dg.Definitions) -> None:
    assert _summarise(definitions) == DEFINITIONS


def test_the_job_materialises_every_table_and_runs_every_check(definitions: dg.Definitions) -> None:
    layer = definitions.resolve_job_def("weekly_sync").asset_layer
    assert {key.to_user_string() for key in layer.executable_asset_keys} == {
        name for name in DEFINITIONS["assets"] if name.endswith("weekly")
    }
    assert len(layer.asset_graph.asset_check_keys) == 26


def test_every_asset_has_a_description_and_describes_its_columns(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description
        assert node.kinds == {"xero", "pandas", "sql"}
        assert node.tags["data_source"] == "xero_mock"
        assert node.metadata["dagster/table_name"] == key.to_user_string()
        assert node.metadata["dagster/column_schema"].columns
        assert node.metadata["dagster/column_lineage"].deps_by_column


def test_no_check_blocks_another_step(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    assert not any(graph.get(key).blocking for key in graph.asset_check_keys)


def test_dagster_can_load_the_definitions(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_a_failing_tick_of_any_schedule_or_sensor_is_told() -> None:
    assert set(AUTOMATIONS) == {*DEFINITIONS["schedules"], *DEFINITIONS["sensors"]}
