"""What the scenarios share: how often they repeat, and a sync in a new deployment."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.deployments import REPOSITORY, MeasuredDeployment, Server
from benchmarks.processes import Measured


@dataclass(frozen=True)
class Setup:
    """How much is measured: the runs of each figure, whether the long cases are included, and the size of the history.

    `weeks` and `long_weeks` are 104 and 520 except in the test of the benchmarks.
    """

    runs: int = 3
    is_full: bool = False
    weeks: int = 104
    long_weeks: int = 520


@dataclass(frozen=True)
class Synced:
    """A sync that ended, and the server's counts of it."""

    measured: Measured
    counts: Mapping[str, Any]

    @property
    def calls(self) -> int:
        return sum(self.counts["calls"].values())

    def read_logs(self) -> list[dict[str, Any]]:
        return list(json.loads(self.measured.output)["logs"])


def count_weeks(weeks: int) -> str:
    return f"{weeks} week{'s' if weeks > 1 else ''}"


@contextmanager
def create_deployment(
    server: Server, organisations: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[MeasuredDeployment]:
    """A connected deployment in a folder of its own, which is removed at the end."""
    with create_folder() as folder:
        deployment = MeasuredDeployment(folder, server, settings or {})
        deployment.connect(organisations)
        yield deployment


@contextmanager
def create_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="xero-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sync(deployment: MeasuredDeployment, *arguments: str, timeout: float, check: bool = True) -> Synced:
    """Run `sync --json` and count its calls. The server must have been set anew before."""
    measured = deployment.run("sync", "--json", *arguments, timeout=timeout, check=check)
    return Synced(measured, deployment.server.read_counts())


def run_dagster_floor(server: Server, weeks: int, timeout: float, checks: int = 0, *, pooled: bool = False) -> Measured:
    """Materialise nothing for as many weeks.

    Args:
        pooled: with the storage that our `dagster.yaml` names, instead of Dagster's own.
    """
    with create_folder() as folder:
        settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
        if not pooled:
            settings["storage"] = {"sqlite": {"base_dir": "data/dagster"}}
        (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
        floor = MeasuredDeployment(folder, server)
        arguments = ("dagster", str(folder), str(weeks), str(checks))
        return floor.run_module("benchmarks.floors", *arguments, timeout=timeout)
