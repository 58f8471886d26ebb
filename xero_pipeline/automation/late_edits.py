"""`late_edits`: finds the closed weeks that somebody has edited in Xero since they were read, and asks for them.

Xero is asked once what changed since the cursor (`If-Modified-Since`). A document concerns the week that it
is in and every week in whose figures it was counted before: one that moved touches two, a voided one its
old one, and a payment the week that it is dated in. The weeks found are kept in the database, in one step
with the cursor, until each has been read again whole; so nothing is lost when a run fails, and nothing is
asked for twice.

A payment that is dated back also moves the bank balances of every later week, of which Xero tells nothing:
those weeks show by their own balances, and only their bank summaries are read again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from xero_pipeline.automation.planning import (
    BACKFILL_FIRST,
    CALLS_A_WEEK,
    Plan,
    RunPlan,
    affordable_weeks,
    as_ranges,
    calls_left,
    is_backfill_to_come,
    resting_weeks,
    run_key,
    weeks_under_way,
)
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import Deployment, Opening, open_deployment
from xero_pipeline.settings import Basis, Settings
from xero_pipeline.warehouse.figures.balances import weeks_with_old_balances
from xero_pipeline.warehouse.figures.document_index import KeptDocument, counted_documents, last_seen_documents
from xero_pipeline.warehouse.figures.stale_weeks import StaleWeeks, landings
from xero_pipeline.warehouse.logs.cursors import read_cursor
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.errors import OrganisationDisconnected, RateLimited, ReconnectNeeded
from xero_pipeline.xero.readers.document_state import DocumentState, read_document_state
from xero_pipeline.xero.readers.documents import can_affect_reports

CURSOR = "late_edits"
# `If-Modified-Since` is to the second, and Xero's clock is not ours.
OVERLAP = timedelta(minutes=2)
SKEW = timedelta(seconds=5)
# A tick asks for so many runs at most; the others stay kept for the next one.
RUNS_A_TICK = 10
# ... and for so many bank summaries, a call each: some ten minutes of Xero's time.
BALANCES_A_TICK = 520
# Two lists of changed documents, and as many again: more pages, or a call that is tried again.
CALLS_A_LOOK = 4


class LateEditsFailed(PipelineError):
    """An organisation could not be asked; the others were."""

    code = "late_edits_failed"


class LateEdits:
    """Which closed weeks are stale."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._engine = deployment.warehouse.engine
        self._kept = StaleWeeks(self._engine)

    def plan(self, under_way: set[Week]) -> Plan:
        """Ask Xero, keep what it found, and answer the runs to ask for.

        Raises:
            LateEditsFailed: an organisation could not be asked, and no other needs a run.
        """
        wanted: dict[tuple[Week, Week], dict[str, datetime]] = defaultdict(dict)
        failed: list[str] = []
        reasons: list[str] = []
        for organisation in self._deployment.xero.list_organisations():
            if organisation.organisation.status is not ConnectionStatus.CONNECTED:
                continue
            try:
                reasons.append(f"{organisation.name}: {self._look(organisation)}")
            except RateLimited as error:
                reasons.append(f"{organisation.name}: {error}")
            except (OrganisationDisconnected, ReconnectNeeded) as error:
                # Noticed here first; whoever looks after connections tells people.
                self._deployment.warehouse.tokens.set_status(
                    organisation.tenant_id,
                    ConnectionStatus.RECONNECT_NEEDED,
                    grant_id=organisation.organisation.grant_id,
                )
                reasons.append(f"{organisation.name}: {error}")
            except PipelineError as error:
                failed.append(f"{organisation.name}: {error}")
            due, put_off = self._due(organisation.tenant_id, under_way)
            for span, read_after in due.items():
                wanted[span][organisation.tenant_id] = read_after
            if put_off:
                reasons.append(
                    f"For later, as today's other calls are kept for the daily sync: {put_off} of these weeks."
                )
        if failed and not wanted:
            raise LateEditsFailed(" | ".join(failed))
        runs = [self._run(span, tenants) for span, tenants in list(wanted.items())[:RUNS_A_TICK]]
        if not runs:
            runs = list(self._balance_runs(under_way))
        return Plan(runs, " ".join(reasons) or "No organisation is connected.")

    def _look(self, organisation: OrganisationClient) -> str:
        """Ask one organisation what changed, and keep the weeks concerned."""
        tenant_id = organisation.tenant_id
        read_at = landings(self._engine, tenant_id)
        if not read_at:
            return "no week has landed yet."
        if affordable_weeks(self._deployment, tenant_id, daily_syncs_kept=1) < 1:
            return "today's calls are kept for the daily sync."
        wanted = min(CALLS_A_LOOK, self._deployment.settings.calls_per_minute)
        if calls_left(self._deployment, tenant_id).left_this_minute < wanted:
            # Dagster ends a tick that takes a minute; the next one asks for all since this one.
            return "a sync is spending this minute's calls; the next look asks."
        asked_at = self._deployment.clock.now()
        # Before the first look: everything since the oldest figures were read.
        since = read_cursor(self._engine, tenant_id, CURSOR) or min(read_at.values())
        documents = [
            *organisation.fetch_changed_invoices(since - OVERLAP),
            *organisation.fetch_changed_credit_notes(since - OVERLAP),
        ]
        states = [read_document_state(document) for document in documents if can_affect_reports(document)]
        stale = self._stale(tenant_id, states, read_at)
        seen = [KeptDocument(one.key, one.week, one.figures, one.payments, one.edited_at) for one in states]
        self._kept.found(tenant_id, stale, seen=seen, cursor=CURSOR, asked_at=asked_at)
        return f"{len(documents)} documents changed, {len(stale)} weeks have to be read again."

    def _stale(
        self, tenant_id: str, states: Sequence[DocumentState], read_at: Mapping[Week, datetime]
    ) -> dict[Week, datetime]:
        """Each stale week, and after which moment it has to be read."""
        keys = [state.key for state in states]
        counted = counted_documents(self._engine, tenant_id, keys)
        last_seen = last_seen_documents(self._engine, tenant_id, keys)
        stale: dict[Week, datetime] = {}
        for state in states:
            kept, seen = counted.get(state.key, []), last_seen.get(state.key)
            touched = list(_touched(state, kept, seen, read_at))
            if self._deployment.settings.basis is Basis.CASH:
                touched += _touched_on_cash_basis(state, kept, seen, read_at)
            for week, read_after in touched:
                if week in read_at:
                    stale[week] = max(read_after, stale.get(week, read_after))
        return stale

    def _due(self, tenant_id: str, under_way: set[Week]) -> tuple[dict[tuple[Week, Week], datetime], int]:
        """The ranges to ask for, each with the moment after which all of it has to be read, as far as today's calls
        go, the newest weeks first; and how many weeks are put off."""
        now = self._deployment.clock.now()
        resting = resting_weeks(self._deployment.warehouse.log, tenant_id, now)
        kept = {w: at for w, at in self._kept.open(tenant_id).items() if w not in under_way and w not in resting}
        # What is under way has not spent its calls yet.
        affordable = affordable_weeks(self._deployment, tenant_id, daily_syncs_kept=2) - len(under_way)
        due = sorted(kept, reverse=True)[: max(affordable, 0)]
        ranges = {(a, b): max(kept[week] for week in due if a <= week <= b) for a, b in as_ranges(due)}
        return ranges, len(kept) - len(due)

    def _balance_runs(self, under_way: set[Week]) -> Iterator[RunPlan]:
        """Runs that only read bank summaries again, once every edited week has been."""
        warehouse = self._deployment.warehouse
        for organisation in warehouse.tokens.connected():
            tenant_id = organisation.tenant_id
            old = weeks_with_old_balances(self._engine, tenant_id)
            if old is None:
                continue
            calls = CALLS_A_WEEK * affordable_weeks(self._deployment, tenant_id, daily_syncs_kept=2)
            first, last = old[0], min(old[1], old[0].shift(min(calls, BALANCES_A_TICK) - 1))
            now = self._deployment.clock.now()
            if calls < 1 or under_way or first in resting_weeks(warehouse.log, tenant_id, now):
                continue
            tried = warehouse.log.last(tenant_id, SyncType.BANK_SUMMARY, first)
            key = run_key("balances", first, last, [tenant_id], tried.id if tried else 0, now)
            yield RunPlan(first, last, (tenant_id,), key, assets=("cash_position_weekly",))

    def _run(self, span: tuple[Week, Week], tenants: Mapping[str, datetime]) -> RunPlan:
        log = self._deployment.warehouse.log
        tries = [entry.id for tenant in tenants if (entry := log.last(tenant, SyncType.INVOICES, span[1]))]
        # The same finding seen twice is one run; after a try that failed, it is another.
        state = f"{max(tenants.values()).isoformat()}:{max(tries, default=0)}"
        key = run_key("late_edits", *span, tenants, state, self._deployment.clock.now())
        return RunPlan(span[0], span[1], tuple(sorted(tenants)), key)


