"""What is reported about Dagster itself: failed ticks, schedules and sensors that have stopped, a dead daemon."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from xero_pipeline.automation.alerts import Alerter, AlertNotDelivered
from xero_pipeline.automation.dagster_health import AUTOMATIONS, DagsterMonitor, check_dagster, notify_failed_ticks
from xero_pipeline.dagster_internals import (
    InstigatorState,
    ScheduleInstigatorData,
    SensorInstigatorData,
    SerializableErrorInfo,
    TickStatus,
)
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline_tests.automation.scene import Inbox
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.dagster_internals import (
    DaemonHeartbeat,
    InProcessCodeLocationOrigin,
    InstigatorStatus,
    InstigatorType,
    LoadableTargetOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
    TickData,
)
from xero_pipeline_tests.migrated import make_tables


def make_error(
    name: str, message: str = "1,234.56", cause: SerializableErrorInfo | None = None
) -> SerializableErrorInfo:
    return SerializableErrorInfo(message=message, stack=[], cls_name=name, cause=cause)


class DagsterStorage:
    """Dagster's storage, written as its daemon writes it: states and ticks of schedules and sensors."""

    def __init__(self, instance: dg.DagsterInstance, clock: FakeClock) -> None:
        self.instance = instance
        self._clock = clock

    def write_state(
        self,
        name: str,
        *,
        status: InstigatorStatus = InstigatorStatus.RUNNING,
        location: str = "here",
        interval: int = 60,
    ) -> InstigatorState:
        target = LoadableTargetOrigin(module_name="xero_pipeline.definitions")
        origin = RemoteInstigatorOrigin(
            RemoteRepositoryOrigin(InProcessCodeLocationOrigin(target, location_name=location), "__repository__"), name
        )
        now = self._clock.now().timestamp()
        data: Any
        if name == "daily_sync":
            kind, data = InstigatorType.SCHEDULE, ScheduleInstigatorData("0 6 * * *", now)
        else:
            kind, data = InstigatorType.SENSOR, SensorInstigatorData(now, min_interval=interval)
        state = InstigatorState(origin, kind, status, data)
        if self.instance.get_instigator_state(state.instigator_origin_id, state.selector_id):
            return self.instance.update_instigator_state(state)
        return self.instance.add_instigator_state(state)

    def write_tick(
        self, name: str, status: TickStatus = TickStatus.SUCCESS, tick_error: SerializableErrorInfo | None = None
    ) -> None:
        state = self.write_state(name)
        moment = self._clock.now().timestamp()
        self.instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=name,
                instigator_type=state.instigator_type,
                status=status,
                timestamp=moment,
                end_timestamp=moment,
                error=tick_error,
                run_ids=["run-1"] if status is TickStatus.SUCCESS else None,
                skip_reason="nothing to do" if status is TickStatus.SKIPPED else None,
                selector_id=state.selector_id,
            )
        )

    def switch_off(self, name: str) -> None:
        self.write_state(name, status=InstigatorStatus.STOPPED)

    def send_heartbeat(self, *daemons: str) -> None:
        for daemon in daemons or ("SENSOR", "SCHEDULER", "BACKFILL"):
            self.instance.add_daemon_heartbeat(
                DaemonHeartbeat(self._clock.now().timestamp(), daemon, "daemon-1", errors=[])
            )


@pytest.fixture
def dagster(clock: FakeClock, tmp_path: Any) -> Iterator[DagsterStorage]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield DagsterStorage(instance, clock)


@pytest.fixture
def alerter(tmp_path: Any, clock: FakeClock, inbox: Inbox) -> Iterator[Alerter]:
    engine = open_engine(f"sqlite:///{tmp_path}/warehouse.db")
    make_tables(engine)
    yield Alerter(AlertLog(engine), [inbox.address], clock)
    engine.dispose()


@pytest.fixture
def monitor(alerter: Alerter, clock: FakeClock) -> DagsterMonitor:
    return DagsterMonitor(alerter, clock, timezone="Australia/Sydney")


def test_a_failed_tick_is_reported_once_in_plain_words_and_so_is_its_recovery(
    dagster: DagsterStorage, alerter: Alerter, inbox: Inbox, clock: FakeClock
) -> None:
    wrapped = make_error("SensorExecutionError", cause=make_error("XeroUnavailable"))
    dagster.write_tick("late_edits", TickStatus.FAILURE, wrapped)
    for _ in range(3):
        notify_failed_ticks(dagster.instance, alerter, AUTOMATIONS)
    [message] = inbox.take_messages()
    assert message.title == "late_edits does not work: Xero is unavailable, or the network is"
    assert "1,234.56" not in message.body
    clock.advance(seconds=30)
    dagster.write_tick("late_edits", TickStatus.SKIPPED)
    notify_failed_ticks(dagster.instance, alerter, AUTOMATIONS)
    notify_failed_ticks(dagster.instance, alerter, AUTOMATIONS)
    assert inbox.titles == ["Recovered: late_edits does not work: Xero is unavailable, or the network is"]


