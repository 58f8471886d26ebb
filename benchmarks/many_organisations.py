"""Many organisations in runs of twenty: `python -m benchmarks.many_organisations [--one-dead]`.

A deployment over PostgreSQL as deploy/README.md says (code server, daemon), with no host of its own. The sensor
`missing_weeks` asks for the weeks of every organisation, and Dagster's queue starts the runs. `xero_server.py` enforces
the limit of calls a minute and counts. It is so low that the limit and not the processor decides how long it takes: two
cores cannot make the 5,500 calls a minute that Xero allows 100 organisations. At the end the figures are compared with
the books, and Dagster's partitions with what landed.

With `--one-dead` Xero answers nothing but 503 for one organisation: all others have to land, no week may count as
materialised, and `xero-pipeline sync --organisation` for that one, once Xero answers, has to complete them.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import yaml

from benchmarks.deployments import MeasuredDeployment, Server, find_free_port, serve_xero
from benchmarks.two_hosts import POSTGRES, ROOT, TOOLS, count_landed, create_databases, find_differences, wait_until
from benchmarks.xero_server import Books, get_tenant

ASSETS = 3
DEAD = 42


@contextmanager
def start_dagster(home: Path, environment: Mapping[str, str], runs_at_once: int) -> Iterator[None]:
    """Start a code server and the daemon, and the sensor `missing_weeks`."""
    port, processes = find_free_port(), []
    settings = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text())
    settings["concurrency"]["runs"]["max_concurrent_runs"] = runs_at_once
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    servers = [{"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": "xero"}}]
    (home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": servers}))

    def start(name: str, *command: str) -> subprocess.Popen[bytes]:
        with (home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(TOOLS / command[0]), *command[1:]],
                cwd=home,
                env=dict(environment),
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        processes.append(process)
        return process

    code = ("dagster", "code-server", "start", "-m", "xero_pipeline.definitions", "--host", "127.0.0.1")
    start("code", *code, "--port", str(port))
    try:
        check = ("dagster", "sensor", "start", "missing_weeks", "-w", "workspace.yaml", "-l", "xero")
        wait_until(lambda: start("sensor", *check).wait() == 0, "a code server", 120)
        start("daemon", "dagster-daemon", "run", "--workspace", "workspace.yaml")
        yield
    finally:
        for process in reversed(processes):
            if process.poll() is None:
                # The runs are processes of the code server's group.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def read_runs(database: str) -> dict[str, int]:
    with psycopg.connect(dbname=database, **POSTGRES) as connection:
        try:
            return dict(connection.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())
        except psycopg.errors.UndefinedTable:
            return {}


def count_materialised(database: str) -> int:
    """Count the partitions of the three assets that Dagster holds as materialised."""
    query = (
        "SELECT count(DISTINCT (asset_key, partition)) FROM event_logs "
        "WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND partition IS NOT NULL"
    )
    with psycopg.connect(dbname=database, **POSTGRES) as connection:
        return int((connection.execute(query).fetchone() or (0,))[0])


def compute_shares(counts: Mapping[str, Any], organisations: int, per_minute: int) -> dict[str, float]:
    """How much of the sum of the limits was used, from the first call to the last.

    `of the average` divides the calls by the minutes and the limit. A rolling window allows a first burst on top of
    that, so it may pass 1; `of all allowed` divides by every call that the window allowed, burst included.
    """
    calls = sum(counts["by_organisation"].values())
    minutes = (counts["last_call_at"] - counts["first_call_at"]) / 60
    return {
        "minutes": round(minutes, 2),
        "of the average": round(calls / (minutes * organisations * per_minute), 3),
        "of all allowed": round(calls / ((1 + minutes) * organisations * per_minute), 3),
    }


def measure(
    organisations: int, number_of_weeks: int, *, per_run: int, per_minute: int, one_dead: bool, seconds: float
) -> dict[str, Any]:
    """Sync and return what was counted.

    Raises:
        RuntimeError: something did not land in time, landed twice, differs from the books, or passed a limit.
    """
    last = date.today() - timedelta(days=(date.today().weekday() + 2) % 7 or 7)  # noqa: DTZ011 - a Saturday that is over
    weeks = [last - timedelta(days=7 * back) for back in reversed(range(number_of_weeks))]
    prefix = f"many{secrets.token_hex(2)}"
    figures, dagster = f"{prefix}_figures", f"{prefix}_dagster"
    dead = [DEAD] if one_dead else []
    xero = {"organisations": organisations, "per_minute": per_minute + 1, "in_progress": 5, "seconds": 0.5}
    with (
        tempfile.TemporaryDirectory(prefix="many-") as folder,
        create_databases(figures, dagster),
        serve_xero(**xero, dead=dead) as server,
    ):
        settings = {
            "DATABASE_URL": f"postgresql+psycopg://postgres@127.0.0.1/{figures}",
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": "5432",
            "DAGSTER_PG_USERNAME": "postgres",
            "DAGSTER_PG_PASSWORD": "none",
            "DAGSTER_PG_DB": dagster,
            "PIPELINE_START_DATE": str(weeks[0] - timedelta(days=6)),
            "XERO_CALLS_PER_MINUTE": str(per_minute),
            "ORGANISATIONS_PER_RUN": str(per_run),
            # Once: what fails waits longer than this measurement takes.
            "MISSING_WEEKS_SECONDS": "3600",
            "HOME": folder,
        }
        deployment = MeasuredDeployment(Path(folder), server, settings)
        deployment.connect(organisations)
        expected_runs = -(-organisations // per_run)
        with start_dagster(Path(folder), deployment.environment, expected_runs):
            try:
                wait_until(
                    lambda: sum(read_runs(dagster).get(one, 0) for one in ("SUCCESS", "FAILURE")) == expected_runs,
                    f"the end of {expected_runs} runs",
                    seconds,
                )
            except RuntimeError as error:
                logs = [f"--- {log.name}\n{log.read_text()[-2000:]}" for log in Path(folder).glob("*.log")]
                raise RuntimeError("\n".join([str(error), str(read_runs(dagster)), *logs])) from None
        result: dict[str, Any] = {
            "organisations": organisations,
            "weeks": number_of_weeks,
            "calls a minute for each": per_minute,
            "runs": read_runs(dagster),
            "landed": count_landed(figures),
            "materialised": count_materialised(dagster),
        }
        counts = server.read_counts()
        result |= {"calls": sum(counts["by_organisation"].values()), "refused": counts["refused"]}
        result |= compute_shares(counts, organisations - len(dead), per_minute)
        problems = check(result, counts, figures, weeks, organisations - len(dead), dead)
        if dead and not problems:
            problems = complete(deployment, server, figures, dagster, weeks, organisations, xero, result)
        if problems:
            raise RuntimeError("\n".join([json.dumps(result), *problems[:10]]))
        return result


def check(
    result: Mapping[str, Any],
    counts: Mapping[str, Any],
    figures: str,
    weeks: list[date],
    landing: int,
    dead: list[int],
) -> list[str]:
    problems = []
    if result["landed"] != ASSETS * landing * len(weeks):
        problems.append(f"{result['landed']} weeks landed, of {ASSETS * landing * len(weeks)}")
    if result["materialised"] != (0 if dead else ASSETS * len(weeks)):
        problems.append(f"{result['materialised']} partitions count as materialised")
    if passed := {limit: number for limit, number in counts["refused"].items() if limit != "dead"}:
        problems.append(f"Xero refused calls: {passed}")
    with psycopg.connect(dbname=figures, **POSTGRES) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM xero_sync_logs WHERE status <> 'failed'").fetchone() or (0,)
    if rows != result["landed"]:
        problems.append(f"{rows} rows of the sync log for {result['landed']} landed weeks")
    missing = {get_tenant(number) for number in dead}
    differences = find_differences(figures, weeks, landing + len(dead), Books())
    return problems + [one for one in differences if not any(tenant in one for tenant in missing)]


def complete(
    deployment: MeasuredDeployment,
    server: Server,
    figures: str,
    dagster: str,
    weeks: list[date],
    organisations: int,
    xero: Mapping[str, Any],
    result: dict[str, Any],
) -> list[str]:
    """Let Xero answer for that organisation, sync it, and compare everything."""
    server.set(**xero)
    deployment.run("sync", "--weeks", str(len(weeks)), "--organisation", get_tenant(DEAD))
    result["landed afterwards"] = count_landed(figures)
    result["materialised afterwards"] = count_materialised(dagster)
    problems = find_differences(figures, weeks, organisations, Books())
    if result["materialised afterwards"] != ASSETS * len(weeks):
        problems.append(f"{result['materialised afterwards']} partitions count as materialised in the end")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--organisations", type=int, default=100)
    parser.add_argument("--weeks", type=int, default=4)
    parser.add_argument("--per-run", type=int, default=20, help="ORGANISATIONS_PER_RUN")
    parser.add_argument("--per-minute", type=int, default=2, help="XERO_CALLS_PER_MINUTE; Xero allows one more")
    parser.add_argument("--seconds", type=float, default=1200, help="within which everything has to be right")
    parser.add_argument("--one-dead", action="store_true")
    asked = parser.parse_args()
    result = measure(
        asked.organisations,
        asked.weeks,
        per_run=asked.per_run,
        per_minute=asked.per_minute,
        one_dead=asked.one_dead,
        seconds=asked.seconds,
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
