"""Landing a week in several processes: a killed one changes nothing, and two at once leave one week whole."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from multiprocessing.synchronize import Event as Flag

import pytest
from sqlalchemy import Connection, event, text

from xero_pipeline.warehouse.errors import Superseded
from xero_pipeline.warehouse.figures.document_index import StoredDocument, replace_documents
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.processes import get_fork_context
from xero_pipeline_tests.warehouse.figures.figures_given import (
    KEY,
    NOW,
    WEEK,
    cell,
    land_profit,
    line,
    make_provenance,
    profit,
    revenue,
)

TIMES = 12


def read_income(warehouse: Warehouse) -> tuple[str, ...]:
    """The total and every line of the week, as text."""
    figures = warehouse.read_week_figures("org-1", WEEK)
    assert figures.profit_and_loss is not None
    return (str(figures.profit_and_loss["total_trading_income"]), *(str(row["amount"]) for row in figures.lines))


def land_and_die(url: str, when: str) -> None:
    """Replace the week, and get killed at the n-th statement that writes figures, or at the commit."""
    warehouse = Warehouse.open(url, [KEY], FakeClock())
    writes = 0

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal writes
        writes += "financial_weekly" in statement and not statement.startswith("SELECT")
        if when == str(writes):
            die()

    log_id = warehouse.log.start("org-1", "profit_and_loss", WEEK, "run-2")
    event.listen(warehouse.engine, "after_cursor_execute", count)
    if when == "commit":
        event.listen(warehouse.engine, "commit", die)
    warehouse.land(
        profit("9.00", line("acc-1", "4.00"), line("acc-3", "5.00")),
        tenant_id="org-1",
        week=WEEK,
        currency="AUD",
        data_source="xero_mock",
        run_id="run-2",
        log_id=log_id,
        status="success",
        api_calls=1,
    )


@pytest.mark.parametrize("when", ["2", "commit"])
def test_a_process_that_is_killed_halfway_leaves_the_old_week_whole(
    warehouse: Warehouse, database_url: str, when: str
) -> None:
    land_profit(warehouse, profit("3.00", line("acc-1", "1.00"), line("acc-2", "2.00")))
    child = get_fork_context().Process(target=land_and_die, args=(database_url, when))
    child.start()
    child.join(timeout=60)
    assert child.exitcode == -signal.SIGKILL
    assert read_income(warehouse) == ("3.00", "1.00", "2.00")
    assert warehouse.list_restatements() == []
    entry = warehouse.log.get_last("org-1", "profit_and_loss", WEEK)
    assert entry is not None
    assert entry.status == "running"
    # The next attempt does not wait, and records that the one before was cut off.
    land_profit(warehouse, profit("9.00", line("acc-1", "9.00")), run_id="run-3")
    assert read_income(warehouse) == ("9.00", "9.00")
    assert [entry.status for entry in warehouse.log.list_newest(5)] == ["success", "failed", "success"]


def test_a_transaction_waits_for_another_one_that_replaces_the_same_week(warehouse: Warehouse) -> None:
    landings: list[ReplaceResult] = []

    def replace() -> None:
        with warehouse.engine.begin() as connection:
            landings.append(profit("7.00", line("acc-1", "3.00"), line("acc-4", "4.00"))(connection, make_provenance()))

    second = threading.Thread(target=replace)
    with warehouse.engine.begin() as connection:
        profit("3.00", line("acc-1", "1.00"), line("acc-2", "2.00"))(connection, make_provenance())
        second.start()
        _wait_until_transaction_waits(warehouse)
    second.join()
    assert read_income(warehouse) == ("7.00", "3.00", "4.00")
    assert landings[0].previous, "the second transaction saw what the first one had written"


def _wait_until_transaction_waits(warehouse: Warehouse) -> None:
    if warehouse.engine.dialect.name == "sqlite":
        # SQLite does not report waiting transactions, but it has only one writer at a time.
        threading.Event().wait(0.05)
        return
    here = "datname = current_database() AND wait_event_type = 'Lock'"
    waiting = f"SELECT count(*) FROM pg_stat_activity WHERE {here}"
    for _ in range(1000):
        with warehouse.engine.connect() as connection:
            if connection.execute(text(waiting)).scalar_one():
                return
        threading.Event().wait(0.01)
    raise AssertionError("no transaction waits")


ONE = ("3.00", "1.00", "2.00")
OTHER = ("7.00", "3.00", "4.00")


@contextmanager
def record_if_overtaken(warehouse: Warehouse) -> Iterator[None]:
    """Do what a sync does whose week has been landed by one that began later."""
    try:
        yield
    except Superseded as overtaken:
        warehouse.log.finish_overtaken(overtaken.log_id, overtaken.newer, api_calls=1)


def land_again_and_again(url: str, week: tuple[str, str, str], barrier: Barrier, over: Flag) -> None:
    warehouse = Warehouse.open(url, [KEY], FakeClock())
    write = profit(week[0], line("acc-1", week[1]), line(f"acc-{week[2]}", week[2]))
    barrier.wait(timeout=60)
    for _ in range(TIMES):
        with record_if_overtaken(warehouse):
            land_profit(warehouse, write)
    over.set()
    warehouse.close()


def test_two_processes_that_land_the_same_week_leave_one_whole_week_at_every_moment(
    warehouse: Warehouse, database_url: str
) -> None:
    land_profit(warehouse, profit(ONE[0], line("acc-1", ONE[1]), line(f"acc-{ONE[2]}", ONE[2])))
    barrier, over = get_fork_context().Barrier(3), [get_fork_context().Event(), get_fork_context().Event()]
    children = [
        get_fork_context().Process(target=land_again_and_again, args=(database_url, week, barrier, flag))
        for week, flag in zip((ONE, OTHER), over, strict=True)
    ]
    for child in children:
        child.start()
    barrier.wait(timeout=60)
    seen = {read_income(warehouse)}
    while not all(flag.is_set() for flag in over) and any(child.is_alive() for child in children):
        seen.add(read_income(warehouse))
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0, 0]
    assert seen <= {ONE, OTHER}
    assert read_income(warehouse) in {ONE, OTHER}
    # Each restatement begins with the value that the one before it wrote, so no process overwrote an unseen value.
    total = ONE[0]
    for restatement in warehouse.list_restatements():
        if restatement.column_name == "total_trading_income":
            assert restatement.old_value == total
            total = str(restatement.new_value)
    assert total == read_income(warehouse)[0]
    assert {entry.status for entry in warehouse.log.list_newest(100)} == {"success"}


def test_two_threads_that_land_the_same_revenue_week_with_its_documents_both_succeed(warehouse: Warehouse) -> None:
    documents = [StoredDocument(f"d{n}", WEEK, "figures", {}, NOW) for n in range(200)]
    cells = revenue(cell("residential", "north", "1.00"))
    failed: list[BaseException] = []

    def write(connection: Connection, given: Provenance) -> ReplaceResult:
        landing = cells(connection, given)
        replace_documents(connection, given.tenant_id, WEEK, documents)
        return landing

    def land(run: str) -> None:
        try:
            for _ in range(5):
                log_id = warehouse.log.start("org-1", "invoices", WEEK, run)
                with record_if_overtaken(warehouse):
                    warehouse.land(
                        write,
                        tenant_id="org-1",
                        week=WEEK,
                        currency="AUD",
                        data_source="xero_mock",
                        run_id=run,
                        log_id=log_id,
                        status="success",
                        api_calls=1,
                    )
        except BaseException as error:  # noqa: BLE001 - the test reports any error
            failed.append(error)

    threads = [threading.Thread(target=land, args=(f"run-{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
