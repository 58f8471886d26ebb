"""The page with the mock Xero: it serves the mock's consent page itself, and nothing leaves the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.mock_xero import MockOrganisation, MockXero
from xero_pipeline.mock_xero.server import create_mock_app
from xero_pipeline_tests.admin.deployed import API, Page, open_client, point_settings_at, serve_page
from xero_pipeline_tests.admin.serving import serve_app
from xero_pipeline_tests.conftest import FakeClock

MOCK = {"XERO_MOCK_MODE": "true", "XERO_CLIENT_ID": "", "XERO_CLIENT_SECRET": ""}
TOKEN = "the-admin-token-7c1f"


@pytest.fixture
def mocked(tmp_path: Path, migrated: Path) -> Iterator[Page]:
    with serve_page(tmp_path, template=migrated, **MOCK) as page:
        yield page


def give_consent(client: httpx.Client, decision: str, origin: str, **chosen: str) -> httpx.Response:
    """Open the consent page as a browser does, press a button, and return the response of the callback."""
    address = client.get(f"{API}/connect").headers["location"]
    shown = client.get(address)
    assert shown.status_code == 200
    assert "Mock Organisation" in shown.text
    boxes = re.findall(r'name="organisation" value="([^"]+)" checked', shown.text)
    form = {"organisation": boxes, "decision": decision} | chosen
    decided = client.post(address, data=form, headers={"Origin": origin, "Sec-Fetch-Site": "same-origin"})
    assert decided.status_code == 303
    back = decided.headers["location"]
    assert urlsplit(back).path == f"{API}/callback"
    return client.get(back)


def test_a_person_connects_the_mock_through_its_consent_page(mocked: Page) -> None:
    assert mocked.api("/connect").headers["location"].startswith(f"{mocked.url}/mock-xero/identity/connect/authorize?")
    assert give_consent(mocked.client, "allow", mocked.url).headers["location"] == "/?xero=connected"
    status = mocked.api("/status").json()
    assert (status["connected"], status["mockMode"], status["tenantName"]) == (True, True, "Mock Organisation")
    assert status["organisations"][0]["tenantId"] == "mock-tenant-001"
    assert mocked.post(f"{API}/disconnect").json() == {"success": True}
    assert mocked.api("/status").json()["connected"] is False
    assert give_consent(mocked.client, "allow", mocked.url).headers["location"] == "/?xero=connected"


def test_cancelling_the_consent_is_reported_and_changes_nothing(mocked: Page) -> None:
    back = give_consent(mocked.client, "cancel", mocked.url)
    assert back.headers["location"] == "/?xero=error&reason=access_denied"
    assert mocked.api("/status").json()["connected"] is False


def test_the_consent_page_works_under_its_own_policy(mocked: Page) -> None:
    headers = mocked.get(mocked.api("/connect").headers["location"]).headers
    policy = headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "frame-ancestors 'none'" in policy
    assert mocked.url in policy, "its form leads back to the callback"
    # A page without a referrer sends `Origin: null` with its form, which counts as another site.
    assert headers["referrer-policy"] == "same-origin"


def test_another_site_cannot_give_the_consent(mocked: Page) -> None:
    address = mocked.api("/connect").headers["location"]
    for origin in ("https://evil.example", "null"):
        answer = mocked.client.post(address, data={"decision": "allow"}, headers={"Origin": origin})
        assert answer.status_code == 403


def test_the_mocks_consent_needs_the_same_sign_in(tmp_path: Path, migrated: Path) -> None:
    with serve_page(tmp_path, template=migrated, ADMIN_TOKEN=TOKEN, **MOCK) as page:
        path = "/mock-xero/identity/connect/authorize"
        assert page.get(path).status_code == 401
        assert page.post(path).status_code == 401
        assert page.api("/connect").status_code == 401
        page.post("/login", data={"token": TOKEN})
        assert give_consent(page.client, "allow", page.url).headers["location"] == "/?xero=connected"


def test_the_mocks_commands_are_not_reached_through_the_page(mocked: Page) -> None:
    for method in ("GET", "POST"):
        assert mocked.client.request(method, "/mock-mock_xero/reset").status_code in (403, 404)


def test_a_real_apps_page_has_no_mock(page: Page) -> None:
    assert page.get("/mock-xero/identity/connect/authorize").status_code == 404


def test_a_real_app_connects_and_disconnects_at_a_xero_over_http(tmp_path: Path, migrated: Path) -> None:
    """The settings are those of a real app, and another server on this machine takes Xero's place."""
    organisations = (MockOrganisation("t-1", "Alpha"), MockOrganisation("t-2", "Beta"))
    client = ("client-id", "client-secret-of-the-app")
    mock = MockXero(tmp_path / "xero.db", FakeClock(), organisations=organisations, client=client)
    with (
        serve_app(lambda _url: create_mock_app(mock)) as xero,
        serve_page(tmp_path, template=migrated, **point_settings_at(xero)) as page,
    ):
        address = page.api("/connect").headers["location"]
        assert address.startswith(f"{xero}/identity/connect/authorize?")
        with open_client(xero) as browser:
            decided = browser.post(address, data={"organisation": ["t-1", "t-2"], "decision": "allow"})
        assert page.get(decided.headers["location"]).headers["location"] == "/?xero=connected"
        assert page.api("/status").json()["tenantName"] == "Alpha, Beta"
        assert page.post(f"{API}/disconnect", json={"tenantId": "t-1"}).json() == {"success": True}
        assert page.api("/status").json()["tenantName"] == "Beta"
        # Revoking the token disconnects it at Xero as well.
        assert page.post(f"{API}/disconnect").json() == {"success": True}
        assert mock.counters()["revocations"] == 1
        assert page.api("/status").json()["organisations"] == []


def test_an_organisation_that_was_disconnected_at_xero_is_deleted_here_too(tmp_path: Path, migrated: Path) -> None:
    organisations = (MockOrganisation("t-1", "Alpha"), MockOrganisation("t-2", "Beta"))
    mock = MockXero(tmp_path / "xero.db", FakeClock(), organisations=organisations)
    with (
        serve_app(lambda _url: create_mock_app(mock)) as xero,
        serve_page(tmp_path, template=migrated, **point_settings_at(xero)) as page,
    ):
        back = urlsplit(mock.give_consent(page.api("/connect").headers["location"]))
        assert page.get(f"{back.path}?{back.query}").headers["location"] == "/?xero=connected"
        mock.disconnect("t-1")
        assert page.post(f"{API}/disconnect", json={"tenantId": "t-1"}).json() == {"success": True}
        mock.revoke_all()
        assert page.post(f"{API}/disconnect").json() == {"success": True}
        assert page.api("/status").json()["organisations"] == []


def test_a_connection_that_needs_a_reconnect_is_disconnected_at_xero_too(tmp_path: Path, migrated: Path) -> None:
    mock = MockXero(tmp_path / "xero.db", FakeClock(), organisations=(MockOrganisation("t-1", "Alpha"),))
    with (
        serve_app(lambda _url: create_mock_app(mock)) as xero,
        serve_page(tmp_path, template=migrated, **point_settings_at(xero)) as page,
    ):
        back = urlsplit(mock.give_consent(page.api("/connect").headers["location"]))
        page.get(f"{back.path}?{back.query}")
        page.deployment.warehouse.tokens.set_status("t-1", ConnectionStatus.RECONNECT_NEEDED)
        assert page.post(f"{API}/disconnect", json={"tenantId": "t-1"}).json() == {"success": True}
        requests = [(request["method"], str(request["path"]).split("/")[1]) for request in mock.request_log()]
        assert ("DELETE", "connections") in requests
