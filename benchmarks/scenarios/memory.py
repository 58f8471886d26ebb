"""e. The most memory that weeks with many documents need."""

from __future__ import annotations

from benchmarks.deployments import serve_xero
from benchmarks.report import Goal, Result
from benchmarks.scenarios.setup import Setup, count_weeks, create_deployment, sync
from benchmarks.xero_server import Books

TITLE = "Many documents"
# weeks, invoices of each week
CASES, FULL_CASES = [(1, 200_000)], [(26, 38_462)]
MOST_MEGABYTES = 400


def measure(setup: Setup) -> Result:
    result, wrong = Result(TITLE), []
    with serve_xero() as server:
        for weeks, invoices in CASES + (FULL_CASES if setup.is_full else []):
            subject = f"{weeks * invoices:,} invoices in {count_weeks(weeks)}"
            with create_deployment(server) as deployment:
                server.set(invoices=invoices)
                synced = sync(deployment, "--weeks", str(weeks), timeout=900)
                wrong += deployment.find_differences(weeks, Books(invoices))
            megabytes = result.add(subject, "peak memory", [synced.measured.megabytes], "MB").median
            result.add(subject, "seconds", [synced.measured.seconds], "s")
            result.add(subject, "processor seconds", [synced.measured.cpu_seconds], "s")
            result.add(subject, "calls", [synced.calls])
            result.goals.append(Goal(f"peak memory, {subject}", "≤", MOST_MEGABYTES, megabytes, "MB"))
    if not setup.is_full:
        for weeks, invoices in FULL_CASES:
            subject = f"peak memory, {weeks * invoices:,} invoices in {weeks} weeks"
            result.goals.append(Goal(subject, "≤", MOST_MEGABYTES, None, "MB", "takes `FULL=1`"))
    result.goals.append(Goal("figures of these runs that differ from the books", "=", 0, len(wrong)))
    result.remarks = [
        "The server builds the pages on the same two cores, which is part of the seconds but not of the memory.",
        *wrong[:3],
    ]
    return result
