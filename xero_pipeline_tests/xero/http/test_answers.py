"""The meaning of Xero's answers: each kind of refusal raises its own error, which shows no secret."""

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
    MAX_TEXT_LENGTH,
    AccessTokenExpired,
    parse_json,
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


def catch_error(response: Response, tenant_id: str | None = "tenant-1") -> XeroError:
    with pytest.raises(XeroError) as caught:
        raise_for_answer(response, tenant_id=tenant_id, what="Invoices", clock=FakeClock())
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    return caught.value


def problem(detail: str, *, status: int, lower_case: bool = False) -> dict[str, Any]:
    """Write an error in either of Xero's capitalisations."""
    body = {"Title": "Refused", "Status": status, "Detail": detail, "Instance": "eac0fd6e"}
    return {name.lower(): value for name, value in body.items()} if lower_case else body


@pytest.mark.parametrize("status", [200, 201, 204, 304])
def test_a_success_raises_nothing(status: int) -> None:
    raise_for_answer(answer(status), tenant_id="a", what="Invoices", clock=FakeClock())


@pytest.mark.parametrize("lower_case", [False, True])
@pytest.mark.parametrize(
    "detail",
    ["TokenExpired: token expired at 01/23/2020 18:21:16", "AuthenticationUnsuccessful", "Something new"],
)
def test_a_401_that_a_fresh_token_may_cure_has_its_own_error(detail: str, lower_case: bool) -> None:
    assert type(catch_error(answer(401, problem(detail, status=401, lower_case=lower_case)))) is AccessTokenExpired


def test_a_401_without_a_body_may_be_cured_by_a_fresh_token() -> None:
    assert type(catch_error(answer(401))) is AccessTokenExpired


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (problem("AuthorizationUnsuccessful", status=401), {}),
        (problem("AuthorizationUnsuccessful", status=401, lower_case=True), {}),
        ({"error": "insufficient_scope"}, {}),
        (b"", {"WWW-Authenticate": 'Bearer realm="x", error="insufficient_scope"'}),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_scope_is_named_with_the_setting(body: object, headers: Mapping[str, str], status: int) -> None:
    error = catch_error(answer(status, body, headers=headers))
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
    assert scope in str(catch_error(answer(401, problem("AuthorizationUnsuccessful", status=401), path=path)))


@pytest.mark.parametrize("lower_case", [False, True])
@pytest.mark.parametrize("path", ["Invoices", "Reports/ProfitAndLoss"])
def test_a_403_for_a_disconnected_organisation_names_it(path: str, lower_case: bool) -> None:
    error = catch_error(
        answer(403, problem("AuthenticationUnsuccessful", status=403, lower_case=lower_case), path=path)
    )
    assert type(error) is OrganisationDisconnected
    assert "tenant-1" in str(error)


@pytest.mark.parametrize("body", [b"", b"Forbidden", problem("You may not", status=403)])
def test_a_403_on_a_report_points_to_the_users_role(body: object) -> None:
    error = catch_error(answer(403, body, path="Reports/BankSummary"))
    assert type(error) is ReportsForbidden
    assert "role" in str(error)


def test_any_other_403_shows_xeros_text() -> None:
    error = catch_error(answer(403, problem("The account is suspended", status=403)))
    assert type(error) is PermissionMissing
    assert "The account is suspended" in str(error)


def test_a_404_in_plain_text_is_shown() -> None:
    error = catch_error(answer(404, b"The resource you're looking for cannot be found"))
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
    error = catch_error(answer(400, body))
    assert type(error) is RequestRefused
    for text in ("A validation exception occurred", "The date is no date", "The page is no page"):
        assert text in str(error)


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
def test_no_kind_of_body_hides_the_refusal(body: object, status: int) -> None:
    error = catch_error(answer(status, body))
    assert str(error).isprintable()
    assert "<html>" not in str(error)


def test_a_long_text_is_cut_to_a_readable_length() -> None:
    assert len(catch_error(answer(400, {"Message": "very " * 10_000})).what) < MAX_TEXT_LENGTH + 100


def test_a_token_that_xero_repeats_is_left_out_of_the_error() -> None:
    """`catch_error` checks every error for the token; here Xero really repeats it."""
    text = str(catch_error(answer(400, {"Message": f"Bad header Authorization: Bearer {TOKEN} in request"})))
    assert "Bad header" in text
    assert "[token]" in text


def test_an_opaque_credential_that_xero_repeats_is_left_out_of_the_error() -> None:
    response = answer(400, {"Message": "Bad header Bearer opaque-access-token"})
    response.request.headers["Authorization"] = "Bearer opaque-access-token"
    assert "opaque" not in str(catch_error(response))


