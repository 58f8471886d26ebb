"""`late_edits`: finds the closed weeks that were edited in Xero since they were read, and requests them again.

Each tick asks Xero once for what changed since the cursor (`If-Modified-Since`). The cursor, like the moment at which
each week was read, is by Xero's clock: a wrong clock of this machine hides no edit. A document affects the week that
it is dated in and every week whose figures counted it before: a document that moved affects two weeks, a voided one
its old week, and a payment the week that it is dated in. One transaction stores the affected weeks and moves the
cursor.
The weeks stay stored until each has been read again as a whole, so a failed run loses nothing and no week is
requested twice.

A payment that is dated back also moves the bank balances of every later week, and Xero reports no change for those.
`figures/balances.py` finds those weeks: their opening balance differs from the closing balance of the week before.
Only their bank summaries are read again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from xero_pipeline.automation.planning import (
    BACKFILL_PENDING,
    CALLS_PER_WEEK,
    RunPlan,
    TickPlan,
    WeeksUnderWay,
    build_run_key,
    count_affordable_weeks,
    find_weeks_in_backoff,
    find_weeks_under_way,
    is_backfill_pending,
    read_call_usage,
)
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.identifiers import normalise_id
from xero_pipeline.money import ZERO
from xero_pipeline.periods import group_into_ranges
from xero_pipeline.resources import Deployment, DeploymentOpener, open_deployment
from xero_pipeline.settings import Basis, Settings
from xero_pipeline.warehouse.figures.balances import find_weeks_with_old_balances
from xero_pipeline.warehouse.figures.document_index import (
    StoredDocument,
    read_counted_documents,
    read_last_seen_documents,
)
from xero_pipeline.warehouse.figures.stale_weeks import StaleWeeks, read_landing_times
from xero_pipeline.warehouse.figures.totals import find_weeks_with_changed_movements, read_held_figures
from xero_pipeline.warehouse.logs.cursors import read_cursor
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.errors import OrganisationDisconnected, RateLimited, ReconnectNeeded
from xero_pipeline.xero.readers.bank_summary import read_bank_summary
from xero_pipeline.xero.readers.document_state import DocumentState, read_document_state
from xero_pipeline.xero.readers.documents import can_affect_reports
from xero_pipeline.xero.reading import begin_reading

CURSOR = "late_edits"
# `If-Modified-Since` has a resolution of a second, and Xero's servers may differ by seconds.
OVERLAP = timedelta(minutes=2)
CLOCK_SKEW = timedelta(seconds=5)
# Before the first search: syncs of an older version stored this machine's time, not Xero's.
FIRST_OVERLAP = timedelta(days=1)
# How many runs one tick requests at most. The other weeks stay stored for the next tick.
MAX_RUNS_PER_TICK = 10
# How many bank summaries one tick requests at most, a call each: about ten minutes of Xero's time.
MAX_BALANCE_WEEKS_PER_TICK = 520
# Two lists of changed documents, and as many calls again for more pages or retries.
CALLS_PER_CHECK = 4


class LateEditsFailed(PipelineError):
    """Xero did not answer for an organisation; the others were checked."""

    code = "late_edits_failed"


class LateEditFinder:
    """Finds the closed weeks that are stale, and how many of them may be read again now."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._engine = deployment.warehouse.engine
        self._stale_weeks = StaleWeeks(self._engine)

    def plan_runs(self, under_way: WeeksUnderWay) -> TickPlan:
        """Ask Xero for changes, store the stale weeks, and plan the runs to request.

        Raises:
            LateEditsFailed: Xero did not answer for an organisation, and no other one needs a run.
        """
        tenants_by_range: dict[tuple[Week, Week], dict[str, datetime]] = defaultdict(dict)
        failures: list[str] = []
        reasons: list[str] = []
        for organisation in self._deployment.xero.list_organisations():
            if organisation.organisation.status is not ConnectionStatus.CONNECTED:
                continue
            try:
                reasons.append(f"{organisation.name}: {self._check_organisation(organisation)}")
            except RateLimited as error:
                reasons.append(f"{organisation.name}: {error}")
            except ReconnectNeeded as error:
                # No alert here or below: `notify_connections` sends it because of the status.
                reasons.append(f"{organisation.name}: {error}")
            except OrganisationDisconnected as error:
                self._deployment.warehouse.tokens.set_status(
                    organisation.tenant_id,
                    ConnectionStatus.RECONNECT_NEEDED,
                    grant_id=organisation.organisation.grant_id,
                )
                reasons.append(f"{organisation.name}: {error}")
            except PipelineError as error:
                failures.append(f"{organisation.name}: {error}")
            due, postponed = self._choose_due_ranges(organisation.tenant_id, under_way.list_of(organisation.tenant_id))
            for week_range, read_after in due.items():
                tenants_by_range[week_range][organisation.tenant_id] = read_after
            if postponed:
                reasons.append(
                    f"{postponed} of these weeks are postponed: today's remaining calls are kept for the daily sync."
                )
        if failures and not tenants_by_range:
            raise LateEditsFailed(" | ".join(failures))
        runs = [
            self._build_run(week_range, tenants)
            for week_range, tenants in list(tenants_by_range.items())[:MAX_RUNS_PER_TICK]
        ]
        if not runs:
            runs = list(self._plan_balance_runs(under_way))
        return TickPlan(runs, " ".join(reasons) or "No organisation is connected.")

    def _check_organisation(self, organisation: OrganisationClient) -> str:
        """Ask Xero what changed in one organisation, store the stale weeks, and describe the result in a sentence."""
        tenant_id = organisation.tenant_id
        read_at = read_landing_times(self._engine, tenant_id)
        if not read_at:
            return "no week has landed yet."
        if count_affordable_weeks(self._deployment, tenant_id, reserved_daily_syncs=1) < 1:
            return "today's calls are kept for the daily sync."
        calls_needed = min(CALLS_PER_CHECK, self._deployment.settings.calls_per_minute)
        if read_call_usage(self._deployment, tenant_id).left_this_minute < calls_needed:
            # Dagster ends a tick that takes a minute. The cursor stays, so the next tick asks for the same changes.
            return "a sync is using this minute's calls; the next tick asks Xero."
        # Without a cursor: everything since the oldest figures were read. A cursor in the future is a wrong clock's.
        since = read_cursor(self._engine, tenant_id, CURSOR) or min(read_at.values()) - FIRST_OVERLAP
        since = min(since, self._deployment.clock.now())
        with begin_reading() as reading:
            documents = [
                *organisation.fetch_changed_invoices(since - OVERLAP),
                *organisation.fetch_changed_credit_notes(since - OVERLAP),
            ]
        states = [read_document_state(document) for document in documents if can_affect_reports(document)]
        stale = self._find_stale_weeks(tenant_id, states, read_at)
        seen = [
            StoredDocument(state.key, state.week, state.figures, state.payments, state.edited_at) for state in states
        ]
        # By Xero's clock. If Xero does not say its time, the next search asks for the same changes again.
        asked_at = reading.began_at or since
        self._stale_weeks.record(tenant_id, stale, seen=seen, cursor=CURSOR, asked_at=asked_at)
        return f"{len(documents)} documents changed, {len(stale)} weeks have to be read again."

    def _find_stale_weeks(
        self, tenant_id: str, states: Sequence[DocumentState], read_at: Mapping[Week, datetime]
    ) -> dict[Week, datetime]:
        """Return each stale week with the moment after which it has to be read."""
        keys = [state.key for state in states]
        counted_by_key = read_counted_documents(self._engine, tenant_id, keys)
        last_seen_by_key = read_last_seen_documents(self._engine, tenant_id, keys)
        stale: dict[Week, datetime] = {}
        for state in states:
            counted, last_seen = counted_by_key.get(state.key, []), last_seen_by_key.get(state.key)
            affected = list(_find_affected_weeks(state, counted, last_seen, read_at))
            if self._deployment.settings.basis is Basis.CASH:
                affected += _find_paid_weeks(state, counted, last_seen, read_at)
            for week, read_after in affected:
                if week in read_at:
                    stale[week] = max(read_after, stale.get(week, read_after))
        return stale

    def _choose_due_ranges(self, tenant_id: str, under_way: Set[Week]) -> tuple[dict[tuple[Week, Week], datetime], int]:
        """Return the ranges to request, the newest weeks first, as far as today's calls go.

        Each range comes with the moment after which all of it has to be read. The number counts the postponed weeks.
        """
        now = self._deployment.clock.now()
        in_backoff = find_weeks_in_backoff(self._deployment.warehouse.log, tenant_id, now)
        ready = {
            week: read_after
            for week, read_after in self._stale_weeks.list_stale(tenant_id).items()
            if week not in under_way and week not in in_backoff
        }
        # Weeks under way have not used their calls yet.
        affordable = count_affordable_weeks(self._deployment, tenant_id, reserved_daily_syncs=2) - len(under_way)
        due = sorted(ready, reverse=True)[: max(affordable, 0)]
        ranges = {
            (first, last): max(ready[week] for week in due if first <= week <= last)
            for first, last in group_into_ranges(due)
        }
        return ranges, len(ready) - len(due)

    def _plan_balance_runs(self, under_way: WeeksUnderWay) -> Iterator[RunPlan]:
        """Plan runs that only read bank summaries again, or only profit and losses.

        They come after every edited week of the organisation has been read. A week whose bank movements were restated
        gets its profit and loss read again, too: money that somebody entered later changes both.
        """
        for organisation in self._deployment.xero.list_organisations():
            tenant_id = organisation.tenant_id
            is_connected = organisation.organisation.status is ConnectionStatus.CONNECTED
            if not is_connected or under_way.list_of(tenant_id):
                continue
            calls = CALLS_PER_WEEK * count_affordable_weeks(self._deployment, tenant_id, reserved_daily_syncs=2)
            calls = min(calls, MAX_BALANCE_WEEKS_PER_TICK)
            old_balances = self._find_old_balances(organisation)
            if old_balances is not None:
                yield from self._plan_single_asset("cash_position_weekly", tenant_id, old_balances, calls)
                continue
            moved = find_weeks_with_changed_movements(self._engine, tenant_id)
            for week_range in group_into_ranges(moved)[:MAX_RUNS_PER_TICK]:
                yield from self._plan_single_asset("financial_weekly", tenant_id, week_range, calls)
                calls -= (week_range[1].ending - week_range[0].ending).days // 7 + 1

    def _plan_single_asset(
        self, asset: str, tenant_id: str, week_range: tuple[Week, Week], calls: int
    ) -> Iterator[RunPlan]:
        """Plan the run that reads these weeks of one asset again, as far as the calls go."""
        log, now = self._deployment.warehouse.log, self._deployment.clock.now()
        first, last = week_range[0], min(week_range[1], week_range[0].shift(calls - 1))
        if calls < 1 or first in find_weeks_in_backoff(log, tenant_id, now):
            return
        kind = SyncType.BANK_SUMMARY if asset == "cash_position_weekly" else SyncType.PROFIT_AND_LOSS
        last_try = log.get_last(tenant_id, kind, first)
        name = "balances" if kind is SyncType.BANK_SUMMARY else "movements"
        key = build_run_key(name, first, last, [tenant_id], last_try.id if last_try else 0, now)
        yield RunPlan(first, last, (tenant_id,), key, assets=(asset,))

    def _find_old_balances(self, organisation: OrganisationClient) -> tuple[Week, Week] | None:
        """Find the weeks whose bank summaries are out of date, all of them at once.

        Where the older of two weeks is out of date, the weeks before it may be, too. Xero is asked about a few of them
        to find the oldest one: each call halves the weeks in question.
        """
        old_balances = find_weeks_with_old_balances(self._engine, organisation.tenant_id)
        if old_balances is None or old_balances[0] != old_balances[1]:
            return old_balances
        last = old_balances[1]
        held = sorted(week for week in read_landing_times(self._engine, organisation.tenant_id) if week <= last)
        low, high = 0, len(held) - 1
        while low < high:
            usage = read_call_usage(self._deployment, organisation.tenant_id)
            if min(usage.left_this_minute, usage.left_today) < CALLS_PER_CHECK:
                break
            middle = (low + high) // 2
            try:
                is_current = self._has_current_balances(organisation, held[middle])
            except PipelineError:
                # The next tick asks again. Until then, one week is better than none.
                break
            low, high = (middle + 1, high) if is_current else (low, middle)
        else:
            return (held[high], last) if held else old_balances
        return old_balances

    def _has_current_balances(self, organisation: OrganisationClient, week: Week) -> bool:
        """Ask Xero whether a week's stored balances are those of its bank summary."""
        weeks = WeekRange(week, week)
        stored = read_held_figures(self._engine, organisation.tenant_id, weeks).bank.get(week, {})
        summary = read_bank_summary(organisation.fetch_bank_summary(week), week=week)
        for row in summary.accounts.to_dict("records"):
            account = stored.get(normalise_id(row["bank_account_id"]))
            balances = (account.opening_balance, account.closing_balance) if account else (ZERO, ZERO)
            if balances != (row["opening_balance"], row["closing_balance"]):
                return False
        return True

    def _build_run(self, week_range: tuple[Week, Week], tenants: Mapping[str, datetime]) -> RunPlan:
        log = self._deployment.warehouse.log
        first, last = week_range
        tries = [entry.id for tenant in tenants if (entry := log.get_last(tenant, SyncType.INVOICES, last))]
        # The same stale weeks make the same key, and so one run. After a failed try the key differs.
        state = f"{max(tenants.values()).isoformat()}:{max(tries, default=0)}"
        key = build_run_key("late_edits", first, last, tenants, state, self._deployment.clock.now())
        return RunPlan(first, last, tuple(sorted(tenants)), key)


