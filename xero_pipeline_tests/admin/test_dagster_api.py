"""The client of Dagster's GraphQL, against a real webserver and against servers that answer what Dagster would not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from xero_pipeline.admin.dagster_api import (
    SENSORS,
    DagsterApi,
    DagsterDown,
    DagsterRefused,
    NoCodeLocation,
    RunStatus,
    UnknownRun,
)
from xero_pipeline.weeks import Week
from xero_pipeline_tests.admin.deployed import API, KEY, Page, point_settings_at, serve_page
from xero_pipeline_tests.admin.real_dagster import find_free_port, run_dagster
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.plain_xero import PlainXero
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest

A_MINUTE = 60.0


@dataclass
class Running:
    """A Dagster webserver and the admin page that uses it."""

    url: str
    page: Page

    @property
    def api(self) -> DagsterApi:
        api: DagsterApi = self.page.dagster
        return api


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("dagster")
    with ScriptedServer(PlainXero()) as xero:
        settings = {
            **point_settings_at(xero.url),
            "XERO_GRANT": "client_credentials",
            "XERO_CLIENT_ID": "client-id",
            "XERO_CLIENT_SECRET": "client-secret-of-the-app",
            "XERO_ENCRYPTION_KEY": KEY,
            "DATABASE_URL": f"sqlite:///{home / 'data' / 'xero.db'}",
            "PIPELINE_TIMEZONE": "UTC",
        }
        with run_dagster(home, settings) as url:
            api = DagsterApi(url)
            with serve_page(home, dagster=api, clock=FakeClock(), DAGSTER_URL=url, **settings) as page:
                yield Running(url, page)
            api.close()


def wait_for_run(page: Page, run_id: str) -> dict[str, object]:
    """Poll a run until it has ended, as the page does."""
    deadline = time.monotonic() + A_MINUTE
    while time.monotonic() < deadline:
        run: dict[str, object] = page.api(f"/runs/{run_id}").json()
        if run["status"] not in ("queued", "running"):
            return run
        time.sleep(0.5)
    raise AssertionError("the run did not end")


def test_the_page_is_healthy_when_database_and_dagster_answer(running: Running) -> None:
    answer = running.page.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"database": "ok", "dagster": "ok"})


def test_a_requested_week_is_run_by_dagster_and_lands(running: Running) -> None:
    page = running.page
    assert page.api("/connect").headers["location"] == "/?xero=connected"
    begun = page.post(f"{API}/sync", params={"weekEnding": "2026-11-21", "wait": "false"})
    assert begun.status_code == 202
    run_id = begun.json()["runId"]
    # A second request while the run has not ended returns the same run.
    again = page.post(f"{API}/sync", params={"weekEnding": "2026-11-21", "wait": "false"})
    assert again.json()["runId"] == run_id
    ended = wait_for_run(page, run_id)
    assert ended["status"] == "success"
    logs = ended["logs"]
    assert isinstance(logs, list)
    assert {log["syncType"]: log["status"] for log in logs} == dict.fromkeys(
        ("profit_and_loss", "invoices", "bank_summary"), "success"
    )
    assert {log["weekEnding"] for log in logs} == {"2026-11-21"}
    assert {log["runUrl"] for log in logs} == {f"{running.url}/runs/{run_id}"}
    assert running.api.find_unfinished_run(Week.from_key("2026-11-15")) is None
    tags = httpx.post(
        f"{running.url}/graphql",
        json={"query": f'{{runOrError(runId:"{run_id}"){{...on Run{{jobName tags{{key value}}}}}}}}'},
        timeout=60,
    ).json()["data"]["runOrError"]
    assert tags["jobName"] == "weekly_sync"
    assert {"key": "week_ending", "value": "2026-11-21"} in tags["tags"]
    assert {"key": "source", "value": "admin"} in tags["tags"]


def test_the_scheduler_is_started_and_stopped_with_all_its_sensors(running: Running) -> None:
    page = running.page
    assert page.api("/status").json()["schedulerRunning"] is False
    for _twice in range(2):
        assert page.post(f"{API}/scheduler/start").json() == {"running": True}
    assert page.api("/status").json()["schedulerRunning"] is True
    assert list_switched_on(running.url) == {"daily_sync", *SENSORS}
    for _twice in range(2):
        assert page.post(f"{API}/scheduler/stop").json() == {"running": False}
    assert page.api("/status").json()["schedulerRunning"] is False
    assert list_switched_on(running.url) == set()


def test_the_last_disconnect_stops_the_scheduler(running: Running) -> None:
    page = running.page
    page.api("/connect")
    page.post(f"{API}/scheduler/start")
    assert page.post(f"{API}/disconnect").json() == {"success": True}
    assert list_switched_on(running.url) == set()
    assert page.api("/status").json()["connected"] is False


def list_switched_on(url: str) -> set[str]:
    """Read from Dagster which of the schedule and the sensors are running."""
    fields = "schedules{name scheduleState{status}} sensors{name sensorState{status}}"
    query = f"{{repositoriesOrError{{...on RepositoryConnection{{nodes{{{fields}}}}}}}}}"
    answer = httpx.post(f"{url}/graphql", json={"query": query}, timeout=60).json()
    (node,) = answer["data"]["repositoriesOrError"]["nodes"]
    states = [(schedule["name"], schedule["scheduleState"]["status"]) for schedule in node["schedules"]]
    states += [(sensor["name"], sensor["sensorState"]["status"]) for sensor in node["sensors"]]
    return {name for name, status in states if status == "RUNNING" and name in {"daily_sync", *SENSORS}}


def test_a_run_that_dagster_does_not_know_is_an_error(running: Running) -> None:
    with pytest.raises(UnknownRun):
        running.api.read_run_status("00000000-0000-0000-0000-000000000000")


def test_a_sensor_that_is_not_defined_is_skipped(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xero_pipeline.admin.dagster_api.SENSORS", ("no_such_sensor", "missing_weeks"))
    running.api.start_scheduler()
    assert list_switched_on(running.url) == {"daily_sync", "missing_weeks"}
    running.api.stop_scheduler()
    assert list_switched_on(running.url) == set()


def test_a_schedule_that_is_not_defined_is_an_error(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xero_pipeline.admin.dagster_api.SCHEDULE", "no_such_schedule")
    for operation in (running.api.is_scheduler_running, running.api.start_scheduler, running.api.stop_scheduler):
        with pytest.raises(DagsterRefused, match="ScheduleNotFoundError"):
            operation()


def test_a_job_that_is_not_defined_is_an_error(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.api.check()
    monkeypatch.setattr("xero_pipeline.admin.dagster_api.JOB", "no_such_job")
    with pytest.raises(DagsterRefused, match="no_such_job"):
        running.api.launch_run(Week.from_key("2026-11-15"))
    # What was found before is forgotten after a refusal.
    with pytest.raises(NoCodeLocation, match="no_such_job"):
        running.api.launch_run(Week.from_key("2026-11-15"))


# ---- answers that a healthy Dagster does not give --------------------------------------------------------------


def build_locations(**jobs: list[str] | None) -> dict[str, Any]:
    """Dagster's answer about these code locations with their jobs. One without jobs could not be loaded."""
    return {
        "data": {
            "workspaceOrError": {
                "__typename": "Workspace",
                "locationEntries": [
                    {
                        "name": name,
                        "locationOrLoadError": {"__typename": "PythonError"}
                        if names is None
                        else {
                            "__typename": "RepositoryLocation",
                            "repositories": [{"name": "__repository__", "jobs": [{"name": job} for job in names]}],
                        },
                    }
                    for name, names in jobs.items()
                ],
            }
        }
    }


