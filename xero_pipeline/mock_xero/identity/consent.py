"""The authorise endpoint: it checks an app's request, shows the consent page and redirects the browser back.

An error in the app's request is shown to the person and never sent to the app, as at Xero.
Sources: Xero's "The standard authorization code flow", RFC 6749, RFC 7636.
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
from xero_pipeline.mock_xero.identity.scopes import SCOPE_DESCRIPTIONS
from xero_pipeline.mock_xero.identity.tokens import USER, App
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.state import State, hash_secret, to_microseconds

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}=?")


class Refused(Exception):
    """Xero shows no consent page for this request; `error` and `hint` are what its error page says."""

    def __init__(self, error: str, hint: str) -> None:
        super().__init__(error)
        self.error = error
        self.hint = hint


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """An app's request for consent."""

    client_id: str
    redirect_uri: str
    scope: str
    state: str
    challenge: str

    def build_redirect(self, **answer: str) -> str:
        """The app's redirect address with the answer and the app's state as parameters."""
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

    def show_page(self, request: MockRequest) -> MockResponse:
        """GET: the consent page, or the error page."""
        try:
            consent_request = self._check_request(request)
        except Refused as refused:
            return _render_page("refused.html", 400, "'none'", error=refused.error, hint=refused.hint)
        return self._show_consent(consent_request, [organisation.tenant_id for organisation in self._organisations])

    def decide(self, request: MockRequest, now: dt.datetime) -> MockResponse:
        """POST: apply the person's decision and redirect the browser back to the app."""
        try:
            consent_request = self._check_request(request)
        except Refused as refused:
            return _render_page("refused.html", 400, "'none'", error=refused.error, hint=refused.hint)
        if dict(request.form).get("decision") != "allow":
            answer = consent_request.build_redirect(
                error="access_denied", error_description="TenantConsent status: DENIED"
            )
            return _redirect(answer)
        known = {organisation.tenant_id for organisation in self._organisations}
        chosen = [value for name, value in request.form if name == "organisation" and value in known]
        if not chosen:
            return self._show_consent(consent_request, [], "Choose at least one organisation.")
        return _redirect(self.allow(consent_request, chosen, now))

    def read_request(self, authorise_url: str) -> ConsentRequest:
        """Read and check the consent request in an authorise URL, with any host and prefix.

        Raises:
            Refused: Xero would show no consent page for it.
        """
        parts = urlsplit(authorise_url)
        if not parts.path.endswith("/identity/connect/authorize"):
            raise Refused("invalid_request", "This is not an authorise address.")
        return self._check_request(MockRequest.from_url("GET", authorise_url))

    def allow(self, consent_request: ConsentRequest, tenant_ids: Sequence[str], now: dt.datetime) -> str:
        """Connect the organisations and return the redirect address, with a code."""
        code = secrets.token_urlsafe(32)
        event = str(uuid.uuid4())
        with self._state.begin_write() as connection:
            connections.connect(connection, consent_request.client_id, tenant_ids, event, to_microseconds(now))
            connection.execute(
                "INSERT INTO codes (hash, client_id, redirect_uri, scope, challenge, event, issued)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    hash_secret(code),
                    consent_request.client_id,
                    consent_request.redirect_uri,
                    consent_request.scope,
                    consent_request.challenge,
                    event,
                    to_microseconds(now),
                ),
            )
        return consent_request.build_redirect(
            code=code, scope=consent_request.scope, session_state=secrets.token_urlsafe(16)
        )

    def _check_request(self, request: MockRequest) -> ConsentRequest:
        given = dict(request.query)
        client_id = given.get("client_id", "")
        if not self._app.is_known(client_id):
            raise Refused("unauthorized_client: Unknown client or client not enabled", "Check the app's client id.")
        redirect_uri = given.get("redirect_uri", "")
        parts = urlsplit(redirect_uri)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.fragment:
            raise Refused("unauthorized_client: Invalid redirect_uri", "Check the app's redirect address.")
        if given.get("response_type") != "code":
            raise Refused("unsupported_response_type", "Only the code flow is supported.")
        scope = " ".join(given.get("scope", "").split())
        if not scope or not self._app.can_request(scope):
            raise Refused(
                "unauthorized_client: Invalid scope for client",
                "One of the requested scopes is not allowed for this app.",
            )
        challenge = given.get("code_challenge", "")
        if challenge and (given.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge)):
            raise Refused("invalid_request: Transform algorithm not supported", "Only PKCE with S256 is supported.")
        return ConsentRequest(client_id, redirect_uri, scope, given.get("state", ""), challenge)

    def _show_consent(self, consent_request: ConsentRequest, chosen: Sequence[str], problem: str = "") -> MockResponse:
        parts = urlsplit(consent_request.redirect_uri)
        # Browsers apply form-action to the redirect after the post, too, so the app's address is allowed.
        forms = f"'self' {parts.scheme}://{parts.netloc}"
        return _render_page(
            "consent.html",
            200,
            forms,
            client_id=consent_request.client_id,
            user=USER["name"],
            destination=f"{parts.scheme}://{parts.netloc}",
            organisations=self._organisations,
            chosen=chosen,
            permissions=[SCOPE_DESCRIPTIONS.get(scope, scope) for scope in consent_request.scope.split()],
            problem=problem,
        )


@lru_cache(maxsize=1)
def _load_templates() -> Environment:
    return Environment(loader=PackageLoader("xero_pipeline.mock_xero.identity", "pages"), autoescape=True)


@lru_cache(maxsize=1)
def _load_style() -> tuple[str, str]:
    """The pages' inline style, and its hash as a content security policy names it."""
    text = resources.files("xero_pipeline.mock_xero.identity").joinpath("pages/consent.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return text, f"'sha256-{digest}'"


def _render_page(name: str, status: int, forms: str, **values: Any) -> MockResponse:
    style, style_hash = _load_style()
    html = _load_templates().get_template(name).render(style=Markup(style), **values)  # noqa: S704 - our own file
    policy = f"default-src 'none'; style-src {style_hash}; form-action {forms}; frame-ancestors 'none'; base-uri 'none'"
    # "same-origin" and not stricter: with "no-referrer" a browser posts the form with `Origin: null`.
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return MockResponse.from_text(html, status, "text/html").with_headers(headers)


def _redirect(address: str) -> MockResponse:
    # 303: the browser follows with GET after a POST, too.
    return MockResponse(303, {"Location": address, "Cache-Control": "no-store"})
