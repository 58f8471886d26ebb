"""The code location. It assembles what the other modules define.

`build_defs` accepts replacements for its resources: the command line passes its own progress display, a test its own
Xero. Importing this module reads no settings and opens no connection.
"""

from __future__ import annotations

import atexit
import gc
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from xero_pipeline.assets.cash import build_cash_position_monthly_asset, build_cash_position_weekly_asset
from xero_pipeline.assets.checks import build_asset_checks
from xero_pipeline.assets.extractions import build_extractions
from xero_pipeline.assets.financial import build_financial_monthly_asset, build_financial_weekly_asset
from xero_pipeline.assets.month_checks import build_month_checks
from xero_pipeline.assets.partitions import build_monthly_partitions, build_weekly_partitions
from xero_pipeline.assets.progress import NoProgress
from xero_pipeline.assets.revenue import build_revenue_weekly_asset
from xero_pipeline.assets.run_weeks import build_run_weeks
from xero_pipeline.automation.connection_health import build_connection_health_sensor
from xero_pipeline.automation.digest import build_weekly_digest_sensor
from xero_pipeline.automation.failure_alert import build_run_failure_alert_sensor
from xero_pipeline.automation.jobs import build_monthly_sync_job, build_weekly_sync_job
from xero_pipeline.automation.late_edits import build_late_edits_sensor
from xero_pipeline.automation.missing_months import build_missing_months_sensor
from xero_pipeline.automation.missing_weeks import build_missing_weeks_sensor
from xero_pipeline.automation.reconciliation import build_reconciliation_sensor
from xero_pipeline.automation.remaining_organisations import build_remaining_organisations_sensor
from xero_pipeline.automation.schedule import build_daily_sync_schedule
from xero_pipeline.dagster_home import hide_statement_values
from xero_pipeline.private_files import create_private_files
from xero_pipeline.resources import DeploymentOpener, build_resources, open_deployment
from xero_pipeline.settings import Settings, load_settings


def build_defs(
    *,
    settings: Settings | None = None,
    resource_overrides: Mapping[str, Any] | None = None,
    opener: DeploymentOpener = open_deployment,
) -> dg.Definitions:
    """Build the assets, checks, job, schedule, sensors and resources of a deployment.

    Args:
        settings: by default those of the environment.
        resource_overrides: resources by name, which replace the deployment's own.
        opener: how the schedule and the sensors open the deployment.

    Raises:
        SettingsError: a setting is missing or malformed.
    """
    hide_statement_values()
    settings = settings or load_settings()
    job, monthly_job = build_weekly_sync_job(), build_monthly_sync_job()
    return dg.Definitions(
        assets=_build_assets(settings),
        asset_checks=[*build_asset_checks(settings), *build_month_checks()],
        jobs=[job, monthly_job],
        schedules=[build_daily_sync_schedule(settings, job, opener=opener)],
        sensors=[
            build_missing_weeks_sensor(settings, job, opener=opener),
            build_missing_months_sensor(settings, monthly_job, opener=opener),
            build_late_edits_sensor(settings, job, opener=opener),
            build_reconciliation_sensor(settings, job, opener=opener),
            build_connection_health_sensor(settings, opener=opener),
            build_weekly_digest_sensor(settings, opener=opener),
            build_run_failure_alert_sensor(settings, opener=opener),
            build_remaining_organisations_sensor(settings, [job, monthly_job], opener=opener),
        ],
        resources={
            **build_resources(settings),
            "progress": NoProgress(),
            "run_weeks": build_run_weeks(build_extractions(settings)),
            **(resource_overrides or {}),
        },
        # A run stays in one process, with one session and one access token. This holds for backfills from the UI too.
        executor=dg.in_process_executor,
    )


def _build_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    weeks, months = build_weekly_partitions(settings.calendar), build_monthly_partitions(settings.calendar)
    with warnings.catch_warnings():
        # Dagster marks backfill policies as beta. A range of weeks in one run needs them, and a reader of the log
        # can do nothing about the warning.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return [
            build_financial_weekly_asset(settings, weeks),
            build_revenue_weekly_asset(settings, weeks),
            build_cash_position_weekly_asset(settings, weeks),
            build_financial_monthly_asset(settings, months),
            build_cash_position_monthly_asset(settings, months),
        ]


@dg.definitions
def defs() -> dg.Definitions:
    # Skip the last garbage collection when the process ends, as the command line does. It takes about a second.
    atexit.register(gc.freeze)
    # Dagster's code server and each run's process come here. They create Dagster's history and the compute logs.
    create_private_files()
    return build_defs()
