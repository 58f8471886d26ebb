"""The callback from Xero's consent: each failure has a message of its own and changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from xero_pipeline.admin.callback_reasons import REASONS
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.settings import GRANULAR_SCOPES
from xero_pipeline.xero.errors import ConsentProblem
from xero_pipeline_tests.admin.deployed import API, Page, point_settings_at, serve_page
from xero_pipeline_tests.plain_xero import PlainXero
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest

TOKENS = {
    "access_token": "access-token-from-xero",
    "refresh_token": "refresh-token-from-xero",
    "expires_in": 1800,
    "token_type": "Bearer",
    "scope": GRANULAR_SCOPES,
}
TWO = [
    {"id": "c-1", "tenantId": "t-1", "tenantName": "Alpha", "tenantType": "ORGANISATION"},
    {"id": "c-2", "tenantId": "t-2", "tenantName": "Beta", "tenantType": "ORGANISATION"},
]


@contextmanager
def serve_with_xero(
    tmp_path: Path, template: Path, routes: dict[str, Any], **overrides: Any
) -> Iterator[tuple[Page, ScriptedServer]]:
    """Serve the page with a server in Xero's place that answers the sign-in as given."""
    plain = PlainXero(**{"token": TOKENS, "connections": TWO} | routes)
    with (
        ScriptedServer(plain) as xero,
        serve_page(tmp_path, template=template, **point_settings_at(xero.url) | overrides) as page,
    ):
        yield page, xero


def begin_consent(client: httpx.Client) -> dict[str, str]:
    """Click Connect, and return the query of the consent page."""
    answer = client.get(f"{API}/connect")
    assert answer.status_code == 302
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def finish_consent(client: httpx.Client, **query: str) -> httpx.Response:
    return client.get(f"{API}/callback", params=query)


def read_reason(answer: httpx.Response) -> str:
    """Return the reason that the browser is redirected with."""
    assert answer.status_code == 302
    parts = urlsplit(answer.headers["location"])
    query = parse_qs(parts.query)
    assert (parts.path, query["xero"]) == ("/", ["error"])
    return query["reason"][0]


def is_unchanged(page: Page) -> bool:
    return page.deployment.warehouse.tokens.list_organisations() == []


def test_a_consent_connects_all_its_organisations(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, {}) as (page, xero):
        query = begin_consent(page.client)
        back = finish_consent(page.client, state=query["state"], code="a-code")
        assert (back.status_code, back.headers["location"]) == (302, "/?xero=connected")
        organisations = page.deployment.warehouse.tokens.list_organisations()
        assert [organisation.tenant_name for organisation in organisations] == ["Alpha", "Beta"]
        assert len({organisation.grant_id for organisation in organisations}) == 1
        exchange = next(request for request in xero.requests if request.path == "/connect/token").form
        assert exchange["grant_type"] == "authorization_code"
        assert exchange["redirect_uri"] == query["redirect_uri"] == f"{page.url}/api/v1/xero/callback"
        assert query["code_challenge_method"] == "S256"
        assert len(exchange["code_verifier"]) >= 43
        status = page.api("/status").json()
        assert status["connected"] is True
        assert status["tenantName"] == "Alpha, Beta"


def test_a_new_consent_replaces_the_tokens_and_keeps_the_time_of_the_last_sync(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, {}) as (page, _):
        page.connect(("t-1", "Alpha"))
        tokens = page.deployment.warehouse.tokens
        tokens.touch_synced("t-1", page.clock.now())
        tokens.set_status("t-1", ConnectionStatus.RECONNECT_NEEDED)
        finish_consent(page.client, state=begin_consent(page.client)["state"], code="a-code")
        alpha = tokens.get_organisation("t-1")
        assert alpha.status is ConnectionStatus.CONNECTED
        assert alpha.last_sync_at == page.clock.now()
        assert tokens.load_tokens("t-1").access_token == TOKENS["access_token"]


def test_the_code_and_the_state_are_neither_cached_nor_sent_as_a_referrer(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, {}) as (page, _):
        back = finish_consent(page.client, state=begin_consent(page.client)["state"], code="a-code")
        assert back.headers["referrer-policy"] == "no-referrer"
        assert back.headers["cache-control"] == "no-store"


def test_a_callback_without_a_state_is_refused(page: Page) -> None:
    assert read_reason(finish_consent(page.client, code="a-code")) == "state_missing"
    assert is_unchanged(page)


