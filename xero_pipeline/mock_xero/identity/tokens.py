"""The token endpoint and revocation: codes, pairs of tokens, and their lifetimes.

The mock has one user. A token belongs to a user and an app, not to an organisation: one pair gives access to
every connected organisation. Sources: Xero's "Token types", RFC 6749, RFC 7009, RFC 7636.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from xero_pipeline.mock_xero import request_log
from xero_pipeline.mock_xero.books.seeded_random import derive_uuid
from xero_pipeline.mock_xero.identity import connections
from xero_pipeline.mock_xero.identity.scopes import SCOPES, USER_SCOPES
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.problems import respond_token_error
from xero_pipeline.mock_xero.state import SECOND, State, hash_secret, to_microseconds

# Lifetimes in seconds.
CODE_LIFE = 5 * 60
ACCESS_LIFE = 30 * 60
REFRESH_LIFE = 60 * 86_400
# How long a used refresh token is accepted again, in case its answer was lost.
REFRESH_GRACE = 30 * 60

USER_ID = derive_uuid("mock user")
USER = {"email": "mock.user@example.com", "given_name": "Mock", "family_name": "User", "name": "Mock User"}


@dataclass(frozen=True, slots=True)
class App:
    """The client that may request tokens (any that names itself, if `None`), and the scopes that it may request."""

    client: tuple[str, str] | None
    scopes: frozenset[str] | None

    def is_known(self, client_id: str) -> bool:
        return bool(client_id) and (self.client is None or client_id == self.client[0])

    def is_authentic(self, client_id: str, secret: str) -> bool:
        if self.client is None:
            return bool(client_id)
        given = f"{client_id}\x00{secret}".encode()
        return hmac.compare_digest(given, "\x00".join(self.client).encode())

    def can_request(self, scope: str) -> bool:
        return set(scope.split()) <= (SCOPES if self.scopes is None else self.scopes)


class TokenEndpoint:
    """The token and revocation endpoints of the identity server."""

    def __init__(self, state: State, app: App, organisations: tuple[MockOrganisation, ...]) -> None:
        self._state = state
        self._app = app
        self._organisations = organisations

    def issue(self, request: MockRequest, now: dt.datetime) -> MockResponse:
        """POST /connect/token: issue tokens for a code, a refresh token or client credentials."""
        form = dict(request.form)
        client_id = self._authenticate_client(request, form)
        if client_id is None:
            return respond_token_error("invalid_client", 401)
        grants = {
            "authorization_code": self._exchange_code,
            "refresh_token": self._refresh_pair,
            "client_credentials": self._connect_custom,
        }
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            return respond_token_error("unsupported_grant_type" if form.get("grant_type") else "invalid_request")
        with self._state.begin_write() as connection:
            return grant(connection, form, client_id, to_microseconds(now))

    def revoke(self, request: MockRequest) -> MockResponse:
        """POST /connect/revocation: end every connection of the app's user. An unknown token is no error (RFC 7009)."""
        form = dict(request.form)
        client_id = self._authenticate_client(request, form)
        if client_id is None:
            return respond_token_error("invalid_client", 401)
        if not form.get("token"):
            return respond_token_error("invalid_request")
        with self._state.begin_write() as connection:
            known = connection.execute(
                "SELECT 1 FROM refresh_tokens WHERE hash = ? AND client_id = ?", (hash_secret(form["token"]), client_id)
            ).fetchone()
            if known:
                connection.execute("UPDATE refresh_tokens SET revoked = 1 WHERE client_id = ?", (client_id,))
                connections.delete_connections(connection, client_id)
                request_log.increment_counter(connection, "revocations")
        return MockResponse(200)

    def _authenticate_client(self, request: MockRequest, form: dict[str, str]) -> str | None:
        """The client id that HTTP Basic or the body proves with a secret, else `None`."""
        scheme, _, coded = request.header("Authorization").partition(" ")
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if scheme.lower() == "basic":
            try:
                client_id, _, secret = base64.b64decode(coded, validate=True).decode().partition(":")
            except ValueError:
                return None
        for given in ((client_id, secret), (unquote_plus(client_id), unquote_plus(secret))):
            if self._app.is_authentic(*given):
                return given[0]
        return None

    def _exchange_code(
        self, connection: sqlite3.Connection, form: dict[str, str], client_id: str, now: int
    ) -> MockResponse:
        row = connection.execute("SELECT * FROM codes WHERE hash = ?", (hash_secret(form.get("code", "")),)).fetchone()
        if row is None or row["client_id"] != client_id or row["redirect_uri"] != form.get("redirect_uri"):
            return respond_token_error("invalid_grant")
        # A code allows one attempt, also when that attempt fails.
        used = bool(row["used"])
        connection.execute("UPDATE codes SET used = 1 WHERE hash = ?", (row["hash"],))
        late = now - row["issued"] > CODE_LIFE * SECOND
        if used or late or not _is_challenge_met(form.get("code_verifier", ""), row["challenge"]):
            return respond_token_error("invalid_grant")
        request_log.increment_counter(connection, "codes_exchanged")
        return self._issue_pair(connection, client_id, row["scope"], now)

    def _refresh_pair(
        self, connection: sqlite3.Connection, form: dict[str, str], client_id: str, now: int
    ) -> MockResponse:
        token = hash_secret(form.get("refresh_token", ""))
        row = connection.execute("SELECT * FROM refresh_tokens WHERE hash = ?", (token,)).fetchone()
        unusable = (
            row is None
            or row["client_id"] != client_id
            or row["revoked"]
            or now - row["issued"] >= REFRESH_LIFE * SECOND
            or (row["used"] is not None and now - row["used"] > REFRESH_GRACE * SECOND)
        )
        if unusable:
            request_log.increment_counter(connection, "refreshes_refused")
            return respond_token_error("invalid_grant")
        connection.execute("UPDATE refresh_tokens SET used = COALESCE(used, ?) WHERE hash = ?", (now, token))
        request_log.increment_counter(connection, "refreshes")
        return self._issue_pair(connection, client_id, row["scope"], now)

    def _connect_custom(
        self, connection: sqlite3.Connection, form: dict[str, str], client_id: str, now: int
    ) -> MockResponse:
        """Issue an access token for a Custom Connection: one organisation, no refresh token."""
        requested = set(form.get("scope", "").split())
        if not self._app.can_request(" ".join(requested)) or requested & USER_SCOPES:
            return respond_token_error("invalid_scope")
        scope = " ".join(sorted(requested or (SCOPES - USER_SCOPES)))
        tenant_id = self._organisations[0].tenant_id
        event = derive_uuid(client_id, tenant_id, "custom connection")
        connections.connect(connection, client_id, [tenant_id], event, now)
        request_log.increment_counter(connection, "client_credentials")
        return MockResponse.from_json(self._issue_access_token(connection, client_id, scope, now, custom=True))

    def _issue_pair(self, connection: sqlite3.Connection, client_id: str, scope: str, now: int) -> MockResponse:
        body = self._issue_access_token(connection, client_id, scope, now, custom=False)
        scopes = set(scope.split())
        if "openid" in scopes:
            body["id_token"] = _make_id_token(client_id, scopes, now)
        if "offline_access" in scopes:
            refresh_token = secrets.token_urlsafe(32)
            connection.execute(
                "INSERT INTO refresh_tokens (hash, client_id, scope, issued) VALUES (?, ?, ?, ?)",
                (hash_secret(refresh_token), client_id, scope, now),
            )
            body["refresh_token"] = refresh_token
        return MockResponse.from_json(body)

    def _issue_access_token(
        self, connection: sqlite3.Connection, client_id: str, scope: str, now: int, *, custom: bool
    ) -> dict[str, Any]:
        claims = {"nbf": now // SECOND, "exp": now // SECOND + ACCESS_LIFE, "iss": "https://identity.xero.com"}
        claims |= {"client_id": client_id, "jti": secrets.token_hex(16), "scope": scope.split()}
        token = _encode_jwt(claims)
        connection.execute("DELETE FROM access_tokens WHERE expires < ?", (now - 86_400 * SECOND,))
        connection.execute(
            "INSERT INTO access_tokens (hash, client_id, scope, custom, expires) VALUES (?, ?, ?, ?, ?)",
            (hash_secret(token), client_id, scope, int(custom), now + ACCESS_LIFE * SECOND),
        )
        return {"access_token": token, "expires_in": ACCESS_LIFE, "token_type": "Bearer", "scope": scope}


def _is_challenge_met(verifier: str, challenge: str) -> bool:
    """Whether a PKCE verifier matches the challenge; without a challenge there must be no verifier."""
    if not challenge:
        return not verifier
    digest = hashlib.sha256(verifier.encode()).digest()
    return hmac.compare_digest(_encode_base64url(digest), challenge.rstrip("="))


def _make_id_token(client_id: str, scopes: set[str], now: int) -> str:
    claims: dict[str, Any] = {"iss": "https://identity.xero.com", "aud": client_id, "sub": USER_ID}
    claims |= {"iat": now // SECOND, "exp": now // SECOND + 300, "xero_userid": USER_ID}
    if "profile" in scopes:
        claims |= {"given_name": USER["given_name"], "family_name": USER["family_name"], "name": USER["name"]}
    if "email" in scopes:
        claims["email"] = USER["email"]
    return _encode_jwt(claims)


def _encode_jwt(claims: dict[str, Any]) -> str:
    """A string in the form of a JSON Web Token with a random signature; the state file decides which are valid."""
    header = {"alg": "RS256", "kid": "mock", "typ": "JWT"}
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    return ".".join(map(_encode_base64url, [*parts, secrets.token_bytes(32)]))


def _encode_base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
