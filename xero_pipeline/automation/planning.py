"""How weeks become runs: which are under way, which wait after a failure, how many of them today's calls allow, and
which go into one run. Reads Dagster and the warehouse; starts nothing."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, cast

import dagster as dg

from xero_pipeline.assets.run_organisations import build_tenant_tags, parse_tenants, split_organisations
from xero_pipeline.automation.jobs import (
    ASSETS,
    MONTHLY_ASSETS,
    RANGE_END,
    RANGE_START,
    build_range_tags,
    build_run_config,
    is_monthly,
)
from xero_pipeline.dagster_internals import BulkActionsFilter, BulkActionStatus
from xero_pipeline.periods import AnyPeriod, Month, Period, iterate_periods
from xero_pipeline.rate_limits import Usage
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.logs.sync_log import LogEntry, SyncLog, SyncStatus
from xero_pipeline.weeks import Week

_PARTITION = "dagster/partition"
RETRY_NUMBER = "dagster/retry_number"
_WILL_RETRY, _RETRIED_AS = "dagster/will_retry", "dagster/auto_retry_run_id"
# Dagster starts the retry of a crashed run within moments of its daemon's start. If there is no retry after this
# time, the sensors may ask for the weeks.
_RETRY_EXPECTED_WITHIN = timedelta(hours=1)

BACKFILL = "dagster/backfill"
_BACKFILL_EXPECTED_WITHIN = timedelta(minutes=10)
BACKFILL_PENDING = "A backfill was requested; its run is about to start."

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

# Calls for a week of one organisation: profit and loss, bank summary.
CALLS_PER_WEEK = 2
# Calls that each run adds for an organisation: its details, its accounts (asked again once), a page of invoices and one
# of credit notes, and whether the lists changed meanwhile. Each further thousand documents takes one more.
CALLS_PER_RUN = 6

# A failed week is tried again after this delay, then after twice as long, and so on, up to a day.
FIRST_RETRY_DELAY = timedelta(minutes=15)
MAX_RETRY_DELAY = timedelta(days=1)
# How many failures of an organisation are read. Older ones have waited long enough.
_FAILURES_READ = 5000
# Longer lists of tenant ids stand in a run's key as their hash.
_MAX_IDS_LENGTH = 500


@dataclass(frozen=True)
class RunPlan:
    """One run to request: a range of weeks or months, for these organisations (none named: all), of these assets."""

    first: Period
    last: Period
    organisations: tuple[str, ...]
    key: str
    assets: tuple[str, ...] = ASSETS

    def split(self, organisations_per_run: int) -> list[RunPlan]:
        """Split the run into runs of at most so many organisations. One that names none stays one run."""
        groups = split_organisations(self.organisations, organisations_per_run)
        if len(groups) < 2:
            return [self]
        return [
            replace(self, organisations=group, key=f"{self.key}:{number} of {len(groups)}")
            for number, group in enumerate(groups, start=1)
        ]

    def to_run_request(
        self, source: str, *, job_name: str | None = None, tags: Mapping[str, str] | None = None
    ) -> dg.RunRequest:
        """Build the request for the run.

        Args:
            source: what requests it.
            job_name: for a sensor of several jobs.
            tags: further ones.
        """
        is_whole_job = self.assets in (ASSETS, MONTHLY_ASSETS)
        return dg.RunRequest(
            run_key=self.key,
            job_name=job_name,
            tags={
                **build_range_tags(self.first, self.last),
                **build_tenant_tags(self.organisations),
                **(tags or {}),
                "source": source,
            },
            run_config=build_run_config(self.organisations, self.assets),
            asset_selection=None if is_whole_job else [dg.AssetKey(asset) for asset in self.assets],
        )


def build_run_key(
    name: str, first: Period, last: Period, organisations: Iterable[str], state: object, now: datetime
) -> str:
    """Build the key of a run. Dagster launches one run for each key, however that run ends.

    Args:
        state: differs once the run has been tried.
        now: its day is part of the key. A run that is cancelled, or that cannot reach the database, leaves no
            trace of a try. Without the day its weeks would never be requested again.
    """
    ids = ",".join(sorted(organisations))
    # Dagster keeps the key as an indexed tag, and PostgreSQL indexes no text above 2.7 kB.
    who = ids if len(ids) <= _MAX_IDS_LENGTH else hashlib.sha256(ids.encode()).hexdigest()
    return f"{name}:{first}:{last}:{who}:{state}:{now.astimezone(UTC).date()}"


@dataclass(frozen=True)
class TickPlan:
    """The result of a sensor's tick: the runs to request, or a sentence that says why there are none."""

    runs: Sequence[RunPlan]
    skip_reason: str

    def build_run_requests(self, source: str, organisations_per_run: int) -> list[dg.RunRequest]:
        """Build the requests for the runs, each of at most so many organisations."""
        return [part.to_run_request(source) for run in self.runs for part in run.split(organisations_per_run)]


@dataclass(frozen=True)
class UnderWay(Generic[AnyPeriod]):
    """The weeks, or months, of runs that are not over: those of every organisation, and those of some."""

    of_all: Set[AnyPeriod] = frozenset()
    by_tenant: Mapping[str, Set[AnyPeriod]] = field(default_factory=dict)

    def list_of(self, tenant_id: str) -> Set[AnyPeriod]:
        """Those that are under way for this organisation."""
        return self.of_all | self.by_tenant.get(tenant_id, frozenset())


WeeksUnderWay = UnderWay[Week]


def find_weeks_under_way(instance: dg.DagsterInstance) -> WeeksUnderWay:
    """Find the weeks of all runs that are queued, running, or about to be retried by Dagster, whoever started them."""
    return find_under_way(instance, Week)


