"""xero-python's calls over our session: with an access token, exact decimals and our own errors."""

from __future__ import annotations

import gc
import itertools
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from xero_pipeline.rate_limits import RateLimitKind
from xero_pipeline.xero.errors import (
    DayLimitReached,
    OrganisationDisconnected,
    PayloadNotUnderstood,
    ReportsForbidden,
    RequestRefused,
    ScopeMissing,
    XeroError,
    XeroUnavailable,
)
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.servers import Answer, Handler, ScriptedServer, SeenRequest, in_turn
from xero_pipeline_tests.xero.http.budgets import RecordingBudget

EXPIRED = Answer(status=401, json={"Title": "Unauthorized", "Status": 401, "Detail": "TokenExpired: token expired"})


class Tokens:
    """A token source that returns a new token after each refused one."""

    def __init__(self) -> None:
        self.rejected: list[str | None] = []

    def __call__(self, rejected: str | None) -> str:
        self.rejected.append(rejected)
        return f"token-{sum(1 for token in self.rejected if token is not None)}"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def budget() -> RecordingBudget:
    return RecordingBudget()


@pytest.fixture
def session(clock: FakeClock, budget: RecordingBudget) -> Iterator[XeroSession]:
    with XeroSession(budget, clock) as session:
        yield session


@pytest.fixture
def connect(session: XeroSession, tokens: Tokens) -> Iterator[Callable[..., tuple[XeroApis, ScriptedServer]]]:
    servers: list[ScriptedServer] = []

    def start(*answers: Answer | Handler) -> tuple[XeroApis, ScriptedServer]:
        handler = in_turn(*answers) if isinstance(answers[0], Answer) else answers[0]
        server = ScriptedServer(handler).__enter__()  # type: ignore[arg-type]
        servers.append(server)
        return XeroApis(session, api_url=server.url, access_token=tokens), server

    yield start
    for server in servers:
        server.__exit__(None)


Connect = Callable[..., tuple[XeroApis, ScriptedServer]]


def test_a_call_sends_the_access_token_and_asks_for_json(connect: Connect, budget: RecordingBudget) -> None:
    apis, server = connect(Answer(json={"Status": "OK", "Accounts": []}))
    assert apis.get("Accounts", "get_accounts", "tenant-1") == {"Status": "OK", "Accounts": []}
    seen = server.requests[0]
    assert (seen.method, seen.path) == ("GET", "/api.xro/2.0/Accounts")
    assert seen.headers["authorization"] == "Bearer token-0"
    assert seen.headers["xero-tenant-id"] == "tenant-1"
    assert seen.headers["accept"] == "application/json"
    assert budget.acquired == ["tenant-1"]


def test_a_report_is_requested_with_dates_and_lower_case_booleans(connect: Connect) -> None:
    apis, server = connect(Answer(json={"Reports": []}))
    apis.get(
        "Reports/ProfitAndLoss",
        "get_report_profit_and_loss",
        "t",
        from_date=date(2026, 11, 15),
        to_date=date(2026, 11, 21),
        standard_layout=True,
        payments_only=False,
    )
    assert server.requests[0].path == "/api.xro/2.0/Reports/ProfitAndLoss"
    assert server.requests[0].query == {
        "fromDate": "2026-11-15",
        "toDate": "2026-11-21",
        "standardLayout": "true",
        "paymentsOnly": "false",
    }


def test_filters_reach_xero_unchanged(connect: Connect) -> None:
    apis, server = connect(Answer(json={"Invoices": []}))
    where = 'Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22) AND Type=="ACCREC"'
    apis.get(
        "Invoices",
        "get_invoices",
        "t",
        where=where,
        statuses=["AUTHORISED", "PAID"],
        page=2,
        page_size=1000,
        order="X ASC",
    )
    assert server.requests[0].query == {
        "where": where,
        "Statuses": "AUTHORISED,PAID",
        "page": "2",
        "pageSize": "1000",
        "order": "X ASC",
    }


def test_the_time_of_the_last_change_is_sent_in_utc_to_the_second(connect: Connect) -> None:
    apis, server = connect(Answer(json={"Invoices": []}))
    since = datetime(2026, 11, 24, 12, 30, 15, 999, tzinfo=timezone(timedelta(hours=11)))
    apis.get("Invoices", "get_invoices", "t", if_modified_since=since)
    assert server.requests[0].headers["if-modified-since"] == "2026-11-24T01:30:15"


