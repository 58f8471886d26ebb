"""The session: a permit for each attempt, retries after faults and limits, and complete answers only."""

from __future__ import annotations

import gzip
import json
import logging
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from requests.auth import HTTPBasicAuth

from xero_pipeline.rate_limits import CallLimits, DayExhausted, RateLimitHeaders, RateLimitKind, Wait
from xero_pipeline.warehouse.call_budget.budget import SqlCallBudget
from xero_pipeline.warehouse.call_budget.counts import call_limits, call_slots
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.xero.errors import (
    DayLimitReached,
    MinuteLimitReached,
    RateLimited,
    RequestRefused,
    XeroUnavailable,
)
from xero_pipeline.xero.http.answers import parse_json
from xero_pipeline.xero.http.permits import MAX_QUEUE_SECONDS
from xero_pipeline.xero.http.retry_policy import MAX_BACKOFF, MAX_CONCURRENT_WAITS, MAX_MINUTE_WAITS
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.servers import Answer, Handler, ScriptedServer, SeenRequest, in_turn
from xero_pipeline_tests.xero.http.budgets import RecordingBudget

FINE = Answer(json={"Status": "OK"})
PATH = "/api.xro/2.0/Invoices"
ZIPPED_JSON = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
SECRET = "secret-access-token-of-somebody"

OpenSession = Callable[..., XeroSession]


@pytest.fixture
def budget() -> RecordingBudget:
    return RecordingBudget()


@pytest.fixture
def open_session(clock: FakeClock, budget: RecordingBudget) -> Iterator[OpenSession]:
    opened: list[XeroSession] = []

    def open_session_with(**changed: Any) -> XeroSession:
        arguments = {"budget": budget, "clock": clock, "random": random.Random(7), **changed}
        session = XeroSession(arguments.pop("budget"), arguments.pop("clock"), **arguments)
        opened.append(session)
        return session

    yield open_session_with
    for session in opened:
        session.close()


@pytest.fixture
def session(open_session: OpenSession) -> XeroSession:
    return open_session()


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(*answers: Answer | Handler) -> ScriptedServer:
        handler = in_turn(*answers) if isinstance(answers[0], Answer) else answers[0]
        server = ScriptedServer(handler).__enter__()  # type: ignore[arg-type]
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.__exit__(None)


Serve = Callable[..., ScriptedServer]


def limit_answer(problem: str | None = None, retry_after: str | None = None, **headers: str) -> Answer:
    limit = {"X-Rate-Limit-Problem": problem, "Retry-After": retry_after}
    return Answer(status=429, headers={name: value for name, value in limit.items() if value is not None} | headers)


def test_a_complete_answer_costs_one_permit(serve: Serve, session: XeroSession, budget: RecordingBudget) -> None:
    headers = {
        "X-MinLimit-Remaining": "59",
        "X-DayLimit-Remaining": "4999",
        "X-AppMinLimit-Remaining": "9998",
    }
    server = serve(Answer(json={"Invoices": []}, headers=headers))
    response = session.call("GET", server.url + PATH, tenant_id="a", params={"page": 1}, headers={"X-Own": "1"})
    assert response.json() == {"Invoices": []}
    assert budget.acquired == ["a"]
    assert budget.released == [RateLimitHeaders(minute=59, day=4999, app_minute=9998)]
    assert session.attempts == 1
    seen = server.requests[0]
    assert (seen.method, seen.path, seen.query) == ("GET", PATH, {"page": "1"})
    assert seen.headers["xero-tenant-id"] == "a"
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["x-own"] == "1"


def test_missing_and_unreadable_headers_leave_the_remaining_calls_unknown(
    serve: Serve, session: XeroSession, budget: RecordingBudget
) -> None:
    server = serve(Answer(json={}, headers={"X-MinLimit-Remaining": "many", "X-DayLimit-Remaining": " 7 "}))
    session.call("GET", server.url + PATH, tenant_id="a")
    assert budget.released == [RateLimitHeaders(day=7)]


def test_a_call_without_an_organisation_takes_a_permit_of_the_app(
    serve: Serve, session: XeroSession, budget: RecordingBudget
) -> None:
    server = serve(Answer(json=[]))
    session.call("GET", server.url + "/connections")
    assert budget.acquired == [None]
    assert "xero-tenant-id" not in server.requests[0].headers


