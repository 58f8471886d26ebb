"""What people change inside Dagster's UI is in the audit log: who, what, and how it ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from starlette.requests import Request
from websockets.exceptions import ConnectionClosed

from xero_pipeline.admin.dagster_changes import (
    UNREADABLE,
    UNRECORDED_MUTATIONS,
    find_changes,
    find_mutations,
    has_errors,
)
from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline.warehouse.errors import DatabaseUnavailable
from xero_pipeline_tests.admin.deployed import Page, serve_page
from xero_pipeline_tests.admin.test_audit import read_rows
from xero_pipeline_tests.admin.test_dagster_ui import follow
from xero_pipeline_tests.dagster_internals import create_schema

TOKEN = "the-admin-token-7c1f"
GRAPHQL = "/dagster/graphql"
LAUNCH = "mutation Launch($p: P!) { launchPipelineExecution(executionParams: $p) { __typename } }"
JSON_TYPE = {"Content-Type": "application/json"}


# ---- the names of the mutations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (LAUNCH, ["launchPipelineExecution"]),
        ("mutation { harmless: wipeAssets { __typename } }", ["wipeAssets"]),
        ("mutation { __typename logTelemetry { x } wipeAssets { x } }", ["wipeAssets"]),
        ("mutation { a: deleteRun { x } b: deleteRun { x } }", ["deleteRun"]),
        (
            "mutation { ...A } fragment A on Mutation { ...B } fragment B on Mutation { wipeAssets { x } }",
            ["wipeAssets"],
        ),
        ("mutation { ...A } fragment A on Mutation { ...A deleteRun { x } }", ["deleteRun"]),
        ("mutation { ... on Mutation { ... @include(if: true) { wipeAssets { x } } } }", ["wipeAssets"]),
        ("mutation { wipeAssets @skip(if: $v) { x } }", ["wipeAssets"]),
        ("fragment A on Mutation { deleteRun { x } } mutation @d { ...A }", ["deleteRun"]),
        ("# mutation { wipeAssets }\n{ runsOrError { __typename } }", []),
        ('{ runsOrError(filter: "mutation { wipeAssets }") { mutation: __typename } }', []),
        ("subscription { pipelineRunLogs(runId: $mutation) { x } }", []),
        ("mutation { setNuxSeen logTelemetry { __typename } }", []),
        ("mutation { wipeAssets", []),
        ("mutation {" * 20_000, [UNREADABLE]),
    ],
)
def test_no_alias_fragment_or_comment_hides_a_mutation_or_makes_one(query: str, names: list[str]) -> None:
    assert find_mutations({"query": query}) == names


@pytest.mark.parametrize(
    ("operation", "names"),
    [("Read", []), ("Write", ["wipeAssets"]), (None, ["wipeAssets"]), ("", ["wipeAssets"]), ("None", ["wipeAssets"])],
)
def test_of_several_operations_the_one_that_dagster_executes_counts(operation: str | None, names: list[str]) -> None:
    """Dagster refuses several of which none is named; they are listed all the same."""
    query = "query Read { version } mutation Write { wipeAssets { x } }"
    assert find_mutations({"query": query, "operationName": operation}) == names


def test_every_mutation_of_a_batch_is_listed() -> None:
    batch = [{"query": "{ version }"}, {"query": "mutation { startSensor { x } }"}, {"query": LAUNCH}, "mutation", None]
    assert find_mutations(batch) == ["startSensor", "launchPipelineExecution"]


def make_request(content_type: str, query_string: str = "", path: str = GRAPHQL) -> Request:
    headers = [(b"content-type", content_type.encode())] if content_type else []
    return Request({"type": "http", "path": path, "headers": headers, "query_string": query_string.encode()})


@pytest.mark.parametrize(
    ("content_type", "query_string", "body", "names"),
    [
        ("application/json", "", json.dumps({"query": LAUNCH}).encode(), ["launchPipelineExecution"]),
        (
            "application/json; charset=utf-8",
            "",
            json.dumps({"query": LAUNCH}).encode("utf-16"),
            ["launchPipelineExecution"],
        ),
        ("application/json", "", rb'{"query": "\u006dutation { wipeAssets }"}', ["wipeAssets"]),
        ("application/json", "", b'{"query": "{ version }", "query": "mutation { wipeAssets }"}', ["wipeAssets"]),
        ("application/json", "query=mutation{wipeAssets}", b'{"query": "{ version }"}', []),
        ("application/json", "", b"[" * 200_000, [UNREADABLE]),
        ("application/json", "", b'"mutation { wipeAssets }"', []),
        ("application/json", "", b"mutation { wipeAssets }", []),
        ("application/graphql", "", b"mutation { wipeAssets }", ["wipeAssets"]),
        ("text/plain", "query=mutation{wipeAssets}", json.dumps({"query": "{ version }"}).encode(), ["wipeAssets"]),
        ("", "query={version}&query=mutation{wipeAssets}", b"", ["wipeAssets"]),
    ],
)
def test_the_query_is_found_where_dagster_reads_it(
    content_type: str, query_string: str, body: bytes, names: list[str]
) -> None:
    assert find_changes(make_request(content_type, query_string), body) == names


def test_what_is_reported_to_dagster_without_graphql_is_a_change_too() -> None:
    path = "/dagster/report_asset_materialization/financial_weekly"
    assert find_changes(make_request("application/json", path=path), b"{}") == ["report_asset_materialization"]


def test_the_error_types_are_those_of_dagsters_schema() -> None:
    """Of what Dagster's mutations answer, everything is either a success or an error by its name."""
    schema: Any = create_schema().graphql_schema
    fields = schema.mutation_type.fields
    assert set(fields) >= UNRECORDED_MUTATIONS
    unions = [getattr(field.type, "of_type", field.type) for field in fields.values()]
    types = {one.name for union in unions for one in getattr(union, "types", ())}
    done = {name for name in types if not has_errors(json.dumps({"data": {"a": {"__typename": name}}}).encode())}
    assert {"PythonError", "RunConflict", "RunConfigValidationInvalid", "TerminateRunFailure"} <= types - done
    named_otherwise = {name for name in done if not name.endswith(("Success", "Result", "Accepted"))}
    assert named_otherwise == {"Sensor", "DryRunInstigationTick", "Workspace", "WorkspaceLocationEntry"}


