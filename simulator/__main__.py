"""`make simulate`: simulates years, prints what breaks, and appends each year to a file."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--years", type=int, default=1, help="how many years, each of the next seed")
    parser.add_argument("--weeks", type=int, default=52, help="how long each year is")
    parser.add_argument("--events", type=int, help="replay the first events of the seed alone")
    parser.add_argument("--database", choices=("drawn", "sqlite", "postgresql"), default="drawn")
    parser.add_argument("--results", type=Path, help="a file with one line a year; years in it are left out")
    parser.add_argument("--keep-going", action="store_true", help="do not shorten a failing seed, go on with the next")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    # The order of sets of texts depends on it, and so would a few choices.
    if os.environ.get("PYTHONHASHSEED") != "0":
        again = [sys.executable, "-m", "simulator", *arguments]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from simulator.database import remove_templates

    try:
        return run_years(options)
    finally:
        remove_templates()


def run_years(options: argparse.Namespace) -> int:
    from simulator.years import shorten, simulate

    # A year makes hardly any garbage in cycles, and looking for it takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    postgres = {"drawn": None, "sqlite": False, "postgresql": True}[options.database]
    done = read_seeds(options.results, options.weeks)
    failed = 0
    for seed in range(options.seed, options.seed + options.years):
        if seed in done:
            continue
        outcome = simulate(seed, weeks=options.weeks, events=options.events, postgres=postgres)
        gc.collect()
        counts = outcome.counts
        print(
            f"seed {seed}: {outcome.days:.0f} days, {outcome.events} events, {counts['landings']} landings, "
            f"{counts['restatements']} restatements, {counts['calls']} calls, {outcome.seconds:.0f} s of processor: "
            f"{'a law is broken' if outcome.broken else 'every law held'}",
            flush=True,
        )
        if options.results and options.events is None:
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**asdict(outcome), "weeks": options.weeks}) + "\n")
        if outcome.broken:
            failed += 1
            print("\n".join(outcome.broken[:10]), flush=True)
            if not options.keep_going and options.events is None:
                print_shortest(seed, shorten(outcome, weeks=options.weeks, postgres=postgres), options)
                return 1
    return 1 if failed else 0


def print_shortest(seed: int, events: int, options: argparse.Namespace) -> None:
    """Print the shortest prefix of events that still fails, and the command that replays it."""
    from simulator.plan import draw_plan

    plan = draw_plan(seed, weeks=options.weeks)
    print(f"\nthe first {events} of {len(plan.events)} events are enough:")
    for event in plan.events[:events]:
        print(f"  {event}")
    print(
        f"\nto replay it: make simulate SEED={seed} EVENTS={events}"
        + (f" WEEKS={options.weeks}" if options.weeks != 52 else "")
        + (f" DATABASE={options.database}" if options.database != "drawn" else "")
    )


def read_seeds(results: Path | None, weeks: int) -> set[int]:
    """The seeds whose years are in the file already."""
    if results is None or not results.exists():
        return set()
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines() if line]
    return {line["seed"] for line in lines if line["weeks"] == weeks and not line["broken"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
