"""What was measured, as JSON and as Markdown: figures, the goals that they meet or miss, and the machine.

Each scenario's result is kept in the JSON file under its letter, so measuring one again replaces that one alone.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One measure of one subject: the value of each run, or a text where there is no number."""

    subject: str
    measure: str
    values: list[float] = field(default_factory=list)
    unit: str = ""
    text: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        if not self.values:
            return self.text
        number = format_number(self.median)
        if len(self.values) > 1 and self.unit == "s":
            number += f" ({format_number(min(self.values))}–{format_number(max(self.values))})"
        return f"{number} {self.unit}".strip()


@dataclass(frozen=True)
class Goal:
    """A limit and what was measured. `value` is None where it could not be measured; `text` then says why."""

    what: str
    sign: Literal["≤", "≥", "="]
    limit: float
    value: float | None
    unit: str = ""
    text: str = ""

    @property
    def is_met(self) -> bool | None:
        if self.value is None:
            return None
        return {"≤": self.value <= self.limit, "≥": self.value >= self.limit, "=": self.value == self.limit}[self.sign]

    def describe_value(self) -> str:
        return self.text if self.value is None else f"{format_number(self.value)} {self.unit}".strip()

    def describe_limit(self) -> str:
        return f"{self.sign} {format_number(self.limit)} {self.unit}".strip()

    def describe(self) -> str:
        return f"{self.describe_outcome().strip('*')}: {self.what}: {self.describe_value()} ({self.describe_limit()})"

    def describe_outcome(self) -> str:
        return {True: "met", False: "**not met**", None: "not measured"}[self.is_met]


@dataclass
class Result:
    """What one scenario found."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    measured_at: str = ""
    commit: str = ""
    load_before: str = ""

    def add(self, subject: str, measure: str, values: Iterable[float], unit: str = "") -> Figure:
        figure = Figure(subject, measure, list(values), unit)
        self.figures.append(figure)
        return figure

    def say(self, subject: str, measure: str, text: str) -> None:
        self.figures.append(Figure(subject, measure, text=text))


def format_number(value: float) -> str:
    """Three digits that count, with thousands separated; whole numbers as they are."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def describe_machine() -> dict[str, str]:
    def find(path: str, name: str) -> str:
        lines = Path(path).read_text().splitlines() if Path(path).exists() else []
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")

    memory = find("/proc/meminfo", "MemTotal").split()[0]
    return {
        "processor": find("/proc/cpuinfo", "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory) / 1024**2:.0f} GB" if memory.isdigit() else memory,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def describe_load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


def read_commit(repository: Path) -> str:
    """The commit that is measured; with `+` where files differ from it."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"],
        cwd=repository, capture_output=True, text=True,
    )  # fmt: skip
    return asked.stdout.strip() or "unknown"


def run_scenario(measure: Callable[[], Result], title: str, repository: Path) -> Result:
    """Run one scenario. An error becomes its result, so the others still run."""
    began, load_before = datetime.now(UTC), describe_load()
    try:
        result = measure()
    except Exception as error:  # noqa: BLE001 - whatever it was stands in the table
        result = Result(title, error=f"{type(error).__name__}: {error}")
    result.seconds = round((datetime.now(UTC) - began).total_seconds(), 1)
    result.measured_at, result.commit = began.isoformat(timespec="seconds"), read_commit(repository)
    result.load_before = load_before
    return result


def save(file: Path, results: dict[str, Result], machine: dict[str, str]) -> None:
    content = {"machine": machine, "scenarios": {letter: _to_json(one) for letter, one in sorted(results.items())}}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def load(file: Path, machine: dict[str, str]) -> dict[str, Result]:
    """The results that an earlier run left, if it ran on the same machine."""
    if not file.exists():
        return {}
    content = json.loads(file.read_text())
    if content["machine"] != machine:
        return {}
    return {letter: _from_json(one) for letter, one in content["scenarios"].items()}


def _to_json(result: Result) -> dict[str, Any]:
    goals = [asdict(goal) | {"is_met": goal.is_met} for goal in result.goals]
    figures = [asdict(one) | {"median": one.median if one.values else None} for one in result.figures]
    return asdict(result) | {"goals": goals, "figures": figures}


def _from_json(content: dict[str, Any]) -> Result:
    figures = [Figure(**{key: value for key, value in one.items() if key != "median"}) for one in content["figures"]]
    goals = [Goal(**{key: value for key, value in one.items() if key != "is_met"}) for one in content["goals"]]
    return Result(**content | {"figures": figures, "goals": goals})


def render(results: dict[str, Result], machine: dict[str, str]) -> str:
    """The whole report as Markdown, from its second level of headings on."""
    in_order = dict(sorted(results.items()))
    dates = sorted({one.measured_at[:10] for one in in_order.values()})
    commits = sorted({one.commit for one in in_order.values()})
    about = (
        f"Measured on {' and '.join(dates)}, at commit {' and '.join(commits)}: {machine['processor']}, "
        f"{machine['cores']} cores, {machine['memory']} of memory, {machine['system']}, Python {machine['python']}. "
        "A figure of several runs is their median, with the smallest and the largest in brackets. The load of the "
        "machine before a scenario is that of 1, 5 and 15 minutes: above 1 others used it, and seconds are longer."
    )
    parts = [about, "## Goals", _render_goals(in_order)]
    for letter, result in in_order.items():
        parts += [f"## {letter}. {result.title}", *_render_result(result)]
    return "\n\n".join(parts) + "\n"


def _render_goals(results: dict[str, Result]) -> str:
    lines = ["| | goal | limit | measured | |", "|---|---|---|---|---|"]
    for letter, result in results.items():
        for goal in result.goals:
            cells = (goal.what, goal.describe_limit(), _escape(goal.describe_value()), goal.describe_outcome())
            lines.append(f"| {letter} | " + " | ".join(cells) + " |")
        if result.error:
            lines.append(f"| {letter} | {result.title} | | {_escape(result.error)} | **failed** |")
    return "\n".join(lines)


def _render_result(result: Result) -> list[str]:
    parts = []
    subjects = list(dict.fromkeys(one.subject for one in result.figures))
    measures = list(dict.fromkeys(one.measure for one in result.figures))
    if subjects:
        cells = {(one.subject, one.measure): _escape(str(one)) for one in result.figures}
        lines = ["| " + " | ".join(["", *measures]) + " |", "|" + "---|" * (len(measures) + 1)]
        for subject in subjects:
            row = [subject, *(cells.get((subject, measure), "") for measure in measures)]
            lines.append("| " + " | ".join(row) + " |")
        parts.append("\n".join(lines))
    if result.error:
        parts.append(f"It failed: {_escape(result.error)}")
    return [*parts, *result.remarks, _describe_circumstances(result)]


def _describe_circumstances(result: Result) -> str:
    load = f", after a load of {result.load_before}" if result.load_before else ""
    return f"It took {result.seconds:.0f} s on {result.measured_at[:16].replace('T', ' ')} UTC{load}."


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