@pytest.mark.parametrize(
    ("answer", "is_failed"),
    [
        (b'{"data": {"a": {"__typename": "LaunchRunSuccess"}}}', False),
        (b'{"data": {"a": null}, "errors": [{"message": "x"}]}', True),
        (b'{"data": null, "errors": [{"message": "x"}]}', True),
        (b'{"data": {"a": {"results": [{"__typename": "LaunchRunSuccess"}, {"__typename": "PythonError"}]}}}', True),
        (b'{"data": {"a": true}}', False),
        (b'{"data": {"a": {"__typename": "Python', False),
        (b"[]", False),
    ],
)
def test_an_answer_tells_whether_it_was_done(answer: bytes, is_failed: bool) -> None:
    assert has_errors(answer) is is_failed


# ---- through the door ----------------------------------------------------------------------------------------


class AnsweringDagster:
    """An application in Dagster's place, which keeps what it received and answers what it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.status = 200
        self.data: Any = {"a": {"__typename": "LaunchRunSuccess"}}
        self.error: BaseException | None = None
        self.heard: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "subprotocol": "graphql-ws"})
            while (message := await receive())["type"] == "websocket.receive":
                self.heard.append(message["text"])
                await send({"type": "websocket.send", "text": "heard"})
            # As a subscription that is still being answered.
            await send({"type": "websocket.send", "text": "too late"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        if self.error is not None:
            raise self.error
        answer = json.dumps({"data": self.data}).encode()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": answer[:10], "more_body": True})
        await send({"type": "http.response.body", "body": answer[10:]})


@pytest.fixture
def dagster() -> AnsweringDagster:
    return AnsweringDagster()


@pytest.fixture
def closed(tmp_path: Path, migrated: Path, dagster: AnsweringDagster) -> Iterator[Page]:
    with serve_page(tmp_path, template=migrated, dagster_ui=dagster, ADMIN_TOKEN=TOKEN) as served:
        yield served


@pytest.fixture
def page(tmp_path: Path, migrated: Path, dagster: AnsweringDagster) -> Iterator[Page]:
    with serve_page(tmp_path, template=migrated, dagster_ui=dagster) as served:
        yield served


def list_changes(page: Page) -> list[tuple[str, str, str, str, int]]:
    return [
        (row.who, row.origin, row.subject, row.outcome, row.count)
        for row in read_rows(page)
        if row.action == "dagster_change"
    ]


def test_who_changes_what_is_recorded_and_reaches_dagster_unchanged(closed: Page, dagster: AnsweringDagster) -> None:
    token = closed.deployment.warehouse.persons.add("Otto", AccessRole.OPERATOR, now=closed.clock.now())
    closed.post("/login", data={"token": token})
    secret = "a-figure-of-the-books-1234.56"
    bodies = [
        json.dumps({"query": query, "variables": {"p": secret}}).encode()
        for query in ("{ version }", "mutation { logTelemetry { x } }", LAUNCH)
    ]
    for body in bodies:
        assert closed.post(GRAPHQL, content=body, headers=JSON_TYPE).json() == {"data": dagster.data}
    assert dagster.bodies == bodies
    assert list_changes(closed) == [("Otto", "127.0.0.1", "launchPipelineExecution", "success", 1)]
    with closed.deployment.warehouse.engine.connect() as connection:
        assert secret not in repr(connection.execute(text("SELECT * FROM audit_log")).all())


def test_what_dagster_did_not_do_is_failed_and_counted(page: Page, dagster: AnsweringDagster) -> None:
    dagster.data = {"a": {"__typename": "PythonError"}}
    assert page.post(GRAPHQL, json={"query": LAUNCH}).status_code == 200
    dagster.status = 400
    assert page.post(GRAPHQL, json={"query": LAUNCH}).status_code == 400
    dagster.error = RuntimeError("it ends without an answer")
    assert page.post(GRAPHQL, json={"query": LAUNCH}).status_code == 500
    assert list_changes(page) == [("local", "127.0.0.1", "launchPipelineExecution", "failed", 3)]


def test_a_viewer_is_refused_and_that_is_recorded(closed: Page, dagster: AnsweringDagster) -> None:
    token = closed.deployment.warehouse.persons.add("Vera", AccessRole.VIEWER, now=closed.clock.now())
    bearer = {"Authorization": f"Bearer {token}"}
    assert closed.post(GRAPHQL, json={"query": LAUNCH}, headers=bearer).status_code == 403
    assert closed.get("/dagster/", headers=bearer).status_code == 403
    assert list_changes(closed) == [("Vera", "127.0.0.1", "", "refused", 1)]
    assert dagster.bodies == []


def test_no_name_is_cut_off_however_many_there_are(page: Page) -> None:
    names = [f"aMutationOfDagsterThatHasALongName{number}" for number in range(40)]
    page.post(GRAPHQL, json={"query": f"mutation {{ {' '.join(names)} }}"})
    subjects = [subject for _, _, subject, _, _ in list_changes(page)]
    assert ", ".join(subjects).split(", ") == names
    assert not any("…" in subject for subject in subjects)


def test_a_mutation_over_the_websocket_ends_it_and_is_recorded(page: Page, dagster: AnsweringDagster) -> None:
    """Dagster's UI sends none there, and Dagster executes none."""
    subscription = {"type": "start", "id": "1", "payload": {"query": "subscription { mutation: x }"}}
    mutation = {"type": "start", "id": "2", "payload": {"query": "query A { x } " + LAUNCH, "operation_name": "A"}}
    with follow(page, Origin=page.url) as socket:
        socket.send(json.dumps(subscription))
        assert socket.recv(60) == "heard"
        socket.send(json.dumps(mutation))
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv(60)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1008
    assert dagster.heard == [json.dumps(subscription)]
    assert list_changes(page) == [("local", "127.0.0.1", "launchPipelineExecution", "refused", 1)]


def test_what_dagster_did_is_answered_although_it_cannot_be_recorded(
    page: Page, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("The disk is full.")

    monkeypatch.setattr(page.deployment.warehouse.audit, "record", refuse)
    with caplog.at_level(logging.WARNING, "xero_pipeline.admin"):
        assert page.post(GRAPHQL, json={"query": LAUNCH}).status_code == 200
    assert "launchPipelineExecution by local is not in the audit log (DatabaseUnavailable)" in caplog.text