@pytest.mark.parametrize(
    "fault",
    [
        Answer(status=500),
        Answer(status=502, body="<html>"),
        Answer(status=503),
        Answer(drop=True),
        Answer(json={"Invoices": ["…"]}, cut=5),
        Answer(json={"Invoices": ["…"]}, cut=5, chunked=True),
        Answer(json={"Invoices": ["…"]}, cut=0),
        Answer(body='{"Invoices": [', headers={"Content-Type": "application/json"}),
        Answer(body='{"Invoices": [', headers={"Content-Type": "application/json"}, chunked=True),
        Answer(body=b'{"Name": "Caf\xc3', headers={"Content-Type": "application/json"}),
        Answer(body='{"IsPaid": fals', headers={"Content-Type": "application/json"}),
        Answer(body=[], headers={"Content-Type": "application/json"}),
        Answer(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
        Answer(body=gzip.compress(b'["%s"]' % bytes(range(48, 91)))[:-20], headers=ZIPPED_JSON),
    ],
    ids=[
        "500",
        "502",
        "503",
        "dropped",
        "cut",
        "cut within a chunk",
        "cut before the body",
        "JSON cut by a proxy",
        "JSON cut by a proxy that chunks",
        "JSON cut in a letter",
        "JSON cut in a word",
        "nothing at all",
        "no gzip",
        "cut gzip",
    ],
)
def test_a_fault_is_retried_with_a_permit_for_each_attempt(
    serve: Serve, session: XeroSession, budget: RecordingBudget, clock: FakeClock, fault: Answer
) -> None:
    server = serve(fault, fault, FINE)
    assert session.call("GET", server.url + PATH, tenant_id="a", container=dict).json() == {"Status": "OK"}
    assert len(server.requests) == 3
    assert budget.acquired == ["a"] * 3
    assert budget.in_progress == 0
    assert session.attempts == 3
    first, second = clock.slept
    assert 0 < first < second <= MAX_BACKOFF


def test_after_three_faults_the_error_states_the_tries(
    serve: Serve, session: XeroSession, budget: RecordingBudget
) -> None:
    server = serve(Answer(status=500))
    with pytest.raises(XeroUnavailable, match=r"GET /api.xro/2.0/Invoices: it answered 500 \(3 tries\)") as caught:
        session.call("GET", server.url + PATH, tenant_id="a")
    assert caught.value.status == 500
    assert caught.value.can_retry
    assert len(server.requests) == len(budget.acquired) == 3
    assert budget.in_progress == 0


def test_a_server_that_cannot_be_reached_is_unavailable(session: XeroSession, budget: RecordingBudget) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}{PATH}"
        with pytest.raises(XeroUnavailable, match="the connection was refused"):
            session.call("GET", url, tenant_id="a")
    assert budget.acquired == ["a"] * 3
    assert budget.in_progress == 0


def test_a_server_that_does_not_answer_is_unavailable(
    serve: Serve, open_session: OpenSession, budget: RecordingBudget
) -> None:
    over = threading.Event()

    def stay_silent(_request: SeenRequest) -> Answer:
        over.wait(30)
        return FINE

    server = serve(stay_silent)
    with pytest.raises(XeroUnavailable, match="took too long"):
        open_session(timeouts=(5, 0.05), tries=2).call("GET", server.url + PATH, tenant_id="a")
    over.set()
    assert budget.acquired == ["a"] * 2
    assert budget.in_progress == 0


def test_a_server_that_sends_too_slowly_is_unavailable_at_the_deadline(
    serve: Serve, open_session: OpenSession, clock: FakeClock
) -> None:
    def send_slowly(_request: SeenRequest) -> Answer:
        def parts() -> Iterator[bytes]:
            for _ in range(5):
                clock.advance(seconds=40)
                yield b" "
            yield b"{}"

        return Answer(body=parts(), headers={"Content-Type": "application/json"})

    server = serve(send_slowly)
    with pytest.raises(XeroUnavailable, match="took too long"):
        open_session(tries=1).call("GET", server.url + PATH, tenant_id="a")