@contextmanager
def connect_to_server(
    answer: Answer, code_location: str | None = None, **jobs: list[str] | None
) -> Iterator[DagsterApi]:
    """A client of a server with these code locations (by default ours), which gives one answer to all else."""
    locations = Answer(json=build_locations(**jobs or {"ours": ["weekly_sync"]}))

    def respond(request: SeenRequest) -> Answer:
        return locations if b"workspaceOrError" in request.body else answer

    with ScriptedServer(respond) as server:
        api = DagsterApi(server.url, code_location=code_location)
        try:
            yield api
        finally:
            api.close()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (Answer(drop=True), DagsterDown, "does not answer"),
        (Answer(502, body="Bad gateway"), DagsterDown, "not Dagster"),
        (Answer(200, body="<html>a router's page</html>"), DagsterDown, "not Dagster"),
        (Answer(200, json={"hello": "world"}), DagsterDown, "not Dagster"),
        (Answer(200, json=["data"]), DagsterDown, "not Dagster"),
        (Answer(200, json={"data": None}), DagsterRefused, "no data"),
        (Answer(200, json={"errors": [{"message": "Cannot query field\nstack"}]}), DagsterRefused, "Cannot query"),
        (Answer(200, json={"data": {"launchRun": None}}), DagsterRefused, "not understood"),
        (
            Answer(200, json={"data": {"launchRun": {"__typename": "UnauthorizedError", "message": "read-only"}}}),
            DagsterRefused,
            "UnauthorizedError.*read-only",
        ),
        (
            Answer(200, json={"data": {"launchRun": {"__typename": "PythonError", "message": "\n\nboom\n  at …"}}}),
            DagsterRefused,
            r"\(PythonError\): boom Dagster's own page",
        ),
    ],
)
def test_a_refusal_with_status_200_is_an_error(answer: Answer, error: type[Exception], message: str) -> None:
    with connect_to_server(answer) as api:
        with pytest.raises(error, match=message) as raised:
            api.launch_run(Week.from_key("2026-11-15"))
        assert "\n" not in str(raised.value)


