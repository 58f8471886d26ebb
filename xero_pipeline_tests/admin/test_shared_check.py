"""One look at the database or Dagster for all who ask at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from xero_pipeline.admin.shared_check import CheckTimedOut, SharedCheck
from xero_pipeline_tests.admin.deployed import FakeDagster, serve_page

A_MINUTE = 60.0


class Look:
    """A look that ends when the test lets it."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = threading.Event()
        self.error: Exception | None = None

    def __call__(self) -> int:
        self.begun += 1
        assert self.may_end.wait(A_MINUTE)
        if self.error is not None:
            raise self.error
        return self.begun


@pytest.fixture
def look() -> Iterator[Look]:
    one = Look()
    yield one
    one.may_end.set()


def test_all_who_ask_at_the_same_time_get_the_result_of_one_look(look: Look) -> None:
    check = SharedCheck("It", look, seconds=A_MINUTE)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(check.ask) for _ in range(20)]
        look.may_end.set()
        assert {one.result() for one in asked} <= {1, 2}
    assert look.begun < 20


def test_askers_in_an_event_loop_need_no_thread_of_their_own(look: Look) -> None:
    check = SharedCheck("It", look, seconds=A_MINUTE)

    async def ask_often() -> list[int]:
        asked = [asyncio.ensure_future(check.ask_async()) for _ in range(500)]
        await asyncio.sleep(0)
        assert threading.active_count() < 50
        look.may_end.set()
        return await asyncio.gather(*asked)

    assert set(asyncio.run(ask_often())) == {1}


def test_while_a_look_hangs_nobody_waits_for_it_and_no_other_begins(look: Look) -> None:
    check = SharedCheck("Dagster", look, seconds=0.0)
    for _ in range(50):
        with pytest.raises(CheckTimedOut, match="Dagster did not answer within 0 seconds"):
            check.ask()
        with pytest.raises(CheckTimedOut):
            asyncio.run(check.ask_async())
    assert look.begun == 1


def test_the_next_asker_begins_a_new_look_after_one_has_ended_or_is_forgotten(look: Look) -> None:
    check = SharedCheck("It", look, seconds=A_MINUTE)
    look.may_end.set()
    assert [check.ask(), check.ask()] == [1, 2]
    look.may_end.clear()
    with ThreadPoolExecutor(2) as pool:
        old = pool.submit(check.ask)
        while look.begun < 3:
            pass
        check.forget()
        new = pool.submit(check.ask)
        while look.begun < 4:
            pass
        look.may_end.set()
        assert {old.result(), new.result()} == {4}


def test_the_error_of_a_look_reaches_everybody_who_asked(look: Look) -> None:
    check = SharedCheck("It", look, seconds=A_MINUTE)
    look.error = ValueError("broken")
    look.may_end.set()
    with pytest.raises(ValueError, match="broken"):
        check.ask()
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(check.ask_async())


def test_a_dagster_that_hangs_is_named_and_the_page_is_shown_all_the_same(tmp_path: Path, migrated: Path) -> None:
    dagster, ends = FakeDagster(), threading.Event()
    dagster.check = dagster.is_scheduler_running = lambda: ends.wait(A_MINUTE)  # type: ignore[assignment, method-assign]
    try:
        with serve_page(tmp_path, template=migrated, dagster=dagster) as page:
            for _ in range(3):
                answer = page.get("/healthz")
                assert answer.status_code == 503
                assert {"database": "ok", "dagster": "dagster_down"}.items() <= answer.json().items()
                assert page.get("/").status_code == 200
                assert page.api("/status").json()["schedulerRunning"] is None
            ends.set()
    finally:
        ends.set()