def _find_affected_weeks(
    state: DocumentState,
    counted: Sequence[StoredDocument],
    last_seen: StoredDocument | None,
    read_at: Mapping[Week, datetime],
) -> Iterator[tuple[Week, datetime]]:
    """Yield each week whose figures an edit changes, with the moment after which the week has to be read."""
    since_edit = state.edited_at + CLOCK_SKEW
    for document in counted:
        if document.figures != state.figures:
            # The week that counted an older state: its figures are stale, whenever they were read.
            yield document.week, max(since_edit, read_at.get(document.week, since_edit))
        elif document.edited_at == state.edited_at and read_at.get(document.week, since_edit) <= since_edit:
            # Counted in its present state, but another report of that week may have been read just before the edit.
            yield document.week, since_edit
    is_known = last_seen is not None and last_seen.figures == state.figures
    if not is_known and all(document.figures != state.figures for document in counted):
        # The week that it is in now, and the week where it was last seen: no week's revenue counts a bill.
        for week in {state.week, *([last_seen.week] if last_seen else [])}:
            if read_at.get(week, since_edit) <= since_edit:
                yield week, since_edit
    before = last_seen or next(iter(counted), None)
    for week in state.find_changed_payment_weeks(before.payments if before else {}):
        if read_at.get(week, since_edit) <= since_edit:
            yield week, since_edit


