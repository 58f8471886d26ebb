"""Checks Dagster itself: its daemon, and the schedule and sensors that are switched on.

Dagster tells nobody when a tick fails, when a sensor stops ticking, or when its daemon is dead. The sensor that always
runs reports failed ticks (`notify_failed_ticks`). What has stopped is reported by what still runs: the sensor
`connection_health`, and a process outside Dagster (`check_dagster`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from xero_pipeline.automation.alerts import Alerter, AlertNotDelivered
from xero_pipeline.automation.failure_text import find_error_code, format_list, get_failure_text
from xero_pipeline.clock import Clock
from xero_pipeline.dagster_internals import (
    InstigatorState,
    InstigatorTick,
    ScheduleInstigatorData,
    SensorInstigatorData,
    SerializableErrorInfo,
    TickStatus,
    cron_string_iterator,
)

log = logging.getLogger(__name__)

ALERT_SENSOR = "run_failure_alert"
HEALTH_SENSOR = "connection_health"
DIGEST_SENSOR = "weekly_digest"
# The cause of the alert that no code location serves the pipeline.
_NO_CODE = "code_location"
# Our schedule and sensors, by their names in Dagster's UI. All but `daily_sync` are sensors.
AUTOMATIONS = (
    "daily_sync",
    "missing_weeks",
    "missing_months",
    "late_edits",
    "reconciliation",
    "remaining_organisations",
    HEALTH_SENSOR,
    DIGEST_SENSOR,
    ALERT_SENSOR,
)

# Dagster's daemons send a heartbeat every 30 s. A slow tick or a reload may hold them up.
MAX_HEARTBEAT_AGE = timedelta(minutes=10)
# A tick is not late before this, however short its interval.
TICK_GRACE = timedelta(minutes=15)
# How long a problem must have been seen before it is reported: right after a start, everything looks stopped.
CONFIRM_AFTER = timedelta(minutes=3)

_ENDED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


@dataclass(frozen=True, slots=True)
class HealthProblem:
    """A problem of Dagster's, as title and text of an alert."""

    title: str
    text: str


def list_error_names(error: SerializableErrorInfo | None) -> list[str]:
    """List the class names of an error and its causes, outermost first."""
    names = []
    while error is not None:
        names.append(error.cls_name or "")
        error = error.cause or error.context
    return [name for name in names if name]


def notify_failed_ticks(instance: dg.DagsterInstance, alerter: Alerter, names: Collection[str]) -> None:
    """Report every schedule and sensor whose last tick failed, and every one that works again."""
    open_alerts = {alert.cause: alert for alert in alerter.log.list_open("tick")}
    for name, state in _read_states(instance, names).items():
        cause = f"tick:{name}"
        if not state.is_running:
            if cause in open_alerts:
                alerter.withdraw(cause)
            continue
        tick = _read_last_tick(instance, state)
        if tick is None:
            continue
        if tick.status is not TickStatus.FAILURE:
            if cause in open_alerts:
                alerter.report_recovery(cause, f"{name} works again.")
        elif cause not in open_alerts or open_alerts[cause].details.get("tick") != tick.tick_id:
            _report_failed_tick(alerter, cause, name, tick)


def _report_failed_tick(alerter: Alerter, cause: str, name: str, tick: InstigatorTick) -> None:
    code = find_error_code(list_error_names(tick.error))
    if code == AlertNotDelivered.code:
        # The admin page shows it. An alert about it would go the way that is broken.
        return
    failure = get_failure_text(code)
    alerter.report_problem(
        cause,
        f"{name} does not work: {failure.summary}",
        f"{name} failed when it was due: {failure.summary}.\nUntil it works again, it does nothing. What it missed "
        "is done afterwards.\n"
        f"What to do: {failure.advice} In Dagster's UI, under Automation, {name} shows each try.",
        {"tick": tick.tick_id, "code": code},
        kind="tick",
        occurrence=str(tick.tick_id),
    )


