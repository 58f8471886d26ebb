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
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.errors import PayloadNotUnderstood, XeroUnavailable
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.listing import MAX_READINGS
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
    """A budget that always has a permit."""

    def acquire(self, tenant_id: str | None, now: datetime) -> CallPermit:
        return CallPermit(1)

    def release(self, permit: CallPermit, now: datetime, remaining: RateLimitHeaders) -> None:
        return

    def block(self, *_: Any) -> None:
        return

    def read_usage(self, tenant_id: str, now: datetime) -> Usage:
        return Usage(0, 5000, 5000, 60)


Page = Callable[[int], dict[str, Any]]


@contextmanager
def connect_client(
    page: Page, *changes: list[dict[str, Any]]
) -> Iterator[tuple[OrganisationClient, list[SeenRequest]]]:
    """A client of a server that answers each page of a list with `page(number)`, and the requests it got.

    Args:
        changes: what has changed since a reading began: for the first reading, the second one, and so on. After the
            last one nothing has.
    """
    remaining = list(changes)

    def answer(request: SeenRequest) -> Answer:
        if "if-modified-since" in request.headers:
            changed = remaining.pop(0) if remaining else []
            return Answer(json=list_payload(page=1, pages=1, count=len(changed)) | {"Invoices": changed})
        return Answer(json=page(int(request.query["page"])))

    with ScriptedServer(answer) as server, XeroSession(Unlimited(), FakeClock()) as session:
        apis = XeroApis(session, api_url=server.url, access_token=lambda _rejected: "token")
        yield OrganisationClient(ORGANISATION, apis, session), server.requests


def list_payload(*ids: str, page: int, pages: int, count: int | None) -> dict[str, Any]:
    pagination = {"page": page, "pageSize": 2, "pageCount": pages} | ({} if count is None else {"itemCount": count})
    return {"Status": "OK", "pagination": pagination, "Invoices": [{"InvoiceID": document_id} for document_id in ids]}


def list_ids(documents: list[dict[str, Any]]) -> list[str]:
    return [document["InvoiceID"] for document in documents]


def test_pages_are_read_up_to_the_servers_count_even_if_each_is_shorter_than_requested() -> None:
    pages = {1: ("a", "b"), 2: ("c",), 3: ("d", "e")}
    with connect_client(lambda n: list_payload(*pages[n], page=n, pages=3, count=5)) as (client, requests):
        listing = client.fetch_invoices(WEEK)
        assert list_ids(listing) == ["a", "b", "c", "d", "e"]
        assert listing.miscount is None
        # One call asks what has changed since, because a document that moves between two pages can hide another one.
        assert len(requests) == 4


PAGES = {1: ("a", "b"), 2: ("c",)}


def document(key: str, **fields: Any) -> dict[str, Any]:
    return {
        "InvoiceID": key,
        "Type": "ACCREC",
        "Status": "AUTHORISED",
        "DateString": "2026-11-18T00:00:00",
        "LineItems": [{"LineAmount": "1.00"}],
    } | fields


def answer_page(number: int) -> dict[str, Any]:
    payload = list_payload(page=number, pages=2, count=3)
    return payload | {"Invoices": [document(key) for key in PAGES[number]]}


@pytest.mark.parametrize(
    "changed",
    [
        document("a", Status="PAID", AmountPaid=1),
        document("z", Status="DRAFT"),
        document("z", Type="ACCPAY"),
        document("z", DateString="2026-11-25T00:00:00"),
    ],
)
def test_a_list_is_read_once_if_no_edit_meanwhile_changes_it(changed: dict[str, Any]) -> None:
    with connect_client(answer_page, [changed]) as (client, requests):
        assert list_ids(client.fetch_invoices(WEEK)) == ["a", "b", "c"]
        assert len(requests) == 3


