"""`reconciliation`: holds the tables against Xero's own totals, and has the weeks that differ read again.

Old weeks change in Xero without any invoice being touched: a manual journal, money spent or received, a payroll run,
an account that gets another type. `late_edits` cannot see these edits. So the stored weeks are compared with Xero's
totals for blocks of up to 52 weeks: the newest block each day after the daily sync, the older ones in turn, each at
least once a week.

Each look is recorded in the table `reconciliations` before its runs are requested. A block whose weeks are being read
again is looked at once more when they have landed. What still differs then is reported once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence, Set
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import dagster as dg

from xero_pipeline.automation.alerts import Alerter, open_alerter
from xero_pipeline.automation.planning import (
    BACKFILL_PENDING,
    CALLS_PER_WEEK,
    RunPlan,
    TickPlan,
    WeeksUnderWay,
    build_run_key,
    count_affordable_weeks,
    find_weeks_under_way,
    is_backfill_pending,
    read_call_usage,
)
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.reconciliation.blocks import list_blocks
from xero_pipeline.reconciliation.comparison import Comparison, Reading
from xero_pipeline.reconciliation.episode import read_known
from xero_pipeline.reconciliation.readings import ReadingPlan, group_readings, plan_readings
from xero_pipeline.reconciliation.reconciler import KINDS, Reconciler
from xero_pipeline.resources import Deployment, DeploymentOpener, open_deployment
from xero_pipeline.settings import Basis, Settings
from xero_pipeline.warehouse.figures.stale_weeks import read_landing_times
from xero_pipeline.warehouse.logs.reconciliations import (
    Reconciliation,
    ReconciliationKind,
    ReconciliationLog,
    ReconciliationStatus,
)
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.weeks import NoSuchWeek, Week, WeekRange
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.errors import RateLimited

SENSOR = "reconciliation"
KIND = "reconciliation"
# The older blocks are divided over so many days, so that each is looked at within a week.
_DAYS_FOR_OLDER_BLOCKS = 6
# How many further splits of an equal block each look compares: every place is used within a week of daily looks.
SPLITS_PER_LOOK = 8
# The calls of one look at one block at most, with the search.
CALLS_PER_LOOK = 40
# Dagster ends a tick that takes a minute.
_SECONDS_PER_TICK = 35.0
# When a look at weeks that were to be read again is repeated although none of them has landed.
_RETRY_DELAY = timedelta(hours=1)

ASSET_OF_TYPE = {
    SyncType.PROFIT_AND_LOSS: "financial_weekly",
    SyncType.INVOICES: "revenue_weekly",
    SyncType.BANK_SUMMARY: "cash_position_weekly",
}
_FIGURES = {
    ReconciliationKind.PROFIT_AND_LOSS: "profit and loss",
    ReconciliationKind.BANK_SUMMARY: "bank summary",
    ReconciliationKind.DOCUMENTS: "number of invoices and credit notes",
}


class ReconciliationCheckFailed(PipelineError):
    """The totals of an organisation could not be compared; the others were."""

    code = "reconciliation_check_failed"


class ReconciliationPlanner:
    """Compares the blocks that are due, records the results, and plans the runs that read weeks again.

    Args:
        may_continue: whether the tick still has time for another call.
    """

    def __init__(
        self, deployment: Deployment, alerter: Alerter, *, may_continue: Callable[[], bool] = lambda: True
    ) -> None:
        self._deployment = deployment
        self._alerter = alerter
        self._may_continue = may_continue
        self._engine = deployment.warehouse.engine
        self._log = ReconciliationLog(self._engine)

    def plan_runs(self, under_way: WeeksUnderWay) -> TickPlan:
        """Look at the blocks that are due.

        Raises:
            ReconciliationCheckFailed: Xero did not answer for an organisation, and no other one needs a run.
        """
        runs: list[RunPlan] = []
        reasons: list[str] = []
        failures: list[str] = []
        for client in self._deployment.xero.list_organisations():
            if client.organisation.status is not ConnectionStatus.CONNECTED:
                continue
            try:
                of_client, reason = self._look_at_organisation(client, under_way.list_of(client.tenant_id))
            except RateLimited as error:
                reasons.append(f"{client.name}: {error}")
            except PipelineError as error:
                failures.append(f"{client.name}: {error}")
            else:
                runs += of_client
                reasons.append(f"{client.name}: {reason}")
        if failures and not runs:
            raise ReconciliationCheckFailed(" | ".join(failures))
        return TickPlan(runs, " ".join(reasons) or "No organisation is connected.")

    def _look_at_organisation(self, client: OrganisationClient, under_way: Set[Week]) -> tuple[list[RunPlan], str]:
        """Look at the due blocks of one organisation; return the runs to request and a sentence about the look."""
        tenant_id, now = client.tenant_id, self._deployment.clock.now()
        landed_at = read_landing_times(self._engine, tenant_id)
        if not landed_at:
            return [], "no week has landed yet."
        if under_way & set(landed_at):
            return [], "weeks are being read; the totals are compared afterwards."
        try:
            latest = self._deployment.settings.calendar.find_latest_week(now)
        except NoSuchWeek as error:
            return [], str(error)
        due = self._list_due_blocks(tenant_id, list_blocks(landed_at), landed_at.get(latest), now)
        if not due:
            return [], "every block has been compared."
        runs: list[RunPlan] = []
        compared = 0
        for block in due:
            if not self._can_afford(tenant_id, CALLS_PER_LOOK):
                return runs, f"{compared} of {len(due)} blocks compared; the others wait for calls."
            runs += self._look_at_block(client, block, now)
            compared += 1
        different = f"; {len(runs)} runs read weeks again" if runs else ""
        return runs, f"{compared} blocks compared{different}."

    def _list_due_blocks(
        self, tenant_id: str, blocks: Sequence[WeekRange], latest_landed_at: datetime | None, now: datetime
    ) -> list[WeekRange]:
        """List the blocks to look at now, the newest first."""
        interval = timedelta(seconds=self._deployment.settings.reconciliation_seconds)
        rows: dict[Week, list[Reconciliation]] = {}
        for row in self._log.list_current(tenant_id):
            rows.setdefault(row.weeks.first, []).append(row)
        checked_at = {
            block: min(row.checked_at for row in rows[block.first]) for block in blocks if block.first in rows
        }
        newest, older = blocks[-1], blocks[:-1]
        due = [
            block
            for block in blocks
            if block not in checked_at
            or any(row.weeks != block and block == newest for row in rows[block.first])
            or self._is_awaited(rows[block.first], tenant_id, now)
        ]
        last = checked_at.get(newest)
        if last is not None and now - last >= interval:
            # After the daily sync, which reads the latest week again each day; without it, half an interval later.
            has_synced = latest_landed_at is not None and latest_landed_at > last
            if has_synced or now - last >= 1.5 * interval:
                due.append(newest)
                in_turn = sorted((block for block in older if block in checked_at), key=lambda one: checked_at[one])
                due += in_turn[: ceil(len(older) / _DAYS_FOR_OLDER_BLOCKS)]
        due += [block for block in older if block in checked_at and now - checked_at[block] >= 7 * interval]
        return sorted(set(due), reverse=True)

    def _is_awaited(self, rows: Sequence[Reconciliation], tenant_id: str, now: datetime) -> bool:
        """Whether weeks of a block were to be read again, and have landed since or have had the time to."""
        for row in rows:
            if row.is_proven or row.is_left_over:
                continue
            landed = self._deployment.warehouse.log.list_landed_since(tenant_id, row.checked_at)
            if any(week in landed_weeks for landed_weeks in landed.values() for week in row.weeks):
                return True
            if now - row.checked_at >= _RETRY_DELAY:
                return True
        return False

    def _look_at_block(self, client: OrganisationClient, block: WeekRange, now: datetime) -> list[RunPlan]:
        tenant_id = client.tenant_id
        looks = self._log.count_looks(tenant_id, block.first)
        reconciler = Reconciler(
            client,
            self._engine,
            cash_basis=self._deployment.settings.basis is Basis.CASH,
            known=read_known(self._log, tenant_id),
            splits={block.first: (looks * SPLITS_PER_LOOK, SPLITS_PER_LOOK)},
            may_ask=lambda: self._can_afford(tenant_id, 1),
            list_done=self._list_done,
        )
        were_different = {
            kind for kind in KINDS if self._log.find_episode_start(tenant_id, kind, block.first, ()) is not None
        }
        comparisons = reconciler.compare([block])
        done = {one.kind: self._list_done(one) for one in comparisons}
        plans = {one.kind: plan_readings([one], done[one.kind]) for one in comparisons}
        rows = [
            _build_row(
                one,
                plans[one.kind],
                was_different=one.kind in were_different,
                left_over=one.is_left_over(done[one.kind], is_being_explained=any(plans.values())),
                now=now,
            )
            for one in comparisons
        ]
        self._log.record(rows)
        for row in rows:
            notify_reconciliation(self._alerter, client.name, row)
        readings = {reading for of_kind in plans.values() for plan in of_kind for reading in plan.list_readings()}
        return list(self._build_runs(tenant_id, group_readings(readings), now))

    def _list_done(self, comparison: Comparison) -> set[Reading]:
        """List what has been read since a difference was first seen. It is not read once more for that difference."""
        since = self._log.find_episode_start(
            comparison.tenant_id, comparison.kind, comparison.weeks.first, comparison.list_figures()
        )
        if since is None:
            return set()
        landed = self._deployment.warehouse.log.list_landed_since(comparison.tenant_id, since)
        return {(week, ASSET_OF_TYPE[SyncType(kind)]) for kind, weeks in landed.items() for week in weeks}

    def _build_runs(self, tenant_id: str, plans: Sequence[ReadingPlan], now: datetime) -> Iterator[RunPlan]:
        newest = self._deployment.warehouse.log.list_newest(1)
        calls = CALLS_PER_WEEK * count_affordable_weeks(self._deployment, tenant_id, reserved_daily_syncs=2)
        for plan in plans:
            weeks = min(len(plan.weeks), calls // len(plan.assets))
            if weeks < 1:
                return
            calls -= weeks * len(plan.assets)
            first, last = plan.weeks.first, plan.weeks.first.shift(weeks - 1)
            state = f"{','.join(plan.assets)}:{newest[0].id if newest else 0}"
            yield RunPlan(
                first, last, (tenant_id,), build_run_key(SENSOR, first, last, [tenant_id], state, now), plan.assets
            )

    def _can_afford(self, tenant_id: str, calls: int) -> bool:
        """Whether so many calls may be made now: in this tick, this minute, and today beside the daily sync."""
        if not self._may_continue():
            return False
        if count_affordable_weeks(self._deployment, tenant_id, reserved_daily_syncs=2) * CALLS_PER_WEEK < calls:
            return False
        calls_needed = min(calls, self._deployment.settings.calls_per_minute)
        return read_call_usage(self._deployment, tenant_id).left_this_minute >= calls_needed


def _build_row(
    comparison: Comparison, plans: Sequence[ReadingPlan], *, was_different: bool, left_over: bool, now: datetime
) -> Reconciliation:
    weeks = {week for plan in plans for week, _ in plan.list_readings()}
    if not comparison.is_equal or weeks:
        status = ReconciliationStatus.DIFFERS
    else:
        status = ReconciliationStatus.MENDED if was_different else ReconciliationStatus.EQUAL
    return Reconciliation(
        tenant_id=comparison.tenant_id,
        kind=comparison.kind,
        weeks=comparison.weeks,
        status=status,
        difference=comparison.as_json(left_over=left_over),
        weeks_read_again=len(weeks),
        api_calls=comparison.calls,
        dagster_run_id=None,
        checked_at=now,
    )


def notify_reconciliation(alerter: Alerter, name: str, row: Reconciliation) -> None:
    """Report a difference that is left over after its weeks were read again, once; and its end."""
    cause = f"{KIND}:{row.tenant_id}:{row.kind}:{row.weeks.first}"
    if row.is_proven:
        alerter.report_recovery(cause, f"{name}: the {_FIGURES[row.kind]} of {row.weeks} is what Xero states.")
    elif row.is_left_over:
        accounts = sorted({figure["account_name"] for figure in row.difference.get("figures", [])})
        listed = ", ".join(accounts[:5]) + (f" and {len(accounts) - 5} more" if len(accounts) > 5 else "")
        amounts = sorted((one["account_id"], one["figure"], one["difference"]) for one in row.difference["figures"])
        alerter.report_problem(
            cause,
            f"{name}: the {_FIGURES[row.kind]} differs from Xero's total",
            f"Over the weeks ending {row.weeks.first} to {row.weeks.last}, the stored weeks do not add up to what "
            "Xero states for the whole range or a part of it, although the weeks that may explain it were read again. "
            f"It concerns: {listed}.\n"
            "What to do: `xero-pipeline reconcile` shows the amounts. Unrealised currency gains need not add up over "
            "several weeks; for any other account, compare the range in Xero with the stored weeks.",
            {"tenant_id": row.tenant_id},
            kind=KIND,
            occurrence=hashlib.sha256(str(amounts).encode()).hexdigest(),
        )


def build_reconciliation_sensor(
    settings: Settings, job: Any, *, opener: DeploymentOpener = open_deployment
) -> dg.SensorDefinition:
    """Build the sensor. It is stopped until somebody starts it."""

    @dg.sensor(
        name=SENSOR,
        job=job,
        minimum_interval_seconds=min(60, settings.reconciliation_seconds),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Compares the stored weeks with Xero's own totals for up to 52 weeks, and syncs the weeks that "
        "differ again.",
    )
    def reconciliation(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if is_backfill_pending(context.instance):
            return dg.SensorResult(skip_reason=BACKFILL_PENDING)
        ends_at = time.monotonic() + _SECONDS_PER_TICK
        with opener(settings) as deployment:
            planner = ReconciliationPlanner(
                deployment, open_alerter(deployment), may_continue=lambda: time.monotonic() < ends_at
            )
            plan = planner.plan_runs(find_weeks_under_way(context.instance))
        if not plan.runs:
            return dg.SensorResult(skip_reason=plan.skip_reason)
        return dg.SensorResult(run_requests=[run.to_run_request(SENSOR) for run in plan.runs])

    return reconciliation
