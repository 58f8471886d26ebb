"""The alerts' memory: nothing is claimed twice, nothing that was claimed is lost, nothing is counted twice."""

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
from xero_pipeline.warehouse.logs.alert_log import LEASE, AlertLog
from xero_pipeline.warehouse.logs.alert_rules import (
    Alert,
    AlertState,
    Delivery,
    DeliveryClaim,
    make_claim,
    may_claim,
    next_message,
)
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.processes import forking

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


def claimed(log: AlertLog, address: str = "mail", now: datetime = NOW) -> DeliveryClaim:
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


def test_what_is_observed_comes_back_as_it_was(log: AlertLog) -> None:
    assert observe(log)
    alert = log.get("cause")
    assert alert is not None
    assert (alert.kind, alert.title, alert.text) == ("run_failure", "title", "text")
    assert alert.details == {"weeks": ["2026-11-21"]}
    assert (alert.opened_at, alert.last_seen_at, alert.occurrences, alert.is_open) == (NOW, NOW, 1, True)
    assert log.open_alerts() == log.open_alerts("run_failure", "other") == [alert]
    assert log.open_alerts("other") == []
    assert log.get("another") is None


def test_the_words_of_the_last_time_are_kept(log: AlertLog) -> None:
    observe(log, text="first")
    observe(log, NOW + QUIET, text="second")
    alert = log.get("cause")
    assert alert is not None
    assert (alert.text, alert.occurrences, alert.last_seen_at) == ("second", 2, NOW + QUIET)
    assert alert.opened_at == NOW


def test_a_claim_is_given_once_to_each_address(log: AlertLog) -> None:
    observe(log)
    assert log.pending(["mail", "slack"], NOW) == [("cause", "mail"), ("cause", "slack")]
    claim = claimed(log)
    assert (claim.says, claim.more, claim.since, claim.knew) == (AlertState.PROBLEM, 0, NOW, False)
    assert log.claim("cause", "mail", NOW) is None
    assert log.pending(["mail", "slack"], NOW) == [("cause", "slack")]
    assert log.claim("cause", "slack", NOW) is not None
    assert log.claim("nothing of that name", "mail", NOW) is None


def test_a_claim_that_nobody_settled_is_given_again_when_its_time_is_over(log: AlertLog) -> None:
    observe(log)
    dead = claimed(log)
    assert log.claim("cause", "mail", NOW + LEASE - timedelta(seconds=1)) is None
    alive = claimed(log, now=NOW + LEASE)
    log.refused(dead, "it came back from the dead")
    assert log.broken(["mail"]) == {}
    log.delivered(alive, NOW + LEASE)
    assert log.pending(["mail"], NOW + LEASE) == []


def test_the_quiet_time_begins_with_the_message_that_arrived(log: AlertLog) -> None:
    observe(log)
    log.refused(claimed(log), "out of order")
    assert log.broken(["mail", "slack"]) == {"mail": "out of order"}
    assert log.broken(["slack"]) == {}
    log.delivered(claimed(log, now=NOW + timedelta(minutes=20)), NOW + timedelta(minutes=20))
    assert log.broken(["mail"]) == {}
    observe(log, NOW + timedelta(minutes=21))
    assert log.claim("cause", "mail", NOW + timedelta(minutes=49)) is None
    claim = claimed(log, now=NOW + timedelta(minutes=50))
    assert (claim.more, claim.since, claim.knew) == (1, NOW + timedelta(minutes=20), True)


def test_an_occurrence_with_a_name_counts_once_also_when_it_is_well_again(log: AlertLog) -> None:
    assert observe(log, occurrence="run-1")
    assert not observe(log, occurrence="run-1")
    assert observe(log, occurrence="run-2")
    assert log.recover("cause", "well", NOW)
    assert not observe(log, occurrence="run-1")
    alert = log.get("cause")
    assert alert is not None
    assert (alert.occurrences, alert.is_open) == (2, False)