def test_a_state_that_was_not_issued_here_is_refused(page: Page) -> None:
    assert read_reason(finish_consent(page.client, state="made-up", code="a-code")) == "state_unknown"


def test_a_used_state_is_refused(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, {}) as (page, xero):
        state = begin_consent(page.client)["state"]
        browser = page.client.cookies["xero_pipeline_browser"]
        finish_consent(page.client, state=state, code="a-code")
        with page.browser() as again:
            # The first callback deletes the cookie, but a copy of it may exist.
            again.cookies.set("xero_pipeline_browser", browser)
            assert read_reason(finish_consent(again, state=state, code="a-code")) == "state_used"
        assert len([request for request in xero.requests if request.path == "/connect/token"]) == 1


def test_an_expired_state_is_refused(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, {}) as (page, xero):
        state = begin_consent(page.client)["state"]
        page.clock.advance(minutes=10)
        assert read_reason(finish_consent(page.client, state=state, code="a-code")) == "state_expired"
        assert is_unchanged(page)
        assert xero.requests == []


def test_the_state_of_another_browser_is_refused(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, {}) as (page, xero), page.browser() as victim:
        state = begin_consent(page.client)["state"]
        assert read_reason(finish_consent(victim, state=state, code="a-code")) == "other_browser"
        begin_consent(victim)
        assert read_reason(finish_consent(victim, state=state, code="a-code")) == "other_browser"
        assert is_unchanged(page)
        assert xero.requests == []
        # The browser that began the consent can still finish it.
        assert finish_consent(page.client, state=state, code="a-code").headers["location"] == "/?xero=connected"


@pytest.mark.parametrize(
    ("error", "description", "reason"),
    [
        ("access_denied", "", "access_denied"),
        ("invalid_scope", "", "scope_refused"),
        ("unauthorized_client", "Invalid scope for client", "scope_refused"),
        ("server_error", "<script>alert(1)</script>", "consent_refused"),
    ],
)
def test_a_refused_consent_is_reported_and_changes_nothing(
    tmp_path: Path, migrated: Path, error: str, description: str, reason: str
) -> None:
    with serve_with_xero(tmp_path, migrated, {}) as (page, xero):
        state = begin_consent(page.client)["state"]
        back = finish_consent(page.client, state=state, error=error, error_description=description)
        assert read_reason(back) == reason
        assert is_unchanged(page)
        assert xero.requests == []
        assert "script" not in back.headers["location"]


def test_a_callback_without_a_code_is_refused(page: Page) -> None:
    assert read_reason(finish_consent(page.client, state=begin_consent(page.client)["state"])) == "code_missing"


def build_oauth_error(status: int, error: str) -> Answer:
    return Answer(status, json={"error": error})


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        ({"token": build_oauth_error(400, "invalid_grant")}, "code_refused"),
        ({"token": build_oauth_error(401, "invalid_client")}, "app_refused"),
        ({"token": build_oauth_error(400, "unauthorized_client")}, "app_refused"),
        ({"token": build_oauth_error(400, "invalid_scope")}, "app_refused"),
        ({"token": Answer(200, body="<html>")}, "xero_unavailable"),
        ({"token": {"access_token": ""}}, "payload_not_understood"),
        ({"token": TOKENS | {"scope": "offline_access accounting.settings.read"}}, "scope_missing"),
        ({"token": {name: value for name, value in TOKENS.items() if name != "refresh_token"}}, "scope_missing"),
        ({"connections": []}, "no_organisation"),
        ({"connections": [TWO[0] | {"tenantType": "PRACTICE"}]}, "no_organisation"),
        ({"connections": {"not": "a list"}}, "xero_unavailable"),
        ({"connections": [{"tenantId": "a row without its id"}]}, "payload_not_understood"),
        ({"connections": build_oauth_error(403, "forbidden")}, "permission_missing"),
        ({"token": Answer(500, body="oh")}, "xero_unavailable"),
    ],
)
def test_a_refusal_by_xero_changes_nothing(tmp_path: Path, migrated: Path, routes: dict[str, Any], reason: str) -> None:
    with serve_with_xero(tmp_path, migrated, routes) as (page, _):
        page.connect(("t-9", "Already there"), grant="old")
        assert (
            read_reason(finish_consent(page.client, state=begin_consent(page.client)["state"], code="a-code")) == reason
        )
        organisations = page.deployment.warehouse.tokens.list_organisations()
        assert [organisation.tenant_id for organisation in organisations] == ["t-9"]
        assert page.deployment.warehouse.tokens.load_tokens("t-9").refresh_token == "refresh-old"