def test_not_modified_is_an_empty_list(connect: Connect) -> None:
    apis, _ = connect(Answer(status=304))
    since = datetime(2026, 11, 24, tzinfo=UTC)
    assert apis.get("Invoices", "get_invoices", "t", if_modified_since=since) == {"Invoices": []}


def test_not_modified_without_a_since_date_is_an_error(connect: Connect) -> None:
    apis, _ = connect(Answer(status=304))
    with pytest.raises(PayloadNotUnderstood):
        apis.get("Invoices", "get_invoices", "t")


def test_amounts_are_decimals(connect: Connect) -> None:
    apis, _ = connect(Answer(body='{"Invoices": [{"Total": 1234.10}]}', headers={"Content-Type": "application/json"}))
    total = apis.get("Invoices", "get_invoices", "t")["Invoices"][0]["Total"]
    assert isinstance(total, Decimal)
    assert str(total) == "1234.10"


def test_an_expired_token_is_refreshed_once_and_the_call_repeated(
    connect: Connect, tokens: Tokens, budget: RecordingBudget
) -> None:
    apis, server = connect(EXPIRED, Answer(json={"Organisations": []}))
    assert apis.get("Organisation", "get_organisations", "t") == {"Organisations": []}
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer token-0",
        "Bearer token-1",
    ]
    assert tokens.rejected == [None, "token-0"]
    assert budget.acquired == ["t", "t"]


def test_a_fresh_token_that_is_refused_too_is_temporary_and_needs_nobody(connect: Connect, tokens: Tokens) -> None:
    apis, server = connect(EXPIRED)
    with pytest.raises(XeroUnavailable, match="nobody has to connect again") as caught:
        apis.get("Organisation", "get_organisations", "t")
    assert len(server.requests) == 2
    assert "token-" not in str(caught.value)


def test_each_call_asks_for_the_current_token(connect: Connect, tokens: Tokens) -> None:
    apis, _ = connect(Answer(json={"Accounts": []}))
    for _ in range(3):
        apis.get("Accounts", "get_accounts", "t")
    assert tokens.rejected == [None, None, None]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(status=401, json={"Detail": "AuthorizationUnsuccessful"}), ScopeMissing),
        (Answer(status=403, json={"detail": "AuthenticationUnsuccessful"}), XeroUnavailable),
        (Answer(status=403, json={"detail": "no reports"}), ReportsForbidden),
        (Answer(status=404, body="not found"), RequestRefused),
        (Answer(status=400, json={"Message": "A validation exception occurred"}), RequestRefused),
        (
            Answer(status=429, headers={"X-Rate-Limit-Problem": "day", "Retry-After": "66975"}),
            DayLimitReached,
        ),
        (Answer(status=500), XeroUnavailable),
        (Answer(json=[]), XeroUnavailable),
        (Answer(json={"Status": "ERROR"}), PayloadNotUnderstood),
        (Answer(body="<Response/>", headers={"Content-Type": "text/xml"}), XeroUnavailable),
    ],
)
def test_every_failure_is_one_of_our_errors_and_shows_no_header(
    connect: Connect, answer: Answer, kind: type[XeroError]
) -> None:
    answer.headers = {**answer.headers, "X-Secret": "header-secret"}
    apis, _ = connect(answer)
    with pytest.raises(XeroError) as caught:
        apis.get("Reports/BankSummary", "get_report_bank_summary", "t", from_date=date(2026, 11, 15))
    assert type(caught.value) is kind
    assert "header-secret" not in str(caught.value)
    assert "token-" not in str(caught.value)


FORBIDDEN = Answer(403, json={"Title": "Forbidden", "Status": 403, "Detail": "AuthenticationUnsuccessful"})


def answer_403_and_list(*tenant_ids: str, refusals: int) -> Handler:
    """Refuse the organisation so often, and list these organisations as connected."""
    refused = itertools.count(1)

    def answer(request: SeenRequest) -> Answer:
        if request.path == "/connections":
            return Answer(json=[{"id": f"c-{tenant_id}", "tenantId": tenant_id} for tenant_id in tenant_ids])
        return FORBIDDEN if next(refused) <= refusals else Answer(json={"Status": "OK", "Accounts": []})

    return answer


def list_endpoints(server: ScriptedServer) -> list[str]:
    return [request.path.rsplit("/", 1)[-1] for request in server.requests]


