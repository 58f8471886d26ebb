"""Whether Dagster itself is well: its daemon, and the schedule and sensors that are switched on.

Dagster tells nobody when a tick fails, when a sensor stops ticking, or when its daemon is dead. Failed ticks
are told by the sensor that always runs (`tell_failed_ticks`); what has stopped is told by whoever still
runs: the sensor `connection_health`, and a process that is no part of Dagster (`check_dagster`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from xero_pipeline.automation.alerts import Alerter, AlertNotDelivered
from xero_pipeline.automation.failure_text import code_of, failure_text, format_list
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

ALERTING = "run_failure_alert"
HEALTH = "connection_health"
# What ticks here, by the names that people see in Dagster's UI. All but the schedule are sensors.
TICKING = ("daily_sync", "missing_weeks", "late_edits", HEALTH, ALERTING)

# Dagster's daemons say that they live every 30 s, and may be held up by a slow tick or a reload.
DAEMON_SILENCE = timedelta(minutes=10)
# Nothing that ticks is late before this, however short its interval.
LATE = timedelta(minutes=15)
# A trouble must have been seen for so long: after a start, everything looks as it was left.
CONFIRM = timedelta(minutes=3)

_ENDED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


@dataclass(frozen=True, slots=True)
class HealthProblem:
    title: str
    text: str


def error_names(error: SerializableErrorInfo | None) -> list[str]:
    """The class names of an error and its causes, the outermost first."""
    names = []
    while error is not None:
        names.append(error.cls_name or "")
        error = error.cause or error.context
    return [name for name in names if name]


def notify_failed_ticks(instance: dg.DagsterInstance, alerter: Alerter, names: Collection[str]) -> None:
    """Tell of every schedule and sensor whose last tick failed, and of those that are well again."""
    known = {alert.cause: alert for alert in alerter.log.open_alerts("tick")}
    for name, state in _states(instance, names).items():
        cause = f"tick:{name}"
        if not state.is_running:
            if cause in known:
                alerter.withdraw(cause)
            continue
        tick = _last_tick(instance, state)
        if tick is None:
            continue
        if tick.status is not TickStatus.FAILURE:
            if cause in known:
                alerter.recovered(cause, f"{name} works again.")
        elif cause not in known or known[cause].details.get("tick") != tick.tick_id:
            _tell_tick(alerter, cause, name, tick)


def _tell_tick(alerter: Alerter, cause: str, name: str, tick: InstigatorTick) -> None:
    code = code_of(error_names(tick.error))
    if code == AlertNotDelivered.code:
        # Said where it can be seen, on the admin page: telling it by the way that is broken helps nobody.
        return
    words = failure_text(code)
    alerter.problem(
        cause,
        f"{name} does not work: {words.what}",
        f"{name} failed when it was due: {words.what}.\nUntil it works, what it does is not done.\n"
        f"What to do: {words.to_do} In Dagster's UI, under Automation, {name} shows each try.",
        {"tick": tick.tick_id, "code": code},
        kind="tick",
        occurrence=str(tick.tick_id),
    )


class DagsterMonitor:
    """Looks at Dagster from time to time, and tells when something has stopped.

    Args:
        timezone: the zone that the schedule's cron line is in.
        suspected: since when each trouble has been seen; from `suspected` of an earlier look, where this
            one begins in another process.
    """

    def __init__(
        self, alerter: Alerter, clock: Clock, *, timezone: str, suspected: Mapping[str, str] | None = None
    ) -> None:
        self._alerter = alerter
        self._clock = clock
        self._timezone = timezone
        self.suspected = dict(suspected or {})

    def look(self, instance: dg.DagsterInstance, *, but: Collection[str] = ()) -> None:
        """Tell what has been in trouble for a while, and what is well again.

        Args:
            but: names that are not looked at.
        """
        now = self._clock.now()
        troubles = dict(self._troubles(instance, now, but))
        self.suspected = {cause: self.suspected.get(cause, now.isoformat()) for cause in troubles}
        known = {alert.cause for alert in self._alerter.log.open_alerts("dagster")}
        for cause, trouble in troubles.items():
            since = self.suspected[cause]
            if cause not in known and now - datetime.fromisoformat(since) >= CONFIRM:
                self._alerter.problem(cause, trouble.title, trouble.text, kind="dagster", occurrence=since)
        running = {name for name, state in _states(instance, TICKING).items() if state.is_running}
        for cause in known - set(troubles):
            name = cause.removeprefix("stopped:")
            if cause.startswith("stopped:") and (name in but or "dagster_daemon" in troubles):
                continue
            if cause.startswith("stopped:") and name not in running:
                self._alerter.withdraw(cause)
            else:
                self._alerter.recovered(cause, "It runs again.")

    def _troubles(
        self, instance: dg.DagsterInstance, now: datetime, but: Collection[str]
    ) -> Iterator[tuple[str, HealthProblem]]:
        beats = _heartbeats(instance)
        silent = {name: at for name, at in beats.items() if at + DAEMON_SILENCE < now}
        if silent:
            yield "dagster_daemon", self._silence(silent, len(silent) == len(beats))
            return
        for name, state in _states(instance, TICKING).items():
            expected = self._expected(instance, state)
            if name not in but and state.is_running and expected is not None and expected + LATE < now:
                yield (
                    f"stopped:{name}",
                    HealthProblem(
                        f"{name} has stopped",
                        f"{name} is switched on, but has not run since it was due at "
                        f"{self._alerter.when(expected)}.\nWhat to do: restart Dagster; if that does not "
                        "help, switch it off and on in Dagster's UI, under Automation.",
                    ),
                )

    def _silence(self, silent: Mapping[str, datetime], all_of_them: bool) -> HealthProblem:
        names = format_list(sorted(name.lower().removesuffix("_daemon").replace("_", " ") for name in silent))
        since = self._alerter.when(min(silent.values()))
        return HealthProblem(
            "Dagster's daemon has stopped" if all_of_them else "A part of Dagster's daemon has stopped",
            f"Dagster's daemon{'' if all_of_them else f' ({names})'} has given no sign of life since {since}. "
            "What it does is not done until it runs again; what was missed is then filled in.\n"
            "What to do: start Dagster again.",
        )

    def _expected(self, instance: dg.DagsterInstance, state: InstigatorState) -> datetime | None:
        """When it ought to have ticked after its last tick; `None` where that cannot be known."""
        data = state.instigator_data
        last = _last_activity(instance, state)
        if last is None:
            return None
        if isinstance(data, ScheduleInstigatorData):
            cron = data.cron_schedule if isinstance(data.cron_schedule, str) else data.cron_schedule[0]
            return next(cron_string_iterator(last + 1, cron, self._timezone)).astimezone(UTC)
        interval = data.min_interval if isinstance(data, SensorInstigatorData) else None
        return datetime.fromtimestamp(last, UTC) + 2 * timedelta(seconds=interval or 30)


def check_dagster(instance: dg.DagsterInstance, alerter: Alerter, watch: DagsterMonitor) -> None:
    """Look at Dagster from outside, where a dead daemon can be told of: for a thread of another process.

    Also tells when the alerting sensor itself fails, and sends what is due. A broken alert is logged here;
    the status shows it.
    """
    watch.look(instance)
    notify_failed_ticks(instance, alerter, [ALERTING])
    try:
        alerter.flush()
    except AlertNotDelivered as error:
        log.warning("%s", error)


def is_running(instance: dg.DagsterInstance, name: str) -> bool:
    """Whether the schedule or sensor of that name is switched on."""
    state = _states(instance, [name]).get(name)
    return state is not None and state.is_running


def _states(instance: dg.DagsterInstance, names: Collection[str]) -> dict[str, InstigatorState]:
    """Our schedule and sensors as Dagster keeps them.

    A code location that was renamed leaves its old states behind: of two, the one that was last alive counts.
    """
    found: dict[str, InstigatorState] = {}
    if instance.schedule_storage is None:
        # An instance in memory, as a test or a notebook has: nothing ticks there.
        return found
    for state in instance.all_instigator_state():
        name = state.instigator_name
        if name in names:
            other = found.get(name)
            if other is None or (_last_activity(instance, state) or 0) > (_last_activity(instance, other) or 0):
                found[name] = state
    return found


def _last_tick(instance: dg.DagsterInstance, state: InstigatorState) -> InstigatorTick | None:
    """The last tick that has ended."""
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=_ENDED)
    return ticks[0] if ticks else None


def _last_activity(instance: dg.DagsterInstance, state: InstigatorState) -> float | None:
    """When it last ticked or was switched on, in seconds since 1970."""
    data = state.instigator_data
    moments: list[float | None] = [tick.timestamp for tick in filter(None, [_last_tick(instance, state)])]
    if isinstance(data, ScheduleInstigatorData):
        moments.append(data.start_timestamp)
    elif isinstance(data, SensorInstigatorData):
        moments += [
            data.last_tick_timestamp,
            data.last_tick_start_timestamp,
            data.last_sensor_start_timestamp,
        ]
    return max((moment for moment in moments if moment), default=None)


def _heartbeats(instance: dg.DagsterInstance) -> dict[str, datetime]:
    """When the parts of the daemon that this deployment needs last gave a sign of life.

    One that never did was never started, which is for whoever starts things to know.
    """
    needed = set(instance.get_required_daemon_types())
    return {
        name: datetime.fromtimestamp(beat.timestamp, UTC)
        for name, beat in instance.get_daemon_heartbeats().items()
        if not needed or name in needed
    }
