"""d. Xero's limits, used; g. organisations that are slow, dead or limited beside others.

All of it waits more than it works, so everything here runs at the same time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.deployments import MeasuredDeployment, serve_xero
from benchmarks.processes import Measured, MeasuredCommandError
from benchmarks.report import Goal, Result
from benchmarks.scenarios.setup import Setup, create_deployment
from benchmarks.xero_server import Books, get_last_weeks, get_tenant

TITLE = "Xero's limits: answers take 3 s, 60 calls a minute and 5 in progress are enforced, ours uses 55 a minute"
LIMIT, SECONDS = 55, 3.0
ENFORCED = {"per_minute": 60, "in_progress": 5}
SETTINGS = {"XERO_CALLS_PER_MINUTE": str(LIMIT), "XERO_CONCURRENT_CALLS": "5"}
ONE, TWO, TWENTY = "one process", "two processes at once", "20 organisations in one run"
# Seconds after which a part is given up. At the limit each takes about 180.
LONGEST = 330.0
# 79 weeks are 158 reports, two lists, the organisation and the accounts: 162 calls for each organisation.
WEEKS = 79
FINE, SLOW, DEAD, LIMITED = (0, 1), 2, 3, 4
ONLY_WEEKS, HELD_UP_AT_MOST = 3, 1.5
_LANDED = """
SELECT replace(sync_type, '_', ' '), count(*), max(completed_at) FROM xero_sync_logs
WHERE status = 'success' AND tenant_id IN (?, ?) GROUP BY sync_type
"""


def measure(setup: Setup) -> Result:
    del setup
    result = Result(TITLE)
    parts: dict[str, Callable[[], Result]] = {
        ONE: lambda: _measure_rate(ONE, organisations=1, processes=1, least=53.0),
        TWO: lambda: _measure_rate(TWO, organisations=1, processes=2, least=53.0),
        TWENTY: lambda: _measure_rate(TWENTY, organisations=20, processes=1, least=20 * LIMIT * 0.95),
        "two organisations beside three with trouble": _measure_neighbours,
    }
    with ThreadPoolExecutor(len(parts)) as pool:
        for subject, part in {subject: pool.submit(part) for subject, part in parts.items()}.items():
            try:
                found = part.result()
            except (MeasuredCommandError, RuntimeError) as error:
                # The other parts have waited for minutes, so what they found stays.
                result.goals.append(Goal(subject, "=", 0, None, text=f"failed: {error}"))
                continue
            result.figures += found.figures
            result.goals += found.goals
            result.remarks += found.remarks
    result.remarks.append("All of these ran at the same time, on the same cores as their servers.")
    return result


def _measure_rate(subject: str, *, organisations: int, processes: int, least: float) -> Result:
    result = Result(subject)
    limits = {"organisations": organisations, "seconds": SECONDS, **ENFORCED}
    with serve_xero() as server, create_deployment(server, organisations, SETTINGS) as deployment:
        server.set(**limits)
        measured, late = _sync_at_once(deployment, processes)
        counts = server.read_counts()
        wrong = late or deployment.find_differences(WEEKS, Books(), organisations)
    calls, minutes = sum(counts["calls"].values()), _count_minutes(counts)
    rate = result.add(subject, "calls a minute", [calls / minutes]).median
    result.add(subject, "calls", [calls])
    result.add(subject, "seconds of the calls", [minutes * 60], "s")
    result.add(subject, "refused (429)", [sum(counts["refused"].values())])
    if measured:
        result.add(subject, "seconds of the whole", [max(one.seconds for one in measured)], "s")
        result.add(subject, "processor seconds", [sum(one.cpu_seconds for one in measured)], "s")
        result.add(subject, "peak memory", [max(one.megabytes for one in measured)], "MB")
    result.goals = [
        Goal(f"{subject}: calls a minute of {organisations * LIMIT}", "≥", least, rate),
        Goal(f"{subject}: refused with 429", "=", 0, sum(counts["refused"].values())),
        Goal(f"{subject}: figures that are missing or differ from the books", "=", 0, len(wrong)),
    ]
    result.remarks = wrong[:3]
    return result


def _sync_at_once(deployment: MeasuredDeployment, processes: int) -> tuple[list[Measured], list[str]]:
    """Sync all weeks, each process a part of them that follows the one before.

    Returns what was measured and what failed. The calls of a process that took too long were still counted.
    """
    first, _ = get_last_weeks(WEEKS)
    ranges = []
    for number in range(processes):
        begin, end = WEEKS * number // processes, WEEKS * (number + 1) // processes
        ranges.append([str(first + timedelta(days=7 * week + 6)) for week in (begin, end - 1)])
    measured, failed = [], []
    with ThreadPoolExecutor(processes) as pool:
        started = [
            pool.submit(deployment.run, "sync", "--json", "--from", one, "--to", two, timeout=LONGEST)
            for one, two in ranges
        ]
        for part in started:
            try:
                measured.append(part.result())
            except MeasuredCommandError as error:
                failed.append(str(error))
    return measured, failed


def _count_minutes(counts: dict[str, Any]) -> float:
    return (max(counts["ended_at"].values()) - counts["first_call_at"]) / 60


def _measure_neighbours() -> Result:
    """How long two organisations take alone, and beside three that have trouble."""
    result = Result("neighbours")
    with ThreadPoolExecutor(2) as pool:
        alone = pool.submit(_sync_neighbours, organisations=2)
        beside = pool.submit(_sync_neighbours, organisations=5)
        times = {
            "two organisations alone, 0.5 s an answer": alone.result(),
            "the same beside a slow one (30 s), a dead one (503) and a limited one (5 a minute)": beside.result(),
        }
    for subject, seconds in times.items():
        for measure, value in seconds.items():
            result.add(subject, measure, [value], "s")
    alone_times, beside_times = times.values()
    tables = list(alone_times)[:3]
    for which, table in (("first", tables[0]), ("last", tables[-1])):
        goal = f"two organisations beside three with trouble: seconds until the {which} of their tables, by those alone"
        share = beside_times[table] / alone_times[table]
        result.goals.append(Goal(goal, "≤", HELD_UP_AT_MOST, share, "×"))
    return result


def _sync_neighbours(organisations: int) -> dict[str, float]:
    """Seconds from the start of the command until each table of the organisations without trouble had landed."""
    seconds = [0.5, 0.5, 30.0, 0.5, 0.5][:organisations]
    limits = [0, 0, 0, 0, 5][:organisations]
    with serve_xero() as server, create_deployment(server, organisations, SETTINGS) as deployment:
        server.set(organisations=organisations, seconds=seconds, per_minute=limits, dead=[DEAD])
        began = datetime.now(UTC)
        measured = deployment.run("sync", "--weeks", str(ONLY_WEEKS), check=False, timeout=LONGEST)
        with closing(sqlite3.connect(deployment.home / "data" / "xero.db")) as database:
            landed = database.execute(_LANDED, [get_tenant(number) for number in FINE]).fetchall()
    if sum(count for _, count, _ in landed) != 3 * ONLY_WEEKS * len(FINE):
        raise RuntimeError(f"of the organisations without trouble landed {landed}: {measured.errors[-500:]}")
    times = {table: (_read_moment(moment) - began).total_seconds() for table, _, moment in landed}
    in_order = dict(sorted(times.items(), key=lambda one: one[1]))
    return {f"their {table}": value for table, value in in_order.items()} | {"the whole command": measured.seconds}


def _read_moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