def test_every_reason_has_a_sentence_on_the_page_and_in_the_log(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    assert set(map(str, ConsentProblem)) <= set(REASONS)
    assert len(set(REASONS.values())) >= len(REASONS) - 1  # both short limits say the same
    for reason, sentence in REASONS.items():
        shown = page.get("/", params={"xero": "error", "reason": reason}).text
        assert sentence in shown, reason
    with caplog.at_level(logging.WARNING):
        finish_consent(page.client, code="a-code")
    assert "state_missing" in caplog.text
    assert REASONS["state_missing"] in caplog.text


def test_an_invented_reason_is_not_shown(page: Page) -> None:
    shown = page.get("/", params={"xero": "error", "reason": "<b>call 0900</b>"}).text
    assert "0900" not in shown
    assert "could not be made" in shown


def test_no_secret_of_a_sign_in_reaches_the_log(
    tmp_path: Path, migrated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), serve_with_xero(tmp_path, migrated, {}) as (page, _):
        state = begin_consent(page.client)["state"]
        finish_consent(page.client, state=state, code="the-code-itself")
        finish_consent(page.client, state=state, code="the-code-itself")
    our_log = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    for secret in ("the-code-itself", state, TOKENS["access_token"], TOKENS["refresh_token"], "client-secret-of"):
        assert secret not in our_log


def test_a_custom_connection_connects_at_once(tmp_path: Path, migrated: Path) -> None:
    tokens = {name: value for name, value in TOKENS.items() if name not in ("refresh_token", "scope")}
    routes = {"token": tokens, "connections": TWO[:1]}
    with serve_with_xero(tmp_path, migrated, routes, XERO_GRANT="client_credentials") as (page, xero):
        answer = page.api("/connect")
        assert (answer.status_code, answer.headers["location"]) == (302, "/?xero=connected")
        form = next(request for request in xero.requests if request.path == "/connect/token").form
        assert form["grant_type"] == "client_credentials"
        assert page.api("/connect", headers={"Accept": "application/json"}).json() == {"url": "/?xero=connected"}


def test_another_site_cannot_start_a_custom_connection(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, {}, XERO_GRANT="client_credentials") as (page, xero):
        answer = page.api("/connect", headers={"Sec-Fetch-Site": "cross-site"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_refused")
        assert xero.requests == []


def test_a_custom_connection_with_wrong_credentials_is_reported(tmp_path: Path, migrated: Path) -> None:
    routes = {"token": build_oauth_error(401, "invalid_client")}
    with serve_with_xero(tmp_path, migrated, routes, XERO_GRANT="client_credentials") as (page, _):
        assert read_reason(page.api("/connect")) == "app_refused"
        answer = page.api("/connect", headers={"Accept": "application/json"})
        assert answer.status_code == 502
        assert "XERO_CLIENT_SECRET" in answer.json()["error"]["message"]


def test_connect_answers_the_address_as_json_on_request(page: Page) -> None:
    answer = page.api("/connect", headers={"Accept": "application/json"})
    assert list(answer.json()) == ["url"]
    assert answer.json()["url"].startswith("https://login.xero.com/identity/connect/authorize?")


def test_no_script_can_read_the_cookie_that_binds_a_consent(page: Page) -> None:
    set_cookie = page.api("/connect").headers["set-cookie"]
    assert "HttpOnly" in set_cookie
    assert "SameSite=lax" in set_cookie
    first = page.client.cookies["xero_pipeline_browser"]
    page.api("/connect")
    assert page.client.cookies["xero_pipeline_browser"] == first, "two tabs of one browser both can finish"


def drop_connection(_request: SeenRequest) -> Answer:
    return Answer(drop=True)


def test_a_xero_that_does_not_answer_is_reported_and_changes_nothing(tmp_path: Path, migrated: Path) -> None:
    with serve_with_xero(tmp_path, migrated, {"token": drop_connection}) as (page, _):
        assert (
            read_reason(finish_consent(page.client, state=begin_consent(page.client)["state"], code="c"))
            == "xero_unavailable"
        )
        assert is_unchanged(page)
