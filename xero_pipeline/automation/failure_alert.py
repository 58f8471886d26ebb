"""`run_failure_alert`: the sensor that always runs and speaks up.

A plain sensor with a place of its own in Dagster's event log, rather than a run failure sensor: it also has
to send counts and notice that things are well again when nothing fails. Its place lies in Dagster's
storage, since a tick that fails, as it must when an alert cannot be posted, keeps Dagster's own cursor where
it was. It moves on once all is written down; a look that is cut off before is done anew, and each run counts
once by its id.

`FailureMonitor` notices; `alerts.py` decides when somebody is told, `failure_words.py` in which words.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from xero_pipeline.automation.alerts import Alerter, open_alerter
from xero_pipeline.automation.connection_health import (
    notify_connections,
    notify_lost_connection,
)
from xero_pipeline.automation.dagster_health import (
    ALERTING,
    TICKING,
    error_names,
    is_running,
    notify_failed_ticks,
)
from xero_pipeline.automation.dead_runs import end_dead_runs
from xero_pipeline.automation.failing_checks import notify_failing_checks
from xero_pipeline.automation.failure_text import KINDS, FailureText, code_of, failure_text, format_list, format_weeks
from xero_pipeline.automation.planning import RETRY_NUMBER, weeks_of_run, will_run_again
from xero_pipeline.dagster_internals import StepFailureData
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import Deployment, Opening, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.logs.alert_rules import Alert
from xero_pipeline.warehouse.logs.sync_log import LogEntry, SyncStatus
from xero_pipeline.weeks import Week

_PLACE = "xero_pipeline/run_failure_alert"
# So many runs are looked at in one tick; the rest waits for the next one.
_AT_ONCE = 50
# How Dagster calls the failure of a run whose process was told to end, as by Ctrl-C; a killed one says nothing.
_FAILURE_REASON, _TOLD_TO_END = "dagster/failure_reason", "UNEXPECTED_TERMINATION"
# The job of the schedule and the command line, and the one that Dagster gives a backfill of assets.
_OUR_JOBS = ("weekly_sync", "__ASSET_JOB")
_PARTIALS_READ = 500
# Looking back a little misses no sync that ended while the last look was under way.
_OVERLAP = timedelta(minutes=10)
_A_DAY = timedelta(days=1)

Json = dict[str, Any]


class FailureMonitor:
    """One look at what failed since the last one, and at what is well again."""

    def __init__(self, instance: dg.DagsterInstance, deployment: Deployment, alerter: Alerter) -> None:
        self._instance = instance
        self._deployment = deployment
        self._alerter = alerter
        self._log = deployment.warehouse.log
        self._organisations = {one.tenant_id: one for one in deployment.warehouse.tokens.organisations()}

    def look(self) -> str:
        """Report what happened; answers what was found, in a sentence. The first look skips history."""
        place = self._place()
        now = self._deployment.clock.now()
        if place is None:
            self._move_to(
                {
                    "failed": self._newest(dg.DagsterEventType.RUN_FAILURE),
                    "canceled": self._newest(dg.DagsterEventType.RUN_CANCELED),
                    "partial_since": now.isoformat(),
                }
            )
            return "The first look: from now on failures are told."
        end_dead_runs(self._instance, self._deployment, now)
        failed = self._ended(dg.DagsterEventType.RUN_FAILURE, place["failed"])
        canceled = self._ended(dg.DagsterEventType.RUN_CANCELED, place["canceled"])
        for event in [*failed, *canceled]:
            self._log.close_interrupted(run_id=event.run_id)
        for event in failed:
            self._report_run(event)
        self._report_partials(datetime.fromisoformat(place["partial_since"]))
        self._move_to(
            {
                "failed": failed[-1].storage_id if failed else place["failed"],
                "canceled": canceled[-1].storage_id if canceled else place["canceled"],
                "partial_since": now.isoformat(),
            }
        )
        notify_failed_ticks(self._instance, self._alerter, [name for name in TICKING if name != ALERTING])
        self._report_recoveries()
        notify_connections(self._deployment, self._alerter)
        notify_failing_checks(self._instance, self._alerter)
        return f"{len(failed)} failed runs; {len(self._alerter.log.open_alerts())} alerts are open."

    def _place(self) -> Json | None:
        kept = self._instance.daemon_cursor_storage.get_cursor_values({_PLACE}).get(_PLACE)
        return json.loads(kept) if kept else None

    def _move_to(self, place: Json) -> None:
        self._instance.daemon_cursor_storage.set_cursor_values({_PLACE: json.dumps(place)})

    def _newest(self, kind: dg.DagsterEventType) -> int:
        records = self._instance.fetch_run_status_changes(kind, limit=1).records
        return records[0].storage_id if records else 0

    def _ended(self, kind: dg.DagsterEventType, after: int) -> Sequence[dg.EventLogRecord]:
        """What happened to runs since then, the oldest first."""
        wanted = dg.RunStatusChangeRecordsFilter(kind, after_storage_id=after)  # type: ignore[arg-type]
        return self._instance.fetch_run_status_changes(wanted, limit=_AT_ONCE, ascending=True).records

    def _report_run(self, event: dg.EventLogRecord) -> None:
        run = self._instance.get_run_by_id(event.run_id)
        if run is None or self._was_canceled(run.run_id) or _is_put_off(run):
            # Deleted meanwhile; or ended by a person; or put off by a restart.
            return
        told = self._told_of_first_try(run)
        for (code, tenant_id), entries in self._causes(run).items():
            if (code, tenant_id) in told:
                continue
            if tenant_id is None:
                self._tell_run(run, event, code)
            elif not self._tell_lost_connection(code, tenant_id, run.run_id, entries):
                self._tell_weeks(code, tenant_id, run.run_id, entries)

    def _causes(self, run: dg.DagsterRun) -> dict[tuple[str, str | None], list[LogEntry]]:
        """Why a run failed: the failed weeks by code and organisation, or the run itself, before or beside any."""
        causes: dict[tuple[str, str | None], list[LogEntry]] = defaultdict(list)
        for entry in self._log.of_run(run.run_id):
            if entry.status == SyncStatus.FAILED:
                causes[_code(entry), entry.tenant_id].append(entry)
        return causes or {(self._code_of_run(run.run_id), None): []}

    def _told_of_first_try(self, run: dg.DagsterRun) -> Collection[tuple[str, str | None]]:
        """What was told already when the run failed of which Dagster made this one by itself."""
        first = self._instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
        if RETRY_NUMBER not in run.tags or first is None or _is_put_off(first):
            return ()
        return self._causes(first).keys()

    def _was_canceled(self, run_id: str) -> bool:
        asked = self._instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_CANCELING, limit=1)
        return bool(asked.records)

    def _tell_run(self, run: dg.DagsterRun, event: dg.EventLogRecord, code: str) -> None:
        """Tell of a run that failed before, or beside, any organisation's week."""
        words, weeks = failure_text(code), weeks_of_run(dict(run.tags))
        what = format_weeks(weeks) if weeks else run.job_name
        self._alerter.problem(
            f"run:{code}",
            f"Sync failed: {words.what}",
            f"A run failed: {words.what}.\n{_sentence(what)}.\n{self._closing(words, run.run_id)}",
            {"code": code, "job": run.job_name, "failed_at": event.timestamp, "run": run.run_id},
            kind="run_failure",
            occurrence=run.run_id,
        )

    def _code_of_run(self, run_id: str) -> str:
        """The code of the error that ended a run: of the step that failed, or else of the run itself."""
        names: list[str] = []
        kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
        for record in self._instance.get_records_for_run(run_id, of_type=kinds).records:
            event = record.event_log_entry.dagster_event
            data = event.event_specific_data if event else None
            if isinstance(data, StepFailureData) and data.user_failure_data:
                # An asset says itself which errors made it fail.
                said = data.user_failure_data.metadata.get("errors")
                codes = said.value if isinstance(said, dg.JsonMetadataValue) else None
                if isinstance(codes, list) and codes:
                    return str(codes[0])
            names += error_names(getattr(data, "error", None))
        return code_of(names)

    def _tell_weeks(self, code: str, tenant_id: str, run_id: str, entries: Sequence[LogEntry]) -> None:
        """Tell of weeks of an organisation that did not land."""
        cause, words, name = f"{code}:{tenant_id}", failure_text(code), self._name(tenant_id)
        failures = self._known(cause, "failures")
        for entry in entries:
            failures.setdefault(entry.sync_type, {})[str(entry.week)] = _ended_at(entry).isoformat()
        if code == "day_limit":
            words = FailureText(words.what, f"{words.to_do} {self._goes_on(entries)}")
        weeks = [_week(text) for weeks in failures.values() for text in weeks]
        kinds = format_list(KINDS.get(kind, kind) for kind in failures)
        self._alerter.problem(
            cause,
            f"{name}: {words.what}",
            f"The sync of {name} failed: {words.what}.\n{_sentence(format_weeks(weeks))}: {kinds}.\n"
            f"{self._closing(words, run_id)}",
            {"tenant_id": tenant_id, "code": code, "failures": failures, "run": run_id},
            kind="day_limit" if code == "day_limit" else "run_failure",
            occurrence=run_id,
        )

    def _tell_lost_connection(self, code: str, tenant_id: str, run_id: str, entries: Sequence[LogEntry]) -> bool:
        """Count a failure whose cause is a lost connection to that; answers whether it is one."""
        organisation = self._organisations.get(tenant_id)
        if organisation is None or code not in {"organisation_disconnected", "reconnect_needed"}:
            return False
        if organisation.status is ConnectionStatus.CONNECTED:
            # Somebody has connected again since; or else it is a failure like any other, which may pass.
            return max(_ended_at(entry) for entry in entries) < organisation.connected_at
        notify_lost_connection(self._alerter, organisation, run_id)
        return True

    def _report_partials(self, since: datetime) -> None:
        """Tell of weeks that landed but do not add up; each week once, an organisation once a day."""
        found: dict[str, list[LogEntry]] = defaultdict(list)
        for entry in self._log.newest(_PARTIALS_READ, status=SyncStatus.PARTIAL):
            if _ended_at(entry) >= since - _OVERLAP:
                last = self._log.last(entry.tenant_id, entry.sync_type, entry.week)
                if last is not None and last.id == entry.id:
                    found[entry.tenant_id].append(entry)
        for tenant_id, entries in found.items():
            cause, name = f"partial:{tenant_id}", self._name(tenant_id)
            weeks = self._known(cause, "weeks")
            fresh = [entry for entry in entries if str(entry.week) not in weeks.get(entry.sync_type, [])]
            for entry in fresh:
                weeks.setdefault(entry.sync_type, []).append(str(entry.week))
                run = f"\nRun: {self._alerter.run_link(entry.dagster_run_id)}" if entry.dagster_run_id else ""
                named = format_weeks(_week(text) for texts in weeks.values() for text in texts)
                self._alerter.problem(
                    cause,
                    f"{name}: figures do not add up",
                    f"Figures of {name} landed, but do not add up against Xero's own totals.\n"
                    f"{_sentence(named)}: {format_list(KINDS.get(kind, kind) for kind in weeks)}.\n"
                    "What to do: the sync log says by how much and where; sync the weeks again, and if it "
                    f"stays, compare them with Xero's own report.{run}",
                    {"tenant_id": tenant_id, "weeks": weeks},
                    kind="partial",
                    occurrence=str(entry.id),
                    quiet=_A_DAY,
                )

    def _report_recoveries(self) -> None:
        for alert in self._alerter.log.open_alerts("run_failure", "day_limit", "partial"):
            tenant_id = alert.details.get("tenant_id")
            if tenant_id is not None and tenant_id not in self._organisations:
                # Disconnected on purpose: its weeks will not land, and nobody waits for them.
                self._alerter.withdraw(alert.cause)
            elif "failures" in alert.details:
                self._recover_failed(alert)
            elif "weeks" in alert.details:
                self._recover_partial(alert)
            elif self._succeeded_since(alert):
                self._alerter.recovered(alert.cause, "A later sync has succeeded.")

    def _recover_failed(self, alert: Alert) -> None:
        tenant_id, failures = alert.details["tenant_id"], alert.details["failures"]
        weeks = [_week(text) for texts in failures.values() for text in texts]
        landed = self._log.landed_weeks(tenant_id, min(weeks).ending)
        never = datetime.min.replace(tzinfo=UTC)
        if all(
            landed[kind].get(_week(text), never) > datetime.fromisoformat(at)
            for kind, texts in failures.items()
            for text, at in texts.items()
        ):
            self._alerter.recovered(
                alert.cause, f"{self._name(tenant_id)}, {format_weeks(weeks)}: every figure has landed since."
            )

    def _recover_partial(self, alert: Alert) -> None:
        tenant_id, weeks = alert.details["tenant_id"], alert.details["weeks"]
        for kind, texts in weeks.items():
            for text in texts:
                last = self._log.last(tenant_id, kind, _week(text))
                if last is None or last.status != SyncStatus.SUCCESS:
                    return
        named = format_weeks(_week(text) for texts in weeks.values() for text in texts)
        self._alerter.recovered(alert.cause, f"{self._name(tenant_id)}, {named}: the figures add up now.")

    def _succeeded_since(self, alert: Alert) -> bool:
        """Whether a run of the same job, or any sync, has succeeded since."""
        failed_at = float(alert.details["failed_at"])
        since = datetime.fromtimestamp(failed_at, UTC)
        wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=since)
        return any(
            record.dagster_run.job_name.startswith((*_OUR_JOBS, alert.details["job"]))
            and (record.end_time or 0.0) > failed_at
            for record in self._instance.get_run_records(wanted, limit=_AT_ONCE)
        )

    def _known(self, cause: str, field: str) -> Json:
        """What an open alert says already; nothing where it is new, or was well again."""
        alert = self._alerter.log.get(cause)
        return dict(alert.details.get(field, {})) if alert is not None and alert.is_open else {}

    def _goes_on(self, entries: Sequence[LogEntry]) -> str:
        moments = [_said(entry).get("retry_at") for entry in entries]
        known = [datetime.fromisoformat(moment) for moment in moments if moment]
        at = f"at {self._alerter.when(max(known))}" if known else "tomorrow"
        if is_running(self._instance, "missing_weeks"):
            return f"It goes on by itself {at}."
        return f"Sync again {at}, or switch missing_weeks on: it then goes on by itself."

    def _closing(self, words: FailureText, run_id: str) -> str:
        return f"What to do: {words.to_do}\nRun: {self._alerter.run_link(run_id)}"

    def _name(self, tenant_id: str) -> str:
        organisation = self._organisations.get(tenant_id)
        return organisation.tenant_name if organisation else tenant_id


