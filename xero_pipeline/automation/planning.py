"""How weeks become runs: which are under way, which rest after a failure, what today's calls allow, and which
belong into one run. Reads Dagster and the warehouse; starts nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from xero_pipeline.automation.jobs import ASSETS, RANGE_END, RANGE_START, range_tags, sync_config
from xero_pipeline.dagster_internals import BulkActionsFilter, BulkActionStatus
from xero_pipeline.rate_limits import Usage
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.logs.sync_log import LogEntry, SyncLog, SyncStatus
from xero_pipeline.weeks import Week

_PARTITION = "dagster/partition"
RETRY_NUMBER = "dagster/retry_number"
_WILL_RETRY, _RETRIED_AS = "dagster/will_retry", "dagster/auto_retry_run_id"
# Dagster runs a crashed run again within moments of its daemon's start; one of which nothing has come by then is
# left to the sensors.
_RETRY_COMES_WITHIN = timedelta(hours=1)

_BACKFILL = "dagster/backfill"
_BACKFILL_COMES_WITHIN = timedelta(minutes=10)
BACKFILL_FIRST = "Somebody has asked for a backfill, whose run is about to start."

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

# What a week of one organisation costs: profit and loss, bank summary, a page of invoices, one of credit notes.
CALLS_A_WEEK = 4
# ... and what each run of it adds: the organisation's details and its accounts.
CALLS_A_RUN = 2

# A week that failed is tried again after this, then after twice as long, and so on, up to a day.
FIRST_RETRY = timedelta(minutes=15)
LAST_RETRY = timedelta(days=1)
# So many failures of an organisation are looked at; older ones have rested long enough.
_FAILURES_READ = 5000


@dataclass(frozen=True)
class RunPlan:
    """One run to ask for: a range of weeks, for these organisations (none named: all), of these assets."""

    first: Week
    last: Week
    organisations: tuple[str, ...]
    key: str
    assets: tuple[str, ...] = ASSETS

    def request(self, source: str) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=self.key,
            tags=range_tags(self.first, self.last) | {"source": source},
            run_config=sync_config(self.organisations, self.assets),
            asset_selection=None if self.assets == ASSETS else [dg.AssetKey(asset) for asset in self.assets],
        )


def run_key(name: str, first: Week, last: Week, organisations: Iterable[str], state: object, now: datetime) -> str:
    """The key of a run, of which Dagster launches one only, however that run ends.

    Args:
        state: differs once the run has been tried.
        now: its day is part of the key. A run that is cancelled, or that cannot reach the database, leaves no
            trace of a try; without the day its weeks would never be asked for again.
    """
    return f"{name}:{first}:{last}:{','.join(sorted(organisations))}:{state}:{now.astimezone(UTC).date()}"


@dataclass(frozen=True)
class Plan:
    """What a sensor's tick comes to: runs, or a sentence that says why there are none."""

    runs: Sequence[RunPlan]
    why_none: str


def weeks_under_way(instance: dg.DagsterInstance) -> set[Week]:
    """The weeks of every run that is queued or running, or that Dagster is about to run again, whoever started it."""
    crashed = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={_WILL_RETRY: "true"},
        updated_after=datetime.now(UTC) - _RETRY_COMES_WITHIN,  # by the clock that Dagster stamps its runs with
    )
    weeks: set[Week] = set()
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_UNDER_WAY)):
        weeks.update(weeks_of_run(run.tags))
    for run in instance.get_runs(filters=crashed):
        if will_run_again(run) and _RETRIED_AS not in run.tags:
            weeks.update(weeks_of_run(run.tags))
    return weeks


def will_run_again(run: dg.DagsterRun) -> bool:
    """Whether Dagster makes another run of this failed one by itself: not of one that was executed in a process of
    its own, as the command line does."""
    return run.tags.get(_WILL_RETRY) == "true" and run.remote_job_origin is not None


def is_backfill_to_come(instance: dg.DagsterInstance) -> bool:
    """Whether somebody has just asked for a backfill whose run is not there yet, so that nobody can see its weeks."""
    asked_for = instance.get_backfills(filters=BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
    since = (datetime.now(UTC) - _BACKFILL_COMES_WITHIN).timestamp()
    return any(
        backfill.backfill_timestamp > since
        and {key.to_user_string() for key in backfill.asset_selection or ()} & set(ASSETS)
        and not instance.get_runs(dg.RunsFilter(tags={_BACKFILL: backfill.backfill_id}), limit=1)
        for backfill in asked_for
    )


def weeks_of_run(tags: Mapping[str, str]) -> list[Week]:
    """The weeks that a run's tags name, oldest first; none for a run that is not about weeks."""
    first = tags.get(RANGE_START) or tags.get(_PARTITION)
    last = tags.get(RANGE_END) or tags.get(_PARTITION)
    if not first or not last:
        return []
    week, end, weeks = Week.from_key(first), Week.from_key(last), []
    while week <= end:
        weeks.append(week)
        week = week.shift(1)
    return weeks


def as_ranges(weeks: Iterable[Week]) -> list[tuple[Week, Week]]:
    """The fewest ranges without a gap that hold exactly these weeks, the newest first."""
    ranges: list[tuple[Week, Week]] = []
    for week in sorted(set(weeks), reverse=True):
        if ranges and ranges[-1][0] == week.shift(1):
            ranges[-1] = (week, ranges[-1][1])
        else:
            ranges.append((week, week))
    return ranges


def calls_left(deployment: Deployment, tenant_id: str) -> Usage:
    """What an organisation has spent of its calls, and has left."""
    return deployment.warehouse.budget(deployment.limits).read_usage(tenant_id, deployment.clock.now())


def affordable_weeks(deployment: Deployment, tenant_id: str, *, daily_syncs_kept: int) -> int:
    """How many weeks of an organisation today's calls allow, once so many daily syncs have their share."""
    left = calls_left(deployment, tenant_id).left_today
    daily = (1 + deployment.settings.lookback_weeks) * CALLS_A_WEEK + CALLS_A_RUN
    return (left - daily_syncs_kept * daily - CALLS_A_RUN) // CALLS_A_WEEK


def resting_weeks(log: SyncLog, tenant_id: str, now: datetime) -> set[Week]:
    """An organisation's weeks that failed and are not to be tried again yet."""
    tries: dict[tuple[str, Week], list[LogEntry]] = defaultdict(list)
    for entry in log.newest(_FAILURES_READ, tenant_id=tenant_id, status=SyncStatus.FAILED):
        tries[entry.sync_type, entry.week].append(entry)
    resting = set()
    for (kind, week), failures in tries.items():
        if _rests_until(failures) > now:
            last = log.last(tenant_id, kind, week)
            if last is None or last.id == failures[0].id:
                resting.add(week)
    return resting


def _rests_until(failures: Sequence[LogEntry]) -> datetime:
    """When a week that failed, the newest failure first, is tried again."""
    newest = failures[0]
    said: Any = newest.error_log if isinstance(newest.error_log, dict) else {}
    ended = newest.completed_at or newest.started_at
    if said.get("error") == "interrupted":
        return ended
    if said.get("retry_at"):
        return datetime.fromisoformat(said["retry_at"])
    recent = [entry for entry in failures if ended - (entry.completed_at or ended) < 3 * LAST_RETRY]
    return ended + min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(len(recent) - 1, 10))
