"""Sums up the file that `make simulate RESULTS=…` writes: years, disasters by kind, and what broke."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any


def summarise(lines: list[dict[str, Any]]) -> str:
    """Write the sums as Markdown. A seed that was simulated again counts with its last line."""
    years = list({(line["seed"], line["weeks"]): line for line in lines}.values())
    counts: Counter[str] = Counter()
    for year in years:
        counts.update(year["counts"])
    simulated = sum(year["days"] for year in years) / 364
    seconds = sum(year["seconds"] for year in years)
    broken = [year for year in years if year["broken"]]
    text = [
        f"{simulated:.1f} simulated years of {len(years)} seeds, {len(broken)} with a broken law, "
        f"{seconds / max(simulated, 0.001):.0f} seconds of processor time a year.",
        "",
        "| what | how often |",
        "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in sorted(counts.items())),
    ]
    text += [f"- seed {year['seed']}: {year['broken'][0].splitlines()[0]}" for year in broken]
    return "\n".join(text)


if __name__ == "__main__":
    print(summarise([json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]))
