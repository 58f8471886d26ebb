"""What the surroundings of a sync cost at least: the same Dagster events doing nothing, the same answers thrown away.

`python -m benchmarks.floors dagster HOME WEEKS [CHECKS]` materialises three assets of WEEKS partitions in one run, in a
process of its own with Dagster's storage in HOME as `dagster.yaml` says, and writes one line into the run's log for
each week of each asset; CHECKS asset checks pass without looking. `python -m benchmarks.floors http URL WEEKS` asks the
server for what a sync asks, one call after the other, and reads the answers' bytes.
`python -m benchmarks.floors rows FILE [POSTGRES]` writes every row of the SQLite database FILE into a new one by
`executemany`, or into a new schema of the PostgreSQL database POSTGRES by `COPY`, in one transaction. Each prints its
seconds without the start of Python, and the last also the rows.
"""

import json
import sqlite3
import sys
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

FIRST_DAY = date(2014, 1, 5)


def materialise_nothing(weeks: int, checks: int = 0) -> None:
    import logging

    import dagster as dg

    partitions = dg.WeeklyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), end_offset=0)
    logging.getLogger("dagster").setLevel(logging.CRITICAL)

    def build(name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
        def nothing(context) -> None:  # type: ignore[no-untyped-def]
            for number, key in enumerate(context.partition_keys):
                context.log.info("week %d of %d, ending %s: 2 calls", number, weeks, key)

        return nothing

    assets = [build(name) for name in ("financial_weekly", "revenue_weekly", "cash_position_weekly")]

    def build_check(number: int) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset="financial_weekly", name=f"check_{number}")
        def passes() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=True)

        return passes

    definitions = dg.Definitions(
        assets=assets,
        asset_checks=[build_check(number) for number in range(checks)],
        jobs=[dg.define_asset_job("weekly", assets)],
        executor=dg.in_process_executor,
    )
    keys = partitions.get_partition_keys()[-weeks:]
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    with dg.DagsterInstance.get() as instance:
        result = definitions.resolve_job_def("weekly").execute_in_process(
            instance=instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    if not result.success:
        sys.exit("the empty run failed")


def read_and_throw_away(url: str, weeks: int) -> None:
    import requests

    from benchmarks.xero_server import get_tenant

    api, headers = f"{url}/api.xro/2.0", {"xero-tenant-id": get_tenant(0), "authorization": "Bearer a"}
    last = FIRST_DAY + timedelta(days=(datetime.now(UTC).date() - FIRST_DAY).days // 7 * 7 - 1)
    first = last - timedelta(days=7 * weeks - 1)
    with requests.Session() as session:

        def get(path: str, **query: Any) -> int:
            return len(session.get(f"{api}/{path}", params=query, headers=headers, timeout=60).content)

        get("Organisation"), get("Accounts")
        end = last + timedelta(days=1)
        where = f"Date>=DateTime({first:%Y, %m, %d}) AND Date<DateTime({end:%Y, %m, %d})"
        for name, key in (("Invoices", "InvoiceID"), ("CreditNotes", "CreditNoteID")):
            page = 1
            while get(name, where=where, order=f"{key} ASC", page=page, pageSize=1000) > 2000:
                page += 1
        for number in range(weeks):
            start = first + timedelta(days=7 * number)
            dates = {"fromDate": start.isoformat(), "toDate": (start + timedelta(days=6)).isoformat()}
            get("Reports/ProfitAndLoss", **dates), get("Reports/BankSummary", **dates)


def write_rows(file: str, postgres: str | None) -> None:
    """Write the rows of a deployment's database once more."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as source:
        named = source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        definitions = dict(named.fetchall())
        indexes = source.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
        rows = {name: source.execute(f'SELECT * FROM "{name}"').fetchall() for name in definitions}  # noqa: S608
    rows = {name: found for name, found in rows.items() if found}
    began = time.perf_counter()
    if postgres is None:
        _insert(Path("floor.db"), [definitions[name] for name in rows], [sql for (sql,) in indexes], rows)
    else:
        began = _copy(postgres, rows)
    count = sum(map(len, rows.values()))
    print(json.dumps({"seconds": time.perf_counter() - began, "rows": count}))


def _insert(file: Path, tables: list[str], indexes: list[str], rows: dict[str, list[tuple[Any, ...]]]) -> None:
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as target, target:
        for sql in tables:
            target.execute(sql)
        for sql in indexes:
            if any(f" ON {name} " in sql or f' ON "{name}" ' in sql for name in rows):
                target.execute(sql)
        for name, found in rows.items():
            places = ", ".join("?" * len(found[0]))
            target.executemany(f'INSERT INTO "{name}" VALUES ({places})', found)  # noqa: S608


def _copy(postgres: str, rows: dict[str, list[tuple[Any, ...]]]) -> float:
    """Copy the rows into tables of text. Returns when the copying began: connecting and creating do not count."""
    import psycopg

    with psycopg.connect(postgres) as target:
        target.execute("DROP SCHEMA IF EXISTS benchmark_floor CASCADE")
        target.execute("CREATE SCHEMA benchmark_floor")
        for name, found in rows.items():
            columns = ", ".join(f"c{number} text" for number in range(len(found[0])))
            target.execute(f'CREATE TABLE benchmark_floor."{name}" ({columns})')
        target.commit()
        began = time.perf_counter()
        for name, found in rows.items():
            with target.cursor().copy(f'COPY benchmark_floor."{name}" FROM STDIN') as copy:
                for row in found:
                    copy.write_row(row)
        target.commit()
    return began


def main() -> None:
    kind, where, *rest = sys.argv[1:]
    began = time.perf_counter()
    if kind == "rows":
        write_rows(where, rest[0] if rest else None)
        return
    if kind == "dagster":
        materialise_nothing(*map(int, rest))
    else:
        read_and_throw_away(where, int(rest[0]))
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