@pytest.mark.parametrize("repeated", ["of-the-app/1=", "of-the-app%2F1%3D"])
def test_the_client_secret_that_xero_repeats_is_left_out_of_the_error(repeated: str) -> None:
    response = answer(400, {"error": "weird", "error_description": f"client-id-1 with {repeated} is bad"})
    response.request = Request(
        "POST", "https://identity.xero.com/connect/token", auth=("client-id-1", "of-the-app/1=")
    ).prepare()
    with pytest.raises(RequestRefused, match=r"client-id-1 with \[secret\] is bad") as caught:
        raise_for_token_answer(response)
    assert "of-the-app" not in str(caught.value)


@pytest.mark.parametrize("field", ["refresh_token", "code", "code_verifier", "token", "client_secret"])
@pytest.mark.parametrize("repeated", ["opaque/secret=1", "opaque%2Fsecret%3D1"])
def test_a_secret_of_the_form_that_xero_repeats_is_left_out_of_the_error(field: str, repeated: str) -> None:
    response = answer(400, {"error": "invalid_request", "error_description": f"{field} {repeated} is bad for openid1"})
    form = {"grant_type": "refresh_token", field: "opaque/secret=1", "scope": "openid1"}
    response.request = Request("POST", "https://identity.xero.com/connect/token", data=form).prepare()
    with pytest.raises(RequestRefused) as caught:
        raise_for_token_answer(response)
    assert "opaque" not in str(caught.value)
    assert f"{field} [secret] is bad for openid1" in str(caught.value)


def test_a_redirect_is_refused() -> None:
    error = catch_error(answer(302, headers={"Location": "https://elsewhere.example"}))
    assert type(error) is RequestRefused
    assert "XERO_API_URL" in str(error)


def test_limits_and_outages_have_their_own_errors() -> None:
    day = catch_error(answer(429, headers={"X-Rate-Limit-Problem": "day", "Retry-After": "66975"}))
    assert type(day) is DayLimitReached
    assert type(catch_error(answer(429, headers={"X-Rate-Limit-Problem": "minute"}))) is MinuteLimitReached
    assert type(catch_error(answer(503))) is XeroUnavailable


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
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
def test_each_refusal_of_the_token_endpoint_has_its_own_error(
    status: int, body: object, kind: type[XeroError], text: str
) -> None:
    with pytest.raises(XeroError) as caught:
        raise_for_token_answer(answer(status, body))
    assert type(caught.value) is kind
    assert text in str(caught.value)


def test_a_successful_token_answer_raises_nothing() -> None:
    raise_for_token_answer(answer(200, {"access_token": "…"}))


def test_numbers_are_read_exactly() -> None:
    body = parse_json(answer(200, b'{"Total": 0.1, "Big": 12345678901234567890.12, "Count": 3}'), dict)
    assert body == {"Total": Decimal("0.1"), "Big": Decimal("12345678901234567890.12"), "Count": 3}
    assert not any(isinstance(value, float) for value in body.values())


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse_json(answer(200, b'\xef\xbb\xbf{"a": 1}'), dict) == {"a": 1}


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
def test_a_body_that_is_not_a_json_object_is_an_error(body: bytes) -> None:
    with pytest.raises(PayloadNotUnderstood) as caught:
        parse_json(answer(200, body), dict)
    assert "/api.xro/2.0/Invoices" in str(caught.value)
    assert "where" not in str(caught.value)


def test_nul_and_lone_surrogates_are_replaced_and_other_characters_are_kept() -> None:
    body = rb"""{"Name": "Caf\u00e9 \ud83d\ude00 cut \ud83d", "X": "\\ud83d",
        "Lines": [{"Text": "a\u0000b", "Sum": 1.10}]}"""
    assert parse_json(answer(200, body), dict) == {
        "Name": "Café 😀 cut \N{REPLACEMENT CHARACTER}",
        "Lines": [{"Text": "a\N{REPLACEMENT CHARACTER}b", "Sum": Decimal("1.10")}],
        "X": "\\ud83d",
    }


def test_a_list_is_read_where_a_list_is_expected() -> None:
    assert parse_json(answer(200, b"[]"), list) == []
    with pytest.raises(PayloadNotUnderstood, match="not a list"):
        parse_json(answer(200, b"{}"), list)


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (400, {"Message": "No such report"}, "Xero refused Invoices (400): No such report. The next sync tries again;"),
        (400, {"Message": "No such report."}, "Xero refused Invoices (400): No such report. The next sync"),
        (404, b"The resource you're looking for cannot be found", "cannot be found. Check XERO_API_URL."),
        (404, b"", "(404): no reason given. Check XERO_API_URL."),
        (400, {"Message": "very " * 10_000}, "very… The next sync"),
    ],
)
def test_a_refusal_is_a_complete_sentence_with_advice(status: int, body: object, text: str) -> None:
    error = catch_error(answer(status, body))
    assert isinstance(error, RequestRefused)
    assert text in str(error)
    assert str(error).endswith(".")