def _is_put_off(run: dg.DagsterRun) -> bool:
    """Whether a run was told to end, as when Dagster is restarted, and goes on by itself: that is no news."""
    return run.tags.get(_FAILURE_REASON) == _TOLD_TO_END and will_run_again(run)


def _said(entry: LogEntry) -> Mapping[str, Any]:
    return entry.error_log if isinstance(entry.error_log, dict) else {}


def _code(entry: LogEntry) -> str:
    return str(_said(entry).get("error") or "unexpected")


def _ended_at(entry: LogEntry) -> datetime:
    return entry.completed_at or entry.started_at


def _week(text: str) -> Week:
    return Week(datetime.fromisoformat(text).date())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def run_failure_alert_sensor(
    settings: Settings, *, opening: Opening = open_deployment, interval_seconds: int = 30
) -> dg.SensorDefinition:
    """The sensor; running from the start."""

    @dg.sensor(
        name=ALERTING,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the addresses in ALERT_URLS what failed, for which organisation and weeks, and what to "
        "do: once, then how often it happened again, then that it is well. Its tick fails when an alert "
        "cannot be posted. Starts no runs.",
    )
    def run_failure_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        with opening(settings) as deployment:
            alerter = open_alerter(deployment)
            found = FailureMonitor(context.instance, deployment, alerter).look()
            alerter.flush()
        return dg.SkipReason(found)

    return run_failure_alert
