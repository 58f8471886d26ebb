"""Many threads and processes over one state file share one mock Xero."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from xero_pipeline.mock_xero import FaultKind, MockFault, MockLimits, MockLine, MockXero
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import TENANT, Client
from xero_pipeline_tests.processes import get_fork_context

WEEK = Week(date(2026, 11, 21))


def make_calls(state: Path, tokens: dict[str, Any], calls: int) -> list[int]:
    """Make calls in a process of its own, with tokens that another process was given."""
    mock = MockXero(state, FakeClock(), limits=MockLimits(per_minute=20))
    client = Client(mock)
    client.tokens = tokens
    statuses = [client.get("Organisation").status_code for _ in range(calls)]
    mock.add_invoice(TENANT, date=WEEK.start, lines=[MockLine(Decimal("10.00"))])
    client.session.close()
    return statuses


def test_processes_share_tokens_limits_edits_and_counters(tmp_path: Path, clock: FakeClock) -> None:
    state = tmp_path / "mock.db"
    mock = MockXero(state, clock)
    client = Client(mock).sign_in()
    before = mock.books(TENANT).profit_and_loss(WEEK).total_trading_income
    with ProcessPoolExecutor(3, mp_context=get_fork_context()) as pool:
        results = pool.map(partial(make_calls, state, client.tokens), [10, 10, 10])
        statuses = Counter(status for result in results for status in result)
    assert statuses == {200: 20, 429: 10}
    assert mock.counters()["calls"] == 20
    assert mock.books(TENANT).profit_and_loss(WEEK).total_trading_income - before == 30
    client.session.close()


@pytest.mark.parametrize("attempt", range(3))
def test_threads_that_exchange_the_same_code_get_one_pair(mock: MockXero, attempt: int) -> None:
    client = Client(mock)
    code = client.obtain_code()
    assert sorted(_run_at_once(8, lambda: client.exchange_code(code).status_code)) == [200] + [400] * 7
    client.session.close()


def test_threads_that_call_at_once_trigger_a_fault_once(client: Client) -> None:
    client.mock.add_fault(MockFault(FaultKind.STATUS))
    statuses = Counter(_run_at_once(5, lambda: client.get("Accounts").status_code))
    assert statuses[500] == 1


def test_threads_that_edit_the_same_invoice_lose_no_edit(client: Client) -> None:
    line = MockLine(Decimal("100.00"))
    invoice_id = client.mock.add_invoice(TENANT, date=WEEK.start, lines=[line])
    _run_at_once(10, lambda: client.mock.edit_invoice(TENANT, invoice_id, change=Decimal("1.00")))
    assert client.get_json(f"Invoices/{invoice_id}")["Invoices"][0]["SubTotal"] == 110


def test_a_process_that_died_during_a_call_blocks_no_later_call(tmp_path: Path, clock: FakeClock) -> None:
    mock = MockXero(tmp_path / "mock.db", clock, limits=MockLimits(in_progress=1))
    client = Client(mock).sign_in()
    process = get_fork_context().Process(target=_exit_during_call, args=(tmp_path / "mock.db", client.tokens))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert client.get("Organisation").status_code == 200
    client.session.close()


def test_threads_that_open_a_new_file_at_once_all_find_its_tables(tmp_path: Path, clock: FakeClock) -> None:
    assert _run_at_once(8, lambda: MockXero(tmp_path / "new.db", clock).counters()) == [{}] * 8


class _ExitingClock(FakeClock):
    """A clock that ends its process when it should sleep."""

    def sleep(self, seconds: float) -> None:
        import os

        os._exit(9)


def _exit_during_call(state: Path, tokens: dict[str, Any]) -> None:
    mock = MockXero(state, _ExitingClock())
    client = Client(mock)
    client.tokens = tokens
    mock.add_fault(MockFault(FaultKind.DELAY, path="Accounts", seconds=1))
    client.get("Accounts")


def _run_at_once(number: int, action: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(number) as pool:
        return [call.result() for call in [pool.submit(action) for _ in range(number)]]
