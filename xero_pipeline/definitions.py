"""The code location. Assembles what the other modules define, and defines nothing itself.

`build_defs` takes the settings and lets any resource be replaced, so that the command line can watch a
sync and a test can hand in its own Xero. Nothing is read or opened when this module is imported.
"""

from __future__ import annotations

import atexit
import gc
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from xero_pipeline.assets.cash import cash_position_weekly_asset
from xero_pipeline.assets.checks import asset_checks
from xero_pipeline.assets.financial import financial_weekly_asset
from xero_pipeline.assets.partitions import weekly_partitions
from xero_pipeline.assets.progress import NoProgress
from xero_pipeline.assets.revenue import revenue_weekly_asset
from xero_pipeline.automation.connection_health import connection_health_sensor
from xero_pipeline.automation.failure_alert import run_failure_alert_sensor
from xero_pipeline.automation.jobs import weekly_sync_job
from xero_pipeline.automation.late_edits import late_edits_sensor
from xero_pipeline.automation.missing_weeks import missing_weeks_sensor
from xero_pipeline.automation.schedule import daily_sync_schedule
from xero_pipeline.resources import Opening, build_resources, open_deployment
from xero_pipeline.settings import Settings, load_settings


def build_defs(
    *,
    settings: Settings | None = None,
    resource_overrides: Mapping[str, Any] | None = None,
    opening: Opening = open_deployment,
) -> dg.Definitions:
    """Everything Dagster needs to know of this deployment.

    Args:
        opening: how a sensor opens the deployment.

    Raises:
        SettingsError: a setting is missing or malformed.
    """
    settings = settings or load_settings()
    partitions = weekly_partitions(settings.calendar)
    job = weekly_sync_job()
    return dg.Definitions(
        assets=_assets(settings, partitions),
        asset_checks=asset_checks(settings),
        jobs=[job],
        schedules=[daily_sync_schedule(settings, job, opening=opening)],
        sensors=[
            missing_weeks_sensor(settings, job, opening=opening),
            late_edits_sensor(settings, job, opening=opening),
            connection_health_sensor(settings, opening=opening),
            run_failure_alert_sensor(settings, opening=opening),
        ],
        resources={**build_resources(settings), "progress": NoProgress(), **(resource_overrides or {})},
        # One process for a run: one session, one token, one slot counter; backfills from the UI, too.
        executor=dg.in_process_executor,
    )


def _assets(settings: Settings, partitions: dg.WeeklyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    with warnings.catch_warnings():
        # Dagster still calls backfill policies beta. They are what a range in one run needs, and whoever reads
        # its log can do nothing about it.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return [
            financial_weekly_asset(settings, partitions),
            revenue_weekly_asset(settings, partitions),
            cash_position_weekly_asset(settings, partitions),
        ]


@dg.definitions
def defs() -> dg.Definitions:
    # As in the command line: no run lasts a second longer for a last look for garbage.
    atexit.register(gc.freeze)
    return build_defs()
