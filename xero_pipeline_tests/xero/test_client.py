"""Paging: every document once, whatever happens to the list meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest

from xero_pipeline.grants import ConnectionStatus, Organisation
from xero_pipeline.rate_limits import CallPermit, RateLimitHeaders, Usage
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import READINGS, OrganisationClient
from xero_pipeline.xero.errors import PayloadNotUnderstood, XeroUnavailable
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest

WEEK = Week(date(2026, 11, 21))
MOMENT = datetime(2026, 11, 24, tzinfo=UTC)
ORGANISATION = Organisation(
    tenant_id="t-1",
    tenant_name="Example",
    connection_id="c-1",
    grant_id="g-1",
    status=ConnectionStatus.CONNECTED,
    scope="",
    connected_at=MOMENT,
    refreshed_at=MOMENT,
    expires_at=MOMENT,
    last_sync_at=None,
    refresh_token_expires_at=None,
)


class Unlimited:
    """A budget that always has a slot."""

    def take(self, tenant_id: str | None, now: datetime) -> CallPermit:
        return CallPermit(1)

    def give_back(self, slot: CallPermit, now: datetime, remaining: RateLimitHeaders) -> None:
        return

    def block(self, *_: Any) -> None:
        return

    def usage(self, tenant_id: str, now: datetime) -> Usage:
        return Usage(0, 5000, 5000, 60)


Page = Callable[[int], dict[str, Any]]


@contextmanager
def client_of(page: Page) -> Iterator[tuple[OrganisationClient, list[SeenRequest]]]:
    """A client of a server that answers each page of a list with what `page` gives for its number."""

    def answer(request: SeenRequest) -> Answer:
        return Answer(json=page(int(request.query["page"])))

    with ScriptedServer(answer) as server, XeroSession(Unlimited(), FakeClock()) as session:
        apis = XeroApis(session, api_url=server.url, access_token=lambda _rejected: "token")
        yield OrganisationClient(ORGANISATION, apis, session), server.requests


def listed(*ids: str, page: int, pages: int, count: int | None) -> dict[str, Any]:
    pagination = {"page": page, "pageSize": 2, "pageCount": pages} | ({} if count is None else {"itemCount": count})
    return {"Status": "OK", "pagination": pagination, "Invoices": [{"InvoiceID": one} for one in ids]}


def ids(documents: list[dict[str, Any]]) -> list[str]:
    return [document["InvoiceID"] for document in documents]


def test_pages_are_read_to_the_servers_own_count_though_each_is_shorter_than_asked() -> None:
    pages = {1: ("a", "b"), 2: ("c",), 3: ("d", "e")}
    with client_of(lambda n: listed(*pages[n], page=n, pages=3, count=5)) as (client, requests):
        found = client.invoices(WEEK)
        assert ids(found) == ["a", "b", "c", "d", "e"]
        assert found.miscount is None
        # Twice, since only then nothing can have slipped through between two pages.
        assert len(requests) == 6


def test_a_week_is_asked_for_by_its_dates_its_type_and_its_statuses_in_a_stable_order() -> None:
    with client_of(lambda n: listed(page=n, pages=0, count=0)) as (client, requests):
        assert client.invoices(WEEK) == []
        query = requests[0].query
    assert query["where"] == 'Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22) AND Type=="ACCREC"'
    assert query["Statuses"] == "AUTHORISED,PAID"
    assert query["order"] == "InvoiceID ASC"
    assert query["pageSize"] == "1000"


def test_a_document_that_leaves_between_two_pages_pushes_no_other_one_out() -> None:
    readings = {"count": 0}

    def page(number: int) -> dict[str, Any]:
        readings["count"] += 1
        if readings["count"] == 1:
            return listed("a", "b", page=1, pages=2, count=4)
        # "a" has left the list after the first page was read: "c" moved on to it, and would be lost.
        return listed("b", "c", page=1, pages=2, count=3) if number == 1 else listed("d", page=2, pages=2, count=3)

    with client_of(page) as (client, _):
        assert ids(client.invoices(WEEK)) == ["b", "c", "d"]


def test_a_document_that_takes_the_place_of_another_hides_no_third_one() -> None:
    asked: list[int] = []

    def page(number: int) -> dict[str, Any]:
        asked.append(number)
        if len(asked) == 1:
            return listed("a", "b", page=1, pages=2, count=4)
        # "a" has left, and "e" has come: "c" moved to the first page, and the count is what it was.
        return listed(*(("b", "c") if number == 1 else ("d", "e")), page=number, pages=2, count=4)

    with client_of(page) as (client, _):
        assert ids(client.invoices(WEEK)) == ["b", "c", "d", "e"]


def test_a_list_that_is_another_each_time_is_an_error_that_may_pass() -> None:
    numbers = itertools.count()

    def page(number: int) -> dict[str, Any]:
        return listed(f"x{next(numbers)}", page=number, pages=2, count=2)

    with client_of(page) as (client, _), pytest.raises(XeroUnavailable, match="Invoices of Example were others"):
        client.invoices(WEEK)


@pytest.mark.parametrize("pages", [1, 2])
def test_a_server_that_counts_more_than_it_lists_is_told_of(pages: int) -> None:
    listings = {1: ("a", "b"), 2: ("c",)}
    with client_of(lambda n: listed(*listings[n], page=n, pages=pages, count=9)) as (client, _):
        found = client.invoices(WEEK)
    assert str(found.miscount) == f"the number of Invoices: Xero states 9, its parts add up to {pages + 1}"


def test_without_any_count_pages_are_read_until_one_brings_nothing_new() -> None:
    pages = {1: ("a", "b"), 2: ("c",)}

    def page(number: int) -> dict[str, Any]:
        return {"Invoices": [{"InvoiceID": one} for one in pages.get(number, ())]}

    with client_of(page) as (client, requests):
        assert ids(client.invoices(WEEK)) == ["a", "b", "c"]
        assert len(requests) == 6


def test_a_server_that_ignores_the_page_is_asked_no_third_time() -> None:
    with client_of(lambda _n: {"Invoices": [{"InvoiceID": "a"}]}) as (client, requests):
        assert ids(client.invoices(WEEK)) == ["a"]
        assert len(requests) == 2


@pytest.mark.parametrize("count", [None, 5])
def test_a_server_that_counts_pages_and_gives_the_same_one_each_time_is_an_error(count: int | None) -> None:
    with (
        client_of(lambda _n: listed("a", "b", page=1, pages=3, count=count)) as (client, _),
        pytest.raises(PayloadNotUnderstood, match="Invoices of Example have 3 pages, and on page 2 there is nothing"),
    ):
        client.invoices(WEEK)


@pytest.mark.parametrize("later", [("b", "a"), ("a",), ()])
def test_a_server_that_counts_pages_which_bring_nothing_new_is_not_asked_for_all_of_them(later: tuple[str]) -> None:
    def page(number: int) -> dict[str, Any]:
        return listed(*(("a", "b") if number == 1 else later), page=number, pages=900, count=None)

    with client_of(page) as (client, requests):
        with pytest.raises(PayloadNotUnderstood, match="have 900 pages, and on page 2 there is nothing"):
            client.invoices(WEEK)
        assert len(requests) == 2 * READINGS


def test_pages_announced_beyond_the_last_document_are_not_asked_for() -> None:
    with client_of(lambda n: listed(*(("a", "b") if n == 1 else ()), page=n, pages=900, count=2)) as (client, requests):
        found = client.invoices(WEEK)
        assert (ids(found), found.miscount) == (["a", "b"], None)
        assert len(requests) == 4


def test_a_list_that_shrinks_to_one_page_between_two_loses_nothing() -> None:
    asked: list[int] = []

    def page(number: int) -> dict[str, Any]:
        asked.append(number)
        if len(asked) == 1:
            return listed("a", "b", page=1, pages=2, count=3)
        # "a" has left: "c" moved to the first page, and the second one is gone.
        return listed(*(("b", "c") if number == 1 else ()), page=number, pages=1, count=2)

    with client_of(page) as (client, _):
        assert ids(client.invoices(WEEK)) == ["b", "c"]


def test_an_old_document_that_a_new_one_moved_to_the_last_page_is_no_error() -> None:
    asked: list[int] = []

    def page(number: int) -> dict[str, Any]:
        asked.append(number)
        if len(asked) == 1:
            return listed("b", "c", page=1, pages=2, count=3)
        # Meanwhile "d", the third, has left, and "a" has come: "c" is on the second page now.
        return listed(*(("a", "b") if number == 1 else ("c",)), page=number, pages=2, count=3)

    with client_of(page) as (client, _):
        assert ids(client.invoices(WEEK)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "payload",
    [
        {"Status": "OK"},
        {"Status": "OK", "Invoices": {}},
        {"Status": "OK", "Invoices": [{}]},
        {"Status": "OK", "Invoices": ["x"]},
        {"Status": "OK", "Invoices": [], "pagination": {"page": 1}},
        {"Status": "OK", "Invoices": [], "pagination": []},
        {"Status": "ERROR", "Invoices": []},
    ],
)
def test_a_list_that_is_none_is_an_error(payload: dict[str, Any]) -> None:
    with client_of(lambda _n: payload) as (client, _), pytest.raises(PayloadNotUnderstood):
        client.invoices(WEEK)