def test_a_compressed_answer_in_chunks_is_read_completely(serve: Serve, session: XeroSession) -> None:
    body = gzip.compress(b'{"text": "' + b"x" * 300_000 + b'"}')
    parts = [body[i : i + 100] for i in range(0, len(body), 100)]
    server = serve(
        lambda _: Answer(body=iter(parts), headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    )
    assert len(session.call("GET", server.url + PATH, tenant_id="a").json()["text"]) == 300_000


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
def test_any_other_status_is_returned_without_a_retry(serve: Serve, session: XeroSession, status: int) -> None:
    server = serve(Answer(status=status, body="plain words"))
    response = session.call("GET", server.url + PATH, tenant_id="a")
    assert (response.status_code, response.text) == (status, "plain words")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("body", [[], "{"], ids=["empty", "cut"])
def test_a_refusal_with_truncated_json_is_returned_by_its_status(
    serve: Serve, session: XeroSession, status: int, body: Any
) -> None:
    server = serve(Answer(status=status, body=body, headers={"Content-Type": "application/json"}, chunked=True))
    assert session.call("GET", server.url + PATH, tenant_id="a").status_code == status
    assert len(server.requests) == 1


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
@pytest.mark.parametrize(
    "body",
    [
        b"<html><p>Sign in to the hotel's network</p></html>",
        b'{"Name": "Caf\xe9 Noir"}',
        b'{"Total": %s}' % (b"9" * 5_000),
        b'{"Status": "OK", "Reports": [oops',
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"OK"',
    ],
    ids=["a page", "Latin-1", "a number without end", "invalid", "empty", "{}", "a list", "null", "a text"],
)
def test_a_success_whose_body_is_no_answer_gets_its_further_tries(
    serve: Serve, session: XeroSession, body: bytes, content_type: str
) -> None:
    useless = Answer(body=body, headers={"Content-Type": content_type})
    server = serve(useless, useless, FINE)
    answer = session.call("GET", server.url + PATH, tenant_id="a", container=dict)
    assert parse_json(answer, dict) == {"Status": "OK"}
    assert len(server.requests) == 3


@pytest.mark.parametrize("body", [b"{}", b'{"Message": "a sentence"}', b"null"])
def test_a_list_of_connections_that_is_no_list_gets_its_further_tries(
    serve: Serve, session: XeroSession, body: bytes
) -> None:
    server = serve(Answer(body=body), Answer(json=[]))
    assert session.call("GET", server.url + "/connections", container=list).json() == []
    assert len(server.requests) == 2


def test_a_204_answer_without_a_body_is_complete(serve: Serve, session: XeroSession) -> None:
    server = serve(Answer(status=204, headers={"Content-Type": "application/json"}))
    assert session.call("DELETE", server.url + "/connections/1").status_code == 204


def test_503_with_a_retry_after_is_waited_for(serve: Serve, session: XeroSession, clock: FakeClock) -> None:
    server = serve(Answer(status=503, headers={"Retry-After": "40"}), FINE)
    session.call("GET", server.url + PATH, tenant_id="a")
    assert clock.slept == [40.0]


def test_503_with_a_long_retry_after_is_an_error_at_once(serve: Serve, session: XeroSession, clock: FakeClock) -> None:
    server = serve(Answer(status=503, headers={"Retry-After": "1800"}))
    with pytest.raises(XeroUnavailable) as caught:
        session.call("GET", server.url + PATH, tenant_id="a")
    assert caught.value.retry_at == clock.now() + timedelta(minutes=30)
    assert clock.slept == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("problem", "kind"), [("minute", RateLimitKind.MINUTE), ("AppMinute", RateLimitKind.APP_MINUTE)]
)
def test_a_minute_limit_is_waited_for_and_blocks_every_process(
    serve: Serve,
    session: XeroSession,
    budget: RecordingBudget,
    clock: FakeClock,
    problem: str,
    kind: RateLimitKind,
) -> None:
    requested_at = clock.now()
    server = serve(limit_answer(problem, "17"), FINE)
    session.call("GET", server.url + PATH, tenant_id="a")
    assert clock.slept == [17.0]
    assert budget.blocks == [("a", kind, requested_at + timedelta(seconds=17))]
    assert budget.acquired == ["a", "a"]


