"""Reading side by side: the order in which weeks are handed over, and who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable

from xero_pipeline.assets.fetch_ahead import FetchAhead

Job = tuple[str, int]


def build(
    lanes: dict[str, int],
    read: Callable[[Job], Job],
    *,
    at_once: int = 3,
    is_answered: Callable[[Job], bool] = lambda _job: True,
) -> FetchAhead[Job, Job]:
    jobs = [[[(name, number) for number in range(count)]] for name, count in lanes.items()]
    return FetchAhead(jobs, read, at_once=at_once, is_answered=is_answered)


def test_each_organisations_weeks_are_handed_over_in_their_order() -> None:
    third_was_read = threading.Event()

    def read(job: Job) -> Job:
        if job == ("a", 1):
            assert third_was_read.wait(10)
        if job == ("a", 2):
            third_was_read.set()
        return job

    results = list(build({"a": 6, "b": 4}, read))
    assert [number for name, number in results if name == "a"] == list(range(6))
    assert [number for name, number in results if name == "b"] == list(range(4))


def test_an_organisation_that_does_not_answer_holds_up_no_other() -> None:
    others_are_done = threading.Event()

    def read(job: Job) -> Job:
        if job[0] == "slow":
            assert others_are_done.wait(10)
        return job

    results = []
    for result in build({"slow": 4, "fast": 30}, read):
        results.append(result)
        if result == ("fast", 29):
            others_are_done.set()
    assert [name for name, _ in results] == ["fast"] * 30 + ["slow"] * 4


def test_an_organisation_is_read_one_week_at_a_time_until_it_has_answered_and_after_it_has_not() -> None:
    lock, in_progress, most = threading.Lock(), 0, dict[int, int]()
    together = threading.Barrier(3, timeout=10)

    def read(job: Job) -> Job:
        nonlocal in_progress
        with lock:
            in_progress += 1
            most[job[1]] = in_progress
        if job[1] in (3, 4, 5):
            together.wait()
        with lock:
            in_progress -= 1
        return job

    list(build({"a": 6}, read, is_answered=lambda job: job[1] == 2))
    assert [most[number] for number in range(3)] == [1, 1, 1]
    assert max(most.values()) == 3


def test_an_organisation_reads_only_so_far_ahead_of_what_has_landed() -> None:
    first_may_end = threading.Event()
    begun: list[int] = []

    def read(job: Job) -> Job:
        begun.append(job[1])
        if job[1] == 1:
            first_may_end.wait(10)
        elif len(begun) == 8:
            first_may_end.set()
        return job

    results = list(build({"a": 50}, read, at_once=2))
    assert [number for _, number in results] == list(range(50))


def test_a_job_that_depends_on_another_lanes_begins_when_that_one_was_handed_over() -> None:
    handed_over: list[Job] = []
    begun_after: dict[Job, list[Job]] = {}

    def read(job: Job) -> Job:
        begun_after[job] = list(handed_over)
        return job

    first, second = ([(name, number) for number in range(5)] for name in ("first", "second"))
    ahead = FetchAhead(
        [[first, second]],
        read,
        at_once=4,
        is_answered=lambda _job: True,
        may_begin=lambda job: job[0] == "first" or ("first", job[1]) in handed_over,
    )
    for job in ahead:
        handed_over.append(job)
    assert sorted(handed_over) == [*first, *second]
    assert all(("first", number) in begun_after["second", number] for number in range(5))


def test_the_lanes_of_an_organisation_share_its_limit_and_a_slow_one_holds_up_no_other() -> None:
    lock, in_progress, most = threading.Lock(), 0, 0
    other_is_done = threading.Event()

    def read(job: Job) -> Job:
        nonlocal in_progress, most
        with lock:
            in_progress += 1
            most = max(most, in_progress)
        if job == ("slow", 0):
            assert other_is_done.wait(10)
        with lock:
            in_progress -= 1
        return job

    lanes = [[(name, number) for number in range(30)] for name in ("slow", "quick")]
    results = []
    for job in FetchAhead([lanes], read, at_once=3, is_answered=lambda _job: True):
        results.append(job)
        if job == ("quick", 29):
            other_is_done.set()
    assert results == [*lanes[1], *lanes[0]]
    assert most <= 3