def test_each_failed_tick_counts(dagster: DagsterStorage, alerter: Alerter, inbox: Inbox, clock: FakeClock) -> None:
    for _ in range(4):
        dagster.write_tick("daily_sync", TickStatus.FAILURE, make_error("KeyError"))
        notify_failed_ticks(dagster.instance, alerter, AUTOMATIONS)
        clock.advance(minutes=1)
    clock.advance(minutes=30)
    alerter.flush()
    assert inbox.titles == [
        "daily_sync does not work: something went wrong (KeyError)",
        "daily_sync does not work: something went wrong (KeyError) (3 more)",
    ]


def test_a_sensor_that_was_switched_off_after_a_failure_has_no_open_alert(
    dagster: DagsterStorage, alerter: Alerter, inbox: Inbox
) -> None:
    dagster.write_tick("missing_weeks", TickStatus.FAILURE, make_error("KeyError"))
    notify_failed_ticks(dagster.instance, alerter, AUTOMATIONS)
    dagster.switch_off("missing_weeks")
    notify_failed_ticks(dagster.instance, alerter, AUTOMATIONS)
    assert len(inbox.messages) == 1
    assert alerter.log.list_open() == []


def test_ticks_of_other_sensors_are_not_reported(dagster: DagsterStorage, alerter: Alerter, inbox: Inbox) -> None:
    dagster.write_tick("somebody_else_s_sensor", TickStatus.FAILURE, make_error("KeyError"))
    notify_failed_ticks(dagster.instance, alerter, AUTOMATIONS)
    assert inbox.messages == []


