"""What is told of Dagster itself: failed ticks, what has stopped ticking, a daemon that is dead."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from xero_pipeline.automation.alerts import Alerter, AlertNotDelivered
from xero_pipeline.automation.dagster_health import TICKING, DagsterMonitor, check_dagster, notify_failed_ticks
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


def error(name: str, message: str = "1,234.56", cause: SerializableErrorInfo | None = None) -> SerializableErrorInfo:
    return SerializableErrorInfo(message=message, stack=[], cls_name=name, cause=cause)


class Dagster:
    """Dagster's storage, written as its daemon writes it; each thing has a state and ticks."""

    def __init__(self, instance: dg.DagsterInstance, clock: FakeClock) -> None:
        self.instance = instance
        self._clock = clock

    def state(
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

    def tick(
        self, name: str, status: TickStatus = TickStatus.SUCCESS, failed: SerializableErrorInfo | None = None
    ) -> None:
        state = self.state(name)
        moment = self._clock.now().timestamp()
        self.instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=name,
                instigator_type=state.instigator_type,
                status=status,
                timestamp=moment,
                end_timestamp=moment,
                error=failed,
                run_ids=["run-1"] if status is TickStatus.SUCCESS else None,
                skip_reason="nothing to do" if status is TickStatus.SKIPPED else None,
                selector_id=state.selector_id,
            )
        )

    def switch_off(self, name: str) -> None:
        self.state(name, status=InstigatorStatus.STOPPED)

    def beat(self, *daemons: str) -> None:
        for daemon in daemons or ("SENSOR", "SCHEDULER", "BACKFILL"):
            self.instance.add_daemon_heartbeat(
                DaemonHeartbeat(self._clock.now().timestamp(), daemon, "daemon-1", errors=[])
            )


@pytest.fixture
def dagster(clock: FakeClock, tmp_path: Any) -> Iterator[Dagster]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield Dagster(instance, clock)


@pytest.fixture
def alerter(tmp_path: Any, clock: FakeClock, inbox: Inbox) -> Iterator[Alerter]:
    engine = open_engine(f"sqlite:///{tmp_path}/warehouse.db")
    make_tables(engine)
    yield Alerter(AlertLog(engine), [inbox.address], clock)
    engine.dispose()


@pytest.fixture
def watch(alerter: Alerter, clock: FakeClock) -> DagsterMonitor:
    return DagsterMonitor(alerter, clock, timezone="Australia/Sydney")


def test_a_failed_tick_is_told_once_in_words_and_that_it_works_again(
    dagster: Dagster, alerter: Alerter, inbox: Inbox, clock: FakeClock
) -> None:
    wrapped = error("SensorExecutionError", cause=error("XeroUnavailable"))
    dagster.tick("late_edits", TickStatus.FAILURE, wrapped)
    for _ in range(3):
        notify_failed_ticks(dagster.instance, alerter, TICKING)
    [message] = inbox.taken()
    assert message.title == "late_edits does not work: Xero is unavailable, or the network is"
    assert "1,234.56" not in message.body
    clock.advance(seconds=30)
    dagster.tick("late_edits", TickStatus.SKIPPED)
    notify_failed_ticks(dagster.instance, alerter, TICKING)
    notify_failed_ticks(dagster.instance, alerter, TICKING)
    assert inbox.titles == ["Recovered: late_edits does not work: Xero is unavailable, or the network is"]


def test_each_failed_tick_counts(dagster: Dagster, alerter: Alerter, inbox: Inbox, clock: FakeClock) -> None:
    for _ in range(4):
        dagster.tick("daily_sync", TickStatus.FAILURE, error("KeyError"))
        notify_failed_ticks(dagster.instance, alerter, TICKING)
        clock.advance(minutes=1)
    clock.advance(minutes=30)
    alerter.flush()
    assert inbox.titles == [
        "daily_sync does not work: something went wrong (KeyError)",
        "daily_sync does not work: something went wrong (KeyError) (3 more)",
    ]


def test_what_was_switched_off_after_it_failed_is_left_in_peace(
    dagster: Dagster, alerter: Alerter, inbox: Inbox
) -> None:
    dagster.tick("missing_weeks", TickStatus.FAILURE, error("KeyError"))
    notify_failed_ticks(dagster.instance, alerter, TICKING)
    dagster.switch_off("missing_weeks")
    notify_failed_ticks(dagster.instance, alerter, TICKING)
    assert len(inbox.messages) == 1
    assert alerter.log.open_alerts() == []


def test_the_ticks_of_others_are_not_ours_to_tell(dagster: Dagster, alerter: Alerter, inbox: Inbox) -> None:
    dagster.tick("somebody_else_s_sensor", TickStatus.FAILURE, error("KeyError"))
    notify_failed_ticks(dagster.instance, alerter, TICKING)
    assert inbox.messages == []


