"""What goes out, and when: real posts by Apprise to a local web server and a local mail server."""

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
from xero_pipeline_tests.processes import forking


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
    """An alerter with words of its own; a new one for each call, as each tick has."""

    def __init__(self, log: AlertLog, clock: FakeClock, *urls: str) -> None:
        self._made = lambda: Alerter(log, urls, clock, timezone=ZoneInfo("Australia/Sydney"))

    def fail(self, **more: Any) -> None:
        self._made().problem("cause", "Sync failed", "It failed.", **more)

    def recover(self) -> None:
        self._made().recovered("cause", "It works.")

    def flush(self) -> None:
        self._made().flush()

    @property
    def error(self) -> str | None:
        return self._made().error


def test_a_problem_is_posted_at_once_and_its_repetitions_as_a_count_when_the_window_is_over(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    alerts = Alerts(log, clock, inbox.address)
    for _ in range(10):
        alerts.fail()
        alerts.flush()
    [first] = inbox.taken()
    assert (first.title, first.body, first.tone) == ("Sync failed", "It failed.", "failure")
    clock.advance(minutes=29)
    alerts.flush()
    assert inbox.taken() == []
    clock.advance(minutes=1)
    alerts.flush()
    alerts.flush()
    [second] = inbox.taken()
    assert second.title == "Sync failed (9 more)"
    assert second.body == "It failed.\n\n9 more since 12:00."


def test_the_next_occurrence_tells_the_count_just_as_well(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
    alerts = Alerts(log, clock, inbox.address)
    for _ in range(9):
        alerts.fail()
    clock.advance(minutes=30)
    alerts.fail()
    assert inbox.titles == ["Sync failed", "Sync failed (9 more)"]


def test_recovery_is_posted_once_with_what_was_swallowed(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
    alerts = Alerts(log, clock, inbox.address)
    alerts.recover()
    alerts.fail()
    alerts.fail()
    inbox.taken()
    alerts.recover()
    alerts.recover()
    alerts.flush()
    [message] = inbox.taken()
    assert (message.title, message.tone) == ("Recovered: Sync failed", "success")
    assert message.body == "It works.\n\nUntil then it happened 1 more time since 12:00."


def test_a_cause_that_comes_and_goes_makes_no_more_noise_than_one_that_stays(
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


def test_a_broken_address_is_named_and_silences_no_other(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
    broken = Inbox()
    with broken.server:
        broken.works = False
        alerts = Alerts(log, clock, broken.address, inbox.address)
        alerts.fail()
        assert len(inbox.taken()) == 1
        with pytest.raises(AlertNotDelivered) as failed:
            alerts.flush()
        assert failed.value.what == "An alert could not be posted to JSON at 127.0.0.1."
        assert alerts.error == failed.value.what
        broken.works = True
        alerts.flush()
    assert broken.titles == ["Sync failed"]
    assert inbox.messages == []
    assert alerts.error is None


def test_the_window_opens_only_with_a_message_that_arrived(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
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


def test_what_was_over_before_it_could_be_told_is_told_all_the_same(
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


def test_without_an_address_nothing_is_sent_and_everything_is_remembered(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    alerts = Alerts(log, clock)
    alerts.fail()
    alerts.flush()
    assert alerts.error is None
    assert [alert.title for alert in log.open_alerts()] == ["Sync failed"]
    Alerts(log, clock, inbox.address).flush()
    assert inbox.titles == ["Sync failed"]


def test_a_new_address_hears_of_what_is_open_and_not_of_what_is_over(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    Alerts(log, clock).fail()
    Alerts(log, clock).recover()
    Alerts(log, clock, inbox.address).flush()
    assert inbox.messages == []


@pytest.mark.parametrize("kind", ["partial", "token_expiry", "day_limit"])
def test_what_needs_no_haste_is_a_warning(log: AlertLog, clock: FakeClock, inbox: Inbox, kind: str) -> None:
    Alerts(log, clock, inbox.address).fail(kind=kind)
    assert inbox.messages[0].tone == "warning"


def test_a_quiet_time_of_its_own_is_kept(log: AlertLog, clock: FakeClock, inbox: Inbox) -> None:
    alerts = Alerts(log, clock, inbox.address)
    alerts.fail(quiet=timedelta(days=1))
    clock.advance(hours=23)
    alerts.fail(quiet=timedelta(days=1))
    assert len(inbox.messages) == 1
    clock.advance(hours=1)
    alerts.flush()
    assert len(inbox.messages) == 2


def test_a_process_that_died_between_claim_and_post_leaves_the_message_to_the_next(
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


def test_two_processes_that_notice_the_same_post_it_once(tmp_path: Path, inbox: Inbox, clock: FakeClock) -> None:
    # The claims are held against processes on both databases in test_alert_log.py.
    database_url = f"sqlite:///{tmp_path / 'warehouse.db'}"
    engine = open_engine(database_url)
    make_tables(engine)
    start = forking().Barrier(2)
    processes = [
        forking().Process(target=fail_again_and_again, args=(database_url, inbox.address, start)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
        process.close()
    [first] = inbox.taken()
    clock.advance(minutes=30)
    Alerts(AlertLog(engine), clock, inbox.address).flush()
    engine.dispose()
    [second] = inbox.taken()
    told = [int(m.title.split("(")[1].split()[0]) if "(" in m.title else 0 for m in (first, second)]
    assert 1 + sum(told) == 10


def test_neither_a_log_nor_an_error_nor_the_database_ever_holds_an_address(
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
        alerter.problem("cause", "Sync failed", "It failed.")
        alerter.flush()
    told = caplog.text + str(alerter.error) + repr(read_addresses(urls)) + repr(log.open_alerts())
    for secret in ("hunter2", "secret-path", "alice", "secretAAA", "secretBBB", "secretCCC"):
        assert secret not in told
    assert "address 2 of ALERT_URLS, which Apprise does not understand" in str(alerter.error)


def test_addresses_of_one_kind_are_told_apart_without_giving_anything_away() -> None:
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


def test_secrets_and_amounts_are_hidden_should_somebody_hand_them_in(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    alerter = Alerter(log, [inbox.address], clock, dagster_url="http://10.20.30.40:3000/")
    alerter.problem(
        "cause",
        "Off by 1,234.56",
        "($12.30) or -4.00 with Bearer abcdefghijklmnop at 127.0.0.1, 12:30 on 24/11/2026, "
        f"version 1.13.27, {alerter.run_link('run-1')}.",
    )
    [message] = inbox.messages
    assert message.title == "Off by [amount]"
    assert message.body == (
        "[amount] or [amount] with [hidden] at 127.0.0.1, 12:30 on 24/11/2026, version 1.13.27, "
        "http://10.20.30.40:3000/runs/run-1."
    )


def test_a_service_that_refuses_is_not_asked_for_each_cause_of_one_look(
    log: AlertLog, clock: FakeClock, inbox: Inbox
) -> None:
    inbox.works = False
    alerter = Alerter(log, [inbox.address], clock)
    for number in range(5):
        alerter.problem(f"cause-{number}", "Sync failed", "It failed.")
    assert len(inbox.server.requests) == 1
    with pytest.raises(AlertNotDelivered):
        alerter.flush()
    assert len(inbox.server.requests) == 2
    inbox.works = True
    Alerter(log, [inbox.address], clock).flush()
    assert len(inbox.messages) == 5


def test_moments_are_told_in_the_pipeline_s_zone_with_the_day_where_it_is_another(
    log: AlertLog, clock: FakeClock
) -> None:
    alerter = Alerter(log, [], clock, timezone=ZoneInfo("Australia/Sydney"))
    assert alerter.when(clock.now() + timedelta(hours=2)) == "14:00"
    assert alerter.when(clock.now() - timedelta(hours=13)) == "23:00 on 23/11/2026"