class DagsterMonitor:
    """Checks Dagster from time to time, and reports what has stopped.

    Args:
        timezone: the time zone of the schedule's cron line.
        suspected: since when each problem has been seen, by cause (ISO 8601): the `suspected` of an earlier monitor,
            when this one continues in another process.
    """

    def __init__(
        self, alerter: Alerter, clock: Clock, *, timezone: str, suspected: Mapping[str, str] | None = None
    ) -> None:
        self._alerter = alerter
        self._clock = clock
        self._timezone = timezone
        self.suspected = dict(suspected or {})

    def evaluate(
        self, instance: dg.DagsterInstance, *, excluded: Collection[str] = (), has_code: bool | None = None
    ) -> None:
        """Report problems that have lasted for `CONFIRM_AFTER`, and recoveries.

        Args:
            excluded: names of sensors and schedules that are not checked.
            has_code: whether one of Dagster's code locations serves the pipeline; `None` if the caller cannot know.
        """
        now = self._clock.now()
        problems = dict(self._find_problems(instance, now, excluded))
        if has_code is False:
            problems[_NO_CODE] = _NO_CODE_PROBLEM
        self.suspected = {cause: self.suspected.get(cause, now.isoformat()) for cause in problems}
        open_causes = {alert.cause for alert in self._alerter.log.list_open("dagster")}
        for cause, problem in problems.items():
            since = self.suspected[cause]
            if cause not in open_causes and now - datetime.fromisoformat(since) >= CONFIRM_AFTER:
                self._alerter.report_problem(cause, problem.title, problem.text, kind="dagster", occurrence=since)
        running = {name for name, state in _read_states(instance, AUTOMATIONS).items() if state.is_running}
        for cause in open_causes - set(problems):
            if cause == _NO_CODE and has_code is None:
                continue
            name = cause.removeprefix("stopped:")
            if cause.startswith("stopped:") and (name in excluded or "dagster_daemon" in problems):
                continue
            if cause.startswith("stopped:") and name not in running:
                self._alerter.withdraw(cause)
            else:
                self._alerter.report_recovery(cause, "It runs again.")

    def _find_problems(
        self, instance: dg.DagsterInstance, now: datetime, excluded: Collection[str]
    ) -> Iterator[tuple[str, HealthProblem]]:
        """Yield each problem with its cause. While the daemon is silent, it is the only problem."""
        heartbeats = _read_heartbeats(instance)
        silent = {name: at for name, at in heartbeats.items() if at + MAX_HEARTBEAT_AGE < now}
        if silent:
            yield "dagster_daemon", self._describe_silence(silent, len(silent) == len(heartbeats))
            return
        for name, state in _read_states(instance, AUTOMATIONS).items():
            due_at = self._compute_due_time(instance, state)
            if name not in excluded and state.is_running and due_at is not None and due_at + TICK_GRACE < now:
                yield (
                    f"stopped:{name}",
                    HealthProblem(
                        f"{name} has stopped",
                        f"{name} is switched on, but has not run since it was due at "
                        f"{self._alerter.format_moment(due_at)}.\nWhat to do: restart Dagster; if that does not "
                        "help, switch it off and on in Dagster's UI, under Automation.",
                    ),
                )

    def _describe_silence(self, silent: Mapping[str, datetime], all_of_them: bool) -> HealthProblem:
        names = format_list(sorted(name.lower().removesuffix("_daemon").replace("_", " ") for name in silent))
        since = self._alerter.format_moment(min(silent.values()))
        return HealthProblem(
            "Dagster's daemon has stopped" if all_of_them else "A part of Dagster's daemon has stopped",
            f"Dagster's daemon{'' if all_of_them else f' ({names})'} has given no sign of life since {since}. "
            "Its work is not done until it runs again; what was missed is then filled in.\n"
            "What to do: start Dagster again.",
        )

    def _compute_due_time(self, instance: dg.DagsterInstance, state: InstigatorState) -> datetime | None:
        """Return when the tick after the last one is due; `None` if that cannot be known."""
        data = state.instigator_data
        last = _read_last_activity(instance, state)
        if last is None:
            return None
        if isinstance(data, ScheduleInstigatorData):
            cron = data.cron_schedule if isinstance(data.cron_schedule, str) else data.cron_schedule[0]
            return next(cron_string_iterator(last + 1, cron, self._timezone)).astimezone(UTC)
        interval = data.min_interval if isinstance(data, SensorInstigatorData) else None
        return datetime.fromtimestamp(last, UTC) + 2 * timedelta(seconds=interval or 30)


