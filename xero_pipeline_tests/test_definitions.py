"""Everything that Dagster is told of, by name: what users, links, alerts and the admin page rely on.

A change here is a change of the contract, and so has to be meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from xero_pipeline.definitions import build_defs
from xero_pipeline.settings import load_settings

DEFINITIONS = {
    "assets": {
        "cash_position_weekly": "xero, weekly from 2023-01-01 Australia/Sydney, team:finance, single run",
        "financial_weekly": "xero, weekly from 2023-01-01 Australia/Sydney, team:finance, single run",
        "revenue_weekly": "xero, weekly from 2023-01-01 Australia/Sydney, team:finance, single run",
    },
    "checks": {
        "cash_position_weekly": [
            "adds_up_in_xero",
            "closing_follows_from_opening",
            "fresh",
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
            "no_duplicates",
            "no_gaps",
            "within_history",
        ],
        "revenue_weekly": [
            "adds_up_in_xero",
            "fresh",
            "net_is_invoiced_less_credited",
            "no_duplicates",
            "no_gaps",
            "revenue_matches_income",
            "within_history",
        ],
    },
    "jobs": ["weekly_sync"],
    "schedules": {"daily_sync": "weekly_sync at 0 6 * * * Australia/Sydney, STOPPED"},
    "sensors": {
        "connection_health": "nothing, STOPPED",
        "late_edits": "weekly_sync, STOPPED",
        "missing_weeks": "weekly_sync, STOPPED",
        "run_failure_alert": "nothing, RUNNING",
    },
    "resources": ["deployment", "progress", "warehouse", "xero"],
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs(
        settings=load_settings(XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(Path()))
    )


def _described(definitions: dg.Definitions) -> Mapping[str, Any]:
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    checks: dict[str, list[str]] = {}
    for key in graph.asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    return {
        "assets": {key.to_user_string(): _asset(graph.get(key)) for key in graph.get_all_asset_keys()},
        "checks": {asset: sorted(names) for asset, names in checks.items()},
        "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
        "schedules": {
            one.name: f"{one.job_name} at {one.cron_schedule} {one.execution_timezone}, {one.default_status.value}"
            for one in repository.schedule_defs
        },
        "sensors": {
            one.name: f"{one.job_name if one.has_jobs else 'nothing'}, {one.default_status.value}"
            for one in repository.sensor_defs
        },
        "resources": sorted(name for name in repository.get_top_level_resources() if name != "io_manager"),
    }


def _asset(node: Any) -> str:
    weeks = node.partitions_def
    assert isinstance(weeks, dg.WeeklyPartitionsDefinition)
    assert (weeks.day_offset, weeks.end_offset) == (0, 0)
    single = node.backfill_policy == dg.BackfillPolicy.single_run()
    return (
        f"{node.group_name}, weekly from {weeks.start:%Y-%m-%d} {weeks.timezone}, {' '.join(node.owners)}, "
        f"{'single run' if single else 'many runs'}"
    )


def test_dagster_is_told_of_exactly_this(definitions: dg.Definitions) -> None:
    assert _described(definitions) == DEFINITIONS


def test_the_job_makes_every_table_and_looks_at_every_check(definitions: dg.Definitions) -> None:
    layer = definitions.resolve_job_def("weekly_sync").asset_layer
    assert {key.to_user_string() for key in layer.executable_asset_keys} == set(DEFINITIONS["assets"])
    assert len(layer.asset_graph.asset_check_keys) == 21


def test_every_asset_explains_itself_and_its_columns(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description
        assert node.kinds == {"xero", "pandas", "sql"}
        assert node.tags["data_source"] == "xero_mock"
        assert node.metadata["dagster/table_name"] == key.to_user_string()
        assert node.metadata["dagster/column_schema"].columns
        assert node.metadata["dagster/column_lineage"].deps_by_column


def test_no_check_blocks_what_comes_after_it(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    assert not any(graph.get(key).blocking for key in graph.asset_check_keys)


def test_dagster_can_load_it(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
