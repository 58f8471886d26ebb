"""The way back from Xero's consent: each way in which it can go wrong has its own words and changes nothing."""

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
from xero_pipeline_tests.admin.deployed import API, Page, at_xero, deployed
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
def consenting(
    tmp_path: Path, template: Path, routes: dict[str, Any], **overrides: Any
) -> Iterator[tuple[Page, ScriptedServer]]:
    """The page, and a server in Xero's place whose sign-in answers as given."""
    plain = PlainXero(**{"token": TOKENS, "connections": TWO} | routes)
    with ScriptedServer(plain) as xero, deployed(tmp_path, template=template, **at_xero(xero.url) | overrides) as page:
        yield page, xero


def begin(client: httpx.Client) -> dict[str, str]:
    """Click Connect; answers what the consent page is asked."""
    answer = client.get(f"{API}/connect")
    assert answer.status_code == 302
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def come_back(client: httpx.Client, **query: str) -> httpx.Response:
    return client.get(f"{API}/callback", params=query)


def reason_of(answer: httpx.Response) -> str:
    """The reason that the browser is sent back with."""
    assert answer.status_code == 302
    parts = urlsplit(answer.headers["location"])
    query = parse_qs(parts.query)
    assert (parts.path, query["xero"]) == ("/", ["error"])
    return query["reason"][0]


def untouched(page: Page) -> bool:
    return page.deployment.warehouse.tokens.organisations() == []


def test_a_consent_connects_every_organisation_of_it(tmp_path: Path, migrated: Path) -> None:
    with consenting(tmp_path, migrated, {}) as (page, xero):
        asked = begin(page.client)
        back = come_back(page.client, state=asked["state"], code="a-code")
        assert (back.status_code, back.headers["location"]) == (302, "/?xero=connected")
        kept = page.deployment.warehouse.tokens.organisations()
        assert [one.tenant_name for one in kept] == ["Alpha", "Beta"]
        assert len({one.grant_id for one in kept}) == 1
        exchange = next(request for request in xero.requests if request.path == "/connect/token").form
        assert exchange["grant_type"] == "authorization_code"
        assert exchange["redirect_uri"] == asked["redirect_uri"] == f"{page.url}/api/v1/xero/callback"
        assert asked["code_challenge_method"] == "S256"
        assert len(exchange["code_verifier"]) >= 43
        status = page.api("/status").json()
        assert status["connected"] is True
        assert status["tenantName"] == "Alpha, Beta"


def test_a_new_consent_replaces_the_tokens_and_keeps_when_it_was_synced(tmp_path: Path, migrated: Path) -> None:
    with consenting(tmp_path, migrated, {}) as (page, _):
        page.connect(("t-1", "Alpha"))
        tokens = page.deployment.warehouse.tokens
        tokens.touch_synced("t-1", page.clock.now())
        tokens.set_status("t-1", ConnectionStatus.RECONNECT_NEEDED)
        come_back(page.client, state=begin(page.client)["state"], code="a-code")
        alpha = tokens.organisation("t-1")
        assert alpha.status is ConnectionStatus.CONNECTED
        assert alpha.last_sync_at == page.clock.now()
        assert tokens.tokens("t-1").access_token == TOKENS["access_token"]


def test_the_consents_answer_keeps_its_code_and_state_to_itself(tmp_path: Path, migrated: Path) -> None:
    with consenting(tmp_path, migrated, {}) as (page, _):
        back = come_back(page.client, state=begin(page.client)["state"], code="a-code")
        assert back.headers["referrer-policy"] == "no-referrer"
        assert back.headers["cache-control"] == "no-store"


def test_no_state(page: Page) -> None:
    assert reason_of(come_back(page.client, code="a-code")) == "state_missing"
    assert untouched(page)


def test_a_state_that_was_never_given(page: Page) -> None:
    assert reason_of(come_back(page.client, state="made-up", code="a-code")) == "state_unknown"


