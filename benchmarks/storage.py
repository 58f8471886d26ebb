"""How much a year takes in each store: `python -m benchmarks.storage [--organisations 20] [--postgres]`.

Syncs 52 weeks once, then the latest five weeks several times as the daily sync does, and weighs the figures' store and
Dagster's after each. A year is the 52 weeks and 365 daily syncs. Every week has 20 invoices and 2 credit notes.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.deployments import MeasuredDeployment, serve_xero
from benchmarks.two_hosts import POSTGRES, ROOT, create_databases

DAILY_SYNCS = 10
MEGABYTE = 1_000_000


def weigh_folder(path: Path) -> int:
    """The bytes of a file with its journal, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return sum(file.stat().st_size for file in files if file.is_file())


def weigh_database(name: str) -> int:
    with psycopg.connect(dbname="postgres", autocommit=True, **POSTGRES) as server:
        return int((server.execute("SELECT pg_database_size(%s)", [name]).fetchone() or (0,))[0])


def measure(organisations: int, *, postgres: bool) -> dict[str, Any]:
    prefix = f"weigh{secrets.token_hex(2)}"
    figures, dagster = f"{prefix}_figures", f"{prefix}_dagster"
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="storage-")))
        server = stack.enter_context(serve_xero(organisations=organisations))
        settings: dict[str, str] = {}
        if postgres:
            stack.enter_context(create_databases(figures, dagster))
            settings = {
                "DATABASE_URL": f"postgresql+psycopg://postgres@127.0.0.1/{figures}",
                "DAGSTER_PG_HOST": "127.0.0.1",
                "DAGSTER_PG_PORT": "5432",
                "DAGSTER_PG_USERNAME": "postgres",
                "DAGSTER_PG_PASSWORD": "none",
                "DAGSTER_PG_DB": dagster,
            }
            shutil.copy(ROOT / "deploy" / "dagster.yaml", home)
        deployment = MeasuredDeployment(home, server, settings)

        def weigh() -> tuple[int, int]:
            if postgres:
                return weigh_database(figures), weigh_database(dagster)
            return weigh_folder(home / "data" / "xero.db"), weigh_folder(home / "data" / "dagster")

        deployment.connect(organisations, expires_in=7200)
        # Dagster makes its tables with the first run.
        deployment.run("sync", "--weeks", "1")
        empty = weigh()
        deployment.run("sync", "--weeks", "52")
        history = weigh()
        for _ in range(DAILY_SYNCS):
            deployment.run("sync", "--weeks", "5")
        daily = weigh()
    result: dict[str, Any] = {"organisations": organisations, "store": "PostgreSQL" if postgres else "SQLite"}
    for number, name in enumerate(("figures", "dagster")):
        year, sync = history[number] - empty[number], (daily[number] - history[number]) / DAILY_SYNCS
        result[name] = {
            "52 weeks, MB": round(year / MEGABYTE, 2),
            "a daily sync, MB": round(sync / MEGABYTE, 3),
            "a year, MB": round((year + 365 * sync) / MEGABYTE, 1),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--organisations", type=int, default=1)
    parser.add_argument("--postgres", action="store_true")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.organisations, postgres=asked.postgres)))


if __name__ == "__main__":
    main()
