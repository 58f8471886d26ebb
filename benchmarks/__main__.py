"""Seconds and calls of a sync against the mock, each in a fresh deployment: `make bench`.

The mock answers at once, so the seconds are the pipeline's own; the limits are lifted as far as the mock
allows, and where its minute limit makes a run wait, the waiting is shown apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-c", "from xero_pipeline.cli import main; main()"]
CASES = {"one week": ["--weeks", "1"], "13 weeks": ["--weeks", "13"], "26 weeks in one run": ["--weeks", "26"]}
RUNS = 3


def run(home: Path, *arguments: str) -> tuple[float, str, str]:
    """Run a command in a deployment's folder; its seconds and what it printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "DAGSTER_HOME": str(home),
        "XERO_MOCK_MODE": "true",
        "XERO_ENCRYPTION_KEY": "42" * 32,
    }
    began = time.perf_counter()
    done = subprocess.run([*COMMAND, *arguments], cwd=home, env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout, done.stderr


def measure(arguments: list[str]) -> tuple[float, float, int]:
    """One sync in an empty deployment: its seconds, those of them waiting for the limit, its calls."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        run(home, "migrate")
        run(home, "connect")
        seconds, printed, said = run(home, "sync", "--json", *arguments)
    waited = sum(float(line.split()[1]) for line in said.splitlines() if line.startswith("waiting"))
    return seconds, waited, sum(entry["apiCalls"] for entry in json.loads(printed)["logs"])


def main() -> None:
    print(f"{'case':24} {'seconds (min, median, max)':32} {'of these waiting':>18} {'calls':>6}")
    for name, arguments in CASES.items():
        results = sorted(measure(arguments) for _ in range(RUNS))
        low, middle, high = (f"{seconds:.1f}" for seconds, _, _ in results)
        _, waited, calls = results[RUNS // 2]
        print(f"{name:24} {low + ', ' + middle + ', ' + high:32} {waited:>16.0f} s {calls:>6}")


if __name__ == "__main__":
    main()