def test_a_daemon_that_has_died_is_told_once_it_is_certain_and_that_it_runs_again(
    dagster: Dagster, watch: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.beat()
    for _ in range(15):
        clock.advance(minutes=1)
        watch.look(dagster.instance)
    [message] = inbox.taken()
    assert message.title == "Dagster's daemon has stopped"
    assert "Dagster's daemon has given no sign of life since 01:00. " in message.body
    dagster.beat()
    watch.look(dagster.instance)
    watch.look(dagster.instance)
    assert inbox.titles == ["Recovered: Dagster's daemon has stopped"]


def test_a_part_of_the_daemon_that_has_died_is_named(
    dagster: Dagster, watch: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.beat()
    for _ in range(5):
        clock.advance(minutes=4)
        dagster.beat("SENSOR", "BACKFILL")
        watch.look(dagster.instance)
    [message] = inbox.taken()
    assert message.title == "A part of Dagster's daemon has stopped"
    assert "Dagster's daemon (scheduler) has given no sign" in message.body


def test_a_daemon_that_was_never_started_is_no_dead_one(
    dagster: Dagster, watch: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    for _ in range(10):
        watch.look(dagster.instance)
        clock.advance(hours=1)
    assert inbox.messages == []


def test_right_after_a_start_everything_looks_as_it_was_left_and_nothing_is_told(
    dagster: Dagster, watch: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.beat()
    dagster.tick("late_edits")
    dagster.tick("daily_sync")
    clock.advance(days=20)
    watch.look(dagster.instance)
    clock.advance(minutes=1)
    dagster.beat()
    dagster.tick("late_edits")
    watch.look(dagster.instance)
    clock.advance(minutes=1)
    dagster.tick("daily_sync")
    for _ in range(5):
        watch.look(dagster.instance)
        clock.advance(minutes=1)
        dagster.beat()
        dagster.tick("late_edits")
    assert inbox.messages == []


def test_a_sensor_that_has_stopped_ticking_is_told_but_not_one_that_is_switched_off(
    dagster: Dagster, watch: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.tick("late_edits")
    dagster.tick("missing_weeks")
    dagster.switch_off("missing_weeks")
    dagster.tick("connection_health")
    for _ in range(10):
        clock.advance(minutes=3)
        dagster.beat()
        watch.look(dagster.instance, but=["connection_health"])
    [message] = inbox.taken()
    assert message.title == "late_edits has stopped"
    dagster.tick("late_edits")
    watch.look(dagster.instance, but=["connection_health"])
    assert inbox.titles == ["Recovered: late_edits has stopped"]


def test_a_sensor_that_was_switched_off_after_it_had_stopped_is_left_in_peace(
    dagster: Dagster, watch: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.tick("late_edits")
    for _ in range(10):
        clock.advance(minutes=3)
        watch.look(dagster.instance)
    assert len(inbox.taken()) == 1
    dagster.switch_off("late_edits")
    watch.look(dagster.instance)
    assert inbox.messages == []


def test_a_schedule_is_late_only_when_its_time_has_come_also_over_a_change_of_clocks(
    dagster: Dagster, watch: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    # Six in the morning in Sydney is 19:00 UTC while daylight saving lasts, and 20:00 UTC from 5 April 2026.
    clock.moment = datetime(2026, 4, 3, 19, 0, tzinfo=UTC)
    dagster.tick("daily_sync")
    due = datetime(2026, 4, 4, 20, 0, tzinfo=UTC)
    for minutes in (-120, -60, -30, 0, 10, 15):
        clock.moment = due + timedelta(minutes=minutes)
        watch.look(dagster.instance)
    assert watch.suspected == {}
    for minutes in (16, 19):
        assert inbox.messages == []
        clock.moment = due + timedelta(minutes=minutes)
        watch.look(dagster.instance)
    [message] = inbox.messages
    assert message.title == "daily_sync has stopped"
    assert "due at 20:00" in message.body


def test_a_state_that_a_renamed_code_location_left_behind_alarms_nobody(
    dagster: Dagster, watch: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.state("late_edits", location="the old name")
    for _ in range(5):
        clock.advance(minutes=8)
        dagster.tick("late_edits")
        watch.look(dagster.instance)
    assert inbox.messages == []


def test_suspicion_survives_from_one_look_to_the_next_of_another_process(
    dagster: Dagster, alerter: Alerter, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.beat()
    suspected: dict[str, str] = {}
    for _ in range(15):
        clock.advance(minutes=1)
        watch = DagsterMonitor(alerter, clock, timezone="UTC", suspected=suspected)
        watch.look(dagster.instance)
        suspected = watch.suspected
    assert inbox.titles == ["Dagster's daemon has stopped"]


def test_from_outside_also_the_alerting_sensor_itself_is_watched_and_what_is_due_is_sent(
    dagster: Dagster, alerter: Alerter, watch: DagsterMonitor, inbox: Inbox, clock: FakeClock
) -> None:
    dagster.tick("run_failure_alert", TickStatus.FAILURE, error("NotMigrated"))
    alerter.problem("other", "Other", "other")
    alerter.problem("other", "Other", "other")
    check_dagster(dagster.instance, alerter, watch)
    assert inbox.titles == ["Other", "run_failure_alert does not work: the database is not at the newest schema"]
    clock.advance(minutes=30)
    check_dagster(dagster.instance, alerter, watch)
    assert "Other (1 more)" in inbox.titles


def test_an_alert_that_cannot_be_posted_is_not_told_by_the_way_that_is_broken(
    dagster: Dagster,
    alerter: Alerter,
    watch: DagsterMonitor,
    inbox: Inbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    inbox.works = False
    alerter.problem("other", "Other", "other")
    with pytest.raises(AlertNotDelivered):
        alerter.flush()
    dagster.tick("run_failure_alert", TickStatus.FAILURE, error("AlertNotDelivered"))
    check_dagster(dagster.instance, alerter, watch)
    assert [alert.cause for alert in alerter.log.open_alerts()] == ["other"]
    assert "could not be posted to JSON at 127.0.0.1" in caplog.text
