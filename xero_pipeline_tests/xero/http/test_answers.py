"""What Xero's answers mean: each kind of refusal its own error, in words, without a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from requests import Request, Response

from xero_pipeline.xero.errors import (
    AppRefused,
    DayLimitReached,
    MinuteLimitReached,
    OrganisationDisconnected,
    PayloadNotUnderstood,
    PermissionMissing,
    ReconnectNeeded,
    ReportsForbidden,
    RequestRefused,
    ScopeMissing,
    XeroError,
    XeroUnavailable,
)
from xero_pipeline.xero.http.answers import (
    LONGEST_TEXT,
    AccessTokenExpired,
    json_body,
    raise_for_answer,
    raise_for_token_answer,
)
from xero_pipeline_tests.conftest import FakeClock

TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjFDQUY4RTY2.eyJuYmYiOjE3.c2lnbmF0dXJl"
API = "https://api.xero.com/api.xro/2.0/"


def answer(
    status: int, body: object = b"", *, path: str = "Invoices", headers: Mapping[str, str] | None = None
) -> Response:
    response = Response()
    response.status_code = status
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response.headers.update(headers or {})
    response.request = Request(
        "GET", API + path, headers={"Authorization": f"Bearer {TOKEN}"}, params={"where": "Total==1"}
    ).prepare()
    response.url = response.request.url or ""
    return response


def error_of(response: Response, tenant_id: str | None = "tenant-1") -> XeroError:
    with pytest.raises(XeroError) as caught:
        raise_for_answer(response, tenant_id=tenant_id, what="Invoices", clock=FakeClock())
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    return caught.value


def problem(detail: str, *, status: int, small: bool = False) -> dict[str, Any]:
    """Xero's two ways of writing the same."""
    body = {"Title": "Refused", "Status": status, "Detail": detail, "Instance": "eac0fd6e"}
    return {name.lower(): value for name, value in body.items()} if small else body


@pytest.mark.parametrize("status", [200, 201, 204, 304])
def test_a_success_raises_nothing(status: int) -> None:
    raise_for_answer(answer(status), tenant_id="a", what="Invoices", clock=FakeClock())


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(
    "detail",
    ["TokenExpired: token expired at 01/23/2020 18:21:16", "AuthenticationUnsuccessful", "Something new"],
)
def test_a_401_that_a_fresh_token_may_cure_is_told_apart(detail: str, small: bool) -> None:
    assert type(error_of(answer(401, problem(detail, status=401, small=small)))) is AccessTokenExpired


def test_a_401_without_a_body_may_be_cured_by_a_fresh_token() -> None:
    assert type(error_of(answer(401))) is AccessTokenExpired


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (problem("AuthorizationUnsuccessful", status=401), {}),
        (problem("AuthorizationUnsuccessful", status=401, small=True), {}),
        ({"error": "insufficient_scope"}, {}),
        (b"", {"WWW-Authenticate": 'Bearer realm="x", error="insufficient_scope"'}),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_scope_is_named_with_the_setting(body: object, headers: Mapping[str, str], status: int) -> None:
    error = error_of(answer(status, body, headers=headers))
    assert type(error) is ScopeMissing
    assert "accounting.invoices.read" in str(error)
    assert "XERO_SCOPES" in str(error)


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("Invoices", "accounting.invoices.read"),
        ("CreditNotes", "accounting.invoices.read"),
        ("Organisation", "accounting.settings.read"),
        ("Accounts", "accounting.settings.read"),
        ("Reports/ProfitAndLoss", "accounting.reports.profitandloss.read"),
        ("Reports/BankSummary", "accounting.reports.banksummary.read"),
        ("Employees", "XERO_SCOPES"),
    ],
)
def test_each_endpoint_has_its_scope(path: str, scope: str) -> None:
    assert scope in str(error_of(answer(401, problem("AuthorizationUnsuccessful", status=401), path=path)))


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("path", ["Invoices", "Reports/ProfitAndLoss"])
def test_a_403_of_a_disconnected_organisation_names_it(path: str, small: bool) -> None:
    error = error_of(answer(403, problem("AuthenticationUnsuccessful", status=403, small=small), path=path))
    assert type(error) is OrganisationDisconnected
    assert "tenant-1" in str(error)