_NO_CODE_PROBLEM = HealthProblem(
    "Dagster has not loaded the pipeline's code",
    "No code location of Dagster has the job weekly_sync, so nothing is synced and no button of the page works.\n"
    "What to do: start the code server that workspace.yaml names, or correct workspace.yaml; in Dagster's UI, "
    "Deployment shows why a code location was not loaded.",
)


def check_dagster(
    instance: dg.DagsterInstance, alerter: Alerter, monitor: DagsterMonitor, *, has_code: bool | None = None
) -> None:
    """Check Dagster from a thread of another process, which can report a dead daemon.

    Also reports a failing alert sensor, and sends messages that are due. A message that cannot be posted is logged
    here, and the status shows it.

    Args:
        has_code: see `DagsterMonitor.evaluate`.
    """
    monitor.evaluate(instance, has_code=has_code)
    notify_failed_ticks(instance, alerter, [ALERT_SENSOR])
    try:
        alerter.flush()
    except AlertNotDelivered as error:
        log.warning("%s", error)


def is_running(instance: dg.DagsterInstance, name: str) -> bool:
    """Whether the schedule or sensor of that name is switched on."""
    state = _read_states(instance, [name]).get(name)
    return state is not None and state.is_running


def _read_states(instance: dg.DagsterInstance, names: Collection[str]) -> dict[str, InstigatorState]:
    """Read Dagster's states of these schedules and sensors.

    A renamed code location leaves its old states behind. Of two states with one name, the more recently active one
    is returned.
    """
    states: dict[str, InstigatorState] = {}
    if instance.schedule_storage is None:
        # An in-memory instance, as in a test or a notebook: nothing ticks there.
        return states
    for state in instance.all_instigator_state():
        name = state.instigator_name
        if name in names:
            other = states.get(name)
            if other is None or (_read_last_activity(instance, state) or 0) > (
                _read_last_activity(instance, other) or 0
            ):
                states[name] = state
    return states


def _read_last_tick(instance: dg.DagsterInstance, state: InstigatorState) -> InstigatorTick | None:
    """Read the last tick that has ended."""
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=_ENDED)
    return ticks[0] if ticks else None


def _read_last_activity(instance: dg.DagsterInstance, state: InstigatorState) -> float | None:
    """Return when it last ticked or was switched on, in seconds since 1970."""
    data = state.instigator_data
    moments: list[float | None] = [tick.timestamp for tick in filter(None, [_read_last_tick(instance, state)])]
    if isinstance(data, ScheduleInstigatorData):
        moments.append(data.start_timestamp)
    elif isinstance(data, SensorInstigatorData):
        moments += [
            data.last_tick_timestamp,
            data.last_tick_start_timestamp,
            data.last_sensor_start_timestamp,
        ]
    return max((moment for moment in moments if moment), default=None)


def _read_heartbeats(instance: dg.DagsterInstance) -> dict[str, datetime]:
    """Read when the parts of the daemon that this deployment needs last sent a heartbeat.

    A part that never sent one was never started. That is no failure to report here.
    """
    needed = set(instance.get_required_daemon_types())
    return {
        name: datetime.fromtimestamp(heartbeat.timestamp, UTC)
        for name, heartbeat in instance.get_daemon_heartbeats().items()
        if not needed or name in needed
    }