def _find_paid_weeks(
    state: DocumentState,
    counted: Sequence[StoredDocument],
    last_seen: StoredDocument | None,
    read_at: Mapping[Week, datetime],
) -> Iterator[tuple[Week, datetime]]:
    """Yield the weeks in which an edited document was paid: on cash basis its lines count there, whatever its date."""
    before = [*counted, *([last_seen] if last_seen else [])]
    if all(document.figures == state.figures for document in before):
        return
    since_edit = state.edited_at + CLOCK_SKEW
    for day in {*state.payments, *(day for document in before for day in document.payments)}:
        week = Week.containing(date.fromisoformat(day))
        if read_at.get(week, since_edit) <= since_edit:
            yield week, since_edit


def build_late_edits_sensor(
    settings: Settings, job: Any, *, opener: DeploymentOpener = open_deployment
) -> dg.SensorDefinition:
    """Build the sensor. It is stopped until somebody starts it."""

    @dg.sensor(
        name="late_edits",
        job=job,
        minimum_interval_seconds=settings.late_edits_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks Xero what was edited since it last asked, and syncs the affected closed weeks again.",
    )
    def late_edits(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if is_backfill_pending(context.instance):
            return dg.SensorResult(skip_reason=BACKFILL_PENDING)
        with opener(settings) as deployment:
            plan = LateEditFinder(deployment).plan_runs(find_weeks_under_way(context.instance))
        if not plan.runs:
            return dg.SensorResult(skip_reason=plan.skip_reason)
        return dg.SensorResult(run_requests=plan.build_run_requests("late_edits", settings.organisations_per_run))

    return late_edits