@pytest.mark.parametrize("body", [b"", b"Forbidden", problem("You may not", status=403)])
def test_a_403_on_a_report_is_the_users_role(body: object) -> None:
    error = error_of(answer(403, body, path="Reports/BankSummary"))
    assert type(error) is ReportsForbidden
    assert "role" in str(error)


def test_any_other_403_says_what_xero_says() -> None:
    error = error_of(answer(403, problem("The account is suspended", status=403)))
    assert type(error) is PermissionMissing
    assert "The account is suspended" in str(error)


def test_a_404_in_plain_text_is_shown() -> None:
    error = error_of(answer(404, b"The resource you're looking for cannot be found"))
    assert type(error) is RequestRefused
    assert error.status == 404
    assert "cannot be found" in str(error)


def test_a_400_shows_xeros_own_validation_errors() -> None:
    body = {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": [{"ValidationErrors": [{"Message": "The date is no date"}, {"Message": "The page is no page"}]}],
    }
    error = error_of(answer(400, body))
    assert type(error) is RequestRefused
    for words in ("A validation exception occurred", "The date is no date", "The page is no page"):
        assert words in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe\x00 not text",
        b"[" * 100_000,
        [1, 2],
        "words",
        12,
        None,
        {"Elements": {"ValidationErrors": 3}},
        {"Elements": [None, {"ValidationErrors": [None, {"Message": 7}]}]},
        {"Message": {"not": "words"}},
        b"<html><body>a proxy</body></html>",
        b"\x00\x1b[31m",
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403, 418])
def test_no_body_whatever_it_is_hides_the_refusal(body: object, status: int) -> None:
    error = error_of(answer(status, body))
    assert str(error).isprintable()
    assert "<html>" not in str(error)


def test_long_words_are_cut_to_a_readable_length() -> None:
    assert len(error_of(answer(400, {"Message": "very " * 10_000})).what) < LONGEST_TEXT + 100


def test_a_token_that_xero_repeats_is_not_repeated_by_us() -> None:
    """`error_of` looks for it each time; here it is really there."""
    text = str(error_of(answer(400, {"Message": f"Bad header Authorization: Bearer {TOKEN} in request"})))
    assert "Bad header" in text
    assert "[token]" in text


def test_an_opaque_credential_that_xero_repeats_is_not_repeated_by_us() -> None:
    response = answer(400, {"Message": "Bad header Bearer opaque-access-token"})
    response.request.headers["Authorization"] = "Bearer opaque-access-token"
    assert "opaque" not in str(error_of(response))


@pytest.mark.parametrize("repeated", ["of-the-app/1=", "of-the-app%2F1%3D"])
def test_the_client_secret_that_xero_repeats_is_not_repeated_by_us(repeated: str) -> None:
    response = answer(400, {"error": "weird", "error_description": f"client-id-1 with {repeated} is bad"})
    response.request = Request(
        "POST", "https://identity.xero.com/connect/token", auth=("client-id-1", "of-the-app/1=")
    ).prepare()
    with pytest.raises(RequestRefused, match=r"client-id-1 with \[secret\] is bad") as caught:
        raise_for_token_answer(response)
    assert "of-the-app" not in str(caught.value)


@pytest.mark.parametrize("field", ["refresh_token", "code", "code_verifier", "token", "client_secret"])
@pytest.mark.parametrize("repeated", ["opaque/secret=1", "opaque%2Fsecret%3D1"])
def test_a_secret_of_the_form_that_xero_repeats_is_not_repeated_by_us(field: str, repeated: str) -> None:
    response = answer(400, {"error": "invalid_request", "error_description": f"{field} {repeated} is bad for openid1"})
    form = {"grant_type": "refresh_token", field: "opaque/secret=1", "scope": "openid1"}
    response.request = Request("POST", "https://identity.xero.com/connect/token", data=form).prepare()
    with pytest.raises(RequestRefused) as caught:
        raise_for_token_answer(response)
    assert "opaque" not in str(caught.value)
    assert f"{field} [secret] is bad for openid1" in str(caught.value)


def test_a_redirect_is_refused() -> None:
    error = error_of(answer(302, headers={"Location": "https://elsewhere.example"}))
    assert type(error) is RequestRefused
    assert "XERO_API_URL" in str(error)


