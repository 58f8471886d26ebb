"""`remaining_organisations`: requests what a run of Dagster's UI has left of its weeks.

Somebody who materialises or backfills weeks in Dagster's UI starts runs that name no organisation. With more
organisations than `ORGANISATIONS_PER_RUN`, such a run syncs the first of them and marks itself
(`assets/run_organisations.py`). This sensor requests the same weeks and assets for the others. The requested runs
belong to the same backfill, so Dagster's page of the backfill shows them, and its weeks count as materialised with the
last of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from xero_pipeline.assets.run_organisations import (
    REMAINING_SENSOR,
    REMAINING_TAG,
    TO_REQUEST,
    parse_tenants,
    split_organisations,
)
from xero_pipeline.automation.jobs import ASSETS, JOB, MONTHLY_ASSETS, MONTHLY_JOB, is_monthly
from xero_pipeline.automation.planning import BACKFILL, RunPlan, parse_run_periods
from xero_pipeline.periods import Month, Period
from xero_pipeline.resources import DeploymentOpener, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.weeks import Week

# Older runs were seen long ago, or the daemon was off for so long that nobody waits for them.
_LOOKS_BACK = timedelta(days=2)


def build_remaining_organisations_sensor(
    settings: Settings, jobs: Sequence[Any], *, opener: DeploymentOpener = open_deployment
) -> dg.SensorDefinition:
    """Build the sensor. It always runs: whoever starts a backfill expects it to be whole.

    Args:
        jobs: those of the weeks and of the months.
    """

    @dg.sensor(
        name=REMAINING_SENSOR,
        jobs=jobs,
        # A backfill is over as soon as none of its runs goes on, so the others should come soon.
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Completes runs that somebody started in Dagster's UI: requests their weeks for the organisations "
        "beyond the first ORGANISATIONS_PER_RUN.",
    )
    def remaining_organisations(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        runs_filter = dg.RunsFilter(
            tags={REMAINING_TAG: TO_REQUEST},
            # Dagster timestamps its runs with the system clock.
            updated_after=datetime.now(UTC) - _LOOKS_BACK,
        )
        # A retry has its parent's tags, and completes what the parent has requested the others for.
        runs = {run.root_run_id or run.run_id: run for run in context.instance.get_runs(runs_filter)}
        seen = set(json.loads(context.cursor or "[]"))
        requests: list[dg.RunRequest] = []
        if runs.keys() - seen:
            with opener(settings) as deployment:
                connected = [one.tenant_id for one in deployment.warehouse.tokens.list_connected()]
            for root_id, run in runs.items():
                if root_id not in seen:
                    requests += _request_others(root_id, run, connected, settings.organisations_per_run)
        return dg.SensorResult(
            run_requests=requests,
            cursor=json.dumps(sorted(runs)),
            skip_reason=None if requests else "No run has left organisations.",
        )

    return remaining_organisations


def _request_others(root_id: str, run: dg.DagsterRun, connected: list[str], per_run: int) -> Iterator[dg.RunRequest]:
    weeks: Sequence[Period]
    all_assets: tuple[str, ...]
    if is_monthly(run):
        job, all_assets, weeks = MONTHLY_JOB, MONTHLY_ASSETS, parse_run_periods(run, Month)
    else:
        job, all_assets, weeks = JOB, ASSETS, parse_run_periods(run, Week)
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    assets = tuple(asset for asset in all_assets if asset in selected) or all_assets
    of_backfill = {BACKFILL: run.tags[BACKFILL]} if BACKFILL in run.tags else {}
    others = sorted(set(connected) - set(parse_tenants(run.tags)))
    for number, group in enumerate(split_organisations(others, per_run), start=1):
        # Dagster launches one run for each key, also where it ends before the cursor is stored.
        plan = RunPlan(weeks[0], weeks[-1], group, f"{REMAINING_SENSOR}:{root_id}:{number}", assets)
        yield plan.to_run_request(REMAINING_SENSOR, job_name=job, tags=of_backfill)
