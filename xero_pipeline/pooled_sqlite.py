"""Dagster's own SQLite storage, with connections that stay open. `dagster.yaml` names it.

Dagster opens its SQLite files anew for each event. The last connection that closes a file copies SQLite's write-ahead
log into it and waits for the disk, and a new connection compiles each statement again: more than half of what an event
costs. Here a file's connection stays open for the next event. Files, tables and commits are Dagster's own: a folder can
be opened with `storage: {sqlite: …}` as well, before, after and at the same time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from sqlalchemy import Connection, Engine, create_engine

from xero_pipeline.dagster_internals import (
    SQLITE_BUSY_TIMEOUT_SECONDS,
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionsTable,
    ConfigurableClassData,
    DagsterSqliteStorage,
    SqliteEventLogStorage,
    SqliteRunStorage,
    SqliteScheduleStorage,
    serialize_value,
)

# Each run has a file of events of its own, and the webserver reads many of them. So many stay open.
_MAX_OPEN_FILES = 8


def _open_engine(address: str) -> Engine:
    return create_engine(address, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})


class PooledEventLogStorage(SqliteEventLogStorage):
    """The events of runs: a file for each run, and one file that lists the events of assets of all runs."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Before Dagster's own constructor, which opens the first file.
        self._engines: OrderedDict[str, tuple[int, Engine]] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # Dagster's own lock: of the threads of a process one at a time uses the events.
        with self._db_lock:
            engine = self._find_engine(shard) or self._open(shard)
            with engine.begin() as connection:
                yield connection

    def _store_asset_check_evaluation_planned(self, event: dg.EventLogEntry, event_id: int | None) -> None:
        # Dagster stores a row for each check and partition of a run: thousands for a long range. It serialises the
        # event for each of them, and puts all rows into one statement, which SQLAlchemy builds slowly.
        planned = event.get_dagster_event().asset_check_planned_data
        subset = planned.partitions_subset
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": datetime.fromtimestamp(event.timestamp, UTC).replace(tzinfo=None),
            "evaluation_event_storage_id": event_id,
        }
        keys = subset.get_partition_keys() if subset else [None]
        with self.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.insert(), [{**row, "partition": key} for key in keys])

    def has_table(self, table_name: str) -> bool:
        # Asked for each materialisation. Only an upgrade of Dagster's creates tables, and none removes any.
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def wipe(self) -> None:
        self._close()
        super().wipe()

    def upgrade(self) -> None:
        self._close()
        super().upgrade()

    def dispose(self) -> None:
        self._close()
        super().dispose()

    def _find_engine(self, shard: str) -> Engine | None:
        """The engine of a file that is still the same one: somebody may have deleted or replaced it."""
        number, engine = self._engines.get(shard, (0, None))
        if engine is None:
            return None
        if number == self._read_file_number(shard):
            self._engines.move_to_end(shard)
            return engine
        del self._engines[shard]
        engine.dispose()
        self._initialized_dbs.discard(shard)
        return None

    def _open(self, shard: str) -> Engine:
        engine = _open_engine(self.conn_string_for_shard(shard))
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        self._engines[shard] = (self._read_file_number(shard), engine)
        while len(self._engines) > _MAX_OPEN_FILES:
            _, (_, oldest) = self._engines.popitem(last=False)
            oldest.dispose()
        return engine

    def _read_file_number(self, shard: str) -> int:
        try:
            return os.stat(self.path_for_shard(shard)).st_ino
        except OSError:
            return 0

    def _close(self) -> None:
        with self._db_lock:
            while self._engines:
                _, (_, engine) = self._engines.popitem()
                engine.dispose()


class PooledRunStorage(SqliteRunStorage):
    """The runs, with their tags and states."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engine = _open_engine(conn_string)
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        self._engine.dispose()
        super().dispose()


class PooledSqliteStorage(DagsterSqliteStorage):
    """All of Dagster's storage, in the folders in which Dagster's `DagsterSqliteStorage` keeps it.

    The states and ticks of schedules and sensors are written rarely, and Dagster never closes that storage.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        history = os.path.join(base_dir, "history", "")
        self._run_storage = PooledRunStorage.from_local(history)
        self._event_log_storage = PooledEventLogStorage(os.path.join(history, "runs", ""))
        self._schedule_storage = SqliteScheduleStorage.from_local(os.path.join(base_dir, "schedules"))
        self._inst_data = inst_data
        # Not Dagster's own constructor, which would open the same files with storages of its own.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> PooledSqliteStorage:
        """Open the storage with the configuration in dagster.yaml; called by Dagster."""
        return cls.from_local(config_value["base_dir"], inst_data)