def test_a_refused_organisation_that_xero_lists_is_asked_again(connect: Connect) -> None:
    apis, server = connect(answer_403_and_list("org-1", refusals=1))
    assert apis.get("Accounts", "get_accounts", "org-1")["Accounts"] == []
    assert list_endpoints(server) == ["Accounts", "connections", "Accounts"]


def test_a_refused_organisation_that_xero_does_not_list_is_disconnected(connect: Connect) -> None:
    apis, server = connect(answer_403_and_list("org-2", refusals=1))
    with pytest.raises(OrganisationDisconnected, match="into the organisation org-1"):
        apis.get("Accounts", "get_accounts", "org-1")
    assert list_endpoints(server) == ["Accounts", "connections"]


def test_an_organisation_that_xero_refuses_twice_but_lists_is_not_disconnected(connect: Connect) -> None:
    apis, server = connect(answer_403_and_list("org-1", refusals=2))
    with pytest.raises(XeroUnavailable, match="Xero lists it as connected"):
        apis.get("Accounts", "get_accounts", "org-1")
    assert list_endpoints(server) == ["Accounts", "connections", "Accounts"]


def test_a_list_that_is_refused_too_proves_no_disconnection(connect: Connect) -> None:
    apis, _ = connect(FORBIDDEN)
    with pytest.raises(XeroUnavailable, match="does not show which organisations are connected"):
        apis.get("Accounts", "get_accounts", "org-1")


def test_connections_are_requested_in_lower_case_and_without_an_organisation(
    connect: Connect, budget: RecordingBudget
) -> None:
    rows = [{"id": "c-1", "tenantId": "t-1", "tenantType": "ORGANISATION"}]
    apis, server = connect(Answer(json=rows))
    assert apis.get_connections() == rows
    assert server.requests[0].path == "/connections"
    assert server.requests[0].headers["accept"] == "application/json"
    assert budget.acquired == [None]


def test_a_connection_is_deleted_by_its_own_id(connect: Connect) -> None:
    apis, server = connect(Answer(status=204))
    apis.delete_connection("c/1 2")
    assert (server.requests[0].method, server.requests[0].path) == ("DELETE", "/connections/c%2F1%202")


def test_deleting_an_unknown_connection_raises_its_404(connect: Connect) -> None:
    apis, _ = connect(Answer(status=404, body="gone"))
    with pytest.raises(RequestRefused) as caught:
        apis.delete_connection("c-1")
    assert caught.value.status == 404


def test_an_api_under_a_path_of_a_proxy_is_reached(session: XeroSession, tokens: Tokens) -> None:
    with ScriptedServer(Answer(json=[])) as server:
        XeroApis(session, api_url=f"{server.url}/xero/", access_token=tokens).get_connections()
        assert server.requests[0].path == "/xero/connections"


def test_a_limit_in_a_call_of_xero_python_reaches_the_budget(
    connect: Connect, budget: RecordingBudget, clock: FakeClock
) -> None:
    limited = Answer(status=429, headers={"X-Rate-Limit-Problem": "minute", "Retry-After": "9"})
    apis, _ = connect(limited, Answer(json={"Accounts": []}))
    apis.get("Accounts", "get_accounts", "t")
    assert [problem for _, problem, _ in budget.blocks] == [RateLimitKind.MINUTE]
    assert clock.slept == [9.0]


def test_xero_pythons_own_models_work_over_the_same_session(connect: Connect) -> None:
    apis, _ = connect(Answer(json={"Organisations": [{"Name": "Demo Company"}]}))
    assert apis.accounting.get_organisations("t").organisations[0].name == "Demo Company"


def test_two_apis_share_no_state_of_xero_python(session: XeroSession) -> None:
    def answer_with_token(request: SeenRequest) -> Answer:
        return Answer(json={"Accounts": [], "Token": request.headers["authorization"]})

    with ScriptedServer(answer_with_token) as server:
        first = XeroApis(session, api_url=server.url, access_token=lambda _: "first")
        second = XeroApis(session, api_url=server.url, access_token=lambda _: "second")
        assert first.get("Accounts", "get_accounts", "t")["Token"] == "Bearer first"
        assert second.get("Accounts", "get_accounts", "t")["Token"] == "Bearer second"


def test_xero_python_leaves_no_connection_open(session: XeroSession, tokens: Tokens) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        XeroApis(session, api_url="https://api.xero.com", access_token=tokens)
        gc.collect()
