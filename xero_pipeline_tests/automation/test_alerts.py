"""Which messages are sent, and when: real posts by Apprise to a local web server and a local mail server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from xero_pipeline.automation.alerts import Alerter, AlertNotDelivered
from xero_pipeline.automation.delivery import read_addresses
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.logs.alert_log import LEASE, AlertLog
from xero_pipeline_tests.automation.failing_process import fail_again_and_again
from xero_pipeline_tests.automation.mailbox import Mailbox
from xero_pipeline_tests.automation.scene import Inbox
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.processes import get_fork_context


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    make_tables(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def log(engine: Engine) -> AlertLog:
    return AlertLog(engine)


class Alerts:
    """Reports one cause, with a new alerter for each call, as each tick has its own."""

    def __init__(self, log: AlertLog, clock: FakeClock, *urls: str) -> None:
        self._make_alerter = lambda: Alerter(log, urls, clock, timezone=ZoneInfo("Australia/Sydney"))

    def fail(self, **options: Any) -> None:
        self._make_alerter().report_problem("cause", "Sync failed", "It failed.", **options)

    def recover(self) -> None:
        self._make_alerter().report_recovery("cause", "It works.")

    def flush(self) -> None:
        self._make_alerter().flush()

    @property
    def delivery_error(self) -> str | None:
        return self._make_alerter().delivery_error


def test_a_problem_is_posted_at_once_and_its_repetitions_as_a_count_after_the_quiet_time(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    alerts = Alerts(log, clock, inbox.address)
    for _ in range(10):
        alerts.fail()
        alerts.flush()
    [first] = inbox.take_messages()
    assert (first.title, first.body, first.kind) == ("Sync failed", "It failed.", "failure")
    clock.advance(minutes=29)
    alerts.flush()
    assert inbox.take_messages() == []
    clock.advance(minutes=1)
    alerts.flush()
    alerts.flush()
    [second] = inbox.take_messages()
    assert second.title == "Sync failed (9 more)"
    assert second.body == "It failed.\n\n9 more since 12:00."


def test_an_occurrence_after_the_quiet_time_posts_the_count_too(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
    alerts = Alerts(log, clock, inbox.address)
    for _ in range(9):
        alerts.fail()
    clock.advance(minutes=30)
    alerts.fail()
    assert inbox.titles == ["Sync failed", "Sync failed (9 more)"]


def test_recovery_is_posted_once_with_the_count_of_unposted_occurrences(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    alerts = Alerts(log, clock, inbox.address)
    alerts.recover()
    alerts.fail()
    alerts.fail()
    inbox.take_messages()
    alerts.recover()
    alerts.recover()
    alerts.flush()
    [message] = inbox.take_messages()
    assert (message.title, message.kind) == ("Recovered: Sync failed", "success")
    assert message.body == "It works.\n\nUntil then it happened 1 more time since 12:00."


def test_a_cause_that_comes_and_goes_sends_no_more_messages_than_one_that_stays(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    alerts = Alerts(log, clock, inbox.address)
    for _ in range(6):
        alerts.fail()
        clock.advance(minutes=2)
        alerts.recover()
        clock.advance(minutes=2)
        alerts.flush()
    assert inbox.titles == ["Sync failed", "Recovered: Sync failed"]
    clock.advance(minutes=10)
    alerts.flush()
    assert inbox.titles[2:] == ["Recovered: Sync failed"]
    assert "5 times since" in inbox.messages[-1].body


def test_mail_arrives_with_the_title_as_its_subject(log: AlertLog, clock: FakeClock) -> None:
    with Mailbox() as mailbox:
        alerts = Alerts(log, clock, mailbox.address)
        for _ in range(10):
            alerts.fail()
        clock.advance(minutes=30)
        alerts.flush()
        alerts.recover()
    assert [mail["Subject"] for mail in mailbox.mails] == [
        "Sync failed",
        "Sync failed (9 more)",
        "Recovered: Sync failed",
    ]
    assert "bookkeeper@example.com" in mailbox.mails[0]["To"]
    body = mailbox.mails[1].get_body(("plain", "html"))  # type: ignore[attr-defined]
    assert "9 more since 12:00." in body.get_content()


def test_a_broken_address_is_named_and_the_other_addresses_still_get_messages(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    broken = Inbox()
    with broken.server:
        broken.works = False
        alerts = Alerts(log, clock, broken.address, inbox.address)
        alerts.fail()
        assert len(inbox.take_messages()) == 1
        with pytest.raises(AlertNotDelivered) as failed:
            alerts.flush()
        assert failed.value.what == "An alert could not be posted to JSON at 127.0.0.1."
        assert alerts.delivery_error == failed.value.what
        broken.works = True
        alerts.flush()
    assert broken.titles == ["Sync failed"]
    assert inbox.messages == []
    assert alerts.delivery_error is None


def test_the_quiet_time_starts_only_with_a_message_that_arrived(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
    alerts = Alerts(log, clock, inbox.address)
    inbox.works = False
    alerts.fail()
    alerts.fail()
    inbox.works = True
    clock.advance(minutes=1)
    alerts.fail()
    assert inbox.titles == ["Sync failed (2 more)"]
    alerts.fail()
    assert len(inbox.titles) == 1


def test_a_problem_that_recovered_before_a_message_arrived_is_still_reported(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    alerts = Alerts(log, clock, inbox.address)
    inbox.works = False
    alerts.fail()
    alerts.fail()
    clock.advance(minutes=5)
    alerts.recover()
    inbox.works = True
    clock.advance(days=1)
    alerts.flush()
    alerts.flush()
    [message] = inbox.messages
    assert message.title == "Recovered: Sync failed"
    assert "It had happened 2 times since 12:00 on 24/11/2026, and you were not told then." in message.body


def test_without_an_address_nothing_is_sent_and_everything_is_logged(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    alerts = Alerts(log, clock)
    alerts.fail()
    alerts.flush()
    assert alerts.delivery_error is None
    assert [alert.title for alert in log.list_open()] == ["Sync failed"]
    Alerts(log, clock, inbox.address).flush()
    assert inbox.titles == ["Sync failed"]


def test_a_new_address_gets_no_message_about_a_recovered_problem(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
    Alerts(log, clock).fail()
    Alerts(log, clock).recover()
    Alerts(log, clock, inbox.address).flush()
    assert inbox.messages == []


@pytest.mark.parametrize("kind", ["partial", "token_expiry", "day_limit"])
def test_some_kinds_of_alerts_are_warnings(log: AlertLog, clock: FakeClock, inbox: Inbox, kind: str) -> None:
    Alerts(log, clock, inbox.address).fail(kind=kind)
    assert inbox.messages[0].kind == "warning"


def test_a_problem_can_have_its_own_quiet_time(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
    alerts = Alerts(log, clock, inbox.address)
    alerts.fail(quiet=timedelta(days=1))
    clock.advance(hours=23)
    alerts.fail(quiet=timedelta(days=1))
    assert len(inbox.messages) == 1
    clock.advance(hours=1)
    alerts.flush()
    assert len(inbox.messages) == 2


def test_a_message_whose_process_died_between_claim_and_post_is_sent_by_the_next_process(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    alerts = Alerts(log, clock)
    alerts.fail()
    [address] = read_addresses([inbox.address])
    assert log.claim("cause", address.label, clock.now())
    alerts = Alerts(log, clock, inbox.address)
    alerts.flush()
    assert inbox.messages == []
    clock.moment += LEASE
    alerts.flush()
    alerts.flush()
    assert inbox.titles == ["Sync failed"]


def test_two_processes_that_report_the_same_cause_post_it_once(tmp_path: Path, inbox: Inbox, clock: FakeClock) -> None:
    # test_alert_log.py tests the claims between processes on both databases.
    database_url = f"sqlite:///{tmp_path / 'warehouse.db'}"
    engine = open_engine(database_url)
    make_tables(engine)
    start = get_fork_context().Barrier(2)
    processes = [
        get_fork_context().Process(target=fail_again_and_again, args=(database_url, inbox.address, start))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
        process.close()
    [first] = inbox.take_messages()
    clock.advance(minutes=30)
    Alerts(AlertLog(engine), clock, inbox.address).flush()
    engine.dispose()
    [second] = inbox.take_messages()
    counts = [int(m.title.split("(")[1].split()[0]) if "(" in m.title else 0 for m in (first, second)]
    assert 1 + sum(counts) == 10


def test_no_log_error_or_database_row_contains_an_address(
    log: AlertLog, clock: FakeClock, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    inbox.works = False
    urls = [
        inbox.address,
        "slack://TsecretAAA/BsecretBBB/CsecretCCC",
        "nonsense-with-hunter2-secret",
        "nosuchservice://alice:hunter2-secret@example.com",
    ]
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(AlertNotDelivered))
        alerter = Alerter(log, [url for url in urls if "slack" not in url], clock)
        alerter.report_problem("cause", "Sync failed", "It failed.")
        alerter.flush()
    output = caplog.text + str(alerter.delivery_error) + repr(read_addresses(urls)) + repr(log.list_open())
    for secret in ("hunter2", "secret-path", "alice", "secretAAA", "secretBBB", "secretCCC"):
        assert secret not in output
    assert "address 2 of ALERT_URLS, which Apprise does not understand" in str(alerter.delivery_error)


def test_addresses_of_one_kind_get_different_labels_without_secrets() -> None:
    labels = [
        address.label
        for address in read_addresses(
            [
                "mailto://user:pass@mail.example.com",
                "slack://TsecretAAA/BsecretBBB/CsecretCCC",
                "slack://TotherAAAA/BotherBBBB/CotherCCCC",
                "json://example.com/a",
                "json://example.com/b",
            ]
        )
    ]
    assert labels[:3] == ["E-Mail at mail.example.com", "Slack", "Slack (2)"]
    assert labels[3:] == ["JSON at example.com", "JSON at example.com (2)"]


def test_secrets_and_amounts_in_a_text_are_hidden(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
    alerter = Alerter(log, [inbox.address], clock, dagster_url="http://10.20.30.40:3000/")
    alerter.report_problem(
        "cause",
        "Off by 1,234.56",
        "($12.30) or -4.00 with Bearer abcdefghijklmnop at 127.0.0.1, 12:30 on 24/11/2026, "
        f"version 1.13.27, {alerter.build_run_url('run-1')}.",
    )
    [message] = inbox.messages
    assert message.title == "Off by [amount]"
    assert message.body == (
        "[amount] or [amount] with [hidden] at 127.0.0.1, 12:30 on 24/11/2026, version 1.13.27, "
        "http://10.20.30.40:3000/runs/run-1."
    )


def test_a_service_that_refuses_gets_no_further_post_before_the_next_flush(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    inbox.works = False
    alerter = Alerter(log, [inbox.address], clock)
    for number in range(5):
        alerter.report_problem(f"cause-{number}", "Sync failed", "It failed.")
    assert len(inbox.server.requests) == 1
    with pytest.raises(AlertNotDelivered):
        alerter.flush()
    assert len(inbox.server.requests) == 2
    inbox.works = True
    Alerter(log, [inbox.address], clock).flush()
    assert len(inbox.messages) == 5


def test_moments_are_written_in_the_pipeline_s_time_zone_with_the_day_if_it_is_not_today(
    log: AlertLog, clock: FakeClock
) -> None:
    alerter = Alerter(log, [], clock, timezone=ZoneInfo("Australia/Sydney"))
    assert alerter.format_moment(clock.now() + timedelta(hours=2)) == "14:00"
    assert alerter.format_moment(clock.now() - timedelta(hours=13)) == "23:00 on 23/11/2026"
