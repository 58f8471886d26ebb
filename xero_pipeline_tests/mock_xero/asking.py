"""A program that talks to the mock as any client would: over `requests`, with tokens of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests

from xero_pipeline.mock_xero import MockTransport, MockXero
from xero_pipeline.settings import GRANULAR_SCOPES

API = "https://api.xero.com/api.xro/2.0"
TOKEN_URL = "https://identity.xero.com/connect/token"
REVOCATION_URL = "https://identity.xero.com/connect/revocation"
AUTHORISE_URL = "https://login.xero.com/identity/connect/authorize"
REDIRECT_URI = "http://localhost:3001/api/v1/xero/callback"
TENANT = "mock-tenant-001"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")

Json = dict[str, Any]


def authorise_url(**given: str | None) -> str:
    """An app's request for a consent; `None` leaves a parameter out."""
    usual = {
        "client_id": "app",
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": GRANULAR_SCOPES,
        "state": "st4te",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return (
        f"{AUTHORISE_URL}?{urlencode({name: value for name, value in {**usual, **given}.items() if value is not None})}"
    )


def answered(address: str) -> dict[str, str]:
    """The parameters that a browser comes back with."""
    return dict(parse_qsl(urlsplit(address).query))


class Client:
    """One program's session with the mock."""

    def __init__(self, mock: MockXero, *, client: tuple[str, str] = ("app", "secret")) -> None:
        self.mock = mock
        self.client = client
        self.tokens: Json = {}
        self.session = requests.Session()
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, MockTransport(mock))

    def consent(self, organisations: list[str] | None = None, **given: str | None) -> str:
        """Give the consent in place of a person; the code."""
        url = authorise_url(client_id=self.client[0], **given)
        return answered(self.mock.give_consent(url, organisations=organisations))["code"]

    def exchange(self, code: str, **given: str) -> requests.Response:
        body = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI}
        return self.token(**{**body, "code_verifier": VERIFIER, **given})

    def refresh(self, refresh_token: str | None = None) -> requests.Response:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token or self.tokens["refresh_token"])

    def token(self, **body: str) -> requests.Response:
        return self.session.post(TOKEN_URL, data=body, auth=self.client, timeout=5)

    def sign_in(self, organisations: list[str] | None = None, **given: str | None) -> Client:
        response = self.exchange(self.consent(organisations, **given))
        assert response.status_code == 200, response.text
        self.tokens = response.json()
        return self

    def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        tenant: str | None = TENANT,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> requests.Response:
        """A call of the API; `path` below /api.xro/2.0, or one that begins with a slash."""
        url = f"https://api.xero.com{path}" if path.startswith("/") else f"{API}/{path}"
        own = {"Accept": "application/json", "Authorization": f"Bearer {self.tokens.get('access_token', '')}"}
        if tenant is not None:
            own["xero-tenant-id"] = tenant
        return self.session.request(method, url, params=params, headers={**own, **(headers or {})}, timeout=5)

    def json(self, path: str, params: Mapping[str, Any] | None = None, **given: Any) -> Any:
        """The JSON of a call that has to succeed, numbers exact."""
        response = self.get(path, params, **given)
        assert response.status_code == 200, response.text
        return response.json(parse_float=Decimal)