@pytest.mark.parametrize(
    ("header", "seconds"), [(None, 60.0), ("soon", 60.0), ("", 60.0), ("-5", 60.0), ("0", 1.0), ("2.5", 2.5)]
)
def test_a_minute_limit_with_an_odd_retry_after_has_a_sensible_wait(
    serve: Serve, session: XeroSession, clock: FakeClock, header: str | None, seconds: float
) -> None:
    server = serve(limit_answer("minute", header), FINE)
    session.call("GET", server.url + PATH, tenant_id="a")
    assert clock.slept == [seconds]


def test_a_retry_after_may_be_a_date(serve: Serve, session: XeroSession, clock: FakeClock) -> None:
    date = format_datetime(clock.now() + timedelta(seconds=25), usegmt=True)
    server = serve(limit_answer("minute", date), FINE)
    session.call("GET", server.url + PATH, tenant_id="a")
    assert clock.slept == [25.0]


def test_a_minute_limit_that_never_ends_becomes_an_error(serve: Serve, session: XeroSession) -> None:
    server = serve(limit_answer("minute", "10"))
    with pytest.raises(MinuteLimitReached) as caught:
        session.call("GET", server.url + PATH, tenant_id="a")
    assert caught.value.can_retry
    assert len(server.requests) == MAX_MINUTE_WAITS + 1


@pytest.mark.parametrize("retry_after", ["66975", "99999999999", "9" * 40, "Fri, 31 Dec 2099 23:59:59 GMT"])
@pytest.mark.parametrize("problem", ["minute", "appminute"])
def test_a_minute_limit_blocks_for_two_minutes_at_most_whatever_it_asks_for(
    serve: Serve, session: XeroSession, budget: RecordingBudget, clock: FakeClock, problem: str, retry_after: str
) -> None:
    requested_at = clock.now()
    server = serve(limit_answer(problem, retry_after), FINE)
    session.call("GET", server.url + PATH, tenant_id="a")
    assert clock.slept == [120.0]
    assert [until for _, _, until in budget.blocks] == [requested_at + timedelta(minutes=2)]


@pytest.mark.parametrize("retry_after", ["99999999999", "Fri, 31 Dec 2099 23:59:59 GMT"])
@pytest.mark.parametrize("problem", ["day", None])
def test_a_day_limit_blocks_for_a_day_at_most_whatever_it_asks_for(
    serve: Serve, session: XeroSession, clock: FakeClock, problem: str | None, retry_after: str
) -> None:
    server = serve(limit_answer(problem, retry_after))
    with pytest.raises(DayLimitReached) as caught:
        session.call("GET", server.url + PATH, tenant_id="a")
    assert caught.value.retry_at == clock.now() + timedelta(days=1)


def test_a_minute_limit_that_never_ends_is_waited_for_ten_minutes_in_all_calls(
    serve: Serve, session: XeroSession, clock: FakeClock
) -> None:
    server = serve(limit_answer("minute", "55"))
    for tenant_id in ("a", "a", "a", "b", "b"):
        with pytest.raises(MinuteLimitReached):
            session.call("GET", server.url + PATH, tenant_id=tenant_id)
    assert 500 < sum(clock.slept) <= 600


def test_waits_between_calls_that_are_answered_are_not_added_up(
    serve: Serve, session: XeroSession, clock: FakeClock
) -> None:
    server = serve(*[answer for _ in range(30) for answer in (limit_answer("minute", "55"), FINE)])
    for _ in range(30):
        session.call("GET", server.url + PATH, tenant_id="a")
    assert sum(clock.slept) == 30 * 55


@pytest.mark.parametrize("problem", ["day", None])
def test_a_day_limit_is_an_error_at_once_and_states_when_to_continue(
    serve: Serve, session: XeroSession, budget: RecordingBudget, clock: FakeClock, problem: str | None
) -> None:
    server = serve(limit_answer(problem, "66975"))
    until = clock.now() + timedelta(seconds=66975)
    with pytest.raises(DayLimitReached) as caught:
        session.call("GET", server.url + PATH, tenant_id="a")
    assert caught.value.retry_at == until
    assert clock.slept == []
    assert budget.blocks == [("a", RateLimitKind.DAY, until)]
    assert len(server.requests) == 1