def test_a_state_that_was_used(tmp_path: Path, migrated: Path) -> None:
    with consenting(tmp_path, migrated, {}) as (page, xero):
        state = begin(page.client)["state"]
        browser = page.client.cookies["xero_pipeline_browser"]
        come_back(page.client, state=state, code="a-code")
        with page.browser() as again:
            # The cookie is gone after the first; somebody may have kept it.
            again.cookies.set("xero_pipeline_browser", browser)
            assert reason_of(come_back(again, state=state, code="a-code")) == "state_used"
        assert len([request for request in xero.requests if request.path == "/connect/token"]) == 1


def test_a_state_that_has_expired(tmp_path: Path, migrated: Path) -> None:
    with consenting(tmp_path, migrated, {}) as (page, xero):
        state = begin(page.client)["state"]
        page.clock.advance(minutes=10)
        assert reason_of(come_back(page.client, state=state, code="a-code")) == "state_expired"
        assert untouched(page)
        assert xero.requests == []


def test_another_browsers_state(tmp_path: Path, migrated: Path) -> None:
    with consenting(tmp_path, migrated, {}) as (page, xero), page.browser() as victim:
        state = begin(page.client)["state"]
        assert reason_of(come_back(victim, state=state, code="a-code")) == "other_browser"
        begin(victim)
        assert reason_of(come_back(victim, state=state, code="a-code")) == "other_browser"
        assert untouched(page)
        assert xero.requests == []
        # ... and the one who began may still finish.
        assert come_back(page.client, state=state, code="a-code").headers["location"] == "/?xero=connected"


@pytest.mark.parametrize(
    ("error", "description", "reason"),
    [
        ("access_denied", "", "access_denied"),
        ("invalid_scope", "", "scope_refused"),
        ("unauthorized_client", "Invalid scope for client", "scope_refused"),
        ("server_error", "<script>alert(1)</script>", "consent_refused"),
    ],
)
def test_a_consent_that_was_not_given(
    tmp_path: Path, migrated: Path, error: str, description: str, reason: str
) -> None:
    with consenting(tmp_path, migrated, {}) as (page, xero):
        state = begin(page.client)["state"]
        back = come_back(page.client, state=state, error=error, error_description=description)
        assert reason_of(back) == reason
        assert untouched(page)
        assert xero.requests == []
        assert "script" not in back.headers["location"]


def test_no_code(page: Page) -> None:
    assert reason_of(come_back(page.client, state=begin(page.client)["state"])) == "code_missing"


def refused(status: int, error: str) -> Answer:
    return Answer(status, json={"error": error})


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        ({"token": refused(400, "invalid_grant")}, "code_refused"),
        ({"token": refused(401, "invalid_client")}, "app_refused"),
        ({"token": refused(400, "unauthorized_client")}, "app_refused"),
        ({"token": refused(400, "invalid_scope")}, "app_refused"),
        ({"token": Answer(200, body="<html>")}, "payload_not_understood"),
        ({"token": TOKENS | {"scope": "offline_access accounting.settings.read"}}, "scope_missing"),
        ({"token": {name: value for name, value in TOKENS.items() if name != "refresh_token"}}, "scope_missing"),
        ({"connections": []}, "no_organisation"),
        ({"connections": [TWO[0] | {"tenantType": "PRACTICE"}]}, "no_organisation"),
        ({"connections": {"not": "a list"}}, "payload_not_understood"),
        ({"connections": refused(403, "forbidden")}, "permission_missing"),
        ({"token": Answer(500, body="oh")}, "xero_unavailable"),
    ],
)
def test_what_xero_says_no_to_changes_nothing(
    tmp_path: Path, migrated: Path, routes: dict[str, Any], reason: str
) -> None:
    with consenting(tmp_path, migrated, routes) as (page, _):
        page.connect(("t-9", "Already there"), grant="old")
        assert reason_of(come_back(page.client, state=begin(page.client)["state"], code="a-code")) == reason
        kept = page.deployment.warehouse.tokens.organisations()
        assert [one.tenant_id for one in kept] == ["t-9"]
        assert page.deployment.warehouse.tokens.tokens("t-9").refresh_token == "refresh-old"