@pytest.mark.parametrize(
    "changed",
    [
        document("a", LineItems=[{"LineAmount": "2.00"}]),
        document("a", Status="VOIDED"),
        document("a", DateString="2026-11-25T00:00:00"),
        document("0"),
        document("a", Type="A_NEW_ONE"),
    ],
)
def test_a_list_is_read_again_if_an_edit_meanwhile_changes_it(changed: dict[str, Any]) -> None:
    with connect_client(answer_page, [changed], []) as (client, requests):
        assert list_ids(client.fetch_invoices(WEEK)) == ["a", "b", "c"]
        # The second reading has the same documents as the first one, so it needs no question of its own.
        assert len(requests) == 5


def test_a_list_whose_length_changes_between_two_pages_is_read_again() -> None:
    requested: list[int] = []

    def page(number: int) -> dict[str, Any]:
        requested.append(number)
        # While the second page is read, another document is before it: "c" is on the third page now.
        if len(requested) == 2:
            return list_payload("b", page=2, pages=2, count=4)
        return answer_page(number)

    with connect_client(page) as (client, _):
        assert list_ids(client.fetch_invoices(WEEK)) == ["a", "b", "c"]


def test_a_week_is_requested_by_dates_type_and_statuses_in_a_stable_order() -> None:
    with connect_client(lambda n: list_payload(page=n, pages=0, count=0)) as (client, requests):
        assert client.fetch_invoices(WEEK) == []
        query = requests[0].query
    assert query["where"] == 'Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22) AND Type=="ACCREC"'
    assert query["Statuses"] == "AUTHORISED,PAID"
    assert query["order"] == "InvoiceID ASC"
    assert query["pageSize"] == "1000"


def test_a_document_that_leaves_between_two_pages_hides_no_other_document() -> None:
    readings = {"count": 0}

    def page(number: int) -> dict[str, Any]:
        readings["count"] += 1
        if readings["count"] == 1:
            return list_payload("a", "b", page=1, pages=2, count=4)
        # "a" has left the list after the first page was read: "c" moved to it and would be missed.
        return (
            list_payload("b", "c", page=1, pages=2, count=3)
            if number == 1
            else list_payload("d", page=2, pages=2, count=3)
        )

    with connect_client(page) as (client, _):
        assert list_ids(client.fetch_invoices(WEEK)) == ["b", "c", "d"]


def test_a_document_that_replaces_another_hides_no_third_document() -> None:
    requested: list[int] = []

    def page(number: int) -> dict[str, Any]:
        requested.append(number)
        if len(requested) == 1:
            return list_payload("a", "b", page=1, pages=2, count=4)
        # "a" has left and "e" has come: "c" moved to the first page, and the count is unchanged.
        return list_payload(*(("b", "c") if number == 1 else ("d", "e")), page=number, pages=2, count=4)

    with connect_client(page, [document("a", Status="VOIDED"), document("e")]) as (client, _):
        assert list_ids(client.fetch_invoices(WEEK)) == ["b", "c", "d", "e"]


def test_a_list_that_changes_at_each_reading_is_a_temporary_error() -> None:
    numbers = itertools.count()

    def page(number: int) -> dict[str, Any]:
        return list_payload(f"x{next(numbers)}", page=number, pages=2, count=2)

    with (
        connect_client(page, *([document("new")] for _ in range(MAX_READINGS))) as (client, _),
        pytest.raises(XeroUnavailable, match="Invoices of Example was read 4 times and changed"),
    ):
        client.fetch_invoices(WEEK)


@pytest.mark.parametrize("pages", [1, 2])
def test_a_server_that_counts_more_than_it_lists_is_reported(pages: int) -> None:
    listings = {1: ("a", "b"), 2: ("c",)}
    with connect_client(lambda n: list_payload(*listings[n], page=n, pages=pages, count=9)) as (client, _):
        listing = client.fetch_invoices(WEEK)
    assert str(listing.miscount) == f"the number of Invoices: Xero states 9, its parts add up to {pages + 1}"


def test_without_a_count_pages_are_read_until_one_has_nothing_new() -> None:
    pages = {1: ("a", "b"), 2: ("c",)}

    def page(number: int) -> dict[str, Any]:
        return {"Invoices": [{"InvoiceID": document_id} for document_id in pages.get(number, ())]}

    with connect_client(page) as (client, requests):
        assert list_ids(client.fetch_invoices(WEEK)) == ["a", "b", "c"]
        assert len(requests) == 6