def test_a_day_limit_without_an_organisation_blocks_none(
    serve: Serve, session: XeroSession, budget: RecordingBudget
) -> None:
    with pytest.raises(DayLimitReached):
        session.call("GET", serve(limit_answer("day", "66975")).url + "/connections")
    assert budget.blocks == []


def test_a_short_429_that_names_no_limit_is_a_minute_limit(
    serve: Serve, session: XeroSession, budget: RecordingBudget, clock: FakeClock
) -> None:
    server = serve(limit_answer(), limit_answer("something new", "30"), FINE)
    session.call("GET", server.url + PATH, tenant_id="a")
    assert clock.slept == [60.0, 30.0]
    assert [problem for _, problem, _ in budget.blocks] == [RateLimitKind.MINUTE, RateLimitKind.MINUTE]


def test_a_concurrency_limit_causes_a_short_random_wait(
    serve: Serve, session: XeroSession, budget: RecordingBudget, clock: FakeClock
) -> None:
    server = serve(limit_answer("concurrent"), limit_answer("concurrent"), FINE)
    session.call("GET", server.url + PATH, tenant_id="a")
    assert all(0 < seconds <= 10 for seconds in clock.slept)
    assert clock.slept[0] != clock.slept[1]
    assert budget.blocks == []


def test_a_concurrency_limit_that_never_ends_becomes_an_error(serve: Serve, session: XeroSession) -> None:
    server = serve(limit_answer("concurrent"))
    with pytest.raises(RateLimited, match="in progress at once"):
        session.call("GET", server.url + PATH, tenant_id="a")
    assert len(server.requests) == MAX_CONCURRENT_WAITS + 1


def test_waits_for_limits_do_not_count_as_tries_of_an_outage(serve: Serve, session: XeroSession) -> None:
    down = Answer(status=500)
    server = serve(down, limit_answer("minute", "5"), limit_answer("concurrent"), down, FINE)
    assert session.call("GET", server.url + PATH, tenant_id="a").status_code == 200
    assert len(server.requests) == 5


def test_a_wait_for_a_permit_uses_the_clock_and_is_reported(
    serve: Serve, open_session: OpenSession, clock: FakeClock
) -> None:
    waits: list[tuple[float, str]] = []
    budget = RecordingBudget(Wait(12.5, RateLimitKind.MINUTE), Wait(3.0, RateLimitKind.APP_MINUTE))
    session = open_session(budget=budget, on_wait=lambda seconds, reason: waits.append((seconds, reason)))
    session.call("GET", serve(FINE).url + PATH, tenant_id="a")
    assert clock.slept == [12.5, 3.0]
    assert [seconds for seconds, _ in waits] == [12.5, 3.0]
    assert "minute" in waits[0][1]


def test_waits_for_a_call_in_progress_have_different_lengths(
    serve: Serve, open_session: OpenSession, clock: FakeClock
) -> None:
    budget = RecordingBudget(*[Wait(0.25, RateLimitKind.CONCURRENT)] * 3)
    open_session(budget=budget).call("GET", serve(FINE).url + PATH, tenant_id="a")
    assert len(set(clock.slept)) == 3
    assert all(0 < seconds < 1 for seconds in clock.slept)


def test_every_wait_between_attempts_is_reported_before_it_begins(serve: Serve, open_session: OpenSession) -> None:
    waits: list[tuple[float, str]] = []
    session = open_session(on_wait=lambda seconds, reason: waits.append((seconds, reason)))
    session.call("GET", serve(limit_answer("minute", "17"), Answer(status=500), FINE).url + PATH, tenant_id="a")
    assert waits[0] == (17.0, "the organisation's calls this minute are spent")
    assert "500" in waits[1][1]


