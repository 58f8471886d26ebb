"""What the admin page says to Dagster, and the only module that speaks its GraphQL.

Dagster answers a refusal with HTTP 200, so every answer's `__typename` is read. Its API "is still evolving"
(Dagster's docs): a change of it is an edit of this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import httpx

from xero_pipeline.automation.jobs import range_tags, sync_config
from xero_pipeline.errors import PipelineError
from xero_pipeline.weeks import Week

REPOSITORY = {
    "repositoryName": "__repository__",  # Dagster's own name for the one of a `Definitions`
    "repositoryLocationName": "xero_pipeline.definitions",
}
JOB = "weekly_sync"
SCHEDULE = "daily_sync"
SENSORS = ("missing_weeks", "late_edits", "connection_health")

# Seconds to connect, and for the whole of an answer's next bytes. Launching loads the code's snapshot first.
_TIMEOUTS = httpx.Timeout(10.0, connect=2.0)
_LONGEST_TEXT = 300


class DagsterDown(PipelineError):
    """Dagster does not answer, or something else answers in its place."""

    code = "dagster_down"
    default_advice = "Start it with `make dev`, or check DAGSTER_URL."


class DagsterRefused(PipelineError):
    """Dagster answered, and said no."""

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
    def over(self) -> bool:
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
    """What the admin page needs of Dagster."""

    def check(self) -> None: ...

    def launch(self, week: Week, organisations: Sequence[str] = ()) -> str: ...

    def under_way(self, week: Week) -> str | None: ...

    def run_status(self, run_id: str) -> RunStatus: ...

    def run_url(self, run_id: str) -> str: ...

    def scheduler_running(self) -> bool: ...

    def start_scheduler(self) -> None: ...

    def stop_scheduler(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class _AutomationToggle:
    """A schedule's or sensor's switch: which way it stands, and the id by which it is stopped."""

    id: str
    running: bool


class DagsterApi:
    """Dagster over HTTP. Safe to use from several threads.

    Every method raises `DagsterDown` when Dagster does not answer, and `DagsterRefused` when it says no.
    """

    def __init__(self, url: str, *, page: str | None = None, timeouts: httpx.Timeout = _TIMEOUTS) -> None:
        """
        Args:
            url: where Dagster's webserver is, `DAGSTER_URL`.
            page: where people find it; left out, there as well.
        """
        self._url = url
        self._page = page or url
        # Not `trust_env`: Dagster is a neighbour, and a proxy of the environment does not lead there.
        self._http = httpx.Client(timeout=timeouts, trust_env=False)

    def check(self) -> None:
        """See to it that Dagster answers."""
        self._ask("query { version }", {})

    def launch(self, week: Week, organisations: Sequence[str] = ()) -> str:
        """Launch `weekly_sync` for one week of these organisations, none named: of all; answers the run's id. It
        may be queued first."""
        tags = range_tags(week, week) | {"source": "admin"}
        params = {
            "selector": {**REPOSITORY, "jobName": JOB},
            "runConfigData": sync_config(organisations),
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        said = self._expect(_LAUNCH, {"params": params}, "launchRun", "LaunchRunSuccess")
        return str(said["run"]["runId"])

    def under_way(self, week: Week) -> str | None:
        """A run of exactly that week, asked for here, that is not over yet."""
        tags = [{"key": "week_ending", "value": str(week)}, {"key": "source", "value": "admin"}]
        over = [name for name, status in _STATUSES.items() if status.over]
        wanted = {"tags": tags, "statuses": [name for name in _STATUSES if name not in over], "pipelineName": JOB}
        said = self._expect(_RUNS, {"filter": wanted}, "runsOrError", "Runs")
        return next((str(run["runId"]) for run in said["results"]), None)

    def run_status(self, run_id: str) -> RunStatus:
        """How a run stands.

        Raises:
            UnknownRun: Dagster knows no such run.
        """
        said = self._answer(_RUN, {"id": run_id}, "runOrError")
        if said["__typename"] == "RunNotFoundError":
            raise UnknownRun("Dagster knows no run with that id.")
        self._require(said, "Run")
        return _STATUSES.get(said["status"], RunStatus.RUNNING)

    def run_url(self, run_id: str) -> str:
        """The run's page in Dagster's UI."""
        return f"{self._page}/runs/{run_id}"

    def scheduler_running(self) -> bool:
        """Whether `daily_sync` is switched on."""
        return self._schedule().running

    def start_scheduler(self) -> None:
        """Switch `daily_sync` on, and its sensors with it. A sensor that is not defined is left out."""
        selector = {**REPOSITORY, "scheduleName": SCHEDULE}
        self._expect(_START_SCHEDULE, {"selector": selector}, "startSchedule", "ScheduleStateResult")
        for name in SENSORS:
            selector = {**REPOSITORY, "sensorName": name}
            said = self._answer(_START_SENSOR, {"selector": selector}, "startSensor")
            if said["__typename"] != "SensorNotFoundError":
                self._require(said, "Sensor")

    def stop_scheduler(self) -> None:
        """Switch `daily_sync` and its sensors off."""
        for name in SENSORS:
            switch = self._sensor(name)
            if switch is not None and switch.running:
                self._expect(_STOP_SENSOR, {"id": switch.id}, "stopSensor", "StopSensorMutationResult")
        switch = self._schedule()
        if switch.running:
            self._expect(_STOP_SCHEDULE, {"id": switch.id}, "stopRunningSchedule", "ScheduleStateResult")

    def close(self) -> None:
        self._http.close()

    def _schedule(self) -> _AutomationToggle:
        selector = {**REPOSITORY, "scheduleName": SCHEDULE}
        return _switch(self._expect(_SCHEDULE, {"selector": selector}, "scheduleOrError", "Schedule"), "scheduleState")

    def _sensor(self, name: str) -> _AutomationToggle | None:
        said = self._answer(_SENSOR, {"selector": {**REPOSITORY, "sensorName": name}}, "sensorOrError")
        if said["__typename"] == "SensorNotFoundError":
            return None
        return _switch(self._require(said, "Sensor"), "sensorState")

    def _expect(self, query: str, variables: Mapping[str, Any], field: str, typename: str) -> dict[str, Any]:
        return self._require(self._answer(query, variables, field), typename)

    @staticmethod
    def _require(said: dict[str, Any], typename: str) -> dict[str, Any]:
        if said["__typename"] != typename:
            words = _one_line(said.get("message") or "")
            raise DagsterRefused(f"Dagster refused ({said['__typename']}): {words or 'no reason given'}")
        return said

    def _answer(self, query: str, variables: Mapping[str, Any], field: str) -> dict[str, Any]:
        said = self._ask(query, variables).get(field)
        if not isinstance(said, dict) or not isinstance(said.get("__typename"), str):
            raise DagsterRefused(f"Dagster's answer to {field} is not understood; its version may not fit.")
        return said

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
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
            raise DagsterDown(f"What answers at {self._url} is not Dagster (HTTP {response.status_code}).")
        if body.get("errors"):
            raise DagsterRefused(f"Dagster refused: {_first_error(body['errors'])}")
        data = body.get("data")
        if not isinstance(data, dict):
            raise DagsterRefused("Dagster's answer carries no data.")
        return data


def _switch(said: dict[str, Any], field: str) -> _AutomationToggle:
    return _AutomationToggle(str(said[field]["id"]), said[field]["status"] == "RUNNING")


def _first_error(errors: object) -> str:
    first = errors[0] if isinstance(errors, list) and errors else None
    return _one_line(str(first.get("message", ""))) if isinstance(first, dict) else "no reason given"


def _one_line(text: str) -> str:
    """Dagster's first line; what follows are stack traces."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:_LONGEST_TEXT]


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
