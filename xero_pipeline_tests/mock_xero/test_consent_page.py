"""The consent page as a browser receives it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import requests

from xero_pipeline.mock_xero import MockOrganisation, MockXero
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import REDIRECT_URI, TENANT, Client, make_authorise_url, read_parameters

ORGANISATIONS = (MockOrganisation(), MockOrganisation("tenant-b", '<Second> & "Sons"'))


class Page(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def find_all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def browser(tmp_path: Path, clock: FakeClock) -> Iterator[Client]:
    client = Client(MockXero(tmp_path / "mock.db", clock, organisations=ORGANISATIONS))
    yield client
    client.session.close()


def post_decision(browser: Client, decision: str, *organisations: str, url: str | None = None) -> requests.Response:
    body = [("decision", decision), *(("organisation", tenant_id) for tenant_id in organisations)]
    return browser.session.post(url or make_authorise_url(), data=body, allow_redirects=False, timeout=5)


def test_the_page_lists_the_organisations_with_both_buttons(browser: Client) -> None:
    response = browser.session.get(make_authorise_url(), timeout=5)
    page = Page(response.text)
    assert response.status_code == 200
    boxes = [element for element in page.find_all("input") if element["type"] == "checkbox"]
    assert [element["value"] for element in boxes] == [TENANT, "tenant-b"]
    assert all("checked" in element for element in boxes)
    assert [element["value"] for element in page.find_all("button")] == ["allow", "cancel"]
    assert "Mock Organisation" in page.text
    assert '<Second> & "Sons"' in page.text
    # Without an action the form posts to the page's own address, under any prefix.
    assert page.find_all("form") == [{"method": "post"}]


def test_the_page_has_no_script_and_its_policy_forbids_any(browser: Client) -> None:
    response = browser.session.get(make_authorise_url(client_id="<script>alert(1)</script>"), timeout=5)
    page = Page(response.text)
    assert page.find_all("script") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' http://localhost:3001;" in policy
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/=]+'", policy)


def test_allow_redirects_with_a_code_and_connects_the_ticked_organisations(browser: Client) -> None:
    response = post_decision(browser, "allow", "tenant-b")
    assert response.status_code == 303
    assert response.headers["Location"].startswith(REDIRECT_URI)
    parameters = read_parameters(response.headers["Location"])
    assert parameters["state"] == "st4te"
    browser.tokens = browser.exchange_code(parameters["code"]).json()
    assert [row["tenantId"] for row in browser.get_json("/connections", tenant=None)] == ["tenant-b"]


def test_cancel_redirects_with_access_denied(browser: Client) -> None:
    parameters = read_parameters(post_decision(browser, "cancel", TENANT).headers["Location"])
    assert (parameters["error"], parameters["state"]) == ("access_denied", "st4te")
    assert "code" not in parameters


@pytest.mark.parametrize("chosen", [(), ("no-such-tenant",)])
def test_allow_with_nothing_ticked_shows_the_page_again(browser: Client, chosen: tuple[str, ...]) -> None:
    response = post_decision(browser, "allow", *chosen)
    page = Page(response.text)
    assert response.status_code == 200
    assert "Choose at least one organisation" in page.text
    assert not any("checked" in element for element in page.find_all("input"))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_scope_that_is_not_allowed_shows_an_error_page_without_a_redirect(browser: Client, method: str) -> None:
    url = make_authorise_url(scope="offline_access accounting.everything")
    response = browser.session.request(
        method, url, data={"decision": "allow", "organisation": TENANT}, allow_redirects=False, timeout=5
    )
    assert response.status_code == 400
    assert "unauthorized_client: Invalid scope for client" in Page(response.text).text
    assert "Location" not in response.headers
