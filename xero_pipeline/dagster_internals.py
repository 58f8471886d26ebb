"""What the pipeline uses of Dagster that Dagster does not document as public. No other module imports `dagster._*`
or `dagster_shared`.

A new version of Dagster may move these names without notice. `test_dagster_internals.py` then fails first and says
which one has moved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster import AssetExecutionContext, AssetKey, DagsterInstance

# Metadata of a result with which Dagster writes no materialisation, and still runs the steps that depend on the asset:
# its checks have to run. An output that is left out would skip them.
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION as _WRITES_NO_EVENT

# Backfills that were requested and have no run yet. `DagsterInstance.get_backfills` takes these as its filter; the
# public API has no other way to list them.
from dagster._core.execution.backfill import BulkActionsFilter as BulkActionsFilter
from dagster._core.execution.backfill import BulkActionStatus as BulkActionStatus

# The payload of a failed step's event. `DagsterEvent.event_specific_data` is public, its classes are not, and only
# they carry the metadata of the `Failure` that an asset raised.
from dagster._core.execution.plan.objects import StepFailureData as StepFailureData

# The state and ticks of schedules and sensors. `DagsterInstance.all_instigator_state` and `get_ticks` return them;
# their classes have no public name, and no sensor context shows the ticks of another sensor.
from dagster._core.scheduler.instigation import InstigatorState as InstigatorState
from dagster._core.scheduler.instigation import InstigatorTick as InstigatorTick
from dagster._core.scheduler.instigation import ScheduleInstigatorData as ScheduleInstigatorData
from dagster._core.scheduler.instigation import SensorInstigatorData as SensorInstigatorData
from dagster._core.scheduler.instigation import TickStatus as TickStatus

# The last verdict of an asset check. `get_latest_asset_check_evaluation_record` returns it; the enumeration of its
# status has no public name.
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus as AssetCheckExecutionRecordStatus,
)

# Dagster's storage in SQLite files. It is chosen in dagster.yaml, and has no public class to derive from.
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as AssetCheckExecutionsTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage as SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage as SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import (
    SqliteScheduleStorage as SqliteScheduleStorage,
)

# The same: how long a connection waits for a busy file, the whole storage, and the rows that it writes.
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS as SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage as DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData as ConfigurableClassData
from dagster._serdes import serialize_value as serialize_value

# The moments of a cron line as Dagster's scheduler computes them, daylight saving included. Another library could
# disagree with the scheduler about a tick.
from dagster._utils.schedules import cron_string_iterator as cron_string_iterator
from dagster._utils.schedules import reverse_cron_string_iterator as reverse_cron_string_iterator

# What Dagster raises for a dagster.yaml that it cannot read. Its public errors do not cover this case.
from dagster_shared.check import CheckError as CheckError

# The serialised error of a tick or a step, with its causes.
from dagster_shared.error import SerializableErrorInfo as SerializableErrorInfo

WITHOUT_MATERIALIZATION = {_WRITES_NO_EVENT: True}
"""The metadata of a `MaterializeResult` of a run that has not completed the partition."""


def list_assets_of_process(context: AssetExecutionContext) -> dict[AssetKey, str]:
    """List the assets that this process materialises in the run, with the name of each one's op.

    With the in-process executor these are all assets of the run, with others only the one of this step. The plan of
    the steps is reached through `get_step_execution_context`, which Dagster keeps for itself.
    """
    steps = set(context.get_step_execution_context().execution_plan.step_keys_to_execute)
    layer = context.job_def.asset_layer
    ops = {key: str(layer.get_op_output_handle(key).node_handle) for key in layer.selected_asset_keys}
    return {key: op for key, op in ops.items() if op in steps}


class DagsterWebApp:
    """Dagster's UI and its GraphQL API as an ASGI application of this process.

    Dagster documents the command `dagster-webserver` alone, which listens on a port of its own. That port checks
    neither Host nor Origin, and asks nobody to sign in. Inside our own application it stands behind our checks.
    """

    def __init__(self, instance: DagsterInstance, workspace_file: Path, path_prefix: str) -> None:
        """Load the code locations of the workspace file; takes some seconds if it starts their servers itself."""
        # Imported here, because the GraphQL schema takes half a second, and no other process serves it.
        # `WorkspaceProcessContext` holds the code locations and starts their servers.
        from dagster._core.workspace.context import WorkspaceProcessContext

        # `WorkspaceFileTarget` reads workspace.yaml.
        from dagster._core.workspace.load_target import WorkspaceFileTarget

        # `DagsterWebserver` makes the application, under a path prefix.
        from dagster_webserver.webserver import DagsterWebserver

        target = WorkspaceFileTarget([str(workspace_file)])
        self._context = WorkspaceProcessContext(instance, target, version="", read_only=False)
        server: Any = DagsterWebserver(self._context, app_path_prefix=path_prefix)
        self.app: Any = server.create_asgi_app()

    def close(self) -> None:
        """End the code servers that this object has started."""
        self._context.__exit__(None, None, None)
