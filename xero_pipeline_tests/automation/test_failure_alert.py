"""What is told of runs, weeks and ticks that failed: once, with a count, and once that it is well again."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from xero_pipeline.automation.alerts import AlertNotDelivered
from xero_pipeline.run_liveness import WORKER
from xero_pipeline_tests.automation.scene import DEMO, OTHER, WEEK, Scene


def test_a_failing_run_sends_one_message_that_says_what_where_when_and_what_to_do(scene: Scene) -> None:
    run = scene.failing_run(weeks=(WEEK.shift(-2), WEEK))
    scene.look()
    scene.look()
    [message] = scene.inbox.messages
    assert message.title == "Demo Company: Xero is unavailable, or the network is"
    assert message.tone == "failure"
    assert "Weeks ending 2026-11-07 to 2026-11-21: " in message.body
    assert "profit and loss" in message.body
    assert "What to do: Nothing needs to be done" in message.body
    assert message.body.endswith(f"http://localhost:3000/runs/{run.run_id}")


def test_neither_a_figure_nor_the_error_s_own_text_leaves_the_machine(scene: Scene) -> None:
    scene.failing_run(code="payload_not_understood")
    scene.land(status="partial", week=WEEK.previous)
    scene.look()
    assert len(scene.inbox.messages) == 2
    for message in scene.inbox.messages:
        assert "1,234.56" not in message.body
        assert "1234.56" not in message.body
        assert "words with" not in message.body


def test_ten_failing_runs_in_a_row_send_one_message_then_one_with_nine_more(scene: Scene) -> None:
    for _ in range(10):
        scene.failing_run()
        scene.clock.advance(minutes=1)
        scene.look()
    assert len(scene.inbox.taken()) == 1
    scene.clock.advance(minutes=30)
    scene.look()
    [again] = scene.inbox.taken()
    assert "(9 more)" in again.title
    assert "9 more since 12:01." in again.body
    scene.clock.advance(hours=2)
    scene.look()
    assert scene.inbox.taken() == []


def test_ten_runs_that_failed_before_the_first_tick_are_one_message_that_counts_them(scene: Scene) -> None:
    for _ in range(10):
        scene.failing_run()
    scene.look()
    assert len(scene.inbox.taken()) == 1
    scene.clock.advance(minutes=30)
    scene.look()
    assert [message.title[-8:] for message in scene.inbox.taken()] == ["(9 more)"]


def test_recovery_sends_one_message_with_what_was_swallowed(scene: Scene) -> None:
    for _ in range(3):
        scene.failing_run()
        scene.look()
    scene.inbox.taken()
    scene.land()
    scene.look()
    scene.look()
    [message] = scene.inbox.taken()
    assert message.title == "Recovered: Demo Company: Xero is unavailable, or the network is"
    assert message.tone == "success"
    assert "2 more times" in message.body
    scene.clock.advance(hours=1)
    scene.look()
    assert scene.inbox.taken() == []


def test_it_is_well_only_when_every_week_and_kind_that_failed_has_landed_since(scene: Scene) -> None:
    scene.land(WEEK)  # before the failure: that does not count
    scene.failing_run(weeks=(WEEK.previous, WEEK))
    scene.look()
    scene.inbox.taken()
    scene.land(WEEK)
    scene.look()
    scene.land(WEEK.previous, kinds=["invoices", "bank_summary"])
    scene.look()
    assert scene.inbox.taken() == []
    scene.land(WEEK.previous, kinds=["profit_and_loss"])
    scene.look()
    assert [message.tone for message in scene.inbox.taken()] == ["success"]


def test_each_organisation_and_each_kind_of_error_is_a_cause_of_its_own(scene: Scene) -> None:
    scene.connect(DEMO, OTHER)
    scene.failing_run(tenants=[DEMO.tenant_id, OTHER.tenant_id])
    scene.failing_run(code="request_refused")
    scene.look()
    assert sorted(scene.inbox.titles) == [
        "Demo Company: Xero is unavailable, or the network is",
        "Demo Company: Xero refused a request",
        "Other Company: Xero is unavailable, or the network is",
    ]


def test_only_the_first_attempt_is_told_not_its_automatic_retries(scene: Scene) -> None:
    first = scene.failing_run(tags={"dagster/will_retry": "true"})
    scene.failing_run(retry_of=first)
    scene.look()
    scene.clock.advance(hours=1)
    scene.look()
    assert len(scene.inbox.messages) == 1


def test_a_retry_that_fails_for_another_reason_is_told(scene: Scene) -> None:
    first = scene.failing_run(tags={"dagster/will_retry": "true"}, code="interrupted")
    scene.failing_run(retry_of=first, code="request_refused")
    scene.look()
    assert [title.partition(": ")[2] for title in scene.inbox.titles] == [
        "the sync was cut off before it ended: its process was stopped or died",
        "Xero refused a request",
    ]


PUT_OFF = {"dagster/will_retry": "true", "dagster/failure_reason": "UNEXPECTED_TERMINATION"}


def test_a_run_that_a_restart_puts_off_is_no_news_unless_it_fails_again(scene: Scene) -> None:
    put_off = scene.failing_run(tags=PUT_OFF, code="interrupted")
    scene.look()
    assert scene.inbox.messages == []
    scene.failing_run(retry_of=put_off, code="interrupted")
    scene.look()
    [title] = scene.inbox.titles
    assert title.startswith("Demo Company: the sync was cut off")


def test_a_run_that_was_told_to_end_and_does_not_go_on_by_itself_is_told(scene: Scene) -> None:
    scene.failing_run(tags=PUT_OFF | {"dagster/will_retry": "false"}, code="interrupted")
    scene.look()
    assert len(scene.inbox.messages) == 1


def test_a_run_whose_process_died_with_everything_around_it_is_ended_and_told(scene: Scene) -> None:
    run = scene.run(tags={WORKER: "a-machine/1"})
    scene.deployment.warehouse.log.start(DEMO.tenant_id, "invoices", WEEK, run.run_id)
    scene.look()
    assert scene.deployment.warehouse.log.newest(5, status="running") == []
    [title] = scene.inbox.titles
    assert title.startswith("Demo Company: the sync was cut off")


def test_a_run_that_a_person_cancelled_is_not_told(scene: Scene) -> None:
    run = scene.run()
    scene.instance.report_run_canceling(run)
    scene.instance.report_run_canceled(run)
    other = scene.run()
    scene.instance.report_run_canceling(other)
    scene.instance.report_run_failed(other)
    scene.look()
    assert scene.inbox.messages == []


def test_a_run_that_is_over_leaves_no_row_of_the_sync_log_running(scene: Scene) -> None:
    log = scene.deployment.warehouse.log
    canceled, killed = scene.run(), scene.run()
    log.start(DEMO.tenant_id, "invoices", WEEK, canceled.run_id)
    log.start(DEMO.tenant_id, "bank_summary", WEEK, killed.run_id)
    scene.instance.report_run_canceling(canceled)
    scene.instance.report_run_canceled(canceled)
    scene.instance.report_run_failed(killed)
    scene.look()
    assert log.newest(5, status="running") == []
    [message] = scene.inbox.messages
    assert message.title.startswith("Demo Company: the sync was cut off")


def test_a_run_that_failed_before_any_week_is_told_and_is_well_once_a_sync_succeeds(scene: Scene) -> None:
    run = scene.run()
    scene.instance.report_run_failed(run)
    scene.look()
    [message] = scene.inbox.taken()
    assert message.title.startswith("Sync failed: the sync was cut off")
    assert "Week ending 2026-11-21" in message.body
    backfill = scene.run(job="__ASSET_JOB")
    scene.succeed(backfill)
    scene.look()
    assert [message.tone for message in scene.inbox.taken()] == ["success"]


def test_what_happened_before_the_first_look_is_history(scene: Scene) -> None:
    with dg.DagsterInstance.ephemeral() as fresh:
        scene.instance = fresh
        scene.failing_run()
        scene.land(WEEK.previous, status="partial")
        scene.clock.advance(hours=1)
        scene.look()
        scene.look()
    assert scene.inbox.messages == []


def test_a_tick_that_is_evaluated_twice_or_by_two_daemons_counts_nothing_twice(scene: Scene) -> None:
    storage = scene.instance.daemon_cursor_storage
    key = "xero_pipeline/run_failure_alert"
    before = storage.get_cursor_values({key})
    scene.failing_run()
    scene.look()
    storage.set_cursor_values(before)
    scene.look()
    scene.clock.advance(hours=1)
    scene.look()
    assert len(scene.inbox.messages) == 1


def test_the_day_limit_is_told_as_what_it_is_and_when_it_goes_on(scene: Scene) -> None:
    retry_at = scene.clock.now() + timedelta(hours=3)
    scene.failing_run(code="day_limit", said={"retry_at": retry_at.isoformat()})
    scene.look()
    [message] = scene.inbox.messages
    assert message.title == "Demo Company: Xero's calls for today are spent"
    assert message.tone == "warning"
    assert "Nothing is lost." in message.body
    assert "Sync again at 15:00, or switch missing_weeks on" in message.body


def test_an_organisation_that_was_disconnected_on_purpose_is_waited_for_no_longer(scene: Scene) -> None:
    scene.failing_run()
    scene.look()
    scene.inbox.taken()
    scene.deployment.warehouse.tokens.forget(DEMO.tenant_id)
    scene.look()
    assert scene.inbox.taken() == []
    assert scene.alerter.log.open_alerts() == []


def test_a_partial_week_is_told_once_without_an_amount_and_again_when_it_adds_up(scene: Scene) -> None:
    scene.land(status="partial", kinds=["profit_and_loss"])
    scene.look()
    scene.land(status="partial", kinds=["profit_and_loss"])
    scene.clock.advance(days=2)
    scene.land(status="partial", kinds=["profit_and_loss"])
    scene.look()
    [message] = scene.inbox.taken()
    assert message.title == "Demo Company: figures do not add up"
    assert message.tone == "warning"
    assert "Week ending 2026-11-21: profit and loss." in message.body
    scene.land(kinds=["profit_and_loss"])
    scene.look()
    [message] = scene.inbox.taken()
    assert "the figures add up now" in message.body


def test_partial_weeks_of_an_organisation_are_one_message_a_day_at_most(scene: Scene) -> None:
    for number in range(5):
        scene.land(WEEK.shift(-number), status="partial", kinds=["invoices"])
        scene.look()
        scene.clock.advance(minutes=40)
    assert len(scene.inbox.taken()) == 1
    scene.clock.advance(days=1)
    scene.look()
    [message] = scene.inbox.taken()
    assert "(4 more)" in message.title
    assert "Weeks ending 2026-10-24 to 2026-11-21: revenue." in message.body


def test_a_partial_week_that_was_put_right_before_the_tick_is_not_told(scene: Scene) -> None:
    scene.land(status="partial")
    scene.land()
    scene.look()
    assert scene.inbox.messages == []


def test_the_sensor_s_tick_fails_with_a_clear_line_when_an_alert_cannot_be_posted(scene: Scene) -> None:
    scene.inbox.works = False
    scene.failing_run()
    with pytest.raises(AlertNotDelivered) as failed:
        scene.tick()
    assert "could not be posted to JSON at 127.0.0.1" in str(failed.value)
    assert "hunter2" not in repr(failed.value) + str(failed.value)
    assert "secret-path" not in str(failed.value)
    scene.inbox.works = True
    assert isinstance(scene.tick(), dg.SkipReason)
    assert len(scene.inbox.messages) == 1
    scene.clock.advance(hours=1)
    scene.tick()
    assert len(scene.inbox.messages) == 1


def test_the_sensor_runs_from_the_start(scene: Scene) -> None:
    assert scene.sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert scene.sensor.name == "run_failure_alert"