def test_a_server_that_ignores_the_page_number_gets_no_third_request() -> None:
    with connect_client(lambda _n: {"Invoices": [{"InvoiceID": "a"}]}) as (client, requests):
        assert list_ids(client.fetch_invoices(WEEK)) == ["a"]
        assert len(requests) == 2


@pytest.mark.parametrize("count", [None, 5])
def test_a_server_that_counts_pages_and_sends_the_same_one_each_time_is_an_error(count: int | None) -> None:
    with (
        connect_client(lambda _n: list_payload("a", "b", page=1, pages=3, count=count)) as (client, _),
        pytest.raises(PayloadNotUnderstood, match="Invoices of Example has 3 pages, but page 2 has nothing"),
    ):
        client.fetch_invoices(WEEK)


@pytest.mark.parametrize("later", [("b", "a"), ("a",), ()])
def test_a_server_whose_pages_have_nothing_new_is_not_asked_for_all_of_them(later: tuple[str]) -> None:
    def page(number: int) -> dict[str, Any]:
        return list_payload(*(("a", "b") if number == 1 else later), page=number, pages=900, count=None)

    with connect_client(page) as (client, requests):
        with pytest.raises(PayloadNotUnderstood, match="has 900 pages, but page 2 has nothing"):
            client.fetch_invoices(WEEK)
        assert len(requests) == 2 * MAX_READINGS


def test_pages_announced_beyond_the_last_document_are_not_requested() -> None:
    with connect_client(lambda n: list_payload(*(("a", "b") if n == 1 else ()), page=n, pages=900, count=2)) as (
        client,
        requests,
    ):
        listing = client.fetch_invoices(WEEK)
        assert (list_ids(listing), listing.miscount) == (["a", "b"], None)
        assert len(requests) == 3


def test_a_list_that_shrinks_to_one_page_during_the_reading_loses_nothing() -> None:
    requested: list[int] = []

    def page(number: int) -> dict[str, Any]:
        requested.append(number)
        if len(requested) == 1:
            return list_payload("a", "b", page=1, pages=2, count=3)
        # "a" has left: "c" moved to the first page, and the second one is gone.
        return list_payload(*(("b", "c") if number == 1 else ()), page=number, pages=1, count=2)

    with connect_client(page) as (client, _):
        assert list_ids(client.fetch_invoices(WEEK)) == ["b", "c"]


def test_a_known_document_that_a_new_one_moves_to_the_last_page_is_no_error() -> None:
    requested: list[int] = []

    def page(number: int) -> dict[str, Any]:
        requested.append(number)
        if len(requested) == 1:
            return list_payload("b", "c", page=1, pages=2, count=3)
        # "d", the third document, has left and "a" has come: "c" is on the second page now.
        return list_payload(*(("a", "b") if number == 1 else ("c",)), page=number, pages=2, count=3)

    with connect_client(page) as (client, _):
        assert list_ids(client.fetch_invoices(WEEK)) == ["a", "b", "c"]


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
def test_an_answer_without_a_valid_list_is_an_error(payload: dict[str, Any]) -> None:
    with connect_client(lambda _n: payload) as (client, _), pytest.raises(PayloadNotUnderstood):
        client.fetch_invoices(WEEK)


def test_a_document_that_is_listed_twice_with_its_id_in_other_capitals_is_one_document() -> None:
    document_id = "0f2e4b1a-9c3d-4e5f-8a7b-6c5d4e3f2a1b"
    with connect_client(lambda n: list_payload(document_id.upper(), document_id, page=n, pages=1, count=2)) as (
        client,
        _,
    ):
        listing = client.fetch_invoices(WEEK)
        assert [document.lower() for document in list_ids(listing)] == [document_id]
        assert listing.miscount is not None
        assert (listing.miscount.stated, listing.miscount.computed) == (2, 1)
