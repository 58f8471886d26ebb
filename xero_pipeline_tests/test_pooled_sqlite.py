"""Dagster's SQLite storage with connections that stay open: the same files, rows and answers as Dagster's own."""

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from xero_pipeline_tests.on_request import only_on_request

WEEKS = dg.WeeklyPartitionsDefinition(start_date="2026-01-04", end_date="2026-03-01")
KEYS = WEEKS.get_partition_keys()
RANGE = {"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]}


@dg.asset(partitions_def=WEEKS, backfill_policy=dg.BackfillPolicy.single_run())
def figures(context: dg.AssetExecutionContext) -> None:
    context.log.info("read")


@dg.asset_check(asset=figures)
def adds_up() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


DEFINITIONS = dg.Definitions(
    assets=[figures], asset_checks=[adds_up], jobs=[dg.define_asset_job("weekly")], executor=dg.in_process_executor
)


@contextmanager
def open_instance(folder: Path, *, pooled: bool) -> Iterator[dg.DagsterInstance]:
    home = folder / ("pooled" if pooled else "plain")
    home.mkdir(exist_ok=True)
    base = {"base_dir": str(folder / "dagster")}
    own = {"module": "xero_pipeline.pooled_sqlite", "class": "PooledSqliteStorage", "config": base}
    settings = {"storage": {"custom": own} if pooled else {"sqlite": base}, "telemetry": {"enabled": False}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def run(instance: dg.DagsterInstance) -> str:
    result = DEFINITIONS.resolve_job_def("weekly").execute_in_process(instance=instance, tags=RANGE)
    assert result.success
    return result.run_id


def read_rows(folder: Path, run_id: str) -> dict[str, Counter[Any]]:
    """The rows of a run in Dagster's files, without ids and times."""

    def read(file: Path, query: str) -> Counter[Any]:
        with closing(sqlite3.connect(file)) as connection:
            return Counter(connection.execute(query, (run_id,)).fetchall())

    runs = folder / "dagster" / "history" / "runs"
    events = "select dagster_event_type, step_key, asset_key, partition from event_logs where run_id = ?"
    checks = "select asset_key, check_name, partition, execution_status, evaluation_event is null"
    return {
        "run": read(runs / f"{run_id}.db", events),
        "index": read(runs / "index.db", events),
        "checks": read(runs / "index.db", f"{checks} from asset_check_executions where run_id = ?"),
        "state": read(runs.parent / "runs.db", "select status, pipeline_name from runs where run_id = ?"),
    }


def list_open_files(folder: Path) -> list[str]:
    links = [Path("/proc/self/fd") / number for number in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if link.is_symlink()]
    return [target for target in targets if target.startswith(str(folder)) and target.endswith(".db")]


def test_a_run_leaves_the_rows_that_dagsters_own_storage_leaves(tmp_path: Path) -> None:
    with open_instance(tmp_path, pooled=True) as pooled, open_instance(tmp_path, pooled=False) as plain:
        run_ids = [run(pooled), run(plain), run(pooled)]
        # Both are open at once, and each reads what the other one has written.
        for instance in (pooled, plain):
            assert {one.run_id for one in instance.get_runs()} == set(run_ids)
            assert set(instance.get_materialized_partitions(figures.key)) == set(KEYS)
            assert all(len(instance.all_logs(run_id)) == len(plain.all_logs(run_ids[1])) for run_id in run_ids)
    rows = [read_rows(tmp_path, run_id) for run_id in run_ids]
    assert rows[0] == rows[1] == rows[2]
    assert sum(rows[1]["checks"].values()) > len(KEYS)


@only_on_request
def test_few_files_stay_open_however_many_runs_are_read(tmp_path: Path) -> None:
    with open_instance(tmp_path, pooled=True) as instance:
        run_ids = [run(instance) for _ in range(12)]
        for _ in range(2):
            assert all(instance.all_logs(run_id) for run_id in run_ids)
        assert 1 < len(list_open_files(tmp_path)) <= 12
    assert list_open_files(tmp_path) == []


def test_a_file_that_somebody_deleted_is_created_again(tmp_path: Path) -> None:
    with open_instance(tmp_path, pooled=True) as instance:
        first = run(instance)
        shutil.rmtree(tmp_path / "dagster" / "history" / "runs")
        (tmp_path / "dagster" / "history" / "runs").mkdir()
        second = run(instance)
        assert instance.all_logs(first) == []
        assert set(instance.get_materialized_partitions(figures.key)) == set(KEYS)
    assert read_rows(tmp_path, second)["run"]


def test_a_wiped_storage_takes_the_next_run(tmp_path: Path) -> None:
    with open_instance(tmp_path, pooled=True) as instance:
        first = run(instance)
        instance.wipe()
        second = run(instance)
        assert [one.run_id for one in instance.get_runs()] == [second]
        assert instance.all_logs(first) == []


def test_threads_lose_no_event(tmp_path: Path) -> None:
    def report(number: int) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization("figures", partition=KEYS[number % len(KEYS)]))

    with open_instance(tmp_path, pooled=True) as instance, ThreadPoolExecutor(8) as threads:
        list(threads.map(report, range(64)))
        records = instance.fetch_materializations(figures.key, limit=100).records
        assert Counter(record.partition_key for record in records) == {key: 64 // len(KEYS) for key in KEYS}
