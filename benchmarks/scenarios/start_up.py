"""f. What a command takes before it does anything, and the smallest sync."""

from __future__ import annotations

import json
import statistics

from benchmarks.deployments import MeasuredDeployment, serve_xero
from benchmarks.report import Goal, Result
from benchmarks.scenarios.setup import Setup, create_deployment, run_dagster_floor, sync

TITLE = "Start-up"
COMMANDS = {"--help": (["--help"], 0.3), "status": (["status"], 1.0), "logs": (["logs"], 1.0)}
COUNT_CHECKS = """
from xero_pipeline.definitions import build_defs
print(len(list(build_defs().resolve_asset_graph().asset_check_keys)))
"""
# The empty run twice: the first also imports Dagster and creates its databases.
IN_ONE_PROCESS = """
import json, logging, sys, time
from benchmarks.floors import materialise_nothing
from xero_pipeline.cli import main
seconds = []
def run(do):
    began = time.perf_counter()
    do()
    seconds.append(time.perf_counter() - began)
def sync():
    sys.argv = ["xero-pipeline", "sync", "--weeks", "1"]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
run(sync)
run(lambda: materialise_nothing(1))
run(sync)
run(lambda: materialise_nothing(1))
print(json.dumps(seconds))
"""


def measure(setup: Setup) -> Result:
    result = Result(TITLE)
    syncs, floors, with_checks, in_one = [], [], [], []
    with serve_xero() as server, create_deployment(server) as deployment:
        checks = int(deployment.run_python(COUNT_CHECKS).output)
        for _ in range(setup.runs):
            with create_deployment(server) as new:
                syncs.append(sync(new, "--weeks", "1", timeout=60).measured.seconds)
            floors.append(run_dagster_floor(server, 1, timeout=60).seconds)
            with_checks.append(run_dagster_floor(server, 1, timeout=60, checks=checks).seconds)
            in_one.append(_run_in_one_process(deployment))
        for name, (arguments, most) in COMMANDS.items():
            seconds = [deployment.run(*arguments, timeout=60).seconds for _ in range(setup.runs + 2)]
            median = result.add(f"`xero-pipeline {name}`", "seconds", seconds, "s").median
            result.goals.append(Goal(f"`{name}`: seconds", "≤", most, median, "s"))
    result.add("`xero-pipeline sync --weeks 1`, a new deployment", "seconds", syncs, "s")
    result.add("an empty Dagster run of three assets, a process of its own", "seconds", floors, "s")
    result.add(
        f"the same with {checks} checks, as many as a sync has, that pass without looking", "seconds", with_checks, "s"
    )
    warm = [run[2] for run in in_one]
    empty = [run[3] for run in in_one]
    result.add("the second sync of one week in one process", "seconds", warm, "s")
    result.add("the second empty Dagster run in the same process", "seconds", empty, "s")
    whole, again = (statistics.median(one) / statistics.median(two) for one, two in ((syncs, floors), (warm, empty)))
    result.goals += [
        Goal("a sync of one week by an empty Dagster run, whole processes", "≤", 1.2, whole, "×"),
        Goal("the same, both warm in one process", "≤", 1.2, again, "×"),
    ]
    return result


def _run_in_one_process(deployment: MeasuredDeployment) -> list[float]:
    measured = deployment.run_python(IN_ONE_PROCESS, timeout=120)
    return list(json.loads(measured.output.splitlines()[-1]))
