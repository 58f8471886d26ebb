"""The admin page's client of Dagster. No other module uses Dagster's GraphQL API.

Dagster answers a refusal with HTTP 200, so the client checks the `__typename` of every answer. The API "is still
evolving" (Dagster's docs): when it changes, only this file changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import httpx

from xero_pipeline.admin.code_locations import LOCATIONS_QUERY, parse_locations
from xero_pipeline.assets.run_organisations import build_tenant_tags
from xero_pipeline.automation.jobs import build_range_tags, build_run_config
from xero_pipeline.errors import PipelineError
from xero_pipeline.weeks import Week

JOB = "weekly_sync"
SCHEDULE = "daily_sync"
SENSORS = ("missing_weeks", "missing_months", "late_edits", "reconciliation", "connection_health")

# Seconds to connect (2), and to wait for the next bytes (10): a launch first loads the snapshot of the code.
_TIMEOUTS = httpx.Timeout(10.0, connect=2.0)
_MAX_MESSAGE_LENGTH = 300


class DagsterDown(PipelineError):
    """Dagster does not answer, or another server answers at its address."""

    code = "dagster_down"
    default_advice = "Start it with `make dev`, or check DAGSTER_URL."


class NoCodeLocation(DagsterDown):
    """Dagster answers, but it has not loaded the pipeline's code, or has it several times."""

    code = "no_code_location"
    default_advice = "Start the code server that workspace.yaml names; Dagster's own page says more, under Deployment."


class DagsterRefused(PipelineError):
    """Dagster answered with a refusal, or with something that cannot be read."""

    code = "dagster_refused"
    default_advice = "Dagster's own page says more, under Deployment."


class UnknownRun(PipelineError):
    code = "unknown_run"
    default_advice = "Dagster's own page lists its runs."


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_over(self) -> bool:
        return self in {RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELED}


_STATUSES = {
    "QUEUED": RunStatus.QUEUED,
    "NOT_STARTED": RunStatus.QUEUED,
    "MANAGED": RunStatus.QUEUED,
    "STARTING": RunStatus.QUEUED,
    "STARTED": RunStatus.RUNNING,
    "CANCELING": RunStatus.RUNNING,
    "SUCCESS": RunStatus.SUCCESS,
    "FAILURE": RunStatus.FAILED,
    "CANCELED": RunStatus.CANCELED,
}