LAUNCHED = Answer(json={"data": {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "run-1"}}}})


def test_the_code_location_is_found_by_its_job_among_others() -> None:
    with connect_to_server(LAUNCHED, other=["weekly_report"], broken=None, ours=["weekly_sync"]) as api:
        assert api.launch_run(Week.from_key("2026-11-15")) == "run-1"


def test_of_several_code_locations_with_the_job_the_setting_names_the_one() -> None:
    both = {"live": ["weekly_sync"], "test": ["weekly_sync"]}
    with (
        connect_to_server(LAUNCHED, **both) as api,
        pytest.raises(NoCodeLocation, match=r"live, test.*DAGSTER_CODE_LOC"),
    ):
        api.launch_run(Week.from_key("2026-11-15"))
    with connect_to_server(LAUNCHED, code_location="test", **both) as api:
        assert api.launch_run(Week.from_key("2026-11-15")) == "run-1"


def test_where_no_code_location_has_the_job_the_error_names_those_that_were_not_loaded() -> None:
    with (
        connect_to_server(LAUNCHED, other=["weekly_report"], ours=None) as api,
        pytest.raises(NoCodeLocation, match=r"no code location with the job weekly_sync \(ours could not be loaded\)"),
    ):
        api.launch_run(Week.from_key("2026-11-15"))


def test_a_code_location_that_is_renamed_is_found_after_one_refusal() -> None:
    names = iter(["before", "after"])
    refused = Answer(json={"data": {"launchRun": {"__typename": "PipelineNotFoundError", "message": "not there"}}})

    def respond(request: SeenRequest) -> Answer:
        if b"workspaceOrError" in request.body:
            return Answer(json=build_locations(**{next(names): ["weekly_sync"]}))
        return LAUNCHED if b"after" in request.body else refused

    with ScriptedServer(respond) as server:
        api = DagsterApi(server.url)
        with pytest.raises(DagsterRefused, match="PipelineNotFoundError"):
            api.launch_run(Week.from_key("2026-11-15"))
        assert api.launch_run(Week.from_key("2026-11-15")) == "run-1"
        api.close()


def test_a_dagster_that_does_not_listen_is_down() -> None:
    api = DagsterApi(f"http://127.0.0.1:{find_free_port()}")
    with pytest.raises(DagsterDown, match="DAGSTER_URL"):
        api.check()
    api.close()


def test_a_dagster_that_takes_too_long_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = DagsterApi(f"http://127.0.0.1:{silent.getsockname()[1]}", timeouts=httpx.Timeout(0.2))
        with pytest.raises(DagsterDown, match="in time"):
            api.check()
        api.close()


@pytest.mark.parametrize(
    ("dagster_status", "status"),
    [
        ("QUEUED", RunStatus.QUEUED),
        ("STARTING", RunStatus.QUEUED),
        ("STARTED", RunStatus.RUNNING),
        ("CANCELING", RunStatus.RUNNING),
        ("SUCCESS", RunStatus.SUCCESS),
        ("FAILURE", RunStatus.FAILED),
        ("CANCELED", RunStatus.CANCELED),
        ("A_NEW_ONE", RunStatus.RUNNING),
    ],
)
def test_each_status_of_dagster_is_translated(dagster_status: str, status: RunStatus) -> None:
    answer = Answer(200, json={"data": {"runOrError": {"__typename": "Run", "status": dagster_status}}})
    with connect_to_server(answer) as api:
        assert api.read_run_status("a-run") is status