def test_no_request_is_sent_once_the_days_calls_are_spent(
    serve: Serve, open_session: OpenSession, clock: FakeClock
) -> None:
    until = clock.now() + timedelta(hours=9)
    server = serve(FINE)
    session = open_session(budget=RecordingBudget(DayExhausted(until)))
    with pytest.raises(DayLimitReached) as caught:
        session.call("GET", server.url + PATH, tenant_id="a")
    assert caught.value.retry_at == until
    assert server.requests == []
    assert session.attempts == 0
    assert clock.slept == []


def test_a_wait_for_a_permit_ends_after_the_maximum(serve: Serve, open_session: OpenSession, clock: FakeClock) -> None:
    budget = RecordingBudget(*[Wait(30.0, RateLimitKind.MINUTE)] * 1000)
    server = serve(FINE)
    with pytest.raises(MinuteLimitReached):
        open_session(budget=budget).call("GET", server.url + PATH, tenant_id="a")
    assert MAX_QUEUE_SECONDS <= sum(clock.slept) <= MAX_QUEUE_SECONDS + 30
    assert server.requests == []


def test_requests_to_the_identity_server_take_no_permit_but_are_retried_in_the_same_way(
    serve: Serve, session: XeroSession, budget: RecordingBudget, clock: FakeClock
) -> None:
    server = serve(Answer(status=500), limit_answer(None, "20"), FINE)
    response = session.call(
        "POST",
        server.url + "/connect/token",
        data={"a": "b"},
        auth=HTTPBasicAuth("id", "secret"),
        identity=True,
    )
    assert response.status_code == 200
    assert len(server.requests) == 3
    assert all(request.form == {"a": "b"} for request in server.requests)
    assert all(request.headers["authorization"].startswith("Basic ") for request in server.requests)
    assert clock.slept[1] == 20.0
    assert (budget.acquired, budget.blocks, session.attempts) == ([], [], 0)


def test_no_redirect_is_followed(serve: Serve, session: XeroSession) -> None:
    elsewhere = serve(FINE)
    server = serve(Answer(status=302, headers={"Location": elsewhere.url + "/steal"}))
    response = session.call("GET", server.url + PATH, headers={"Authorization": f"Bearer {SECRET}"})
    assert response.status_code == 302
    assert session.get(server.url + PATH, allow_redirects=True).status_code == 302
    assert elsewhere.requests == []


def test_credentials_in_netrc_are_not_used(
    serve: Serve, session: XeroSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(FINE)
    session.call("GET", server.url + PATH, headers={"Authorization": f"Bearer {SECRET}"})
    session.call("GET", server.url + PATH)
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert "authorization" not in server.requests[1].headers


def test_cookies_are_not_stored(serve: Serve, session: XeroSession) -> None:
    server = serve(Answer(json={}, headers={"Set-Cookie": "who=a; Path=/"}))
    session.call("GET", server.url + PATH, tenant_id="a")
    session.call("GET", server.url + PATH, tenant_id="b")
    assert "cookie" not in server.requests[1].headers


class Interrupted(BaseAdapter):
    """Raises what Ctrl-C raises while a request waits for its answer."""

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        raise KeyboardInterrupt

    def close(self) -> None:
        pass


def test_an_interrupt_releases_the_permit(open_session: OpenSession, budget: RecordingBudget) -> None:
    with pytest.raises(KeyboardInterrupt):
        open_session(transport=Interrupted()).call("GET", "https://api.xero.com" + PATH, tenant_id="a")
    assert budget.acquired == ["a"]
    assert budget.in_progress == 0


class InProcess(BaseAdapter):
    """Answers within the process, without a socket and urllib3."""

    def __init__(self, body: bytes = b'{"from": "process"}') -> None:
        super().__init__()
        self.body = body

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        response = Response()
        response.status_code, response.request, response.url = 200, request, request.url or ""
        response._content = self.body
        response.headers["Content-Type"] = "application/json"
        return response

    def close(self) -> None:
        pass


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_transport_within_the_process_gets_every_request(open_session: OpenSession, scheme: str) -> None:
    response = open_session(transport=InProcess()).call("GET", f"{scheme}://api.xero.com{PATH}", tenant_id="a")
    assert response.json() == {"from": "process"}


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {SECRET}\nX: y"}, {"Authorization": f"Bearer {SECRET}…"}]
)
def test_a_request_that_cannot_be_sent_is_refused_without_showing_its_content(
    serve: Serve, session: XeroSession, budget: RecordingBudget, headers: dict[str, str]
) -> None:
    with pytest.raises(RequestRefused) as caught:
        session.call("GET", serve(FINE).url + PATH, tenant_id="a", headers=headers)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
    assert budget.in_progress == 0


