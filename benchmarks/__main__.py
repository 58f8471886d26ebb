"""`make bench`: measures the seconds and the calls of a sync with the mock, each in a new deployment.

The mock answers immediately, so the seconds are those of the pipeline itself. The settings are the defaults. Where the
limit of calls a minute makes a run wait, the waiting time is shown in a column of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.deployments import COMMAND

CASES = {"one week": ["--weeks", "1"], "13 weeks": ["--weeks", "13"], "26 weeks in one run": ["--weeks", "26"]}
RUNS = 3


def run(home: Path, *arguments: str) -> tuple[float, str, str]:
    """Run a command in a deployment's folder. Return its seconds, its standard output and its standard error."""
    environment = {
        "PATH": os.environ["PATH"],
        "DAGSTER_HOME": str(home),
        "XERO_MOCK_MODE": "true",
        "XERO_ENCRYPTION_KEY": secrets.token_hex(32),
    }
    started_at = time.perf_counter()
    process = subprocess.run(
        [*COMMAND, *arguments], cwd=home, env=environment, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started_at, process.stdout, process.stderr


def measure(arguments: list[str]) -> tuple[float, float, int]:
    """Sync once in an empty deployment. Return the seconds, how many of them were waiting, and the calls."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        run(home, "migrate")
        run(home, "connect")
        seconds, output, messages = run(home, "sync", "--json", *arguments)
    waited = sum(float(line.split()[1]) for line in messages.splitlines() if line.startswith("waiting"))
    return seconds, waited, sum(entry["apiCalls"] for entry in json.loads(output)["logs"])


def main() -> None:
    print(f"{'case':24} {'seconds (min, median, max)':32} {'of these waiting':>18} {'calls':>6}")
    for name, arguments in CASES.items():
        results = sorted(measure(arguments) for _ in range(RUNS))
        lowest, median, highest = (f"{seconds:.1f}" for seconds, _, _ in results)
        _, waited, calls = results[RUNS // 2]
        print(f"{name:24} {lowest + ', ' + median + ', ' + highest:32} {waited:>16.0f} s {calls:>6}")


if __name__ == "__main__":
    main()
