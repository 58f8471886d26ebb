"""What is reported about failed runs and weeks: once, then with a count, then once on recovery."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg
import pytest

from xero_pipeline.automation import failure_alert
from xero_pipeline.automation.alerts import AlertNotDelivered
from xero_pipeline.periods import Month, Period
from xero_pipeline.run_liveness import WORKER_TAG, hold_run_lock
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline_tests.automation.scene import DEMO, OTHER, WEEK, Scene


def test_a_failing_run_sends_one_message_that_says_what_where_when_and_what_to_do(scene: Scene) -> None:
    run = scene.fail_run(weeks=(WEEK.shift(-2), WEEK))
    scene.evaluate()
    scene.evaluate()
    [message] = scene.inbox.messages
    assert message.title == "Demo Company: Xero is unavailable, or the network is"
    assert message.kind == "failure"
    assert "Weeks ending 2026-11-07 to 2026-11-21: " in message.body
    assert "profit and loss" in message.body
    assert "What to do: Nothing needs to be done" in message.body
    assert message.body.endswith(f"http://localhost:3001/dagster/runs/{run.run_id}")


def test_no_message_contains_a_figure_or_the_error_s_own_text(scene: Scene) -> None:
    scene.fail_run(code="payload_not_understood")
    scene.land(status="partial", week=WEEK.previous)
    scene.evaluate()
    assert len(scene.inbox.messages) == 2
    for message in scene.inbox.messages:
        assert "1,234.56" not in message.body
        assert "1234.56" not in message.body
        assert "words with" not in message.body


def test_ten_failing_runs_in_a_row_send_one_message_then_one_with_nine_more(scene: Scene) -> None:
    for _ in range(10):
        scene.fail_run()
        scene.clock.advance(minutes=1)
        scene.evaluate()
    assert len(scene.inbox.take_messages()) == 1
    scene.clock.advance(minutes=30)
    scene.evaluate()
    [again] = scene.inbox.take_messages()
    assert "(9 more)" in again.title
    assert "9 more since 12:01." in again.body
    scene.clock.advance(hours=2)
    scene.evaluate()
    assert scene.inbox.take_messages() == []


def test_ten_runs_that_failed_before_the_first_tick_are_one_message_that_counts_them(scene: Scene) -> None:
    for _ in range(10):
        scene.fail_run()
    scene.evaluate()
    assert len(scene.inbox.take_messages()) == 1
    scene.clock.advance(minutes=30)
    scene.evaluate()
    assert [message.title[-8:] for message in scene.inbox.take_messages()] == ["(9 more)"]


def test_recovery_sends_one_message_with_the_count_of_unposted_failures(scene: Scene) -> None:
    for _ in range(3):
        scene.fail_run()
        scene.evaluate()
    scene.inbox.take_messages()
    scene.land()
    scene.evaluate()
    scene.evaluate()
    [message] = scene.inbox.take_messages()
    assert message.title == "Recovered: Demo Company: Xero is unavailable, or the network is"
    assert message.kind == "success"
    assert "2 more times" in message.body
    scene.clock.advance(hours=1)
    scene.evaluate()
    assert scene.inbox.take_messages() == []


def test_recovery_needs_every_failed_week_and_kind_to_have_landed_since(scene: Scene) -> None:
    scene.land(WEEK)  # before the failure: that does not count
    scene.fail_run(weeks=(WEEK.previous, WEEK))
    scene.evaluate()
    scene.inbox.take_messages()
    scene.land(WEEK)
    scene.evaluate()
    scene.land(WEEK.previous, sync_types=["invoices", "bank_summary"])
    scene.evaluate()
    assert scene.inbox.take_messages() == []
    scene.land(WEEK.previous, sync_types=["profit_and_loss"])
    scene.evaluate()
    assert [message.kind for message in scene.inbox.take_messages()] == ["success"]


def test_each_organisation_and_each_kind_of_error_is_a_separate_cause(scene: Scene) -> None:
    scene.connect(DEMO, OTHER)
    scene.fail_run(tenants=[DEMO.tenant_id, OTHER.tenant_id])
    scene.fail_run(code="request_refused")
    scene.evaluate()
    assert sorted(scene.inbox.titles) == [
        "Demo Company: Xero is unavailable, or the network is",
        "Demo Company: Xero refused a request",
        "Other Company: Xero is unavailable, or the network is",
    ]


def test_only_the_first_attempt_is_reported_not_its_automatic_retries(scene: Scene) -> None:
    first = scene.fail_run(tags={"dagster/will_retry": "true"})
    scene.fail_run(retry_of=first)
    scene.evaluate()
    scene.clock.advance(hours=1)
    scene.evaluate()
    assert len(scene.inbox.messages) == 1


def test_a_retry_that_fails_for_another_reason_is_reported(scene: Scene) -> None:
    first = scene.fail_run(tags={"dagster/will_retry": "true"}, code="interrupted")
    scene.fail_run(retry_of=first, code="request_refused")
    scene.evaluate()
    assert [title.partition(": ")[2] for title in scene.inbox.titles] == [
        "the sync was cut off before it ended: its process was stopped or died",
        "Xero refused a request",
    ]


POSTPONED = {"dagster/will_retry": "true", "dagster/failure_reason": "UNEXPECTED_TERMINATION"}


def test_a_run_that_a_restart_postpones_is_reported_only_if_it_fails_again(scene: Scene) -> None:
    postponed = scene.fail_run(tags=POSTPONED, code="interrupted")
    scene.evaluate()
    assert scene.inbox.messages == []
    scene.fail_run(retry_of=postponed, code="interrupted")
    scene.evaluate()
    [title] = scene.inbox.titles
    assert title.startswith("Demo Company: the sync was cut off")


def test_a_terminated_run_without_an_automatic_retry_is_reported(scene: Scene) -> None:
    scene.fail_run(tags=POSTPONED | {"dagster/will_retry": "false"}, code="interrupted")
    scene.evaluate()
    assert len(scene.inbox.messages) == 1


def test_a_run_whose_process_died_unnoticed_is_ended_and_reported(scene: Scene) -> None:
    run = scene.start_run(tags={WORKER_TAG: "a-machine/1"})
    scene.deployment.warehouse.log.start(DEMO.tenant_id, "invoices", WEEK, run.run_id)
    scene.evaluate()
    assert scene.deployment.warehouse.log.list_newest(5, status="running") == []
    [title] = scene.inbox.titles
    assert title.startswith("Demo Company: the sync was cut off")


def test_a_run_that_a_person_cancelled_is_not_reported(scene: Scene) -> None:
    run = scene.start_run()
    scene.instance.report_run_canceling(run)
    scene.instance.report_run_canceled(run)
    other = scene.start_run()
    scene.deployment.warehouse.log.start(DEMO.tenant_id, "invoices", WEEK, other.run_id)
    scene.instance.report_run_canceling(other)
    scene.instance.report_run_failed(other)
    scene.evaluate()
    scene.instance.delete_run(other.run_id)
    scene.evaluate()
    assert scene.inbox.messages == []


def test_a_failed_run_that_was_deleted_before_the_tick_is_reported_once(scene: Scene) -> None:
    deleted = scene.fail_run(weeks=(WEEK.previous, WEEK))
    scene.instance.delete_run(deleted.run_id)
    scene.evaluate()
    [message] = scene.inbox.take_messages()
    assert message.title == "Demo Company: Xero is unavailable, or the network is"
    assert "Weeks ending 2026-11-14 to 2026-11-21: " in message.body
    for _ in range(3):
        scene.clock.advance(minutes=11)
        scene.evaluate()
    assert scene.inbox.messages == []
    scene.land(WEEK.previous)
    scene.land(WEEK)
    scene.evaluate()
    assert scene.inbox.titles == ["Recovered: Demo Company: Xero is unavailable, or the network is"]


def test_a_run_that_was_deleted_with_its_last_sync_cut_off_is_reported(scene: Scene) -> None:
    killed, alive = scene.start_run(), scene.start_run()
    warehouse = scene.deployment.warehouse
    warehouse.log.start(DEMO.tenant_id, "invoices", WEEK, killed.run_id)
    warehouse.log.start(DEMO.tenant_id, "bank_summary", WEEK, alive.run_id)
    scene.instance.delete_run(killed.run_id)
    scene.instance.delete_run(alive.run_id)
    with hold_run_lock(warehouse.locks, alive.run_id):
        scene.evaluate()
    assert [entry.sync_type for entry in warehouse.log.list_newest(5, status="running")] == ["bank_summary"]
    [title] = scene.inbox.titles
    assert title.startswith("Demo Company: the sync was cut off")


def test_a_run_that_is_deleted_while_its_failure_is_looked_at_is_reported(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scene.start_run()
    scene.instance.report_run_failed(run)
    monkeypatch.setattr(type(scene.instance), "get_run_by_id", lambda *_: None)
    scene.evaluate()
    [message] = scene.inbox.messages
    assert message.title.startswith("Sync failed: ")
    assert "weekly_sync" in message.body.lower()


def test_a_run_that_has_ended_leaves_no_running_row_in_the_sync_log(scene: Scene) -> None:
    log = scene.deployment.warehouse.log
    canceled, killed = scene.start_run(), scene.start_run()
    log.start(DEMO.tenant_id, "invoices", WEEK, canceled.run_id)
    log.start(DEMO.tenant_id, "bank_summary", WEEK, killed.run_id)
    scene.instance.report_run_canceling(canceled)
    scene.instance.report_run_canceled(canceled)
    scene.instance.report_run_failed(killed)
    scene.evaluate()
    assert log.list_newest(5, status="running") == []
    [message] = scene.inbox.messages
    assert message.title.startswith("Demo Company: the sync was cut off")


def test_a_run_that_failed_before_any_week_is_reported_and_recovers_once_a_sync_succeeds(scene: Scene) -> None:
    run = scene.start_run()
    scene.instance.report_run_failed(run)
    scene.evaluate()
    [message] = scene.inbox.take_messages()
    assert message.title.startswith("Sync failed: the sync was cut off")
    assert "Week ending 2026-11-21" in message.body
    backfill = scene.start_run(job="__ASSET_JOB")
    scene.finish_run(backfill)
    scene.evaluate()
    assert [message.kind for message in scene.inbox.take_messages()] == ["success"]


def test_failures_before_the_first_evaluation_are_not_reported(scene: Scene) -> None:
    with dg.DagsterInstance.ephemeral() as fresh:
        scene.instance = fresh
        scene.fail_run()
        scene.land(WEEK.previous, status="partial")
        scene.clock.advance(hours=1)
        scene.evaluate()
        scene.evaluate()
    assert scene.inbox.messages == []


def test_a_tick_that_is_evaluated_twice_or_by_two_daemons_counts_nothing_twice(scene: Scene) -> None:
    storage = scene.instance.daemon_cursor_storage
    key = "xero_pipeline/run_failure_alert"
    before = storage.get_cursor_values({key})
    scene.fail_run()
    scene.evaluate()
    storage.set_cursor_values(before)
    scene.evaluate()
    scene.clock.advance(hours=1)
    scene.evaluate()
    assert len(scene.inbox.messages) == 1


def test_the_day_limit_is_reported_as_a_warning_with_the_time_when_the_sync_continues(scene: Scene) -> None:
    retry_at = scene.clock.now() + timedelta(hours=3)
    scene.fail_run(code="day_limit", error={"retry_at": retry_at.isoformat()})
    scene.evaluate()
    [message] = scene.inbox.messages
    assert message.title == "Demo Company: Xero's calls for today are spent"
    assert message.kind == "warning"
    assert "Nothing is lost." in message.body
    assert "Sync again at 15:00, or switch missing_weeks on" in message.body


def test_after_the_day_limit_the_sensor_of_the_months_continues_with_months(
    sqlite_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = {"missing_weeks"}
    monkeypatch.setattr(failure_alert, "is_running", lambda _instance, name: name in running)

    def fail(period: Period) -> str:
        kinds = [kind.value for kind in SyncType if isinstance(period, kind.period)]
        sqlite_scene.fail_run(code="day_limit", job=f"{period.NOUN}ly_sync", weeks=(period, period), sync_types=kinds)
        sqlite_scene.evaluate()
        [alert] = sqlite_scene.alerter.log.list_open("day_limit")
        return alert.text

    assert "Sync again tomorrow, or switch missing_months on" in fail(Month(date(2026, 10, 31)))
    running.add("missing_months")
    assert "The sync continues by itself tomorrow." in fail(Month(date(2026, 9, 30)))
    running.clear()
    # The same alert is now about both.
    assert "switch missing_weeks and missing_months on" in fail(WEEK)


def test_alerts_about_an_organisation_that_was_disconnected_on_purpose_are_withdrawn(scene: Scene) -> None:
    scene.fail_run()
    scene.evaluate()
    scene.inbox.take_messages()
    scene.deployment.warehouse.tokens.forget(DEMO.tenant_id)
    scene.evaluate()
    assert scene.inbox.take_messages() == []
    assert scene.alerter.log.list_open() == []


def test_a_partial_week_is_reported_once_without_an_amount_and_again_when_it_adds_up(scene: Scene) -> None:
    scene.land(status="partial", sync_types=["profit_and_loss"])
    scene.evaluate()
    scene.land(status="partial", sync_types=["profit_and_loss"])
    scene.clock.advance(days=2)
    scene.land(status="partial", sync_types=["profit_and_loss"])
    scene.evaluate()
    [message] = scene.inbox.take_messages()
    assert message.title == "Demo Company: figures do not add up"
    assert message.kind == "warning"
    assert "Week ending 2026-11-21: profit and loss." in message.body
    scene.land(sync_types=["profit_and_loss"])
    scene.evaluate()
    [message] = scene.inbox.take_messages()
    assert "the figures add up now" in message.body


def test_partial_weeks_of_an_organisation_send_at_most_one_message_a_day(scene: Scene) -> None:
    for number in range(5):
        scene.land(WEEK.shift(-number), status="partial", sync_types=["invoices"])
        scene.evaluate()
        scene.clock.advance(minutes=40)
    assert len(scene.inbox.take_messages()) == 1
    scene.clock.advance(days=1)
    scene.evaluate()
    [message] = scene.inbox.take_messages()
    assert "(4 more)" in message.title
    assert "Weeks ending 2026-10-24 to 2026-11-21: revenue." in message.body


def test_a_partial_week_that_was_put_right_before_the_tick_is_not_reported(scene: Scene) -> None:
    scene.land(status="partial")
    scene.land()
    scene.evaluate()
    assert scene.inbox.messages == []


def test_the_sensor_s_tick_fails_with_a_clear_line_when_an_alert_cannot_be_posted(scene: Scene) -> None:
    scene.inbox.works = False
    scene.fail_run()
    with pytest.raises(AlertNotDelivered) as failed:
        scene.run_sensor()
    assert "could not be posted to JSON at 127.0.0.1" in str(failed.value)
    assert "hunter2" not in repr(failed.value) + str(failed.value)
    assert "secret-path" not in str(failed.value)
    scene.inbox.works = True
    assert isinstance(scene.run_sensor(), dg.SkipReason)
    assert len(scene.inbox.messages) == 1
    scene.clock.advance(hours=1)
    scene.run_sensor()
    assert len(scene.inbox.messages) == 1


def test_the_sensor_runs_from_the_start(scene: Scene) -> None:
    assert scene.sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert scene.sensor.name == "run_failure_alert"
