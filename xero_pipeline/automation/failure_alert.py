"""`run_failure_alert`: the sensor that always runs and alerts people.

It is a plain sensor with its own cursor into Dagster's event log, not a run failure sensor: it also sends counts,
and notices recovery when nothing fails. The cursor lies in Dagster's storage, because a tick that fails, as it must
when an alert cannot be posted, leaves Dagster's own cursor unmoved. The cursor moves after everything is recorded; a
tick that is cut off before is repeated by the next one, and each run counts once because of its id.

`FailureMonitor` finds failures; `alerts.py` decides when a message is sent, `failure_text.py` holds the texts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from xero_pipeline.automation.access_alerts import notify_access
from xero_pipeline.automation.alerts import Alerter, open_alerter
from xero_pipeline.automation.connection_health import (
    notify_connections,
    notify_lost_connection,
)
from xero_pipeline.automation.dagster_health import (
    ALERT_SENSOR,
    AUTOMATIONS,
    is_running,
    list_error_names,
    notify_failed_ticks,
)
from xero_pipeline.automation.dead_runs import end_dead_runs
from xero_pipeline.automation.failing_checks import notify_failing_checks
from xero_pipeline.automation.failure_text import (
    SYNC_TYPE_NAMES,
    FailureText,
    find_error_code,
    format_list,
    format_weeks,
    get_failure_text,
    parse_period,
    parse_periods,
)
from xero_pipeline.automation.missing_months import MonthGapFinder
from xero_pipeline.automation.missing_weeks import GapFinder
from xero_pipeline.automation.partial_weeks import PartialWeekMonitor, evaluate_accepted
from xero_pipeline.automation.planning import RETRY_NUMBER, has_automatic_retry, parse_run_periods
from xero_pipeline.dagster_internals import StepFailureData
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.periods import Month, Period
from xero_pipeline.resources import Deployment, DeploymentOpener, open_deployment
from xero_pipeline.run_liveness import is_run_alive
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.logs.acceptances import read_accepted_kinds
from xero_pipeline.warehouse.logs.alert_rules import Alert
from xero_pipeline.warehouse.logs.sync_log import LANDED, LogEntry, SyncStatus
from xero_pipeline.weeks import Week

_CURSOR_KEY = "xero_pipeline/run_failure_alert"
# How many runs one tick handles at most. The others wait for the next tick.
_MAX_RUNS_PER_TICK = 50
# Dagster's tag on a failed run whose process was told to end, as by Ctrl-C. A run that was killed has no such tag.
_FAILURE_REASON, _TOLD_TO_END = "dagster/failure_reason", "UNEXPECTED_TERMINATION"
# The job of the schedule and the command line, and the one that Dagster gives a backfill of assets.
_OUR_JOBS = ("weekly_sync", "monthly_sync", "__ASSET_JOB")
_ROWS_READ = 5000
# The runs whose end was seen last, far more than end within the overlap of two ticks.
_ENDED_RUNS_KEPT = 500
# Each tick reads a little further back, so that it misses no sync that ended during the last tick.
_OVERLAP = timedelta(minutes=10)
# The sensors that request what has not landed.
_SENSORS: Mapping[type[Period], str] = {Week: GapFinder.name, Month: MonthGapFinder.name}

Json = dict[str, Any]


class FailureMonitor:
    """Reports what has failed since the last evaluation, and what has recovered."""

    def __init__(self, instance: dg.DagsterInstance, deployment: Deployment, alerter: Alerter) -> None:
        self._instance = instance
        self._deployment = deployment
        self._alerter = alerter
        self._log = deployment.warehouse.log
        self._organisations = {
            organisation.tenant_id: organisation for organisation in deployment.warehouse.tokens.list_organisations()
        }

    def evaluate(self) -> str:
        """Report failures and recoveries, and summarise them in a sentence. The first evaluation skips history."""
        cursor = self._read_cursor()
        now = self._deployment.clock.now()
        if cursor is None:
            self._write_cursor(
                {
                    "failed": self._find_newest_event_id(dg.DagsterEventType.RUN_FAILURE),
                    "canceled": self._find_newest_event_id(dg.DagsterEventType.RUN_CANCELED),
                    "partial_since": now.isoformat(),
                }
            )
            return "The first tick: failures from now on are reported."
        end_dead_runs(self._instance, self._deployment, now)
        failed = self._read_run_events(dg.DagsterEventType.RUN_FAILURE, cursor["failed"])
        canceled = self._read_run_events(dg.DagsterEventType.RUN_CANCELED, cursor["canceled"])
        for event in [*failed, *canceled]:
            self._log.close_interrupted(run_id=event.run_id)
        for event in failed:
            self._report_failed_run(event)
        # A person who cancels a run and then deletes it wants no alert about it.
        ended = [*cursor.get("ended", []), *(event.run_id for event in [*failed, *canceled])][-_ENDED_RUNS_KEPT:]
        self._report_deleted_runs(datetime.fromisoformat(cursor["partial_since"]), known=ended)
        partial_weeks = PartialWeekMonitor(self._deployment, self._alerter)
        partial_weeks.report_partial_weeks(datetime.fromisoformat(cursor["partial_since"]) - _OVERLAP)
        with self._deployment.warehouse.engine.connect() as connection:
            kinds, accepted = read_accepted_kinds(connection, after=cursor.get("accepted", 0))
        evaluate_accepted(self._instance, self._deployment, kinds)
        self._write_cursor(
            {
                "failed": failed[-1].storage_id if failed else cursor["failed"],
                "canceled": canceled[-1].storage_id if canceled else cursor["canceled"],
                "partial_since": now.isoformat(),
                "ended": ended,
                "accepted": accepted,
            }
        )
        notify_failed_ticks(self._instance, self._alerter, [name for name in AUTOMATIONS if name != ALERT_SENSOR])
        self._report_recoveries()
        partial_weeks.report_recoveries()
        notify_connections(self._deployment, self._alerter)
        notify_failing_checks(self._instance, self._alerter)
        return f"{len(failed)} failed runs; {len(self._alerter.log.list_open())} alerts are open."

    def _read_cursor(self) -> Json | None:
        stored = self._instance.daemon_cursor_storage.get_cursor_values({_CURSOR_KEY}).get(_CURSOR_KEY)
        return json.loads(stored) if stored else None

    def _write_cursor(self, cursor: Json) -> None:
        self._instance.daemon_cursor_storage.set_cursor_values({_CURSOR_KEY: json.dumps(cursor)})

    def _find_newest_event_id(self, event_type: dg.DagsterEventType) -> int:
        records = self._instance.fetch_run_status_changes(event_type, limit=1).records
        return records[0].storage_id if records else 0

    def _read_run_events(self, event_type: dg.DagsterEventType, after: int) -> Sequence[dg.EventLogRecord]:
        """Read the run events of this type after that storage id, oldest first."""
        wanted = dg.RunStatusChangeRecordsFilter(event_type, after_storage_id=after)  # type: ignore[arg-type]
        return self._instance.fetch_run_status_changes(wanted, limit=_MAX_RUNS_PER_TICK, ascending=True).records

    def _report_failed_run(self, event: dg.EventLogRecord) -> None:
        run = self._instance.get_run_by_id(event.run_id)
        if run is not None and (self._was_canceled(run.run_id) or _is_postponed(run)):
            # The run was ended by a person, or postponed by a restart.
            return
        reported = self._list_causes_of_first_try(run) if run is not None else ()
        for (code, tenant_id), entries in self._list_causes(event.run_id).items():
            if (code, tenant_id) in reported:
                continue
            if tenant_id is None:
                self._notify_failed_run(event, run, code)
            else:
                self._notify_failed_organisation(code, tenant_id, event.run_id, entries)

    def _report_deleted_runs(self, since: datetime, *, known: Collection[str]) -> None:
        """Report the failed weeks of runs that somebody has deleted in Dagster, and their events with them.

        Only the sync log knows of them. A run that failed before its first week leaves no trace there.

        Args:
            known: runs whose end was seen before they were deleted.
        """
        for run_id in self._list_deleted_runs(self._log.list_newest(_ROWS_READ, status=SyncStatus.RUNNING)):
            if not is_run_alive(self._deployment.warehouse.locks, run_id):
                self._log.close_interrupted(run_id=run_id)
        ended = self._log.list_newest(_ROWS_READ, status=SyncStatus.FAILED, ended_since=since - _OVERLAP)
        for run_id in self._list_deleted_runs(ended):
            if run_id in known:
                continue
            for (code, tenant_id), entries in self._list_causes(run_id).items():
                if tenant_id is not None:
                    self._notify_failed_organisation(code, tenant_id, run_id, entries)

    def _list_deleted_runs(self, entries: Sequence[LogEntry]) -> list[str]:
        """List the runs that these rows name and that Dagster does not have, oldest first."""
        run_ids = dict.fromkeys(entry.dagster_run_id for entry in reversed(entries) if entry.dagster_run_id)
        return [run_id for run_id in run_ids if self._instance.get_run_by_id(run_id) is None]

    def _list_causes(self, run_id: str) -> dict[tuple[str, str | None], list[LogEntry]]:
        """Group a run's failed weeks by error code and organisation. Without any, the cause is the run itself."""
        causes: dict[tuple[str, str | None], list[LogEntry]] = defaultdict(list)
        for entry in self._log.list_for_run(run_id):
            if entry.status == SyncStatus.FAILED:
                causes[_read_error_code(entry), entry.tenant_id].append(entry)
        return causes or {(self._find_run_error_code(run_id), None): []}

    def _list_causes_of_first_try(self, run: dg.DagsterRun) -> Collection[tuple[str, str | None]]:
        """Return the causes that were reported for the failed run that Dagster retries with this one."""
        first_try = self._instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
        if RETRY_NUMBER not in run.tags or first_try is None or _is_postponed(first_try):
            return ()
        return self._list_causes(first_try.run_id).keys()

    def _was_canceled(self, run_id: str) -> bool:
        requests = self._instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_CANCELING, limit=1)
        return bool(requests.records)

    def _notify_failed_run(self, event: dg.EventLogRecord, run: dg.DagsterRun | None, code: str) -> None:
        """Report a run that failed outside any organisation's week. `run` is `None` once it has been deleted."""
        failure, weeks = get_failure_text(code), _list_periods(run) if run else []
        job = event.event_log_entry.job_name or "a run"
        subject = format_weeks(weeks) if weeks else job
        self._alerter.report_problem(
            f"run:{code}",
            f"Sync failed: {failure.summary}",
            f"A run failed: {failure.summary}.\n{_capitalise(subject)}.\n{self._format_closing(failure, event.run_id)}",
            {"code": code, "job": job, "failed_at": event.timestamp, "run": event.run_id},
            kind="run_failure",
            occurrence=event.run_id,
        )

    def _find_run_error_code(self, run_id: str) -> str:
        """Return the code of the error that ended a run: of the failed step, or else of the run itself."""
        names: list[str] = []
        event_types = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
        for record in self._instance.get_records_for_run(run_id, of_type=event_types).records:
            event = record.event_log_entry.dagster_event
            data = event.event_specific_data if event else None
            if isinstance(data, StepFailureData) and data.user_failure_data:
                # Our assets put the error codes into the failure's metadata.
                errors = data.user_failure_data.metadata.get("errors")
                codes = errors.value if isinstance(errors, dg.JsonMetadataValue) else None
                if isinstance(codes, list) and codes:
                    return str(codes[0])
            names += list_error_names(getattr(data, "error", None))
        return find_error_code(names)

    def _notify_failed_organisation(self, code: str, tenant_id: str, run_id: str, entries: Sequence[LogEntry]) -> None:
        """Report an organisation's failure in a run: as a lost connection if that caused it, else its weeks."""
        if not self._notify_if_connection_lost(code, tenant_id, run_id, entries):
            self._notify_failed_weeks(code, tenant_id, run_id, entries)

    def _notify_failed_weeks(self, code: str, tenant_id: str, run_id: str, entries: Sequence[LogEntry]) -> None:
        """Report weeks of an organisation that did not land."""
        cause, failure, name = f"{code}:{tenant_id}", get_failure_text(code), self._get_name(tenant_id)
        failures = self._read_open_details(cause, "failures")
        for entry in entries:
            failures.setdefault(entry.sync_type, {})[str(entry.week)] = entry.id
        weeks = parse_periods(failures)
        if code == "day_limit":
            failure = FailureText(failure.summary, f"{failure.advice} {self._describe_continuation(entries, weeks)}")
        sync_types = format_list(SYNC_TYPE_NAMES.get(sync_type, sync_type) for sync_type in failures)
        self._alerter.report_problem(
            cause,
            f"{name}: {failure.summary}",
            f"The sync of {name} failed: {failure.summary}.\n{_capitalise(format_weeks(weeks))}: {sync_types}.\n"
            f"{self._format_closing(failure, run_id)}",
            {"tenant_id": tenant_id, "code": code, "failures": failures, "run": run_id},
            kind="day_limit" if code == "day_limit" else "run_failure",
            occurrence=run_id,
        )

    def _notify_if_connection_lost(self, code: str, tenant_id: str, run_id: str, entries: Sequence[LogEntry]) -> bool:
        """Report a failure that a lost connection caused as that lost connection, and return whether it is one."""
        organisation = self._organisations.get(tenant_id)
        if organisation is None or code not in {"organisation_disconnected", "reconnect_needed"}:
            return False
        if organisation.status is ConnectionStatus.CONNECTED:
            # A failure from before the present consent is settled. A later one is reported like any other failure.
            return max(_get_end(entry) for entry in entries) < organisation.connected_at
        notify_lost_connection(self._alerter, organisation, run_id)
        return True

    def _report_recoveries(self) -> None:
        for alert in self._alerter.log.list_open("run_failure", "day_limit", "partial"):
            tenant_id = alert.details.get("tenant_id")
            if tenant_id is not None and tenant_id not in self._organisations:
                # The organisation was disconnected on purpose, so its weeks will not land.
                self._alerter.withdraw(alert.cause)
            elif "failures" in alert.details:
                self._report_if_weeks_landed(alert)
            elif alert.kind != "partial" and self._has_succeeded_since(alert):
                self._alerter.report_recovery(alert.cause, "A later sync has succeeded.")

    def _report_if_weeks_landed(self, alert: Alert) -> None:
        tenant_id, failures = alert.details["tenant_id"], alert.details["failures"]
        weeks = parse_periods(failures)
        since = min(week.ending for week in weeks)
        landed: dict[str, Mapping[Any, int]] = {}
        for period in (Week, Month):
            landed |= self._log.list_landed(tenant_id, since, period)
        if all(
            landed[sync_type].get(parse_period(sync_type, text), 0) > failed_id
            if isinstance(failed_id, int)
            # An alert of an older release names the moment of the failure, not its row.
            else self._is_last_sync_landed(tenant_id, sync_type, parse_period(sync_type, text))
            for sync_type, texts in failures.items()
            for text, failed_id in texts.items()
        ):
            self._alerter.report_recovery(
                alert.cause, f"{self._get_name(tenant_id)}, {format_weeks(weeks)}: every figure has landed since."
            )

    def _is_last_sync_landed(self, tenant_id: str, sync_type: str, week: Period) -> bool:
        last = self._log.get_last(tenant_id, sync_type, week)
        return last is not None and last.status in LANDED

    def _has_succeeded_since(self, alert: Alert) -> bool:
        """Whether a run of the same job, or any sync, has succeeded since the failure."""
        failed_at = float(alert.details["failed_at"])
        since = datetime.fromtimestamp(failed_at, UTC)
        wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=since)
        return any(
            record.dagster_run.job_name.startswith((*_OUR_JOBS, alert.details["job"]))
            and (record.end_time or 0.0) > failed_at
            for record in self._instance.get_run_records(wanted, limit=_MAX_RUNS_PER_TICK)
        )

    def _read_open_details(self, cause: str, field: str) -> Json:
        """Return a field of the cause's open alert. Empty when the cause is new or has recovered."""
        alert = self._alerter.log.get(cause)
        return dict(alert.details.get(field, {})) if alert is not None and alert.is_open else {}

    def _describe_continuation(self, entries: Sequence[LogEntry], periods: Sequence[Period]) -> str:
        retry_times = [_get_error_log(entry).get("retry_at") for entry in entries]
        known = [datetime.fromisoformat(retry_time) for retry_time in retry_times if retry_time]
        at = f"at {self._alerter.format_moment(max(known))}" if known else "tomorrow"
        sensors = [name for period, name in _SENSORS.items() if any(isinstance(one, period) for one in periods)]
        switched_off = [name for name in sensors if not is_running(self._instance, name)]
        if not switched_off:
            return f"The sync continues by itself {at}."
        return f"Sync again {at}, or switch {format_list(switched_off)} on: the sync then continues by itself."

    def _format_closing(self, failure: FailureText, run_id: str) -> str:
        return f"What to do: {failure.advice}\nRun: {self._alerter.build_run_url(run_id)}"

    def _get_name(self, tenant_id: str) -> str:
        organisation = self._organisations.get(tenant_id)
        return organisation.display_name if organisation else tenant_id


