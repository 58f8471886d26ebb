"""a. What a sync takes beyond what its surroundings take at least."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import statistics
from contextlib import closing
from pathlib import Path

from benchmarks.deployments import MeasuredDeployment, Server, serve_xero
from benchmarks.processes import Measured, MeasuredCommandError
from benchmarks.report import Figure, Goal, Result
from benchmarks.scenarios.setup import Setup, Synced, create_deployment, create_folder, run_dagster_floor, sync
from benchmarks.xero_server import Books

TITLE = "A history of one organisation, against a server that answers at once"
REMARK = (
    "The floors are processes of their own, between the syncs. The first is a whole process, with its start and the "
    "import of Dagster; of the answers only the seconds of the calls count, and nothing is added for what else a sync "
    "imports. The goal is about Dagster's storage as it comes. "
    "The ratio counts neither the rows below nor what a sync does beside them: it writes each week and table in a "
    "transaction of its own, keeps the sync log, and runs the checks. Processor seconds depend less on what else the "
    "machine does."
)
POSTGRES = os.environ.get("TEST_DATABASE_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


def measure(setup: Setup) -> Result:
    result = Result(TITLE)
    ours: list[Synced] = []
    dagster, pooled, http, wrong, rows = [], [], [], [], []
    with serve_xero() as server:
        for run in range(setup.runs):
            ours.append(_sync_new(server, setup.weeks, wrong, rows if run == 0 else None))
            dagster.append(run_dagster_floor(server, setup.weeks, timeout=300))
            pooled.append(run_dagster_floor(server, setup.weeks, timeout=300, pooled=True))
            http.append(_read_answers(server, setup.weeks))
        long = _sync_new(server, setup.long_weeks, wrong, None)
    _add_syncs(result, f"sync of {setup.weeks} weeks", ours)
    _add_syncs(result, f"sync of {setup.long_weeks} weeks", [long])
    _add_processes(result, f"floor: {3 * setup.weeks} materialisations with a log line each, doing nothing", dagster)
    _add_processes(result, "the same in our storage, which keeps Dagster's files open", pooled)
    result.add(f"floor: the answers of {setup.weeks} weeks, one after another, thrown away", "seconds", http, "s")
    result.figures += rows
    seconds = statistics.median(one.measured.seconds for one in ours)
    floor = statistics.median(one.seconds for one in dagster) + statistics.median(http)
    lowest = statistics.median(one.seconds for one in pooled) + statistics.median(http)
    result.add(f"{setup.weeks} weeks by the floor in our storage", "ratio", [seconds / lowest], "×")
    length = long.measured.seconds / seconds
    result.goals = [
        Goal(f"{setup.weeks} weeks: seconds by those of the floors", "≤", 1.3, seconds / floor, "×"),
        Goal(f"{setup.long_weeks} weeks: seconds by those of {setup.weeks}", "≤", 5.3, length, "×"),
        Goal(
            f"calls for {setup.weeks} weeks of that many documents", "≤", _count_most_calls(setup.weeks), ours[-1].calls
        ),
        Goal("figures of these runs that differ from the books", "=", 0, len(wrong)),
    ]
    result.remarks = [REMARK, *wrong[:3]]
    return result


def _count_most_calls(weeks: int) -> int:
    """Two reports a week, the pages of both lists, and four more."""
    books = Books()
    return 2 * weeks + math.ceil(weeks * books.invoices / 1000) + math.ceil(weeks * books.credit_notes / 1000) + 4


def _add_syncs(result: Result, subject: str, runs: list[Synced]) -> None:
    _add_processes(result, subject, [one.measured for one in runs])
    result.add(subject, "calls", [runs[-1].calls])


def _add_processes(result: Result, subject: str, runs: list[Measured]) -> None:
    result.add(subject, "seconds", [one.seconds for one in runs], "s")
    result.add(subject, "processor seconds", [one.cpu_seconds for one in runs], "s")
    result.add(subject, "peak memory", [max(one.megabytes for one in runs)], "MB")


def _sync_new(server: Server, weeks: int, wrong: list[str], rows_into: list[Figure] | None) -> Synced:
    server.set()
    with create_deployment(server) as deployment:
        synced = sync(deployment, "--weeks", str(weeks), timeout=400)
        wrong += deployment.find_differences(weeks, Books())
        if rows_into is not None:
            rows_into += _write_rows_again(deployment, weeks)
    return synced


def _read_answers(server: Server, weeks: int) -> float:
    server.set()
    with create_folder() as folder:
        floor = MeasuredDeployment(folder, server).run_module(
            "benchmarks.floors", "http", server.url, str(weeks), timeout=120
        )
    return float(json.loads(floor.output)["seconds"])


def _write_rows_again(deployment: MeasuredDeployment, weeks: int) -> list[Figure]:
    """The floor of the database: every row that the sync left, written once more in one transaction."""
    file = str(deployment.home / "data" / "xero.db")
    _fold_journal_in(Path(file))
    ways = {"executemany on SQLite": [], "COPY on PostgreSQL": [POSTGRES.replace("+psycopg", "")]}
    figures = []
    for way, arguments in ways.items():
        subject = f"floor: the rows of {weeks} weeks, {way}"
        try:
            floor = deployment.run_module("benchmarks.floors", "rows", file, *arguments, timeout=60)
        except MeasuredCommandError as error:
            figures.append(Figure(subject, "seconds", text=f"not measured: {error}"))
            continue
        said = json.loads(floor.output)
        figures += [Figure(subject, "seconds", [said["seconds"]], "s"), Figure(subject, "rows", [said["rows"]])]
    return figures


def _fold_journal_in(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