@pytest.mark.parametrize("url", ["no address", "ftp://api.xero.com", "http://[::1", "http://a\u2024b..c/"])
def test_an_invalid_address_is_refused(session: XeroSession, url: str) -> None:
    with pytest.raises((RequestRefused, XeroUnavailable)):
        session.call("GET", url, tenant_id="a")


def test_the_log_has_each_answer_and_no_secret(
    serve: Serve, session: XeroSession, caplog: pytest.LogCaptureFixture
) -> None:
    answer = Answer(json={"refresh_token": SECRET}, headers={"Xero-Correlation-Id": "c0ffee", "X-Secret": SECRET})
    server = serve(Answer(status=500, body=SECRET), answer)
    with caplog.at_level(logging.DEBUG, "xero_pipeline"):
        session.call(
            "POST",
            server.url + "/connect/token",
            params={"code": SECRET},
            data={"token": SECRET},
            headers={"Authorization": f"Bearer {SECRET}"},
        )
    assert "POST /connect/token, attempt 2: 200, correlation c0ffee" in caplog.text
    assert "500" in caplog.text
    assert SECRET not in caplog.text


def test_threads_share_a_session_and_each_attempt_is_counted_once(
    serve: Serve, session: XeroSession, budget: RecordingBudget
) -> None:
    server = serve(lambda request: Answer(json={"tenant": request.headers["xero-tenant-id"]}))

    def call(number: int) -> bool:
        tenant = f"tenant-{number}"
        return bool(session.call("GET", server.url + PATH, tenant_id=tenant).json() == {"tenant": tenant})

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(40)))
    assert session.attempts == len(server.requests) == 40
    assert sorted(budget.acquired, key=str) == sorted((f"tenant-{number}" for number in range(40)), key=str)
    assert budget.in_progress == 0


def test_with_the_real_budget_a_small_plan_never_gets_a_429(
    serve: Serve, open_session: OpenSession, clock: FakeClock, tmp_path: Path
) -> None:
    """Xero allows 8 calls a minute and the budget 55: from the first answer on, Xero's headers decide."""
    spent: dict[int, int] = {}

    def small_plan(_request: SeenRequest) -> Answer:
        window = int(clock.now().timestamp() // 60)
        if spent.get(window, 0) >= 8:
            return limit_answer("minute", "30")
        spent[window] = spent.get(window, 0) + 1
        return Answer(json={}, headers={"X-MinLimit-Remaining": str(8 - spent[window])})

    engine = open_engine(f"sqlite:///{tmp_path / 'calls.db'}")
    metadata.create_all(engine, tables=[call_slots, call_limits])
    server = serve(small_plan)
    session = open_session(budget=SqlCallBudget(engine, CallLimits()))
    answers = [session.call("GET", server.url + PATH, tenant_id="a").status_code for _ in range(40)]
    assert answers == [200] * 40
    assert len(server.requests) == 40
    assert session.budget.read_usage("a", clock.now()).today == 40
    engine.dispose()


def test_a_truncated_answer_is_noticed_at_every_length(open_session: OpenSession) -> None:
    payload = {
        "Name": 'Caf\u00e9 "Noir" \U0001f600\n',
        "Totals": [1, -2.50, "3.00", 4e-7],
        "Paid": [True, False, None],
        "Of": {"": {}},
    }
    for text in (json.dumps(payload), json.dumps(payload, indent=2), json.dumps(payload, ensure_ascii=False)):
        answer = InProcess()
        session = open_session(transport=answer, tries=1)
        for length in range(len(text.encode())):
            answer.body = text.encode()[:length]
            with pytest.raises(XeroUnavailable, match="cut short" if length else "empty"):
                session.call("GET", "https://api.xero.com" + PATH, tenant_id="a", container=dict)
        answer.body = text.encode()
        assert session.call("GET", "https://api.xero.com" + PATH, tenant_id="a").json() == payload