def _list_periods(run: dg.DagsterRun) -> list[Period]:
    return [*parse_run_periods(run, Week), *parse_run_periods(run, Month)]


def _is_postponed(run: dg.DagsterRun) -> bool:
    """Whether a run was told to end, as when Dagster is restarted, and Dagster retries it. That needs no alert."""
    return run.tags.get(_FAILURE_REASON) == _TOLD_TO_END and has_automatic_retry(run)


def _get_error_log(entry: LogEntry) -> Mapping[str, Any]:
    return entry.error_log if isinstance(entry.error_log, dict) else {}


def _read_error_code(entry: LogEntry) -> str:
    return str(_get_error_log(entry).get("error") or "unexpected")


def _get_end(entry: LogEntry) -> datetime:
    return entry.completed_at or entry.started_at


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def build_run_failure_alert_sensor(
    settings: Settings, *, opener: DeploymentOpener = open_deployment, interval_seconds: int = 30
) -> dg.SensorDefinition:
    """Build the sensor. It runs from the start."""

    @dg.sensor(
        name=ALERT_SENSOR,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the addresses in ALERT_URLS what failed, for which organisation and weeks, and what to "
        "do: once, then how often it happened again, then that it has recovered. Its tick fails when an alert "
        "cannot be posted. Starts no runs.",
    )
    def run_failure_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        with opener(settings) as deployment:
            alerter = open_alerter(deployment)
            summary = FailureMonitor(context.instance, deployment, alerter).evaluate()
            notify_access(deployment, alerter)
            alerter.flush()
        return dg.SkipReason(summary)

    return run_failure_alert