def test_a_dead_daemon_is_reported_once_it_is_confirmed_and_so_is_its_recovery(
    dagster: DagsterStorage, monitor: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.send_heartbeat()
    for _ in range(15):
        clock.advance(minutes=1)
        monitor.evaluate(dagster.instance)
    [message] = inbox.take_messages()
    assert message.title == "Dagster's daemon has stopped"
    assert "Dagster's daemon has given no sign of life since 01:00. " in message.body
    dagster.send_heartbeat()
    monitor.evaluate(dagster.instance)
    monitor.evaluate(dagster.instance)
    assert inbox.titles == ["Recovered: Dagster's daemon has stopped"]


def test_a_dead_part_of_the_daemon_is_named(
    dagster: DagsterStorage, monitor: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.send_heartbeat()
    for _ in range(5):
        clock.advance(minutes=4)
        dagster.send_heartbeat("SENSOR", "BACKFILL")
        monitor.evaluate(dagster.instance)
    [message] = inbox.take_messages()
    assert message.title == "A part of Dagster's daemon has stopped"
    assert "Dagster's daemon (scheduler) has given no sign" in message.body


def test_a_daemon_that_was_never_started_is_not_reported(
    dagster: DagsterStorage, monitor: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    for _ in range(10):
        monitor.evaluate(dagster.instance)
        clock.advance(hours=1)
    assert inbox.messages == []


def test_nothing_is_reported_right_after_a_start_when_the_last_ticks_are_old(
    dagster: DagsterStorage, monitor: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.send_heartbeat()
    dagster.write_tick("late_edits")
    dagster.write_tick("daily_sync")
    clock.advance(days=20)
    monitor.evaluate(dagster.instance)
    clock.advance(minutes=1)
    dagster.send_heartbeat()
    dagster.write_tick("late_edits")
    monitor.evaluate(dagster.instance)
    clock.advance(minutes=1)
    dagster.write_tick("daily_sync")
    for _ in range(5):
        monitor.evaluate(dagster.instance)
        clock.advance(minutes=1)
        dagster.send_heartbeat()
        dagster.write_tick("late_edits")
    assert inbox.messages == []


def test_a_sensor_that_has_stopped_ticking_is_reported_but_not_one_that_is_switched_off(
    dagster: DagsterStorage, monitor: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.write_tick("late_edits")
    dagster.write_tick("missing_weeks")
    dagster.switch_off("missing_weeks")
    dagster.write_tick("connection_health")
    for _ in range(10):
        clock.advance(minutes=3)
        dagster.send_heartbeat()
        monitor.evaluate(dagster.instance, excluded=["connection_health"])
    [message] = inbox.take_messages()
    assert message.title == "late_edits has stopped"
    dagster.write_tick("late_edits")
    monitor.evaluate(dagster.instance, excluded=["connection_health"])
    assert inbox.titles == ["Recovered: late_edits has stopped"]


def test_a_stopped_sensor_that_is_then_switched_off_sends_no_further_message(
    dagster: DagsterStorage, monitor: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.write_tick("late_edits")
    for _ in range(10):
        clock.advance(minutes=3)
        monitor.evaluate(dagster.instance)
    assert len(inbox.take_messages()) == 1
    dagster.switch_off("late_edits")
    monitor.evaluate(dagster.instance)
    assert inbox.messages == []


def test_a_schedule_is_late_only_after_its_due_time_also_over_a_change_of_clocks(
    dagster: DagsterStorage, monitor: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    # 06:00 in Sydney is 19:00 UTC while daylight saving lasts, and 20:00 UTC from 5 April 2026.
    clock.moment = datetime(2026, 4, 3, 19, 0, tzinfo=UTC)
    dagster.write_tick("daily_sync")
    due = datetime(2026, 4, 4, 20, 0, tzinfo=UTC)
    for minutes in (-120, -60, -30, 0, 10, 15):
        clock.moment = due + timedelta(minutes=minutes)
        monitor.evaluate(dagster.instance)
    assert monitor.suspected == {}
    for minutes in (16, 19):
        assert inbox.messages == []
        clock.moment = due + timedelta(minutes=minutes)
        monitor.evaluate(dagster.instance)
    [message] = inbox.messages
    assert message.title == "daily_sync has stopped"
    assert "due at 20:00" in message.body


def test_a_missing_code_location_is_reported_by_whoever_can_know_it_and_closed_by_nobody_else(
    dagster: DagsterStorage, alerter: Alerter, clock: FakeClock, inbox: Inbox
) -> None:
    dagster.send_heartbeat()
    watchdog = DagsterMonitor(alerter, clock, timezone="UTC")
    check_dagster(dagster.instance, alerter, watchdog, has_code=False)
    assert inbox.titles == [], "right after a start, nothing is loaded yet"
    clock.advance(minutes=4)
    dagster.send_heartbeat()
    check_dagster(dagster.instance, alerter, watchdog, has_code=False)
    assert inbox.titles == ["Dagster has not loaded the pipeline's code"]
    # A sensor runs in a code location, and cannot know what the page's Dagster has loaded.
    DagsterMonitor(alerter, clock, timezone="UTC").evaluate(dagster.instance)
    check_dagster(dagster.instance, alerter, watchdog, has_code=None)
    assert len(inbox.titles) == 1
    check_dagster(dagster.instance, alerter, watchdog, has_code=True)
    assert inbox.titles[1:] == ["Recovered: Dagster has not loaded the pipeline's code"]


def test_a_state_that_a_renamed_code_location_left_behind_is_ignored(
    dagster: DagsterStorage, monitor: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.write_state("late_edits", location="the old name")
    for _ in range(5):
        clock.advance(minutes=8)
        dagster.write_tick("late_edits")
        monitor.evaluate(dagster.instance)
    assert inbox.messages == []


def test_a_suspected_problem_carries_over_to_a_monitor_in_another_process(
    dagster: DagsterStorage, alerter: Alerter, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.send_heartbeat()
    suspected: dict[str, str] = {}
    for _ in range(15):
        clock.advance(minutes=1)
        monitor = DagsterMonitor(alerter, clock, timezone="UTC", suspected=suspected)
        monitor.evaluate(dagster.instance)
        suspected = monitor.suspected
    assert inbox.titles == ["Dagster's daemon has stopped"]


def test_the_check_from_outside_also_covers_the_alert_sensor_and_sends_due_messages(
    dagster: DagsterStorage, alerter: Alerter, monitor: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.write_tick("run_failure_alert", TickStatus.FAILURE, make_error("NotMigrated"))
    alerter.report_problem("other", "Other", "other")
    alerter.report_problem("other", "Other", "other")
    check_dagster(dagster.instance, alerter, monitor)
    assert inbox.titles == ["Other", "run_failure_alert does not work: the database is not at the newest schema"]
    clock.advance(minutes=30)
    check_dagster(dagster.instance, alerter, monitor)
    assert "Other (1 more)" in inbox.titles


def test_an_undelivered_alert_does_not_become_another_alert(
    dagster: DagsterStorage,
    alerter: Alerter,
    monitor: DagsterMonitor,
    inbox: Inbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    inbox.works = False
    alerter.report_problem("other", "Other", "other")
    with pytest.raises(AlertNotDelivered):
        alerter.flush()
    dagster.write_tick("run_failure_alert", TickStatus.FAILURE, make_error("AlertNotDelivered"))
    check_dagster(dagster.instance, alerter, monitor)
    assert [alert.cause for alert in alerter.log.list_open()] == ["other"]
    assert "could not be posted to JSON at 127.0.0.1" in caplog.text
