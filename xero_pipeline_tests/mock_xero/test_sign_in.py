"""Consent, codes, tokens, refresh and revocation work as at Xero."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from xero_pipeline.mock_xero import MockOrganisation, MockXero
from xero_pipeline.mock_xero.identity.consent import Refused
from xero_pipeline.settings import GRANULAR_SCOPES
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import (
    REDIRECT_URI,
    REVOCATION_URL,
    TENANT,
    TOKEN_URL,
    VERIFIER,
    Client,
    make_authorise_url,
    read_parameters,
)
from xero_pipeline_tests.mock_xero.conftest import UNLIMITED

MINUTES = 60
DAYS = 86_400
TWO_ORGANISATIONS = (MockOrganisation(), MockOrganisation("tenant-b", "Second Company"))


@pytest.fixture
def unconnected(mock: MockXero) -> Iterator[Client]:
    """A client without any consent yet."""
    client = Client(mock)
    yield client
    client.session.close()


@pytest.fixture
def two_organisations(tmp_path: Path, clock: FakeClock) -> Iterator[Client]:
    """A client without any consent yet, of a mock with two organisations."""
    client = Client(MockXero(tmp_path / "two.db", clock, limits=UNLIMITED, organisations=TWO_ORGANISATIONS))
    yield client
    client.session.close()


def test_a_consent_redirects_with_code_and_state(mock: MockXero) -> None:
    address = mock.give_consent(make_authorise_url(redirect_uri="http://localhost:3001/back?a=b", state="x y&z"))
    assert address.startswith("http://localhost:3001/back?a=b&code=")
    assert read_parameters(address)["state"] == "x y&z"
    assert read_parameters(address)["scope"] == GRANULAR_SCOPES


def test_a_code_is_exchanged_for_tokens_that_the_api_accepts(unconnected: Client) -> None:
    response = unconnected.exchange_code(unconnected.obtain_code())
    tokens = response.json()
    assert response.status_code == 200
    assert (tokens["expires_in"], tokens["token_type"], tokens["scope"]) == (1800, "Bearer", GRANULAR_SCOPES)
    assert "id_token" not in tokens
    unconnected.tokens = tokens
    assert unconnected.get("Organisation").status_code == 200


def test_without_offline_access_there_is_no_refresh_token(unconnected: Client) -> None:
    unconnected.sign_in(scope="accounting.settings.read")
    assert "refresh_token" not in unconnected.tokens


def test_with_openid_an_id_token_names_the_user(unconnected: Client) -> None:
    unconnected.sign_in(scope=f"openid profile email {GRANULAR_SCOPES}")
    claims = unconnected.tokens["id_token"].split(".")[1]
    claims_json = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert claims_json["aud"] == "app"
    assert claims_json["email"] == "mock.user@example.com"


def test_a_code_can_be_exchanged_once(unconnected: Client) -> None:
    code = unconnected.obtain_code()
    assert unconnected.exchange_code(code).status_code == 200
    again = unconnected.exchange_code(code)
    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})


@pytest.mark.parametrize(
    "given", [{"code_verifier": "w" * 64}, {"code_verifier": ""}, {"redirect_uri": "http://localhost/other"}]
)
def test_a_code_is_bound_to_its_verifier_and_its_redirect_address(unconnected: Client, given: dict[str, str]) -> None:
    response = unconnected.exchange_code(unconnected.obtain_code(), **given)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_a_code_of_another_app_is_refused(unconnected: Client, mock: MockXero) -> None:
    other = Client(mock, credentials=("other", "secret"))
    assert other.exchange_code(unconnected.obtain_code()).json()["error"] == "invalid_grant"
    other.session.close()


@pytest.mark.parametrize(("seconds", "status"), [(5 * MINUTES, 200), (5 * MINUTES + 1, 400)])
def test_a_code_expires_after_five_minutes(unconnected: Client, clock: FakeClock, seconds: int, status: int) -> None:
    code = unconnected.obtain_code()
    clock.advance(seconds=seconds)
    assert unconnected.exchange_code(code).status_code == status


def test_an_access_token_expires_after_thirty_minutes(client: Client, clock: FakeClock) -> None:
    clock.advance(seconds=30 * MINUTES - 1)
    assert client.get("Organisation").status_code == 200
    clock.advance(seconds=1)
    response = client.get("Organisation")
    assert response.status_code == 401
    assert set(response.json()) == {"Title", "Status", "Detail", "Instance"}
    assert response.json()["Detail"] == "TokenExpired: token expired at 11/24/2026 01:30:00"


def test_a_refresh_gives_a_new_pair(client: Client, clock: FakeClock) -> None:
    clock.advance(minutes=31)
    before = client.tokens
    client.tokens = client.refresh().json()
    assert client.tokens["refresh_token"] != before["refresh_token"]
    assert client.get("Organisation").status_code == 200
    assert client.mock.counters()["refreshes"] == 1


@pytest.mark.parametrize(("seconds", "status"), [(0, 200), (30 * MINUTES, 200), (30 * MINUTES + 1, 400)])
def test_a_used_refresh_token_can_be_tried_again_for_thirty_minutes(
    client: Client, clock: FakeClock, seconds: int, status: int
) -> None:
    old = client.tokens["refresh_token"]
    first = client.refresh(old).json()
    clock.advance(seconds=seconds)
    again = client.refresh(old)
    assert again.status_code == status
    if status == 200:
        assert again.json()["refresh_token"] != first["refresh_token"]
    else:
        assert again.json() == {"error": "invalid_grant"}
    # The refresh token of either answer is valid.
    assert client.refresh(first["refresh_token"]).status_code == 200


def test_trying_again_does_not_extend_the_thirty_minutes(client: Client, clock: FakeClock) -> None:
    old = client.tokens["refresh_token"]
    assert client.refresh(old).status_code == 200
    clock.advance(minutes=20)
    assert client.refresh(old).status_code == 200
    clock.advance(minutes=20)
    assert client.refresh(old).status_code == 400


@pytest.mark.parametrize(("seconds", "status"), [(60 * DAYS - 1, 200), (60 * DAYS, 400)])
def test_a_refresh_token_expires_after_sixty_unused_days(
    client: Client, clock: FakeClock, seconds: int, status: int
) -> None:
    clock.advance(seconds=seconds)
    assert client.refresh().status_code == status


def test_refreshing_every_month_keeps_a_consent_alive_for_years(client: Client, clock: FakeClock) -> None:
    for _ in range(40):
        clock.advance(days=50)
        response = client.refresh()
        assert response.status_code == 200
        client.tokens = response.json()


def test_one_pair_gives_access_to_every_organisation_of_the_consent(two_organisations: Client) -> None:
    two_organisations.sign_in()
    for tenant, name in ((TENANT, "Mock Organisation"), ("tenant-b", "Second Company")):
        assert two_organisations.get_json("Organisation", tenant=tenant)["Organisations"][0]["Name"] == name
    rows = two_organisations.get_json("/connections", tenant=None)
    assert {row["tenantName"] for row in rows} == {"Mock Organisation", "Second Company"}
    assert set(rows[0]) == {
        "id",
        "authEventId",
        "tenantId",
        "tenantType",
        "tenantName",
        "createdDateUtc",
        "updatedDateUtc",
    }
    assert rows[0]["authEventId"] == rows[1]["authEventId"]
    assert two_organisations.get_json("/Connections", tenant=None) == rows


def test_a_consent_connects_only_the_chosen_organisations_and_a_later_one_adds_more(
    two_organisations: Client, clock: FakeClock
) -> None:
    two_organisations.sign_in([TENANT])
    assert two_organisations.get("Organisation", tenant="tenant-b").status_code == 403
    (before,) = two_organisations.get_json("/connections", tenant=None)
    clock.advance(minutes=1)
    two_organisations.sign_in(["tenant-b"])
    rows = two_organisations.get_json("/connections", tenant=None)
    assert [row["tenantId"] for row in rows] == [TENANT, "tenant-b"]
    assert rows[0]["id"] == before["id"]
    assert two_organisations.get("Organisation").status_code == 200


@pytest.mark.parametrize("tenant", [None, "", "no-such-tenant"])
def test_a_wrong_or_missing_organisation_is_403(client: Client, tenant: str | None) -> None:
    response = client.get("Organisation", tenant=tenant)
    assert response.status_code == 403
    assert response.json()["detail"] == "AuthenticationUnsuccessful"


@pytest.mark.parametrize("credential", ["", "Bearer", "Bearer nonsense", "Basic YTpi"])
def test_a_missing_or_invalid_token_is_401(client: Client, credential: str) -> None:
    response = client.get("Organisation", headers={"Authorization": credential})
    assert response.status_code == 401
    assert response.json()["Detail"] == "AuthenticationUnsuccessful"
    assert client.get("/connections", headers={"Authorization": credential}).status_code == 401


@pytest.mark.parametrize(
    ("scope", "path", "status"),
    [
        ("accounting.settings.read", "Accounts", 200),
        ("accounting.settings.read", "Invoices?page=1&where=Date>DateTime(2026,11,20)", 401),
        ("accounting.transactions.read", "Invoices?page=1&where=Date>DateTime(2026,11,20)", 200),
        ("accounting.invoices.read", "CreditNotes?page=1&where=Date>DateTime(2026,11,20)", 200),
        ("accounting.invoices.read", "Accounts", 401),
        ("accounting.reports.read", "Reports/BankSummary", 200),
        ("accounting.reports.banksummary.read", "Reports/ProfitAndLoss", 401),
    ],
)
def test_a_missing_scope_is_401_also_after_a_refresh(unconnected: Client, scope: str, path: str, status: int) -> None:
    unconnected.sign_in(scope=f"offline_access {scope}")
    for _ in range(2):
        response = unconnected.get(path)
        assert response.status_code == status
        if status == 401:
            assert response.json()["Detail"] == "AuthorizationUnsuccessful"
            assert "insufficient_scope" in response.headers["WWW-Authenticate"]
        unconnected.tokens = unconnected.refresh().json()


def test_disconnecting_an_organisation_leaves_the_other_connected(two_organisations: Client) -> None:
    two_organisations.sign_in()
    first, second = two_organisations.get_json("/connections", tenant=None)
    assert two_organisations.get(f"/connections/{first['tenantId']}", method="DELETE").status_code == 404
    assert two_organisations.get(f"/connections/{first['id']}", method="DELETE").status_code == 204
    assert two_organisations.get(f"/connections/{first['id']}", method="DELETE").status_code == 404
    assert two_organisations.get_json("/connections", tenant=None) == [second]
    assert two_organisations.get("Organisation", tenant=first["tenantId"]).status_code == 403
    assert two_organisations.get("Organisation", tenant=second["tenantId"]).status_code == 200


def test_a_disconnect_in_xero_leaves_the_tokens_valid_and_no_connection(client: Client) -> None:
    client.mock.disconnect(TENANT)
    assert client.get("Organisation").status_code == 403
    response = client.get("/connections")
    assert (response.status_code, response.json()) == (200, [])
    assert client.refresh().status_code == 200


def test_revocation_ends_every_connection_and_the_refresh_token(two_organisations: Client) -> None:
    two_organisations.sign_in()
    response = two_organisations.session.post(
        REVOCATION_URL,
        data={"token": two_organisations.tokens["refresh_token"]},
        auth=two_organisations.credentials,
        timeout=5,
    )
    assert (response.status_code, response.content) == (200, b"")
    assert two_organisations.get_json("/connections", tenant=None) == []
    assert two_organisations.refresh().json() == {"error": "invalid_grant"}


def test_revoking_an_unknown_token_is_no_error_and_revokes_nothing(client: Client) -> None:
    response = client.session.post(REVOCATION_URL, data={"token": "unknown"}, auth=client.credentials, timeout=5)
    assert response.status_code == 200
    assert client.get("Organisation").status_code == 200


def test_access_tokens_can_be_expired_and_all_tokens_revoked(client: Client) -> None:
    client.mock.expire_access_tokens()
    assert client.get("Organisation").json()["Detail"].startswith("TokenExpired")
    client.tokens = client.refresh().json()
    assert client.get("Organisation").status_code == 200
    client.mock.revoke_all()
    assert client.get("Organisation").status_code == 401
    assert client.refresh().status_code == 400


def test_a_custom_connection_needs_no_consent_and_has_no_refresh_token(unconnected: Client) -> None:
    unconnected.tokens = unconnected.request_token(
        grant_type="client_credentials", scope="accounting.settings.read"
    ).json()
    assert "refresh_token" not in unconnected.tokens
    assert unconnected.get("Organisation", tenant=None).status_code == 200
    assert unconnected.get("Organisation").status_code == 200
    assert [row["tenantId"] for row in unconnected.get_json("/connections", tenant=None)] == [TENANT]
    assert unconnected.get("Invoices").status_code == 401


@pytest.mark.parametrize("scope", ["offline_access accounting.settings.read", "accounting.nonsense"])
def test_a_custom_connection_cannot_request_a_users_scopes(unconnected: Client, scope: str) -> None:
    response = unconnected.request_token(grant_type="client_credentials", scope=scope)
    assert (response.status_code, response.json()) == (400, {"error": "invalid_scope"})


@pytest.mark.parametrize(
    ("body", "error"),
    [({"grant_type": "password"}, "unsupported_grant_type"), ({}, "invalid_request")],
)
def test_an_unknown_grant_type_is_refused(unconnected: Client, body: dict[str, str], error: str) -> None:
    assert unconnected.request_token(**body).json() == {"error": error}


class TestOneAppOnly:
    """A mock with a configured client accepts no other."""

    @pytest.fixture
    def strict(self, tmp_path: Path, clock: FakeClock) -> MockXero:
        return MockXero(tmp_path / "strict.db", clock, limits=UNLIMITED, client=("app", "s3cret!"))

    @pytest.mark.parametrize(
        ("client", "status"), [(("app", "s3cret!"), 200), (("app", "wrong"), 401), (("app", ""), 401)]
    )
    def test_the_secret_is_checked(self, strict: MockXero, client: tuple[str, str], status: int) -> None:
        program = Client(strict, credentials=client)
        response = program.exchange_code(program.obtain_code())
        assert response.status_code == status
        if status == 401:
            assert response.json() == {"error": "invalid_client"}
        revoked = program.session.post(REVOCATION_URL, data={"token": "x"}, auth=client, timeout=5)
        assert revoked.status_code == status
        program.session.close()

    def test_the_client_may_send_its_secret_in_the_body(self, strict: MockXero) -> None:
        program = Client(strict, credentials=("app", "s3cret!"))
        body = {
            "grant_type": "authorization_code",
            "code": program.obtain_code(),
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
            "client_id": "app",
            "client_secret": "s3cret!",
        }
        assert program.session.post(TOKEN_URL, data=body, timeout=5).status_code == 200
        program.session.close()

    @pytest.mark.parametrize("header", ["Basic !!", "Basic", "Basic YXBw", "Bearer x"])
    def test_a_client_without_valid_credentials_is_refused(self, strict: MockXero, header: str) -> None:
        program = Client(strict)
        response = program.session.post(
            TOKEN_URL, data={"grant_type": "client_credentials"}, headers={"Authorization": header}, timeout=5
        )
        assert response.status_code == 401
        program.session.close()

    def test_another_app_is_shown_an_error_page(self, strict: MockXero) -> None:
        with pytest.raises(Refused, match="Unknown client"):
            strict.give_consent(make_authorise_url(client_id="other"))

    def test_a_missing_client_id_is_refused(self, mock: MockXero) -> None:
        with pytest.raises(Refused, match="Unknown client"):
            mock.give_consent(make_authorise_url(client_id=None))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scope": "accounting.settings.read accounting.everything"}, "unauthorized_client: Invalid scope for client"),
        ({"scope": ""}, "unauthorized_client: Invalid scope for client"),
        ({"redirect_uri": "/callback"}, "Invalid redirect_uri"),
        ({"redirect_uri": "javascript:alert(1)"}, "Invalid redirect_uri"),
        ({"redirect_uri": None}, "Invalid redirect_uri"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "Transform algorithm not supported"),
        ({"code_challenge": "short"}, "Transform algorithm not supported"),
    ],
)
def test_an_invalid_consent_request_is_refused(mock: MockXero, given: dict[str, str | None], message: str) -> None:
    with pytest.raises(Refused, match=message):
        mock.give_consent(make_authorise_url(**given))
    assert "codes_exchanged" not in mock.counters()


def test_an_app_can_be_limited_to_some_scopes(tmp_path: Path, clock: FakeClock) -> None:
    scopes = frozenset({"offline_access", "accounting.settings.read"})
    mock = MockXero(tmp_path / "few.db", clock, scopes=scopes)
    with pytest.raises(Refused, match="Invalid scope"):
        mock.give_consent(make_authorise_url())
    assert mock.give_consent(make_authorise_url(scope="accounting.settings.read"))


def test_an_authorise_url_may_have_another_host_and_a_prefix(mock: MockXero) -> None:
    url = make_authorise_url().replace("https://login.xero.com", "http://localhost:3001/mock-xero")
    assert read_parameters(mock.give_consent(url))["code"]


def test_a_consent_for_no_or_an_unknown_organisation_is_an_error(mock: MockXero) -> None:
    for chosen in ([], ["no-such-tenant"]):
        with pytest.raises(ValueError, match="no such organisation"):
            mock.give_consent(make_authorise_url(), organisations=chosen)


def test_the_state_file_holds_no_usable_token_or_code(tmp_path: Path, clock: FakeClock) -> None:
    state = tmp_path / "mock.db"
    client = Client(MockXero(state, clock, limits=UNLIMITED))
    code = client.obtain_code(scope=f"openid {GRANULAR_SCOPES}")
    client.tokens = client.exchange_code(code).json()
    fresh = client.refresh().json()
    client.get("Organisation")
    with sqlite3.connect(state) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"GET" in content
    for secret in (code, client.credentials[1] + VERIFIER, *_list_secrets(client.tokens), *_list_secrets(fresh)):
        assert secret.encode() not in content
    assert b"eyJ" not in content
    client.session.close()


def _list_secrets(tokens: dict[str, str]) -> Iterator[str]:
    for name in ("access_token", "refresh_token", "id_token"):
        if name in tokens:
            yield tokens[name]


def test_the_request_log_holds_no_secret(client: Client) -> None:
    client.refresh()
    client.session.get(make_authorise_url(), timeout=5)
    log = client.mock.request_log()
    assert [row["path"] for row in log] == [
        "/connect/token",
        "/connect/token",
        urlsplit(make_authorise_url()).path,
    ]
    logged_text = repr(log)
    assert client.tokens["refresh_token"] not in logged_text
    assert "st4te" not in logged_text
