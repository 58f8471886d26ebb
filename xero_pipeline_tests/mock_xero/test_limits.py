"""Xero's rate limits: counted per organisation over rolling windows, and reported in headers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from xero_pipeline.mock_xero import FaultKind, MockFault, MockLimits, MockOrganisation, MockXero
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import Client

TWO_ORGANISATIONS = (MockOrganisation(), MockOrganisation("tenant-b", "Second Company"))


class GatedClock:
    """A clock whose sleepers wait until the test opens the gate."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.open = threading.Event()

    def now(self) -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        self.waiting.release()
        assert self.open.wait(30)


@pytest.fixture
def strict(tmp_path: Path, clock: FakeClock) -> Iterator[Client]:
    limits = MockLimits(per_minute=4, per_day=10, app_per_minute=100)
    client = Client(MockXero(tmp_path / "mock.db", clock, limits=limits, organisations=TWO_ORGANISATIONS)).sign_in()
    yield client
    client.session.close()


def test_the_default_limits_are_xeros(mock: MockXero) -> None:
    assert MockLimits() == MockLimits(per_minute=60, per_day=5000, in_progress=5, app_per_minute=10_000)


def test_each_answer_states_the_remaining_calls(strict: Client) -> None:
    headers = [strict.get("Organisation").headers for _ in range(3)]
    remaining = [tuple(header[f"X-{name}Limit-Remaining"] for name in ("Min", "Day", "AppMin")) for header in headers]
    assert remaining == [("3", "9", "99"), ("2", "8", "98"), ("1", "7", "97")]
    assert "Xero-Correlation-Id" in strict.get("Organisation").headers


def test_an_error_counts_and_states_the_remaining_calls_too(strict: Client) -> None:
    assert strict.get("Nothing").headers["X-MinLimit-Remaining"] == "3"
    assert strict.get("Invoices", {"where": "nonsense"}).headers["X-MinLimit-Remaining"] == "2"


def test_over_the_minute_limit_the_answer_names_the_limit_and_the_wait(strict: Client, clock: FakeClock) -> None:
    for _ in range(4):
        assert strict.get("Organisation").status_code == 200
        clock.advance(seconds=10)
    response = strict.get("Organisation")
    assert response.status_code == 429
    assert response.headers["X-Rate-Limit-Problem"] == "minute"
    assert response.headers["Retry-After"] == "20"
    assert response.headers["X-MinLimit-Remaining"] == "0"
    clock.advance(seconds=19)
    assert strict.get("Organisation").headers["Retry-After"] == "1"
    clock.advance(seconds=1)
    assert strict.get("Organisation").status_code == 200


@pytest.mark.parametrize("microsecond", [0, 1, 123_457, 999_999])
def test_waiting_for_retry_after_is_enough(strict: Client, clock: FakeClock, microsecond: int) -> None:
    clock.moment = clock.moment.replace(microsecond=microsecond)
    for _ in range(4):
        strict.get("Organisation")
    clock.advance(seconds=int(strict.get("Organisation").headers["Retry-After"]))
    assert strict.get("Organisation").status_code == 200


def test_a_refused_call_does_not_count(strict: Client, clock: FakeClock) -> None:
    for _ in range(20):
        strict.get("Organisation")
    clock.advance(seconds=60)
    assert strict.get("Organisation").headers["X-DayLimit-Remaining"] == "5"
    counters = strict.mock.counters()
    assert (counters["calls"], counters["refused"]) == (5, 16)


def test_over_the_day_limit_the_wait_is_hours(strict: Client, clock: FakeClock) -> None:
    for _ in range(10):
        assert strict.get("Organisation").status_code == 200
        clock.advance(minutes=1)
    strict.tokens = strict.refresh().json()
    response = strict.get("Organisation")
    assert response.status_code == 429
    assert response.headers["X-Rate-Limit-Problem"] == "day"
    assert response.headers["Retry-After"] == str(86_400 - 600)
    clock.advance(seconds=86_400 - 601)
    strict.tokens = strict.refresh().json()
    assert strict.get("Organisation").status_code == 429
    clock.advance(seconds=1)
    assert strict.get("Organisation").status_code == 200


def test_each_organisation_has_its_own_limits(strict: Client) -> None:
    for _ in range(4):
        strict.get("Organisation")
    assert strict.get("Organisation").status_code == 429
    assert strict.get("Organisation", tenant="tenant-b").headers["X-MinLimit-Remaining"] == "3"


def test_the_app_limit_counts_calls_of_all_organisations_and_its_own(tmp_path: Path, clock: FakeClock) -> None:
    limits = MockLimits(app_per_minute=3)
    client = Client(MockXero(tmp_path / "app.db", clock, limits=limits, organisations=TWO_ORGANISATIONS)).sign_in()
    assert client.get("Organisation").status_code == 200
    assert client.get("Organisation", tenant="tenant-b").status_code == 200
    assert client.get("/connections").headers["X-AppMinLimit-Remaining"] == "0"
    for path in ("Organisation", "/connections"):
        response = client.get(path)
        assert response.status_code == 429
        assert response.headers["X-Rate-Limit-Problem"] == "appminute"
        assert "Retry-After" not in response.headers
    client.session.close()


def test_a_call_without_a_valid_token_or_organisation_does_not_count(strict: Client) -> None:
    strict.get("Organisation", headers={"Authorization": "Bearer nonsense"})
    strict.get("Organisation", tenant="no-such-tenant")
    assert strict.get("Organisation").headers["X-MinLimit-Remaining"] == "3"


def test_a_sixth_call_at_once_is_refused(tmp_path: Path) -> None:
    gate = GatedClock()
    mock = MockXero(tmp_path / "gate.db", gate)
    client = Client(mock).sign_in()
    mock.add_fault(MockFault(FaultKind.DELAY, path="Organisation", times=5, seconds=1))
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(client.get, "Organisation") for _ in range(5)]
        for _ in range(5):
            assert gate.waiting.acquire(timeout=30)
        sixth = client.get("Accounts")
        gate.open.set()
        assert {call.result().status_code for call in calls} == {200}
    assert sixth.status_code == 429
    assert sixth.headers["X-Rate-Limit-Problem"] == "concurrent"
    assert "Retry-After" not in sixth.headers
    assert client.get("Accounts").status_code == 200
    client.session.close()
