"""What the tests use of Dagster that Dagster does not document as public, beside the package's own module for these."""

# A daemon's heartbeat, a schedule's and a sensor's stored state: tests write what a running Dagster would have left.
from dagster._core.definitions.run_request import InstigatorType as InstigatorType
from dagster._core.execution.backfill import PartitionBackfill as PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin as InProcessCodeLocationOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin as RegisteredCodeLocationOrigin
from dagster._core.remote_origin import RemoteInstigatorOrigin as RemoteInstigatorOrigin
from dagster._core.remote_origin import RemoteJobOrigin as RemoteJobOrigin
from dagster._core.remote_origin import RemoteRepositoryOrigin as RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorStatus as InstigatorStatus
from dagster._core.scheduler.instigation import TickData as TickData
from dagster._core.test_utils import create_run_for_test as create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin as LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat as DaemonHeartbeat

# The scheduler's own ticks, to hold the schedule against.
from dagster._utils.schedules import schedule_execution_time_iterator as schedule_execution_time_iterator

# The GraphQL schema, whose mutations and their answers the audit log reads.
from dagster_graphql.schema import create_schema as create_schema