def test_every_reason_has_words_of_its_own_on_the_page_and_in_the_log(
    page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    assert set(map(str, ConsentProblem)) <= set(REASONS)
    assert len(set(REASONS.values())) >= len(REASONS) - 1  # both short limits say the same
    for reason, words in REASONS.items():
        shown = page.get("/", params={"xero": "error", "reason": reason}).text
        assert words in shown, reason
    with caplog.at_level(logging.WARNING):
        come_back(page.client, code="a-code")
    assert "state_missing" in caplog.text
    assert REASONS["state_missing"] in caplog.text


def test_a_reason_that_somebody_made_up_is_not_repeated(page: Page) -> None:
    shown = page.get("/", params={"xero": "error", "reason": "<b>call 0900</b>"}).text
    assert "0900" not in shown
    assert "could not be made" in shown


def test_no_secret_of_a_sign_in_reaches_the_log(
    tmp_path: Path, migrated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), consenting(tmp_path, migrated, {}) as (page, _):
        state = begin(page.client)["state"]
        come_back(page.client, state=state, code="the-code-itself")
        come_back(page.client, state=state, code="the-code-itself")
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    for secret in ("the-code-itself", state, TOKENS["access_token"], TOKENS["refresh_token"], "client-secret-of"):
        assert secret not in ours


def test_a_custom_connection_connects_at_once(tmp_path: Path, migrated: Path) -> None:
    tokens = {name: value for name, value in TOKENS.items() if name not in ("refresh_token", "scope")}
    routes = {"token": tokens, "connections": TWO[:1]}
    with consenting(tmp_path, migrated, routes, XERO_GRANT="client_credentials") as (page, xero):
        answer = page.api("/connect")
        assert (answer.status_code, answer.headers["location"]) == (302, "/?xero=connected")
        form = next(request for request in xero.requests if request.path == "/connect/token").form
        assert form["grant_type"] == "client_credentials"
        assert page.api("/connect", headers={"Accept": "application/json"}).json() == {"url": "/?xero=connected"}


def test_another_site_cannot_make_a_custom_connection(tmp_path: Path, migrated: Path) -> None:
    with consenting(tmp_path, migrated, {}, XERO_GRANT="client_credentials") as (page, xero):
        answer = page.api("/connect", headers={"Sec-Fetch-Site": "cross-site"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_refused")
        assert xero.requests == []


def test_a_custom_connection_with_wrong_credentials_says_so(tmp_path: Path, migrated: Path) -> None:
    routes = {"token": refused(401, "invalid_client")}
    with consenting(tmp_path, migrated, routes, XERO_GRANT="client_credentials") as (page, _):
        assert reason_of(page.api("/connect")) == "app_refused"
        answer = page.api("/connect", headers={"Accept": "application/json"})
        assert answer.status_code == 502
        assert "XERO_CLIENT_SECRET" in answer.json()["error"]["message"]


def test_connect_gives_the_address_as_json_to_whoever_asks_for_it(page: Page) -> None:
    answer = page.api("/connect", headers={"Accept": "application/json"})
    assert list(answer.json()) == ["url"]
    assert answer.json()["url"].startswith("https://login.xero.com/identity/connect/authorize?")


def test_the_cookie_that_binds_a_consent_is_out_of_every_scripts_reach(page: Page) -> None:
    said = page.api("/connect").headers["set-cookie"]
    assert "HttpOnly" in said
    assert "SameSite=lax" in said
    first = page.client.cookies["xero_pipeline_browser"]
    page.api("/connect")
    assert page.client.cookies["xero_pipeline_browser"] == first, "two tabs of one browser both can finish"


def dropped(_request: SeenRequest) -> Answer:
    return Answer(drop=True)


def test_a_xero_that_does_not_answer_is_said_and_nothing_changed(tmp_path: Path, migrated: Path) -> None:
    with consenting(tmp_path, migrated, {"token": dropped}) as (page, _):
        assert reason_of(come_back(page.client, state=begin(page.client)["state"], code="c")) == "xero_unavailable"
        assert untouched(page)
