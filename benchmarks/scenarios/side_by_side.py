"""c. Ten organisations against one, where an answer takes half a second."""

from __future__ import annotations

from benchmarks.deployments import serve_xero
from benchmarks.report import Goal, Result
from benchmarks.scenarios.setup import Setup, Synced, create_deployment, sync
from benchmarks.xero_server import Books

TITLE = "Organisations side by side, an answer takes 0.5 s"
WEEKS, SECONDS = 3, 0.5


def measure(setup: Setup) -> Result:
    result, wrong = Result(TITLE), []
    synced: dict[int, list[Synced]] = {1: [], 10: []}
    with serve_xero() as server:
        for _ in range(setup.runs):
            for organisations, runs in synced.items():
                with create_deployment(server, organisations) as deployment:
                    server.set(organisations=organisations, seconds=SECONDS)
                    runs.append(sync(deployment, "--weeks", str(WEEKS), timeout=180))
                    wrong += deployment.find_differences(WEEKS, Books(), organisations)
    medians = []
    for organisations, runs in synced.items():
        subject = f"{organisations} × {WEEKS} weeks"
        medians.append(result.add(subject, "seconds", [one.measured.seconds for one in runs], "s").median)
        result.add(subject, "calls", [runs[-1].calls])
        result.add(subject, "most in progress for one", [runs[-1].counts["most_in_progress"]])
        result.add(subject, "peak memory", [max(one.measured.megabytes for one in runs)], "MB")
    result.goals = [
        Goal("10 organisations: seconds by those of one", "≤", 1.6, medians[1] / medians[0], "×"),
        Goal("figures of these runs that differ from the books", "=", 0, len(wrong)),
    ]
    result.remarks = wrong[:3]
    return result
