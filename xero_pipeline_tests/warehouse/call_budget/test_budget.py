"""Call permits: no limit is ever exceeded, and no caller waits longer than needed."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.pool import StaticPool

from xero_pipeline.rate_limits import CallLimits, CallPermit, DayExhausted, RateLimitHeaders, RateLimitKind, Wait
from xero_pipeline.warehouse.call_budget import budget as budget_module
from xero_pipeline.warehouse.call_budget.budget import PRUNE_EVERY, SqlCallBudget
from xero_pipeline.warehouse.call_budget.counts import LEASE, call_limits, call_slots
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.locks import Locks
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.errors import DatabaseUnavailable, NotMigrated
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.processes import StartedProcess, get_fork_context, wait_for_file

NO_HEADERS = RateLimitHeaders()
WIDE = CallLimits(per_minute=1000, per_day=10000, in_progress=1000, app_per_minute=10000)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url, pooled=False)
    metadata.create_all(engine, tables=[call_slots, call_limits])
    yield engine
    engine.dispose()


def limits(**changed: int) -> CallLimits:
    return CallLimits(**{**{name: getattr(WIDE, name) for name in WIDE.__slots__}, **changed})


def spend(
    budget: SqlCallBudget, clock: FakeClock, tenant: str | None = "a", headers: RateLimitHeaders = NO_HEADERS
) -> CallPermit:
    """Make one call with an immediate response."""
    permit = budget.acquire(tenant, clock.now())
    assert isinstance(permit, CallPermit), permit
    budget.release(permit, clock.now(), headers)
    return permit


def test_when_a_minutes_calls_are_spent_the_next_waits_until_the_oldest_is_a_minute_old(
    engine: Engine, clock: FakeClock
) -> None:
    budget = SqlCallBudget(engine, limits(per_minute=3))
    for _ in range(3):
        spend(budget, clock)
        clock.advance(seconds=10)
    assert budget.acquire("a", clock.now()) == Wait(30.0, RateLimitKind.MINUTE)
    clock.advance(seconds=29.999)
    assert budget.acquire("a", clock.now()) == Wait(0.001, RateLimitKind.MINUTE)
    clock.advance(seconds=0.001)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_when_a_days_calls_are_spent_the_budget_states_when_the_next_is_allowed(
    engine: Engine, clock: FakeClock
) -> None:
    budget = SqlCallBudget(engine, limits(per_day=2))
    began = clock.now()
    spend(budget, clock)
    clock.advance(hours=5)
    spend(budget, clock)
    assert budget.acquire("a", clock.now()) == DayExhausted(began + timedelta(days=1))
    clock.moment = began + timedelta(days=1)
    spend(budget, clock)
    assert budget.acquire("a", clock.now()) == DayExhausted(began + timedelta(days=1, hours=5))


def test_the_number_of_calls_in_progress_is_limited(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(in_progress=2))
    first = budget.acquire("a", clock.now())
    assert isinstance(first, CallPermit)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)
    refusal = budget.acquire("a", clock.now())
    assert isinstance(refusal, Wait)
    assert refusal.problem is RateLimitKind.CONCURRENT
    assert refusal.seconds <= 1
    budget.release(first, clock.now(), NO_HEADERS)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_the_permit_of_a_killed_process_is_free_when_its_lease_ends(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(in_progress=1))
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)
    clock.advance(milliseconds=LEASE - 1)
    assert isinstance(budget.acquire("a", clock.now()), Wait)
    clock.advance(milliseconds=1)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_organisations_do_not_spend_each_others_calls(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(per_minute=1, per_day=1, in_progress=1))
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)
    assert isinstance(budget.acquire("b", clock.now()), CallPermit)
    assert not isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_all_organisations_and_the_app_itself_share_the_apps_minute(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(app_per_minute=3))
    for tenant in ("a", "b", None):
        spend(budget, clock, tenant)
    for tenant in ("a", "c", None):
        assert budget.acquire(tenant, clock.now()) == Wait(60.0, RateLimitKind.APP_MINUTE)


def test_calls_of_the_app_itself_do_not_count_for_an_organisation(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(per_minute=1, per_day=1, in_progress=1))
    for _ in range(3):
        assert isinstance(budget.acquire(None, clock.now()), CallPermit)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_no_call_is_permitted_in_a_minute_with_no_calls_left_by_xeros_header(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    spend(budget, clock, headers=RateLimitHeaders(minute=0))
    clock.advance(seconds=20)
    assert budget.acquire("a", clock.now()) == Wait(40.0, RateLimitKind.MINUTE)
    assert isinstance(budget.acquire("b", clock.now()), CallPermit)
    clock.advance(seconds=40)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_the_calls_left_by_xeros_header_are_shared_among_later_calls(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    spend(budget, clock, headers=RateLimitHeaders(minute=2))
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)
    last = budget.acquire("a", clock.now())
    assert isinstance(last, CallPermit)
    # Both are in progress, so no call is known to be left, but their responses may come at any moment.
    refusal = budget.acquire("a", clock.now())
    assert isinstance(refusal, Wait)
    assert refusal.seconds <= 1
    budget.release(last, clock.now(), RateLimitHeaders(minute=7))
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_a_day_at_zero_stops_calls_for_an_hour_and_then_permits_one_to_test_it(
    engine: Engine, clock: FakeClock
) -> None:
    budget = SqlCallBudget(engine, WIDE)
    spend(budget, clock, headers=RateLimitHeaders(day=0))
    seen = clock.now()
    clock.advance(minutes=59)
    assert budget.acquire("a", clock.now()) == DayExhausted(seen + timedelta(hours=1))
    clock.advance(minutes=1)
    probe = budget.acquire("a", clock.now())
    assert isinstance(probe, CallPermit)
    refusal = budget.acquire("a", clock.now())
    assert isinstance(refusal, Wait)
    assert refusal.problem is RateLimitKind.DAY
    budget.release(probe, clock.now(), RateLimitHeaders(day=0))
    assert budget.acquire("a", clock.now()) == DayExhausted(clock.now() + timedelta(hours=1))
    clock.advance(hours=1)
    spend(budget, clock, headers=RateLimitHeaders(day=300))
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_the_apps_count_at_zero_stops_every_organisation(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    spend(budget, clock, "a", headers=RateLimitHeaders(app_minute=0))
    assert budget.acquire("b", clock.now()) == Wait(60.0, RateLimitKind.APP_MINUTE)


def test_the_apps_count_is_asked_again_soon_while_any_call_is_in_progress(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    first, second = (budget.acquire(tenant, clock.now()) for tenant in ("a", "b"))
    assert isinstance(first, CallPermit)
    assert isinstance(second, CallPermit)
    budget.release(first, clock.now(), RateLimitHeaders(app_minute=1))
    # The one call left is the second one, and its own response will correct the count.
    for tenant in ("c", None):
        assert budget.acquire(tenant, clock.now()) == Wait(0.25, RateLimitKind.APP_MINUTE)
    budget.release(second, clock.now(), RateLimitHeaders(app_minute=0))
    for tenant in ("c", None):
        assert budget.acquire(tenant, clock.now()) == Wait(60.0, RateLimitKind.APP_MINUTE)


def test_an_overtaken_response_does_not_raise_the_count(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    slow, quick = budget.acquire("a", clock.now()), budget.acquire("a", clock.now())
    assert isinstance(slow, CallPermit)
    assert isinstance(quick, CallPermit)
    budget.release(quick, clock.now(), RateLimitHeaders(minute=0))
    budget.release(slow, clock.now(), RateLimitHeaders(minute=5))
    assert budget.acquire("a", clock.now()) == Wait(60.0, RateLimitKind.MINUTE)


def test_an_overtaken_response_lowers_the_count(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    slow, quick = budget.acquire("a", clock.now()), budget.acquire("a", clock.now())
    assert isinstance(slow, CallPermit)
    assert isinstance(quick, CallPermit)
    budget.release(quick, clock.now(), RateLimitHeaders(minute=30))
    budget.release(slow, clock.now(), RateLimitHeaders(minute=0))
    assert not isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_a_block_stops_every_process_until_its_end(engine: Engine, clock: FakeClock) -> None:
    budget, another = SqlCallBudget(engine, WIDE), SqlCallBudget(engine, WIDE)
    budget.block("a", RateLimitKind.MINUTE, clock.now() + timedelta(seconds=17))
    assert another.acquire("a", clock.now()) == Wait(17.0, RateLimitKind.MINUTE)
    assert isinstance(another.acquire("b", clock.now()), CallPermit)
    clock.advance(seconds=17)
    assert isinstance(another.acquire("a", clock.now()), CallPermit)


def test_a_day_block_states_its_end(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    until = clock.now() + timedelta(seconds=66975)
    budget.block("a", RateLimitKind.DAY, until)
    budget.block("a", RateLimitKind.DAY, clock.now() + timedelta(seconds=5))
    assert budget.acquire("a", clock.now()) == DayExhausted(until)
    assert budget.read_usage("a", clock.now()).left_today == 0
    clock.moment = until
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_an_app_minute_block_stops_every_organisation(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    budget.block("a", RateLimitKind.APP_MINUTE, clock.now() + timedelta(seconds=9))
    assert budget.acquire("b", clock.now()) == Wait(9.0, RateLimitKind.APP_MINUTE)
    assert budget.acquire(None, clock.now()) == Wait(9.0, RateLimitKind.APP_MINUTE)


def test_the_end_of_a_429_block_replaces_the_count_of_the_header(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    spend(budget, clock, headers=RateLimitHeaders(minute=0, day=0))
    budget.block("a", RateLimitKind.DAY, clock.now() + timedelta(seconds=30))
    budget.block("a", RateLimitKind.MINUTE, clock.now() + timedelta(seconds=10))
    clock.advance(seconds=30)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_the_longest_wait_is_returned(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(per_minute=1, in_progress=1))
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)
    assert budget.acquire("a", clock.now()) == Wait(60.0, RateLimitKind.MINUTE)


def test_usage_is_the_stricter_of_our_count_and_xeros(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(per_minute=50, per_day=100))
    for _ in range(3):
        spend(budget, clock)
    usage = budget.read_usage("a", clock.now())
    assert (usage.today, usage.per_day, usage.left_today, usage.left_this_minute) == (3, 100, 97, 47)
    spend(budget, clock, headers=RateLimitHeaders(minute=5, day=20))
    usage = budget.read_usage("a", clock.now())
    assert (usage.today, usage.left_today, usage.left_this_minute) == (4, 20, 5)
    spend(budget, clock)
    usage = budget.read_usage("a", clock.now())
    assert (usage.today, usage.left_today, usage.left_this_minute) == (5, 19, 4)
    clock.advance(days=1)
    usage = budget.read_usage("a", clock.now())
    assert (usage.today, usage.left_today, usage.left_this_minute) == (0, 100, 50)


def test_usage_of_an_organisation_without_calls_is_zero(engine: Engine, clock: FakeClock) -> None:
    usage = SqlCallBudget(engine, limits(per_day=100)).read_usage("new", clock.now())
    assert (usage.today, usage.left_today) == (0, 100)


def test_releasing_a_permit_twice_or_after_its_deletion_is_harmless(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(in_progress=1))
    permit = spend(budget, clock)
    budget.release(permit, clock.now(), NO_HEADERS)
    budget.release(CallPermit(10**6), clock.now(), RateLimitHeaders(minute=0, day=0, app_minute=0))
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_calls_older_than_every_window_are_deleted(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    for _ in range(PRUNE_EVERY // 2):
        spend(budget, clock)
    clock.advance(days=2)
    for _ in range(PRUNE_EVERY // 2):
        spend(budget, clock)
    with engine.connect() as connection:
        stored = connection.execute(select(func.count()).select_from(call_slots)).scalar_one()
    assert stored == PRUNE_EVERY // 2


def test_a_clock_that_was_set_back_does_not_stop_calls(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(per_minute=1, per_day=2))
    clock.advance(days=365)
    spend(budget, clock)
    clock.advance(days=-365)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


@pytest.mark.parametrize("problem", [RateLimitKind.MINUTE, RateLimitKind.APP_MINUTE])
def test_a_stored_minute_block_of_years_ends_within_two_minutes(
    engine: Engine, clock: FakeClock, problem: RateLimitKind
) -> None:
    """As an older release stored it, or a process whose clock was a year ahead."""
    budget = SqlCallBudget(engine, WIDE)
    budget.block("a", problem, clock.now() + timedelta(days=365))
    assert budget.read_usage("a", clock.now()).left_today > 0
    assert budget.acquire("a", clock.now()) == Wait(120.0, problem)
    clock.advance(seconds=119)
    assert budget.acquire("a", clock.now()) == Wait(1.0, problem)
    clock.advance(seconds=1)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_a_stored_day_block_of_years_ends_within_a_day(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, WIDE)
    until = clock.now() + timedelta(days=1)
    budget.block("a", RateLimitKind.DAY, clock.now() + timedelta(days=365))
    assert budget.acquire("a", clock.now()) == DayExhausted(until)
    clock.advance(hours=23)
    assert budget.acquire("a", clock.now()) == DayExhausted(until)
    clock.advance(hours=1)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)


def test_a_process_whose_clock_is_ahead_makes_nobody_wait_for_its_clock(engine: Engine, clock: FakeClock) -> None:
    budget = SqlCallBudget(engine, limits(per_minute=1))
    clock.advance(minutes=5)
    spend(budget, clock, headers=RateLimitHeaders(minute=0, app_minute=0))
    clock.advance(minutes=-5)
    refusal = budget.acquire("a", clock.now())
    assert isinstance(refusal, Wait)
    assert refusal.seconds <= 60
    clock.advance(seconds=refusal.seconds)
    assert isinstance(budget.acquire("b", clock.now()), CallPermit)


def take_permits_and_hang(url: str, started: Path) -> None:
    engine = open_engine(url)
    budget = SqlCallBudget(engine, limits(in_progress=2), Locks(engine))
    for _ in range(2):
        assert isinstance(budget.acquire("a", FakeClock().now()), CallPermit)
    started.touch()
    time.sleep(60)


def test_the_permits_of_a_killed_process_are_free_with_the_process(
    engine: Engine, database_url: str, clock: FakeClock, tmp_path: Path
) -> None:
    locks = Locks(engine)
    budget = SqlCallBudget(engine, limits(in_progress=2), locks)
    process = StartedProcess(take_permits_and_hang, database_url, tmp_path / "started")
    wait_for_file(tmp_path / "started")
    clock.advance(seconds=3)
    refusal = budget.acquire("a", clock.now())
    assert isinstance(refusal, Wait), "its process is alive"
    assert refusal.problem is RateLimitKind.CONCURRENT
    process.kill()
    assert process.wait_for_outcome() == "SIGKILL"
    answers = (budget.acquire("a", clock.now()) for _ in range(200))
    # The PostgreSQL server needs a moment to notice that the session has ended.
    assert any(isinstance(answer, CallPermit) for answer in answers)
    assert isinstance(budget.acquire("a", clock.now()), CallPermit)
    locks.close()


def test_an_unmigrated_database_is_reported(database_url: str, clock: FakeClock) -> None:
    engine = open_engine(database_url, pooled=False)
    with pytest.raises(NotMigrated, match="xero-pipeline migrate"):
        SqlCallBudget(engine, WIDE).acquire("a", clock.now())
    engine.dispose()


def _take_all(url: str, now: datetime, per_process: int, results: multiprocessing.Queue[int]) -> None:
    engine = open_engine(url, pooled=False)
    budget = SqlCallBudget(engine, SHARED_LIMITS)
    answers = [budget.acquire("a", now) for _ in range(per_process)]
    permits = [permit for permit in answers if isinstance(permit, CallPermit)]
    for permit in permits:
        budget.release(permit, now, NO_HEADERS)
    engine.dispose()
    results.put(len(permits))


SHARED_LIMITS = CallLimits(per_minute=25, per_day=40, in_progress=1000, app_per_minute=10000)


def test_simultaneous_processes_together_never_exceed_a_limit(
    engine: Engine, database_url: str, clock: FakeClock
) -> None:
    granted = []
    for _ in range(2):
        results: multiprocessing.Queue[int] = get_fork_context().Queue()
        processes = [
            get_fork_context().Process(target=_take_all, args=(database_url, clock.now(), 10, results))
            for _ in range(4)
        ]
        for process in processes:
            process.start()
        granted.append(sum(results.get(timeout=60) for _ in processes))
        for process in processes:
            process.join()
            assert process.exitcode == 0
        results.close()
        clock.advance(minutes=2)
    # The first round spends the minute's limit, the second one the rest of the day's.
    assert granted == [25, 15]


class _Model:
    """The limits, checked in the simplest way: by counting among all calls ever made."""

    def __init__(self, allowed: CallLimits) -> None:
        self.allowed = allowed
        self.calls: list[tuple[str | None, datetime]] = []
        self.open: dict[CallPermit, tuple[str | None, datetime]] = {}

    def count_since(self, tenant: str | None, now: datetime, **window: float) -> int:
        return sum(
            1
            for scope, began in self.calls
            if (tenant is None or scope == tenant) and began > now - timedelta(**window)
        )

    def is_allowed(self, tenant: str | None, now: datetime) -> bool:
        if self.count_since(None, now, minutes=1) >= self.allowed.app_per_minute:
            return False
        if tenant is None:
            return True
        in_progress = sum(
            1 for scope, began in self.open.values() if scope == tenant and began + timedelta(milliseconds=LEASE) > now
        )
        return (
            self.count_since(tenant, now, minutes=1) < self.allowed.per_minute
            and self.count_since(tenant, now, days=1) < self.allowed.per_day
            and in_progress < self.allowed.in_progress
        )


MOMENTS = st.sampled_from([0, 0, 0, 1, 999, 20_000, 59_999, 60_000, 60_001, LEASE, 3_600_000, 86_399_999, 86_400_000])
STEPS = st.lists(
    st.tuples(MOMENTS, st.sampled_from(["a", "a", "a", "b", None]), st.booleans()), min_size=1, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(
    steps=STEPS,
    allowed=st.builds(
        CallLimits,
        per_minute=st.integers(1, 5),
        per_day=st.integers(1, 8),
        in_progress=st.integers(1, 3),
        app_per_minute=st.integers(1, 8),
    ),
)
def test_a_call_is_permitted_exactly_when_no_window_is_full(
    steps: list[tuple[int, str | None, bool]], allowed: CallLimits
) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine, tables=[call_slots, call_limits])
    clock = FakeClock()
    budget, model = SqlCallBudget(engine, allowed), _Model(allowed)
    for pause, tenant, finishes in steps:
        clock.advance(milliseconds=pause)
        now = clock.now()
        expected = model.is_allowed(tenant, now)
        answer = budget.acquire(tenant, now)
        assert isinstance(answer, CallPermit) == expected
        if isinstance(answer, CallPermit):
            model.calls.append((tenant, now))
            model.open[answer] = (tenant, now)
            if finishes:
                budget.release(answer, now, NO_HEADERS)
                del model.open[answer]
        elif isinstance(answer, DayExhausted):
            assert tenant is not None
            assert model.count_since(tenant, answer.until - timedelta(milliseconds=1), days=1) >= allowed.per_day
            assert model.count_since(tenant, answer.until, days=1) < allowed.per_day
        elif answer.problem is not RateLimitKind.CONCURRENT:
            scope, most = (
                (None, allowed.app_per_minute)
                if answer.problem is RateLimitKind.APP_MINUTE
                else (tenant, allowed.per_minute)
            )
            until = now + timedelta(seconds=answer.seconds)
            assert model.count_since(scope, until - timedelta(milliseconds=1), minutes=1) >= most
            assert model.count_since(scope, until, minutes=1) < most
    engine.dispose()


@settings(max_examples=30, deadline=None)
@given(
    others=st.lists(st.integers(0, 3), min_size=10, max_size=60),
    pauses=st.lists(st.integers(1, 40), min_size=10, max_size=60),
)
def test_a_smaller_plans_limit_shared_with_another_program_is_respected(others: list[int], pauses: list[int]) -> None:
    """Xero allows 10 calls in fixed minutes, another program makes some of them, and our own limit is much higher.

    Only Xero's headers reveal the other program. So Xero may refuse a call only if the other program has made the
    last allowed call since our last response.
    """
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine, tables=[call_slots, call_limits])
    clock = FakeClock()
    budget = SqlCallBudget(engine, WIDE)
    spent: dict[int, int] = {}
    taken_since_answer = 0
    for other, pause in zip(others, pauses, strict=False):
        window = int(clock.now().timestamp()) // 60
        spent[window] = min(10, spent.get(window, 0) + other)
        taken_since_answer += other
        answer = budget.acquire("a", clock.now())
        if isinstance(answer, CallPermit):
            if spent[window] >= 10:
                assert taken_since_answer > 0
            spent[window] = min(10, spent[window] + 1)
            budget.release(answer, clock.now(), RateLimitHeaders(minute=10 - spent[window]))
            taken_since_answer = 0
        clock.advance(seconds=pause)
    engine.dispose()


def test_a_servers_limits_for_long_statements_end_no_wait_for_a_permit(postgres_url: str, clock: FakeClock) -> None:
    strict = open_engine(f"{postgres_url}?options=-c%20statement_timeout%3D100")
    metadata.create_all(strict, tables=[call_slots, call_limits])
    budget = SqlCallBudget(strict, WIDE)
    with ThreadPoolExecutor() as pool:
        with budget._begin_exclusive():
            permit = pool.submit(budget.acquire, "a", clock.now())
            with pytest.raises(TimeoutError):
                permit.result(0.5)
        assert isinstance(permit.result(30), CallPermit)
    strict.dispose()


def test_a_host_that_is_lost_while_it_takes_a_permit_soon_lets_the_others_call(
    postgres_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "LONGEST_SILENCE", "500ms")
    engine, lost_hosts = open_engine(postgres_url), open_engine(postgres_url)
    metadata.create_all(engine, tables=[call_slots, call_limits])
    with ThreadPoolExecutor() as pool, ExitStack() as lost:
        lost.enter_context(SqlCallBudget(lost_hosts, WIDE)._begin_exclusive())
        # The lost host's session is silent from here on; its line is not cut.
        permit = pool.submit(SqlCallBudget(engine, WIDE).acquire, "a", clock.now())
        assert isinstance(permit.result(20), CallPermit)
        with pytest.raises(DatabaseUnavailable):
            lost.close()
    engine.dispose()
    lost_hosts.dispose()
