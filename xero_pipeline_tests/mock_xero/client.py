"""A test client that uses the mock as any program would: over `requests`, with its own tokens."""

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


def make_authorise_url(**parameters: str | None) -> str:
    """An authorise URL with default parameters; `None` omits a parameter."""
    defaults = {
        "client_id": "app",
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": GRANULAR_SCOPES,
        "state": "st4te",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    query = {name: value for name, value in {**defaults, **parameters}.items() if value is not None}
    return f"{AUTHORISE_URL}?{urlencode(query)}"


def read_parameters(address: str) -> dict[str, str]:
    """The query parameters of a redirect address."""
    return dict(parse_qsl(urlsplit(address).query))


class Client:
    """One program's session with the mock, with the tokens that it holds."""

    def __init__(self, mock: MockXero, *, credentials: tuple[str, str] = ("app", "secret")) -> None:
        self.mock = mock
        self.credentials = credentials
        self.tokens: Json = {}
        self.session = requests.Session()
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, MockTransport(mock))

    def obtain_code(self, organisations: list[str] | None = None, **parameters: str | None) -> str:
        """Give consent in place of a person and return the code."""
        url = make_authorise_url(client_id=self.credentials[0], **parameters)
        return read_parameters(self.mock.give_consent(url, organisations=organisations))["code"]

    def exchange_code(self, code: str, **parameters: str) -> requests.Response:
        body = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI}
        return self.request_token(**{**body, "code_verifier": VERIFIER, **parameters})

    def refresh(self, refresh_token: str | None = None) -> requests.Response:
        return self.request_token(
            grant_type="refresh_token", refresh_token=refresh_token or self.tokens["refresh_token"]
        )

    def request_token(self, **body: str) -> requests.Response:
        return self.session.post(TOKEN_URL, data=body, auth=self.credentials, timeout=5)

    def sign_in(self, organisations: list[str] | None = None, **parameters: str | None) -> Client:
        response = self.exchange_code(self.obtain_code(organisations, **parameters))
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
        """Call the API. `path` is below /api.xro/2.0, unless it begins with a slash."""
        url = f"https://api.xero.com{path}" if path.startswith("/") else f"{API}/{path}"
        default_headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self.tokens.get('access_token', '')}",
        }
        if tenant is not None:
            default_headers["xero-tenant-id"] = tenant
        return self.session.request(
            method, url, params=params, headers={**default_headers, **(headers or {})}, timeout=5
        )

    def get_json(self, path: str, params: Mapping[str, Any] | None = None, **parameters: Any) -> Any:
        """The JSON of a call that must succeed, with exact numbers."""
        response = self.get(path, params, **parameters)
        assert response.status_code == 200, response.text
        return response.json(parse_float=Decimal)