def test_a_cause_recovers_once_and_opens_anew(log: AlertLog) -> None:
    observe(log)
    log.delivered(claimed(log), NOW)
    assert log.recover("cause", "well", NOW)
    assert not log.recover("cause", "well", NOW)
    assert not log.recover("nothing of that name", "well", NOW)
    claim = claimed(log)
    assert (claim.says, claim.more, claim.alert.recovery_text) == (AlertState.RECOVERED, 0, "well")
    log.delivered(claim, NOW)
    later = NOW + timedelta(days=1)
    observe(log, later)
    again = claimed(log, now=later)
    assert (again.says, again.more, again.since) == (AlertState.PROBLEM, 0, later)


def test_a_cause_that_is_withdrawn_is_told_to_nobody(log: AlertLog) -> None:
    observe(log)
    log.refused(claimed(log), "out of order")
    under_way = claimed(log)
    log.withdraw("cause", NOW)
    log.withdraw("cause", NOW)
    log.withdraw("nothing of that name", NOW)
    log.refused(under_way, "too late")
    assert log.broken(["mail"]) == {}
    assert log.pending(["mail", "slack"], NOW + timedelta(days=1)) == []
    assert log.open_alerts() == []


def test_of_many_at_once_only_one_gets_the_claim_and_every_occurrence_counts_once(log: AlertLog) -> None:
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


def test_of_two_processes_that_notice_the_same_only_one_may_tell(log: AlertLog, database_url: str) -> None:
    start, won = forking().Barrier(2), forking().Queue()
    processes = [forking().Process(target=_claim_in_a_process, args=(database_url, start, won)) for _ in range(2)]
    for process in processes:
        process.start()
    assert sorted(won.get(timeout=60) for _ in processes) == [0, 1]
    for process in processes:
        process.join()
        process.close()
    alert = log.get("cause")
    assert alert is not None
    assert alert.occurrences == 1


class Listener:
    """What one address hears, by the rule alone: no database."""

    def __init__(self) -> None:
        self.delivery = Delivery()
        self.heard: list[tuple[datetime, AlertState, int]] = []

    def look(self, alert: Alert, now: datetime) -> None:
        if not may_claim(alert, self.delivery, now):
            return
        claim = make_claim(alert, "mail", self.delivery, now)
        told = claim.more + (0 if claim.knew else 1)
        self.heard.append((now, claim.says, told))
        sent = now if claim.says is AlertState.PROBLEM or not claim.knew else self.delivery.last_sent_at
        self.delivery = Delivery(told=alert.occurrences, said=claim.says, last_sent_at=sent)


@given(st.lists(st.sampled_from(["fail", "recover", "wait", "wait long"]), max_size=40))
def test_whatever_happens_every_occurrence_is_told_and_no_two_problems_within_the_quiet_time(
    events: list[str],
) -> None:
    now = NOW
    listener = Listener()
    alert = Alert("cause", "kind", "title", "text", {}, QUIET, 0, NOW, NOW, NOW, None)
    for event in [*events, "wait long"]:
        now += {"wait": timedelta(minutes=5), "wait long": timedelta(hours=1)}.get(event, timedelta(seconds=1))
        if event == "fail":
            alert = Alert("cause", "kind", "title", "text", {}, QUIET, alert.occurrences + 1, now, now, None, None)
        elif event == "recover" and alert.is_open:
            alert = Alert("cause", "kind", "title", "text", {}, QUIET, alert.occurrences, now, now, now, "well")
        listener.look(alert, now)
    problems = [at for at, says, _ in listener.heard if says is AlertState.PROBLEM]
    assert all(later - earlier >= QUIET for earlier, later in itertools.pairwise(problems))
    assert sum(told for _, _, told in listener.heard) == alert.occurrences
    if alert.occurrences:
        assert listener.heard[-1][1] is (AlertState.PROBLEM if alert.is_open else AlertState.RECOVERED)
    assert next_message(alert, listener.delivery, now) is None
