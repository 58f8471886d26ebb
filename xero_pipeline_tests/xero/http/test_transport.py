"""xero-python's calls, carried by our session: signed in, in decimals, and failing with our errors."""

from __future__ import annotations

import gc
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
    ReconnectNeeded,
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
from xero_pipeline_tests.xero.http.budgets import RememberingBudget

EXPIRED = Answer(status=401, json={"Title": "Unauthorized", "Status": 401, "Detail": "TokenExpired: token expired"})


class Tokens:
    """A token source that hands out a new token whenever the last one was refused."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def __call__(self, rejected: str | None) -> str:
        self.asked.append(rejected)
        return f"token-{sum(1 for one in self.asked if one is not None)}"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def budget() -> RememberingBudget:
    return RememberingBudget()


@pytest.fixture
def session(clock: FakeClock, budget: RememberingBudget) -> Iterator[XeroSession]:
    with XeroSession(budget, clock) as session:
        yield session


@pytest.fixture
def against(session: XeroSession, tokens: Tokens) -> Iterator[Callable[..., tuple[XeroApis, ScriptedServer]]]:
    servers: list[ScriptedServer] = []

    def start(*answers: Answer | Handler) -> tuple[XeroApis, ScriptedServer]:
        handler = in_turn(*answers) if isinstance(answers[0], Answer) else answers[0]
        server = ScriptedServer(handler).__enter__()  # type: ignore[arg-type]
        servers.append(server)
        return XeroApis(session, api_url=server.url, access_token=tokens), server

    yield start
    for server in servers:
        server.__exit__(None)


Against = Callable[..., tuple[XeroApis, ScriptedServer]]


def test_a_call_is_signed_in_and_asks_for_json(against: Against, budget: RememberingBudget) -> None:
    apis, server = against(Answer(json={"Status": "OK", "Accounts": []}))
    assert apis.get("Accounts", "get_accounts", "tenant-1") == {"Status": "OK", "Accounts": []}
    seen = server.requests[0]
    assert (seen.method, seen.path) == ("GET", "/api.xro/2.0/Accounts")
    assert seen.headers["authorization"] == "Bearer token-0"
    assert seen.headers["xero-tenant-id"] == "tenant-1"
    assert seen.headers["accept"] == "application/json"
    assert budget.taken == ["tenant-1"]


def test_a_report_is_asked_for_with_dates_and_small_booleans(against: Against) -> None:
    apis, server = against(Answer(json={"Reports": []}))
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


def test_filters_reach_xero_as_they_were_written(against: Against) -> None:
    apis, server = against(Answer(json={"Invoices": []}))
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


def test_what_changed_since_is_asked_for_in_utc_to_the_second(against: Against) -> None:
    apis, server = against(Answer(json={"Invoices": []}))
    since = datetime(2026, 11, 24, 12, 30, 15, 999, tzinfo=timezone(timedelta(hours=11)))
    apis.get("Invoices", "get_invoices", "t", if_modified_since=since)
    assert server.requests[0].headers["if-modified-since"] == "2026-11-24T01:30:15"


def test_not_modified_is_an_empty_list(against: Against) -> None:
    apis, _ = against(Answer(status=304))
    since = datetime(2026, 11, 24, tzinfo=UTC)
    assert apis.get("Invoices", "get_invoices", "t", if_modified_since=since) == {"Invoices": []}


def test_not_modified_where_nobody_asked_since_when_is_no_empty_list(against: Against) -> None:
    apis, _ = against(Answer(status=304))
    with pytest.raises(PayloadNotUnderstood):
        apis.get("Invoices", "get_invoices", "t")


def test_amounts_come_as_decimals(against: Against) -> None:
    apis, _ = against(Answer(body='{"Invoices": [{"Total": 1234.10}]}', headers={"Content-Type": "application/json"}))
    total = apis.get("Invoices", "get_invoices", "t")["Invoices"][0]["Total"]
    assert isinstance(total, Decimal)
    assert str(total) == "1234.10"


def test_an_expired_token_is_refreshed_once_and_the_call_made_again(
    against: Against, tokens: Tokens, budget: RememberingBudget
) -> None:
    apis, server = against(EXPIRED, Answer(json={"Organisations": []}))
    assert apis.get("Organisation", "get_organisations", "t") == {"Organisations": []}
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer token-0",
        "Bearer token-1",
    ]
    assert tokens.asked == [None, "token-0"]
    assert budget.taken == ["t", "t"]


def test_a_fresh_token_that_is_refused_too_needs_a_person(against: Against, tokens: Tokens) -> None:
    apis, server = against(EXPIRED)
    with pytest.raises(ReconnectNeeded) as caught:
        apis.get("Organisation", "get_organisations", "t")
    assert len(server.requests) == 2
    assert "token-" not in str(caught.value)


def test_each_call_asks_for_the_token_anew(against: Against, tokens: Tokens) -> None:
    apis, _ = against(Answer(json={"Accounts": []}))
    for _ in range(3):
        apis.get("Accounts", "get_accounts", "t")
    assert tokens.asked == [None, None, None]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(status=401, json={"Detail": "AuthorizationUnsuccessful"}), ScopeMissing),
        (Answer(status=403, json={"detail": "AuthenticationUnsuccessful"}), OrganisationDisconnected),
        (Answer(status=403, json={"detail": "no reports"}), ReportsForbidden),
        (Answer(status=404, body="not found"), RequestRefused),
        (Answer(status=400, json={"Message": "A validation exception occurred"}), RequestRefused),
        (
            Answer(status=429, headers={"X-Rate-Limit-Problem": "day", "Retry-After": "66975"}),
            DayLimitReached,
        ),
        (Answer(status=500), XeroUnavailable),
        (Answer(json=[]), PayloadNotUnderstood),
        (Answer(json={"Status": "ERROR"}), PayloadNotUnderstood),
        (Answer(body="<Response/>", headers={"Content-Type": "text/xml"}), PayloadNotUnderstood),
    ],
)
def test_every_failure_is_one_of_our_errors_without_a_header_in_it(
    against: Against, answer: Answer, kind: type[XeroError]
) -> None:
    answer.headers = {**answer.headers, "X-Secret": "header-secret"}
    apis, _ = against(answer)
    with pytest.raises(XeroError) as caught:
        apis.get("Reports/BankSummary", "get_report_bank_summary", "t", from_date=date(2026, 11, 15))
    assert type(caught.value) is kind
    assert "header-secret" not in str(caught.value)
    assert "token-" not in str(caught.value)


FORBIDDEN = Answer(403, json={"Title": "Forbidden", "Status": 403, "Detail": "AuthenticationUnsuccessful"})


@pytest.mark.parametrize(
    ("listed", "answers", "paths"),
    [
        # Xero lists it, and the second try is answered: a refusal that passed.
        (True, [FORBIDDEN, Answer(json={"Status": "OK", "Accounts": []})], ["Accounts", "connections", "Accounts"]),
        (True, [FORBIDDEN, FORBIDDEN], ["Accounts", "connections", "Accounts"]),
        (False, [FORBIDDEN], ["Accounts", "connections"]),
    ],
)
def test_an_organisation_is_lost_once_xero_lists_it_no_more_or_refuses_it_twice(
    against: Against, listed: bool, answers: list[Answer], paths: list[str]
) -> None:
    left = list(answers)

    def answer(request: SeenRequest) -> Answer:
        if request.path == "/connections":
            return Answer(json=[{"id": "c-1", "tenantId": "org-1" if listed else "org-2"}])
        return left.pop(0)

    apis, server = against(answer)
    if answers[-1] is FORBIDDEN:
        with pytest.raises(OrganisationDisconnected):
            apis.get("Accounts", "get_accounts", "org-1")
    else:
        assert apis.get("Accounts", "get_accounts", "org-1")["Accounts"] == []
    assert [request.path.rsplit("/", 1)[-1] for request in server.requests] == paths


def test_where_the_list_is_refused_as_well_the_organisation_is_lost(against: Against) -> None:
    apis, server = against(FORBIDDEN)
    with pytest.raises(OrganisationDisconnected, match="into the organisation org-1"):
        apis.get("Accounts", "get_accounts", "org-1")
    assert len(server.requests) == 2


def test_connections_are_asked_for_in_small_letters_and_for_no_organisation(
    against: Against, budget: RememberingBudget
) -> None:
    rows = [{"id": "c-1", "tenantId": "t-1", "tenantType": "ORGANISATION"}]
    apis, server = against(Answer(json=rows))
    assert apis.connections() == rows
    assert server.requests[0].path == "/connections"
    assert server.requests[0].headers["accept"] == "application/json"
    assert budget.taken == [None]


def test_a_connection_is_deleted_by_its_own_id(against: Against) -> None:
    apis, server = against(Answer(status=204))
    apis.delete_connection("c/1 2")
    assert (server.requests[0].method, server.requests[0].path) == ("DELETE", "/connections/c%2F1%202")


def test_a_connection_that_is_gone_already_says_so(against: Against) -> None:
    apis, _ = against(Answer(status=404, body="gone"))
    with pytest.raises(RequestRefused) as caught:
        apis.delete_connection("c-1")
    assert caught.value.status == 404


def test_an_api_below_a_path_of_a_proxy_is_reached(session: XeroSession, tokens: Tokens) -> None:
    with ScriptedServer(Answer(json=[])) as server:
        XeroApis(session, api_url=f"{server.url}/xero/", access_token=tokens).connections()
        assert server.requests[0].path == "/xero/connections"


def test_a_limit_met_by_one_of_xero_pythons_calls_is_told_to_the_budget(
    against: Against, budget: RememberingBudget, clock: FakeClock
) -> None:
    limited = Answer(status=429, headers={"X-Rate-Limit-Problem": "minute", "Retry-After": "9"})
    apis, _ = against(limited, Answer(json={"Accounts": []}))
    apis.get("Accounts", "get_accounts", "t")
    assert [problem for _, problem, _ in budget.blocks] == [RateLimitKind.MINUTE]
    assert clock.slept == [9.0]


def test_xero_pythons_own_models_can_be_had_over_the_same_session(against: Against) -> None:
    apis, _ = against(Answer(json={"Organisations": [{"Name": "Demo Company"}]}))
    assert apis.accounting.get_organisations("t").organisations[0].name == "Demo Company"


def test_two_apis_do_not_share_what_xero_python_keeps_for_all(session: XeroSession) -> None:
    def whose(request: SeenRequest) -> Answer:
        return Answer(json={"Accounts": [], "Whose": request.headers["authorization"]})

    with ScriptedServer(whose) as server:
        one = XeroApis(session, api_url=server.url, access_token=lambda _: "one")
        other = XeroApis(session, api_url=server.url, access_token=lambda _: "other")
        assert one.get("Accounts", "get_accounts", "t")["Whose"] == "Bearer one"
        assert other.get("Accounts", "get_accounts", "t")["Whose"] == "Bearer other"


def test_nothing_of_xero_pythons_own_network_is_left_open(session: XeroSession, tokens: Tokens) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        XeroApis(session, api_url="https://api.xero.com", access_token=tokens)
        gc.collect()
