"""The consent page as a browser sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import requests

from xero_pipeline.mock_xero import MockOrganisation, MockXero
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.asking import REDIRECT_URI, TENANT, Client, answered, authorise_url

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

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def browser(tmp_path: Path, clock: FakeClock) -> Iterator[Client]:
    client = Client(MockXero(tmp_path / "mock.db", clock, organisations=ORGANISATIONS))
    yield client
    client.session.close()


def post(browser: Client, decision: str, *organisations: str, url: str | None = None) -> requests.Response:
    body = [("decision", decision), *(("organisation", one) for one in organisations)]
    return browser.session.post(url or authorise_url(), data=body, allow_redirects=False, timeout=5)


def test_the_page_lists_the_organisations_with_both_buttons(browser: Client) -> None:
    response = browser.session.get(authorise_url(), timeout=5)
    page = Page(response.text)
    assert response.status_code == 200
    boxes = [one for one in page.all("input") if one["type"] == "checkbox"]
    assert [one["value"] for one in boxes] == [TENANT, "tenant-b"]
    assert all("checked" in one for one in boxes)
    assert [one["value"] for one in page.all("button")] == ["allow", "cancel"]
    assert "Mock Organisation" in page.text
    assert '<Second> & "Sons"' in page.text
    # The form goes back to the address that it came from, whatever prefix that has.
    assert page.all("form") == [{"method": "post"}]


def test_the_page_runs_no_script_and_says_so(browser: Client) -> None:
    response = browser.session.get(authorise_url(client_id="<script>alert(1)</script>"), timeout=5)
    page = Page(response.text)
    assert page.all("script") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' http://localhost:3001;" in policy
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/=]+'", policy)


def test_allow_leads_back_with_a_code_and_connects_what_was_ticked(browser: Client) -> None:
    response = post(browser, "allow", "tenant-b")
    assert response.status_code == 303
    assert response.headers["Location"].startswith(REDIRECT_URI)
    given = answered(response.headers["Location"])
    assert given["state"] == "st4te"
    browser.tokens = browser.exchange(given["code"]).json()
    assert [row["tenantId"] for row in browser.json("/connections", tenant=None)] == ["tenant-b"]


def test_cancel_leads_back_with_access_denied(browser: Client) -> None:
    given = answered(post(browser, "cancel", TENANT).headers["Location"])
    assert (given["error"], given["state"]) == ("access_denied", "st4te")
    assert "code" not in given


@pytest.mark.parametrize("chosen", [(), ("no-such-tenant",)])
def test_allow_with_nothing_ticked_asks_again(browser: Client, chosen: tuple[str, ...]) -> None:
    response = post(browser, "allow", *chosen)
    page = Page(response.text)
    assert response.status_code == 200
    assert "Choose at least one organisation" in page.text
    assert not any("checked" in one for one in page.all("input"))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_scope_too_many_ends_on_an_error_page_and_goes_nowhere(browser: Client, method: str) -> None:
    url = authorise_url(scope="offline_access accounting.everything")
    response = browser.session.request(
        method, url, data={"decision": "allow", "organisation": TENANT}, allow_redirects=False, timeout=5
    )
    assert response.status_code == 400
    assert "unauthorized_client: Invalid scope for client" in Page(response.text).text
    assert "Location" not in response.headers
