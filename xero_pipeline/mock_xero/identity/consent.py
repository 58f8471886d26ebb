"""The consent: what the authorise endpoint checks, the page that a person sees, and where it sends them.

Whatever is wrong with the app's own request is shown to the person and never sent back to the app, as at
Xero. Sources: Xero's "The standard authorization code flow", RFC 6749, RFC 7636.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from xero_pipeline.mock_xero.identity import connections
from xero_pipeline.mock_xero.identity.scopes import IN_WORDS
from xero_pipeline.mock_xero.identity.tokens import USER, App
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.state import State, hashed, ticks

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}=?")


class Refused(Exception):
    """The request is not one that Xero shows a consent page for; the text is what it shows instead."""

    def __init__(self, error: str, hint: str) -> None:
        super().__init__(error)
        self.error = error
        self.hint = hint


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """An app's request for a consent."""

    client_id: str
    redirect_uri: str
    scope: str
    state: str
    challenge: str

    def back(self, **answer: str) -> str:
        """The app's own address with an answer for it."""
        parts = urlsplit(self.redirect_uri)
        state = {"state": self.state} if self.state else {}
        query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *{**answer, **state}.items()])
        return urlunsplit(parts._replace(query=query))


class Consent:
    """The authorise endpoint."""

    def __init__(self, state: State, app: App, organisations: tuple[MockOrganisation, ...]) -> None:
        self._state = state
        self._app = app
        self._organisations = organisations

    def page(self, request: MockRequest) -> MockResponse:
        """GET: the page that asks."""
        try:
            asked = self._read(request)
        except Refused as refused:
            return _page("refused.html", 400, "'none'", error=refused.error, hint=refused.hint)
        return self._show(asked, [one.tenant_id for one in self._organisations])

    def decide(self, request: MockRequest, now: dt.datetime) -> MockResponse:
        """POST: what the person decided; sends the browser back to the app."""
        try:
            asked = self._read(request)
        except Refused as refused:
            return _page("refused.html", 400, "'none'", error=refused.error, hint=refused.hint)
        if dict(request.form).get("decision") != "allow":
            answer = asked.back(error="access_denied", error_description="TenantConsent status: DENIED")
            return _redirect(answer)
        known = {one.tenant_id for one in self._organisations}
        chosen = [value for name, value in request.form if name == "organisation" and value in known]
        if not chosen:
            return self._show(asked, [], "Choose at least one organisation.")
        return _redirect(self.allow(asked, chosen, now))

    def read(self, authorise_url: str) -> ConsentRequest:
        """The request in an authorise URL, whatever comes before its path.

        Raises:
            Refused: no consent page would be shown for it.
        """
        parts = urlsplit(authorise_url)
        if not parts.path.endswith("/identity/connect/authorize"):
            raise Refused("invalid_request", "This is no authorise address.")
        return self._read(MockRequest.of("GET", authorise_url))

    def allow(self, asked: ConsentRequest, tenant_ids: Sequence[str], now: dt.datetime) -> str:
        """Connect the organisations; answers where the browser goes, with a code."""
        code = secrets.token_urlsafe(32)
        event = str(uuid.uuid4())
        with self._state.writing() as connection:
            connections.make(connection, asked.client_id, tenant_ids, event, ticks(now))
            connection.execute(
                "INSERT INTO codes (hash, client_id, redirect_uri, scope, challenge, event, issued)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    hashed(code),
                    asked.client_id,
                    asked.redirect_uri,
                    asked.scope,
                    asked.challenge,
                    event,
                    ticks(now),
                ),
            )
        return asked.back(code=code, scope=asked.scope, session_state=secrets.token_urlsafe(16))

    def _read(self, request: MockRequest) -> ConsentRequest:
        given = dict(request.query)
        client_id = given.get("client_id", "")
        if not self._app.knows(client_id):
            raise Refused("unauthorized_client: Unknown client or client not enabled", "Check the app's client id.")
        redirect_uri = given.get("redirect_uri", "")
        parts = urlsplit(redirect_uri)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.fragment:
            raise Refused("unauthorized_client: Invalid redirect_uri", "Check the app's redirect address.")
        if given.get("response_type") != "code":
            raise Refused("unsupported_response_type", "Only the code flow is known here.")
        scope = " ".join(given.get("scope", "").split())
        if not scope or not self._app.allows(scope):
            raise Refused("unauthorized_client: Invalid scope for client", "One of the scopes is not allowed for it.")
        challenge = given.get("code_challenge", "")
        if challenge and (given.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge)):
            raise Refused("invalid_request: Transform algorithm not supported", "PKCE is known as S256 only.")
        return ConsentRequest(client_id, redirect_uri, scope, given.get("state", ""), challenge)

    def _show(self, asked: ConsentRequest, chosen: Sequence[str], problem: str = "") -> MockResponse:
        parts = urlsplit(asked.redirect_uri)
        # A browser holds the redirect after the post against form-action, too.
        forms = f"'self' {parts.scheme}://{parts.netloc}"
        return _page(
            "consent.html",
            200,
            forms,
            client_id=asked.client_id,
            user=USER["name"],
            destination=f"{parts.scheme}://{parts.netloc}",
            organisations=self._organisations,
            chosen=chosen,
            permissions=[IN_WORDS.get(scope, scope) for scope in asked.scope.split()],
            problem=problem,
        )


@lru_cache(maxsize=1)
def _pages() -> Environment:
    return Environment(loader=PackageLoader("xero_pipeline.mock_xero.identity", "pages"), autoescape=True)


@lru_cache(maxsize=1)
def _style() -> tuple[str, str]:
    """The pages' style, which stands in them, and what a content security policy calls it."""
    text = resources.files("xero_pipeline.mock_xero.identity").joinpath("pages/consent.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return text, f"'sha256-{digest}'"


def _page(name: str, status: int, forms: str, **values: Any) -> MockResponse:
    style, known = _style()
    html = _pages().get_template(name).render(style=Markup(style), **values)  # noqa: S704 - a file of ours
    policy = f"default-src 'none'; style-src {known}; form-action {forms}; frame-ancestors 'none'; base-uri 'none'"
    # "same-origin" and no stricter: with "no-referrer" a browser posts the form with `Origin: null`.
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return MockResponse.of_text(html, status, "text/html").with_headers(headers)


def _redirect(address: str) -> MockResponse:
    # 303: the browser goes on with GET, whatever it came with.
    return MockResponse(303, {"Location": address, "Cache-Control": "no-store"})