class DagsterClient(Protocol):
    """The operations that the admin page needs from Dagster."""

    def check(self) -> None: ...

    def launch_run(self, week: Week, organisations: Sequence[str] = ()) -> str: ...

    def find_unfinished_run(self, week: Week) -> str | None: ...

    def read_run_status(self, run_id: str) -> RunStatus: ...

    def build_run_url(self, run_id: str) -> str: ...

    def is_scheduler_running(self) -> bool: ...

    def start_scheduler(self) -> None: ...

    def stop_scheduler(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class _AutomationToggle:
    """Whether a schedule or sensor is running, and the id that stopping it needs."""

    id: str
    running: bool


class DagsterApi:
    """Dagster over HTTP. Safe to use from several threads.

    Every method raises `DagsterDown` when Dagster does not answer, and `DagsterRefused` when it refuses.
    """

    def __init__(
        self,
        url: str,
        *,
        ui_url: str | None = None,
        code_location: str | None = None,
        timeouts: httpx.Timeout = _TIMEOUTS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """
        Args:
            url: the address of Dagster's webserver, `DAGSTER_URL`.
            ui_url: the address at which people open Dagster; `url` by default.
            code_location: the name of the code location that has the pipeline; by default the only one that has it.
            transport: carries the requests to Dagster in this process, instead of the network.
        """
        self._url = url
        self._ui_url = ui_url or url
        self._code_location = code_location
        self._repository: dict[str, str] | None = None
        # Ignore the environment's proxy settings: Dagster runs beside the admin page.
        self._http = httpx.Client(timeout=timeouts, trust_env=False, transport=transport)

    def check(self) -> None:
        """Check that Dagster answers, reads its storage, and has loaded the pipeline's code."""
        self._query_expecting(_NEWEST_RUN, {}, "runsOrError", "Runs")
        self._find_repository()

    def launch_run(self, week: Week, organisations: Sequence[str] = ()) -> str:
        """Launch `weekly_sync` for one week and return the run's id. The run may be queued first.

        Args:
            organisations: tenant ids; empty for all connected organisations.
        """
        tags = build_range_tags(week, week) | build_tenant_tags(organisations) | {"source": "admin"}
        params = {
            "selector": {**self._get_repository(), "jobName": JOB},
            "runConfigData": build_run_config(organisations),
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._query_expecting(_LAUNCH, {"params": params}, "launchRun", "LaunchRunSuccess")
        return str(answer["run"]["runId"])

    def find_unfinished_run(self, week: Week) -> str | None:
        """Return the id of an unfinished run of exactly that week that the admin page launched, if there is one."""
        tags = [{"key": "week_ending", "value": str(week)}, {"key": "source", "value": "admin"}]
        unfinished = [name for name, status in _STATUSES.items() if not status.is_over]
        runs_filter = {"tags": tags, "statuses": unfinished, "pipelineName": JOB}
        answer = self._query_expecting(_RUNS, {"filter": runs_filter}, "runsOrError", "Runs")
        return next((str(run["runId"]) for run in answer["results"]), None)

    def read_run_status(self, run_id: str) -> RunStatus:
        """Read a run's status. A status that this client does not know counts as running.

        Raises:
            UnknownRun: Dagster has no run with that id.
        """
        answer = self._query(_RUN, {"id": run_id}, "runOrError")
        if answer["__typename"] == "RunNotFoundError":
            raise UnknownRun("Dagster has no run with that id.")
        self._require_typename(answer, "Run")
        return _STATUSES.get(answer["status"], RunStatus.RUNNING)

    def build_run_url(self, run_id: str) -> str:
        """Return the address of the run's page in Dagster's UI."""
        return f"{self._ui_url}/runs/{run_id}"

    def is_scheduler_running(self) -> bool:
        """Whether the schedule `daily_sync` is running."""
        return self._read_schedule_toggle().running

    def start_scheduler(self) -> None:
        """Start the schedule `daily_sync` and its sensors. A sensor that Dagster does not know is skipped."""
        selector = {**self._get_repository(), "scheduleName": SCHEDULE}
        self._query_expecting(_START_SCHEDULE, {"selector": selector}, "startSchedule", "ScheduleStateResult")
        for name in SENSORS:
            selector = {**self._get_repository(), "sensorName": name}
            answer = self._query(_START_SENSOR, {"selector": selector}, "startSensor")
            if answer["__typename"] != "SensorNotFoundError":
                self._require_typename(answer, "Sensor")

    def stop_scheduler(self) -> None:
        """Stop the schedule `daily_sync` and its sensors."""
        for name in SENSORS:
            toggle = self._read_sensor_toggle(name)
            if toggle is not None and toggle.running:
                self._query_expecting(_STOP_SENSOR, {"id": toggle.id}, "stopSensor", "StopSensorMutationResult")
        toggle = self._read_schedule_toggle()
        if toggle.running:
            self._query_expecting(_STOP_SCHEDULE, {"id": toggle.id}, "stopRunningSchedule", "ScheduleStateResult")

    def close(self) -> None:
        self._http.close()

    def _get_repository(self) -> dict[str, str]:
        """Return the selector of the pipeline's definitions, as they were found last."""
        return self._repository or self._find_repository()

    def _find_repository(self) -> dict[str, str]:
        """Find the definitions that have the job `weekly_sync`, whatever name their code location has.

        The name is the deployer's: Dagster's Helm chart allows no underscore in it.
        """
        self._repository = None
        workspace = self._query_expecting(LOCATIONS_QUERY, {}, "workspaceOrError", "Workspace")
        found, unloaded = parse_locations(workspace, JOB)
        wanted = self._code_location
        chosen = [one for one in found if wanted in (None, one["repositoryLocationName"])]
        if len(chosen) == 1:
            self._repository = chosen[0]
            return chosen[0]
        if chosen:
            names = ", ".join(sorted(one["repositoryLocationName"] for one in chosen))
            raise NoCodeLocation(
                f"Several code locations of Dagster have the job {JOB} ({names}).",
                advice="Name the one that belongs to this page in DAGSTER_CODE_LOCATION.",
            )
        name = f"no code location {wanted}" if wanted else "no code location"
        failed = f" ({', '.join(unloaded)} could not be loaded)" if unloaded else ""
        raise NoCodeLocation(f"Dagster answers, but has {name} with the job {JOB}{failed}.")

    def _read_schedule_toggle(self) -> _AutomationToggle:
        selector = {**self._get_repository(), "scheduleName": SCHEDULE}
        answer = self._query_expecting(_SCHEDULE, {"selector": selector}, "scheduleOrError", "Schedule")
        return _parse_toggle(answer, "scheduleState")

    def _read_sensor_toggle(self, name: str) -> _AutomationToggle | None:
        answer = self._query(_SENSOR, {"selector": {**self._get_repository(), "sensorName": name}}, "sensorOrError")
        if answer["__typename"] == "SensorNotFoundError":
            return None
        return _parse_toggle(self._require_typename(answer, "Sensor"), "sensorState")

    def _query_expecting(self, query: str, variables: Mapping[str, Any], field: str, typename: str) -> dict[str, Any]:
        return self._require_typename(self._query(query, variables, field), typename)

    def _require_typename(self, answer: dict[str, Any], typename: str) -> dict[str, Any]:
        if answer["__typename"] != typename:
            # The code location may have another name by now.
            self._repository = None
            reason = _get_first_line(answer.get("message") or "")
            raise DagsterRefused(f"Dagster refused ({answer['__typename']}): {reason or 'no reason given'}")
        return answer

    def _query(self, query: str, variables: Mapping[str, Any], field: str) -> dict[str, Any]:
        answer = self._post_query(query, variables).get(field)
        if not isinstance(answer, dict) or not isinstance(answer.get("__typename"), str):
            raise DagsterRefused(f"Dagster's answer to {field} is not understood; its version may be a different one.")
        return answer

    def _post_query(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = self._http.post(f"{self._url}/graphql", json={"query": query, "variables": variables})
        except httpx.TimeoutException:
            raise DagsterDown(f"Dagster at {self._url} does not answer in time.") from None
        except httpx.HTTPError:
            raise DagsterDown(f"Dagster at {self._url} does not answer.") from None
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or not {"data", "errors"} & body.keys():
            raise DagsterDown(f"The server at {self._url} is not Dagster (HTTP {response.status_code}).")
        if body.get("errors"):
            raise DagsterRefused(f"Dagster refused: {_get_first_error(body['errors'])}")
        data = body.get("data")
        if not isinstance(data, dict):
            raise DagsterRefused("Dagster's answer contains no data.")
        return data


def _parse_toggle(answer: dict[str, Any], field: str) -> _AutomationToggle:
    return _AutomationToggle(str(answer[field]["id"]), answer[field]["status"] == "RUNNING")


def _get_first_error(errors: object) -> str:
    first = errors[0] if isinstance(errors, list) and errors else None
    return _get_first_line(str(first.get("message", ""))) if isinstance(first, dict) else "no reason given"


def _get_first_line(text: str) -> str:
    """Return the first line of Dagster's message: stack traces follow it."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:_MAX_MESSAGE_LENGTH]


_NEWEST_RUN = """
query NewestRun {
  runsOrError(limit: 1) {
    __typename
    ... on Runs { results { id } }
    ... on Error { message }
  }
}
"""
_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
  }
}
"""
_RUNS = """
query UnderWay($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 1) {
    __typename
    ... on Runs { results { runId } }
    ... on Error { message }
  }
}
"""
_RUN = """
query Run($id: ID!) {
  runOrError(runId: $id) {
    __typename
    ... on Run { status }
    ... on Error { message }
  }
}
"""
_SCHEDULE = """
query Schedule($selector: ScheduleSelector!) {
  scheduleOrError(scheduleSelector: $selector) {
    __typename
    ... on Schedule { scheduleState { id status } }
    ... on Error { message }
  }
}
"""
_SENSOR = """
query Sensor($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) {
    __typename
    ... on Sensor { sensorState { id status } }
    ... on Error { message }
  }
}
"""
_START_SCHEDULE = """
mutation StartSchedule($selector: ScheduleSelector!) {
  startSchedule(scheduleSelector: $selector) {
    __typename
    ... on Error { message }
  }
}
"""
_STOP_SCHEDULE = """
mutation StopSchedule($id: String!) {
  stopRunningSchedule(id: $id) {
    __typename
    ... on Error { message }
  }
}
"""
_START_SENSOR = """
mutation StartSensor($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) {
    __typename
    ... on Error { message }
  }
}
"""
_STOP_SENSOR = """
mutation StopSensor($id: String!) {
  stopSensor(id: $id) {
    __typename
    ... on Error { message }
  }
}
"""
