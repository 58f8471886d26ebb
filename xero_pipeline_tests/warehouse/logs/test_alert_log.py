"""The stored alerts: no message is claimed twice or lost, and no occurrence is counted twice."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline.warehouse.logs.alert_rules import (
    LEASE,
    Alert,
    AlertState,
    Delivery,
    DeliveryClaim,
    can_claim,
    make_claim,
    next_message,
)
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.processes import get_fork_context

NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
QUIET = timedelta(minutes=30)


def observe(log: AlertLog, now: datetime = NOW, *, occurrence: str | None = None, text: str = "text") -> bool:
    return log.observe(
        "cause",
        kind="run_failure",
        title="title",
        text=text,
        details={"weeks": ["2026-11-21"]},
        quiet=QUIET,
        now=now,
        occurrence=occurrence,
    )


def take_claim(log: AlertLog, address: str = "mail", now: datetime = NOW) -> DeliveryClaim:
    claim = log.claim("cause", address, now)
    assert claim is not None
    return claim


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    make_tables(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def log(engine: Engine) -> AlertLog:
    return AlertLog(engine)


def test_an_observed_cause_is_read_as_it_was_written(log: AlertLog) -> None:
    assert observe(log)
    alert = log.get("cause")
    assert alert is not None
    assert (alert.kind, alert.title, alert.text) == ("run_failure", "title", "text")
    assert alert.details == {"weeks": ["2026-11-21"]}
    assert (alert.opened_at, alert.last_seen_at, alert.occurrences, alert.is_open) == (NOW, NOW, 1, True)
    assert log.list_open() == log.list_open("run_failure", "other") == [alert]
    assert log.list_open("other") == []
    assert log.get("another") is None


def test_the_texts_of_the_last_occurrence_are_stored(log: AlertLog) -> None:
    observe(log, text="first")
    observe(log, NOW + QUIET, text="second")
    alert = log.get("cause")
    assert alert is not None
    assert (alert.text, alert.occurrences, alert.last_seen_at) == ("second", 2, NOW + QUIET)
    assert alert.opened_at == NOW


def test_each_addresss_message_is_claimed_once(log: AlertLog) -> None:
    observe(log)
    assert log.list_pending(["mail", "slack"], NOW) == [("cause", "mail"), ("cause", "slack")]
    claim = take_claim(log)
    assert (claim.state, claim.more_occurrences, claim.since, claim.was_notified) == (AlertState.PROBLEM, 0, NOW, False)
    assert log.claim("cause", "mail", NOW) is None
    assert log.list_pending(["mail", "slack"], NOW) == [("cause", "slack")]
    assert log.claim("cause", "slack", NOW) is not None
    assert log.claim("nothing of that name", "mail", NOW) is None


def test_an_unsettled_claim_can_be_taken_again_when_its_lease_is_over(log: AlertLog) -> None:
    observe(log)
    dead = take_claim(log)
    assert log.claim("cause", "mail", NOW + LEASE - timedelta(seconds=1)) is None
    alive = take_claim(log, now=NOW + LEASE)
    log.mark_failed(dead, "it came back from the dead")
    assert log.list_delivery_errors(["mail"]) == {}
    log.mark_delivered(alive, NOW + LEASE)
    assert log.list_pending(["mail"], NOW + LEASE) == []


def test_a_process_whose_clock_was_a_year_ahead_silences_no_message(log: AlertLog) -> None:
    observe(log, NOW + timedelta(days=365))
    take_claim(log, now=NOW + timedelta(days=365))
    claim = take_claim(log, now=NOW)
    log.mark_delivered(claim, NOW + timedelta(days=365))
    observe(log, NOW)
    assert log.claim("cause", "mail", NOW) is not None


def test_the_quiet_time_begins_with_a_delivered_message(log: AlertLog) -> None:
    observe(log)
    log.mark_failed(take_claim(log), "out of order")
    assert log.list_delivery_errors(["mail", "slack"]) == {"mail": "out of order"}
    assert log.list_delivery_errors(["slack"]) == {}
    log.mark_delivered(take_claim(log, now=NOW + timedelta(minutes=20)), NOW + timedelta(minutes=20))
    assert log.list_delivery_errors(["mail"]) == {}
    observe(log, NOW + timedelta(minutes=21))
    assert log.claim("cause", "mail", NOW + timedelta(minutes=49)) is None
    claim = take_claim(log, now=NOW + timedelta(minutes=50))
    assert (claim.more_occurrences, claim.since, claim.was_notified) == (1, NOW + timedelta(minutes=20), True)


def test_a_named_occurrence_counts_once_even_after_a_recovery(log: AlertLog) -> None:
    assert observe(log, occurrence="run-1")
    assert not observe(log, occurrence="run-1")
    assert observe(log, occurrence="run-2")
    assert log.recover("cause", "well", NOW)
    assert not observe(log, occurrence="run-1")
    alert = log.get("cause")
    assert alert is not None
    assert (alert.occurrences, alert.is_open) == (2, False)


def test_a_cause_recovers_once_and_can_open_again(log: AlertLog) -> None:
    observe(log)
    log.mark_delivered(take_claim(log), NOW)
    assert log.recover("cause", "well", NOW)
    assert not log.recover("cause", "well", NOW)
    assert not log.recover("nothing of that name", "well", NOW)
    claim = take_claim(log)
    assert (claim.state, claim.more_occurrences, claim.alert.recovery_text) == (AlertState.RECOVERED, 0, "well")
    log.mark_delivered(claim, NOW)
    later = NOW + timedelta(days=1)
    observe(log, later)
    again = take_claim(log, now=later)
    assert (again.state, again.more_occurrences, again.since) == (AlertState.PROBLEM, 0, later)


def test_nobody_is_notified_of_a_withdrawn_cause(log: AlertLog) -> None:
    observe(log)
    log.mark_failed(take_claim(log), "out of order")
    under_way = take_claim(log)
    log.withdraw("cause", NOW)
    log.withdraw("cause", NOW)
    log.withdraw("nothing of that name", NOW)
    log.mark_failed(under_way, "too late")
    assert log.list_delivery_errors(["mail"]) == {}
    assert log.list_pending(["mail", "slack"], NOW + timedelta(days=1)) == []
    assert log.list_open() == []


def test_of_many_threads_only_one_gets_the_claim_and_every_occurrence_counts_once(log: AlertLog) -> None:
    start = threading.Barrier(8)
    claims: list[DeliveryClaim | None] = []

    def notice(number: int) -> None:
        start.wait()
        observe(log, occurrence=f"run-{number % 4}")
        claims.append(log.claim("cause", "mail", NOW))

    threads = [threading.Thread(target=notice, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alert = log.get("cause")
    assert alert is not None
    assert alert.occurrences == 4
    assert len(claims) == 8
    assert len([claim for claim in claims if claim]) == 1


def _claim_in_a_process(url: str, start: Barrier, won: multiprocessing.Queue[int]) -> None:
    engine = open_engine(url)
    log = AlertLog(engine)
    start.wait()
    observe(log, occurrence="run-1")
    won.put(1 if log.claim("cause", "mail", NOW) else 0)
    engine.dispose()


def test_of_two_processes_that_observe_the_same_occurrence_only_one_gets_the_claim(
    log: AlertLog, database_url: str
) -> None:
    start, won = get_fork_context().Barrier(2), get_fork_context().Queue()
    processes = [
        get_fork_context().Process(target=_claim_in_a_process, args=(database_url, start, won)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    assert sorted(won.get(timeout=60) for _ in processes) == [0, 1]
    for process in processes:
        process.join()
        process.close()
    alert = log.get("cause")
    assert alert is not None
    assert alert.occurrences == 1


class Address:
    """The messages that one address receives by the rule alone, without a database."""

    def __init__(self) -> None:
        self.delivery = Delivery()
        self.messages: list[tuple[datetime, AlertState, int]] = []

    def receive(self, alert: Alert, now: datetime) -> None:
        if not can_claim(alert, self.delivery, now):
            return
        claim = make_claim(alert, "mail", self.delivery, now)
        occurrences = claim.more_occurrences + (0 if claim.was_notified else 1)
        self.messages.append((now, claim.state, occurrences))
        sent = now if claim.state is AlertState.PROBLEM or not claim.was_notified else self.delivery.last_sent_at
        self.delivery = Delivery(notified_occurrences=alert.occurrences, last_state=claim.state, last_sent_at=sent)


@given(st.lists(st.sampled_from(["fail", "recover", "wait", "wait long"]), max_size=40))
def test_every_occurrence_is_reported_and_no_two_problem_messages_fall_within_the_quiet_time(
    events: list[str],
) -> None:
    now = NOW
    address = Address()
    alert = Alert("cause", "kind", "title", "text", {}, QUIET, 0, NOW, NOW, NOW, None)
    for event in [*events, "wait long"]:
        now += {"wait": timedelta(minutes=5), "wait long": timedelta(hours=1)}.get(event, timedelta(seconds=1))
        if event == "fail":
            alert = Alert("cause", "kind", "title", "text", {}, QUIET, alert.occurrences + 1, now, now, None, None)
        elif event == "recover" and alert.is_open:
            alert = Alert("cause", "kind", "title", "text", {}, QUIET, alert.occurrences, now, now, now, "well")
        address.receive(alert, now)
    problems = [at for at, state, _ in address.messages if state is AlertState.PROBLEM]
    assert all(later - earlier >= QUIET for earlier, later in itertools.pairwise(problems))
    assert sum(occurrences for _, _, occurrences in address.messages) == alert.occurrences
    if alert.occurrences:
        assert address.messages[-1][1] is (AlertState.PROBLEM if alert.is_open else AlertState.RECOVERED)
    assert next_message(alert, address.delivery, now) is None