def test_limits_and_outages_are_told_apart_here_too() -> None:
    day = error_of(answer(429, headers={"X-Rate-Limit-Problem": "day", "Retry-After": "66975"}))
    assert type(day) is DayLimitReached
    assert type(error_of(answer(429, headers={"X-Rate-Limit-Problem": "minute"}))) is MinuteLimitReached
    assert type(error_of(answer(503))) is XeroUnavailable


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"error": "invalid_grant"}, ReconnectNeeded, "expired, used or revoked"),
        (400, {"error": "invalid_client"}, AppRefused, "XERO_CLIENT_SECRET"),
        (401, {"error": "invalid_client"}, AppRefused, "XERO_CLIENT_ID"),
        (401, b"", AppRefused, "XERO_CLIENT_ID"),
        (400, {"error": "unauthorized_client"}, AppRefused, "XERO_GRANT"),
        (400, {"error": "unsupported_grant_type"}, AppRefused, "XERO_GRANT"),
        (400, {"error": "invalid_scope"}, AppRefused, "XERO_SCOPES"),
        (
            400,
            {"error": "invalid_request", "error_description": "code is missing"},
            RequestRefused,
            "code is missing",
        ),
        (400, b"Bad Request", RequestRefused, "Bad Request"),
        (404, b"<html>", RequestRefused, "XERO_IDENTITY_URL"),
        (302, b"", RequestRefused, "XERO_IDENTITY_URL"),
        (400, [], RequestRefused, "no reason given"),
    ],
)
def test_each_refusal_of_the_token_endpoint_is_its_own(
    status: int, body: object, kind: type[XeroError], words: str
) -> None:
    with pytest.raises(XeroError) as caught:
        raise_for_token_answer(answer(status, body))
    assert type(caught.value) is kind
    assert words in str(caught.value)


def test_tokens_raise_nothing() -> None:
    raise_for_token_answer(answer(200, {"access_token": "…"}))


def test_numbers_are_read_exactly() -> None:
    body = json_body(answer(200, b'{"Total": 0.1, "Big": 12345678901234567890.12, "Count": 3}'), dict)
    assert body == {"Total": Decimal("0.1"), "Big": Decimal("12345678901234567890.12"), "Count": 3}
    assert not any(isinstance(value, float) for value in body.values())


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert json_body(answer(200, b'\xef\xbb\xbf{"a": 1}'), dict) == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<xml/>",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b'"text"',
        b"null",
    ],
)
def test_what_is_no_json_object_is_not_understood(body: bytes) -> None:
    with pytest.raises(PayloadNotUnderstood) as caught:
        json_body(answer(200, body), dict)
    assert "/api.xro/2.0/Invoices" in str(caught.value)
    assert "where" not in str(caught.value)


def test_what_is_no_character_is_replaced_where_it_stands_and_every_other_letter_stays() -> None:
    body = rb"""{"Name": "Caf\u00e9 \ud83d\ude00 cut \ud83d", "X": "\\ud83d",
        "Lines": [{"Text": "a\u0000b", "Sum": 1.10}]}"""
    assert json_body(answer(200, body), dict) == {
        "Name": "Café 😀 cut \N{REPLACEMENT CHARACTER}",
        "Lines": [{"Text": "a\N{REPLACEMENT CHARACTER}b", "Sum": Decimal("1.10")}],
        "X": "\\ud83d",
    }


def test_a_list_is_read_where_a_list_is_due() -> None:
    assert json_body(answer(200, b"[]"), list) == []
    with pytest.raises(PayloadNotUnderstood, match="not a list"):
        json_body(answer(200, b"{}"), list)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, {"Message": "No such report"}, "Xero refused Invoices (400): No such report. The next sync asks again;"),
        (400, {"Message": "No such report."}, "Xero refused Invoices (400): No such report. The next sync"),
        (404, b"The resource you're looking for cannot be found", "cannot be found. Check XERO_API_URL."),
        (404, b"", "(404): no reason given. Check XERO_API_URL."),
        (400, {"Message": "very " * 10_000}, "very… The next sync"),
    ],
)
def test_a_refusal_is_a_whole_sentence_and_says_what_to_do(status: int, body: object, says: str) -> None:
    refused = error_of(answer(status, body))
    assert isinstance(refused, RequestRefused)
    assert says in str(refused)
    assert str(refused).endswith(".")
