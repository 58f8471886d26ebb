"""When Xero worked on an answer, by its own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from requests import Response

from xero_pipeline.xero.http.answer_time import read_answer_time

MOMENT = datetime(2015, 8, 13, 2, 59, 16, tzinfo=UTC)
HEADER = "Thu, 13 Aug 2015 02:59:16 GMT"


def make_response(date: str | None, seconds: float = 0) -> Response:
    response = Response()
    response.elapsed = timedelta(seconds=seconds)
    if date is not None:
        response.headers["Date"] = date
    return response


@pytest.mark.parametrize(
    "stated",
    [
        "/Date(1439434756790)/",
        "/Date(1439434756790+1200)/",
        "2015-08-13T02:59:16.79",
        "2015-08-13T02:59:16.790Z",
        "2015-08-13T12:59:16.790+10:00",
    ],
)
def test_the_body_states_the_moment_in_each_of_xeros_forms(stated: str) -> None:
    moment = read_answer_time({"DateTimeUTC": stated}, make_response("Fri, 01 Jan 2100 00:00:00 GMT"))
    assert moment == MOMENT + timedelta(milliseconds=790)


@pytest.mark.parametrize("stated", [None, "", "soon", 5, "/Date(x)/", "/Date(999999999999999)/"])
def test_without_a_moment_in_the_body_the_header_states_it(stated: Any) -> None:
    assert read_answer_time({"DateTimeUTC": stated}, make_response(HEADER)) == MOMENT


@pytest.mark.parametrize("header", [None, "", "soon", "Thu, 99 Aug 2015 02:59:16 GMT"])
def test_an_answer_without_a_moment_has_none(header: str | None) -> None:
    assert read_answer_time({}, make_response(header)) is None


def test_an_edit_while_a_slow_answer_was_made_may_not_be_in_it() -> None:
    assert read_answer_time({}, make_response(HEADER, seconds=40)) == MOMENT - timedelta(seconds=40)
