"""`make bench`: the pipeline against its goals, against what its surroundings take at least, and against others.

`python -m benchmarks` runs every scenario and writes `dist/bench.json` and `dist/bench.md`. `--only a,c` measures those
again and keeps the others' results; `--full` adds the cases that take more than a minute; `--write-docs` writes
`docs/performance.md` as well. The servers answer on this machine; no scenario talks to Xero, but pip installs the
others. A scenario that fails stands in the table, and the command then ends with 1. A missed goal does not fail it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from benchmarks.deployments import REPOSITORY
from benchmarks.report import Result, describe_machine, load, render, run_scenario, save
from benchmarks.scenarios import call_counts, memory, overhead, peers, rate_limits, side_by_side, start_up
from benchmarks.scenarios.setup import Setup

SCENARIOS: dict[str, ModuleType] = {
    "a": overhead,
    "b": call_counts,
    "c": side_by_side,
    "d": rate_limits,
    "e": memory,
    "f": start_up,
    "h": peers,
}
INTRODUCTION = """# Performance

Written by `make bench DOCS=1`, from one machine. `make bench` measures the same on yours in under a quarter of an hour:
the pipeline against a server of `benchmarks/` that answers as Xero does, the floors that nothing on these foundations
can go below, and what one would pick instead. [Scaling](scaling.md) says what follows for a deployment.
"""


def measure_all(
    scenarios: dict[str, Callable[[], Result]], titles: dict[str, str], folder: Path, *, say: Callable[[str], None]
) -> dict[str, Result]:
    """Run scenarios one after another, and save after each, so that what is done is kept if a later one is ended."""
    machine = describe_machine()
    results = load(folder / "bench.json", machine)
    for letter, measure in scenarios.items():
        say(f"{letter}. {titles[letter]} …")
        results[letter] = run_scenario(measure, titles[letter], REPOSITORY)
        save(folder / "bench.json", results, machine)
        (folder / "bench.md").write_text("# Benchmarks\n\n" + render(results, machine))
        for goal in results[letter].goals:
            say(f"   {goal.describe()}")
        say(f"   {results[letter].error or 'done'} after {results[letter].seconds:.0f} s")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(SCENARIOS), help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--runs", type=int, default=3, help="of each figure that is a median")
    parser.add_argument("--full", action="store_true", help="a million documents as well, several minutes")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md as well")
    asked = parser.parse_args()
    letters = [letter.strip() for letter in asked.only.split(",") if letter.strip()]
    if unknown := sorted(set(letters) - set(SCENARIOS)):
        parser.error(f"there is no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    setup, folder = Setup(runs=asked.runs, is_full=asked.full), REPOSITORY / "dist"
    chosen = {letter: (lambda letter=letter: SCENARIOS[letter].measure(setup)) for letter in letters}
    titles = {letter: module.TITLE for letter, module in SCENARIOS.items()}
    results = measure_all(chosen, titles, folder, say=lambda text: print(text, flush=True))
    if asked.write_docs:
        text = INTRODUCTION + "\n" + render(results, describe_machine())
        (REPOSITORY / "docs" / "performance.md").write_text(text)
    print(f"the table: {folder / 'bench.md'}; as JSON: {folder / 'bench.json'}")
    if any(results[letter].error for letter in letters):
        sys.exit(1)


if __name__ == "__main__":
    main()
