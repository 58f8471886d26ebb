"""Dagster by its GraphQL: a real webserver with our code location, and servers that answer what it would not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from xero_pipeline.admin.dagster_api import (
    SENSORS,
    DagsterApi,
    DagsterDown,
    DagsterRefused,
    RunStatus,
    UnknownRun,
)
from xero_pipeline.weeks import Week
from xero_pipeline_tests.admin.deployed import API, KEY, Page, at_xero, deployed
from xero_pipeline_tests.admin.real_dagster import free_port, running_dagster
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.plain_xero import PlainXero
from xero_pipeline_tests.servers import Answer, ScriptedServer

A_MINUTE = 60.0


@dataclass
class Running:
    """A Dagster, and the admin page before it."""

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
            **at_xero(xero.url),
            "XERO_GRANT": "client_credentials",
            "XERO_CLIENT_ID": "client-id",
            "XERO_CLIENT_SECRET": "client-secret-of-the-app",
            "XERO_ENCRYPTION_KEY": KEY,
            "DATABASE_URL": f"sqlite:///{home / 'data' / 'xero.db'}",
            "PIPELINE_TIMEZONE": "UTC",
        }
        with running_dagster(home, settings) as url:
            api = DagsterApi(url)
            with deployed(home, dagster=api, clock=FakeClock(), DAGSTER_URL=url, **settings) as page:
                yield Running(url, page)
            api.close()


def watch(page: Page, run_id: str) -> dict[str, object]:
    """Ask for a run until it is over, as the page does."""
    until = time.monotonic() + A_MINUTE
    while time.monotonic() < until:
        said: dict[str, object] = page.api(f"/runs/{run_id}").json()
        if said["status"] not in ("queued", "running"):
            return said
        time.sleep(0.5)
    raise AssertionError("the run did not end")


def test_the_page_is_well_when_database_and_dagster_answer(running: Running) -> None:
    answer = running.page.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"database": "ok", "dagster": "ok"})


def test_a_week_that_is_asked_for_is_run_by_dagster_and_lands(running: Running) -> None:
    page = running.page
    assert page.api("/connect").headers["location"] == "/?xero=connected"
    begun = page.post(f"{API}/sync", params={"weekEnding": "2026-11-21", "wait": "false"})
    assert begun.status_code == 202
    run_id = begun.json()["runId"]
    # Asked for again while it is not over, it is the same run.
    again = page.post(f"{API}/sync", params={"weekEnding": "2026-11-21", "wait": "false"})
    assert again.json()["runId"] == run_id
    ended = watch(page, run_id)
    assert ended["status"] == "success"
    logs = ended["logs"]
    assert isinstance(logs, list)
    assert {log["syncType"]: log["status"] for log in logs} == dict.fromkeys(
        ("profit_and_loss", "invoices", "bank_summary"), "success"
    )
    assert {log["weekEnding"] for log in logs} == {"2026-11-21"}
    assert {log["runUrl"] for log in logs} == {f"{running.url}/runs/{run_id}"}
    assert running.api.under_way(Week.from_key("2026-11-15")) is None
    tags = httpx.post(
        f"{running.url}/graphql",
        json={"query": f'{{runOrError(runId:"{run_id}"){{...on Run{{jobName tags{{key value}}}}}}}}'},
        timeout=60,
    ).json()["data"]["runOrError"]
    assert tags["jobName"] == "weekly_sync"
    assert {"key": "week_ending", "value": "2026-11-21"} in tags["tags"]
    assert {"key": "source", "value": "admin"} in tags["tags"]


def test_the_scheduler_is_switched_on_and_off_with_all_its_sensors(running: Running) -> None:
    page = running.page
    assert page.api("/status").json()["schedulerRunning"] is False
    for _twice in range(2):
        assert page.post(f"{API}/scheduler/start").json() == {"running": True}
    assert page.api("/status").json()["schedulerRunning"] is True
    assert switched_on(running.url) == {"daily_sync", *SENSORS}
    for _twice in range(2):
        assert page.post(f"{API}/scheduler/stop").json() == {"running": False}
    assert page.api("/status").json()["schedulerRunning"] is False
    assert switched_on(running.url) == set()


def test_the_last_disconnect_stops_the_scheduler(running: Running) -> None:
    page = running.page
    page.api("/connect")
    page.post(f"{API}/scheduler/start")
    assert page.post(f"{API}/disconnect").json() == {"success": True}
    assert switched_on(running.url) == set()
    assert page.api("/status").json()["connected"] is False


def switched_on(url: str) -> set[str]:
    """What Dagster itself says is switched on, of what the page switches."""
    fields = "schedules{name scheduleState{status}} sensors{name sensorState{status}}"
    query = f"{{repositoriesOrError{{...on RepositoryConnection{{nodes{{{fields}}}}}}}}}"
    answer = httpx.post(f"{url}/graphql", json={"query": query}, timeout=60).json()
    (node,) = answer["data"]["repositoriesOrError"]["nodes"]
    states = [(one["name"], one["scheduleState"]["status"]) for one in node["schedules"]]
    states += [(one["name"], one["sensorState"]["status"]) for one in node["sensors"]]
    return {name for name, status in states if status == "RUNNING" and name in {"daily_sync", *SENSORS}}


def test_a_run_that_dagster_does_not_know(running: Running) -> None:
    with pytest.raises(UnknownRun):
        running.api.run_status("00000000-0000-0000-0000-000000000000")


def test_a_sensor_that_is_not_defined_is_left_out(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xero_pipeline.admin.dagster_api.SENSORS", ("no_such_sensor", "missing_weeks"))
    running.api.start_scheduler()
    assert switched_on(running.url) == {"daily_sync", "missing_weeks"}
    running.api.stop_scheduler()
    assert switched_on(running.url) == set()


def test_a_schedule_that_is_not_defined_is_an_error(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xero_pipeline.admin.dagster_api.SCHEDULE", "no_such_schedule")
    for ask in (running.api.scheduler_running, running.api.start_scheduler, running.api.stop_scheduler):
        with pytest.raises(DagsterRefused, match="ScheduleNotFoundError"):
            ask()


def test_a_job_that_is_not_defined_is_an_error(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xero_pipeline.admin.dagster_api.JOB", "no_such_job")
    with pytest.raises(DagsterRefused, match="no_such_job"):
        running.api.launch(Week.from_key("2026-11-15"))


# ---- answers that a well Dagster does not give --------------------------------------------------------------


@contextmanager
def asking(answer: Answer) -> Iterator[DagsterApi]:
    with ScriptedServer(answer) as server:
        api = DagsterApi(server.url)
        try:
            yield api
        finally:
            api.close()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
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
def test_a_refusal_within_a_200_is_one(answer: Answer, error: type[Exception], words: str) -> None:
    with asking(answer) as api:
        with pytest.raises(error, match=words) as caught:
            api.launch(Week.from_key("2026-11-15"))
        assert "\n" not in str(caught.value)


def test_a_dagster_that_is_not_there() -> None:
    api = DagsterApi(f"http://127.0.0.1:{free_port()}")
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
    ("said", "status"),
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
def test_each_status_of_dagster_has_a_word(said: str, status: RunStatus) -> None:
    answer = Answer(200, json={"data": {"runOrError": {"__typename": "Run", "status": said}}})
    with asking(answer) as api:
        assert api.run_status("a-run") is status