def find_under_way(instance: dg.DagsterInstance, period: type[AnyPeriod]) -> UnderWay[AnyPeriod]:
    """Find the weeks, or the months, of all runs that are under way."""
    crashed = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={_WILL_RETRY: "true"},
        # Dagster timestamps its runs with the system clock.
        updated_after=datetime.now(UTC) - _RETRY_EXPECTED_WITHIN,
    )
    runs = [*instance.get_runs(filters=dg.RunsFilter(statuses=_UNDER_WAY))]
    runs += [
        run for run in instance.get_runs(filters=crashed) if has_automatic_retry(run) and _RETRIED_AS not in run.tags
    ]
    of_all: set[AnyPeriod] = set()
    by_tenant: dict[str, set[AnyPeriod]] = defaultdict(set)
    for run in runs:
        tenants, periods = parse_tenants(run.tags), parse_run_periods(run, period)
        for tenant_id in tenants:
            by_tenant[tenant_id].update(periods)
        if not tenants:
            of_all.update(periods)
    return UnderWay(of_all, by_tenant)


def has_automatic_retry(run: dg.DagsterRun) -> bool:
    """Whether Dagster retries this failed run by itself.

    It does not retry a run that was executed in a process of its own, as the command line does.
    """
    return run.tags.get(_WILL_RETRY) == "true" and run.remote_job_origin is not None


def is_backfill_pending(instance: dg.DagsterInstance) -> bool:
    """Whether a backfill of our assets was just requested and its run does not exist yet, so its weeks are unknown."""
    requested = instance.get_backfills(filters=BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
    since = (datetime.now(UTC) - _BACKFILL_EXPECTED_WITHIN).timestamp()
    return any(
        backfill.backfill_timestamp > since
        and {key.to_user_string() for key in backfill.asset_selection or ()} & {*ASSETS, *MONTHLY_ASSETS}
        and not instance.get_runs(dg.RunsFilter(tags={BACKFILL: backfill.backfill_id}), limit=1)
        for backfill in requested
    )


def parse_run_weeks(tags: Mapping[str, str]) -> list[Week]:
    """Return the weeks that the tags of a run of weeks name, oldest first. Empty for a run that names none."""
    return _parse_range(tags, Week)


def parse_run_periods(run: dg.DagsterRun, period: type[AnyPeriod]) -> list[AnyPeriod]:
    """Return the weeks, or the months, that a run is about, oldest first. Empty for a run about the other kind."""
    return _parse_range(run.tags, period) if is_monthly(run) == (period is Month) else []


def _parse_range(tags: Mapping[str, str], period: type[AnyPeriod]) -> list[AnyPeriod]:
    first = tags.get(RANGE_START) or tags.get(_PARTITION)
    last = tags.get(RANGE_END) or tags.get(_PARTITION)
    if not first or not last:
        return []
    return list(iterate_periods(period.from_key(first), period.from_key(last)))


def read_call_usage(deployment: Deployment, tenant_id: str) -> Usage:
    """Read how many calls an organisation has used and has left."""
    return deployment.warehouse.make_call_budget(deployment.limits).read_usage(tenant_id, deployment.clock.now())


def count_affordable_weeks(deployment: Deployment, tenant_id: str, *, reserved_daily_syncs: int) -> int:
    """Count the weeks of an organisation that today's calls allow after reserving calls for so many daily syncs.

    Zero or less when the calls do not suffice for one week.
    """
    left_today = read_call_usage(deployment, tenant_id).left_today
    daily_sync = (1 + deployment.settings.lookback_weeks) * CALLS_PER_WEEK + CALLS_PER_RUN
    return (left_today - reserved_daily_syncs * daily_sync - CALLS_PER_RUN) // CALLS_PER_WEEK


def find_weeks_in_backoff(log: SyncLog, tenant_id: str, now: datetime) -> set[Week]:
    """Find an organisation's weeks that failed and may not be tried again yet."""
    return find_in_backoff(log, tenant_id, now, Week)


def find_in_backoff(log: SyncLog, tenant_id: str, now: datetime, period: type[AnyPeriod]) -> set[AnyPeriod]:
    """Find an organisation's weeks, or months, that failed and may not be tried again yet."""
    failures_by_week: dict[tuple[str, AnyPeriod], list[LogEntry]] = defaultdict(list)
    for entry in log.list_newest(_FAILURES_READ, tenant_id=tenant_id, status=SyncStatus.FAILED, period=period):
        failures_by_week[entry.sync_type, cast(AnyPeriod, entry.week)].append(entry)
    weeks = set()
    for (sync_type, week), failures in failures_by_week.items():
        retry_at = _compute_retry_time(failures, now)
        if retry_at is not None and retry_at > now:
            last = log.get_last(tenant_id, sync_type, week)
            if last is None or last.id == failures[0].id:
                weeks.add(week)
    return weeks


def _compute_retry_time(failures: Sequence[LogEntry], now: datetime) -> datetime | None:
    """Return when a failed week may be tried again; `None` for now. `failures` starts with the newest one."""
    newest = failures[0]
    error: Any = newest.error_log if isinstance(newest.error_log, dict) else {}
    ended_at = newest.completed_at or newest.started_at
    if error.get("error") == "interrupted" or ended_at > now:
        # A failure in the future was dated by a clock that was ahead, so it says nothing about when to try again.
        return None
    if error.get("retry_at"):
        return min(datetime.fromisoformat(error["retry_at"]), ended_at + MAX_RETRY_DELAY)
    recent = [entry for entry in failures if ended_at - (entry.completed_at or ended_at) < 3 * MAX_RETRY_DELAY]
    return ended_at + min(MAX_RETRY_DELAY, FIRST_RETRY_DELAY * 2.0 ** min(len(recent) - 1, 10))