def _touched(
    state: DocumentState,
    counted: Sequence[KeptDocument],
    seen: KeptDocument | None,
    read_at: Mapping[Week, datetime],
) -> Iterator[tuple[Week, datetime]]:
    """The weeks whose figures an edit moves, each with the moment after which it has to be read."""
    since_edit = state.edited_at + SKEW
    for held in counted:
        if held.figures != state.figures:
            # Where it was: that week's figures hold an older state, whenever they were read.
            yield held.week, max(since_edit, read_at.get(held.week, since_edit))
        elif held.edited_at == state.edited_at and read_at.get(held.week, since_edit) <= since_edit:
            # Counted as it is now, but another report of that week may have been read just before the edit.
            yield held.week, since_edit
    known = seen is not None and seen.figures == state.figures
    if not known and all(held.figures != state.figures for held in counted):
        # Where it is, and (a bill, that no week's revenue knows) where it was last seen.
        for week in {state.week, *([seen.week] if seen else [])}:
            if read_at.get(week, since_edit) <= since_edit:
                yield week, since_edit
    before = seen or next(iter(counted), None)
    for week in state.find_changed_payment_weeks(before.payments if before else {}):
        if read_at.get(week, since_edit) <= since_edit:
            yield week, since_edit


def _touched_on_cash_basis(
    state: DocumentState,
    counted: Sequence[KeptDocument],
    seen: KeptDocument | None,
    read_at: Mapping[Week, datetime],
) -> Iterator[tuple[Week, datetime]]:
    """The weeks in which an edited document was paid: on cash basis its lines stand there, whatever its date."""
    before = [*counted, *([seen] if seen else [])]
    if all(held.figures == state.figures for held in before):
        return
    since_edit = state.edited_at + SKEW
    for day in {*state.payments, *(day for held in before for day in held.payments)}:
        week = Week.containing(date.fromisoformat(day))
        if read_at.get(week, since_edit) <= since_edit:
            yield week, since_edit


def late_edits_sensor(settings: Settings, job: Any, *, opening: Opening = open_deployment) -> dg.SensorDefinition:
    """The sensor; stopped until somebody starts it."""

    @dg.sensor(
        name="late_edits",
        job=job,
        minimum_interval_seconds=settings.late_edits_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks Xero what was edited since it last asked, and syncs the closed weeks concerned again.",
    )
    def late_edits(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if is_backfill_to_come(context.instance):
            return dg.SensorResult(skip_reason=BACKFILL_FIRST)
        with opening(settings) as deployment:
            plan = LateEdits(deployment).plan(weeks_under_way(context.instance))
        if not plan.runs:
            return dg.SensorResult(skip_reason=plan.why_none)
        return dg.SensorResult(run_requests=[run.request("late_edits") for run in plan.runs])

    return late_edits
