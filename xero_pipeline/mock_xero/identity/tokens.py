"""The token endpoint and revocation: codes, pairs of tokens, and how long each lives.

One user consents here. Tokens are the user's and the app's, not an organisation's: one pair opens every
organisation that is connected. Sources: Xero's "Token types", RFC 6749, RFC 7009, RFC 7636.
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

from xero_pipeline.mock_xero import request_log as journal
from xero_pipeline.mock_xero.books.seeded_random import steady_uuid
from xero_pipeline.mock_xero.identity import connections
from xero_pipeline.mock_xero.identity.scopes import OF_A_USER, SCOPES
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.problems import token_error
from xero_pipeline.mock_xero.state import SECOND, State, hashed, ticks

# Seconds.
CODE_LIFE = 5 * 60
ACCESS_LIFE = 30 * 60
REFRESH_LIFE = 60 * 86_400
# For so long an old refresh token may be tried again, in case the answer to it was lost.
GRACE = 30 * 60

USER_ID = steady_uuid("mock user")
USER = {"email": "mock.user@example.com", "given_name": "Mock", "family_name": "User", "name": "Mock User"}


@dataclass(frozen=True, slots=True)
class App:
    """Who may ask for tokens: the one client, or whoever names itself; and for which scopes."""

    client: tuple[str, str] | None
    scopes: frozenset[str] | None

    def knows(self, client_id: str) -> bool:
        return bool(client_id) and (self.client is None or client_id == self.client[0])

    def accepts(self, client_id: str, secret: str) -> bool:
        if self.client is None:
            return bool(client_id)
        given = f"{client_id}\x00{secret}".encode()
        return hmac.compare_digest(given, "\x00".join(self.client).encode())

    def allows(self, scope: str) -> bool:
        return set(scope.split()) <= (SCOPES if self.scopes is None else self.scopes)


class TokenEndpoint:
    """What the identity server answers."""

    def __init__(self, state: State, app: App, organisations: tuple[MockOrganisation, ...]) -> None:
        self._state = state
        self._app = app
        self._organisations = organisations

    def token(self, request: MockRequest, now: dt.datetime) -> MockResponse:
        """POST /connect/token."""
        form = dict(request.form)
        client_id = self._client(request, form)
        if client_id is None:
            return token_error("invalid_client", 401)
        grants = {
            "authorization_code": self._exchange,
            "refresh_token": self._refresh,
            "client_credentials": self._custom,
        }
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            return token_error("unsupported_grant_type" if form.get("grant_type") else "invalid_request")
        with self._state.writing() as connection:
            return grant(connection, form, client_id, ticks(now))

    def revoke(self, request: MockRequest) -> MockResponse:
        """POST /connect/revocation: ends every connection of the user. A token unknown is no error."""
        form = dict(request.form)
        client_id = self._client(request, form)
        if client_id is None:
            return token_error("invalid_client", 401)
        if not form.get("token"):
            return token_error("invalid_request")
        with self._state.writing() as connection:
            known = connection.execute(
                "SELECT 1 FROM refresh_tokens WHERE hash = ? AND client_id = ?", (hashed(form["token"]), client_id)
            ).fetchone()
            if known:
                connection.execute("UPDATE refresh_tokens SET revoked = 1 WHERE client_id = ?", (client_id,))
                connections.end_all(connection, client_id)
                journal.count(connection, "revocations")
        return MockResponse(200)

    def _client(self, request: MockRequest, form: dict[str, str]) -> str | None:
        """The client that proves who it is, by HTTP Basic or in the body."""
        scheme, _, coded = request.header("Authorization").partition(" ")
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if scheme.lower() == "basic":
            try:
                client_id, _, secret = base64.b64decode(coded, validate=True).decode().partition(":")
            except ValueError:
                return None
        for given in ((client_id, secret), (unquote_plus(client_id), unquote_plus(secret))):
            if self._app.accepts(*given):
                return given[0]
        return None

    def _exchange(self, connection: sqlite3.Connection, form: dict[str, str], client_id: str, now: int) -> MockResponse:
        row = connection.execute("SELECT * FROM codes WHERE hash = ?", (hashed(form.get("code", "")),)).fetchone()
        if row is None or row["client_id"] != client_id or row["redirect_uri"] != form.get("redirect_uri"):
            return token_error("invalid_grant")
        # Whatever comes of it: a code is good for one try.
        used = bool(row["used"])
        connection.execute("UPDATE codes SET used = 1 WHERE hash = ?", (row["hash"],))
        late = now - row["issued"] > CODE_LIFE * SECOND
        if used or late or not _proves(form.get("code_verifier", ""), row["challenge"]):
            return token_error("invalid_grant")
        journal.count(connection, "codes_exchanged")
        return self._pair(connection, client_id, row["scope"], now)

    def _refresh(self, connection: sqlite3.Connection, form: dict[str, str], client_id: str, now: int) -> MockResponse:
        token = hashed(form.get("refresh_token", ""))
        row = connection.execute("SELECT * FROM refresh_tokens WHERE hash = ?", (token,)).fetchone()
        dead = (
            row is None
            or row["client_id"] != client_id
            or row["revoked"]
            or now - row["issued"] >= REFRESH_LIFE * SECOND
            or (row["used"] is not None and now - row["used"] > GRACE * SECOND)
        )
        if dead:
            journal.count(connection, "refreshes_refused")
            return token_error("invalid_grant")
        connection.execute("UPDATE refresh_tokens SET used = COALESCE(used, ?) WHERE hash = ?", (now, token))
        journal.count(connection, "refreshes")
        return self._pair(connection, client_id, row["scope"], now)

    def _custom(self, connection: sqlite3.Connection, form: dict[str, str], client_id: str, now: int) -> MockResponse:
        """A Custom Connection: one organisation, no refresh token."""
        asked = set(form.get("scope", "").split())
        if not self._app.allows(" ".join(asked)) or asked & OF_A_USER:
            return token_error("invalid_scope")
        scope = " ".join(sorted(asked or (SCOPES - OF_A_USER)))
        connections.make(connection, client_id, [self._organisations[0].tenant_id], "custom", now)
        journal.count(connection, "client_credentials")
        return MockResponse.of_json(self._access(connection, client_id, scope, now, custom=True))

    def _pair(self, connection: sqlite3.Connection, client_id: str, scope: str, now: int) -> MockResponse:
        answer = self._access(connection, client_id, scope, now, custom=False)
        wanted = set(scope.split())
        if "openid" in wanted:
            answer["id_token"] = _id_token(client_id, wanted, now)
        if "offline_access" in wanted:
            refresh_token = secrets.token_urlsafe(32)
            connection.execute(
                "INSERT INTO refresh_tokens (hash, client_id, scope, issued) VALUES (?, ?, ?, ?)",
                (hashed(refresh_token), client_id, scope, now),
            )
            answer["refresh_token"] = refresh_token
        return MockResponse.of_json(answer)

    def _access(
        self, connection: sqlite3.Connection, client_id: str, scope: str, now: int, *, custom: bool
    ) -> dict[str, Any]:
        claims = {"nbf": now // SECOND, "exp": now // SECOND + ACCESS_LIFE, "iss": "https://identity.xero.com"}
        claims |= {"client_id": client_id, "jti": secrets.token_hex(16), "scope": scope.split()}
        token = _token_of(claims)
        connection.execute("DELETE FROM access_tokens WHERE expires < ?", (now - 86_400 * SECOND,))
        connection.execute(
            "INSERT INTO access_tokens (hash, client_id, scope, custom, expires) VALUES (?, ?, ?, ?, ?)",
            (hashed(token), client_id, scope, int(custom), now + ACCESS_LIFE * SECOND),
        )
        return {"access_token": token, "expires_in": ACCESS_LIFE, "token_type": "Bearer", "scope": scope}


def _proves(verifier: str, challenge: str) -> bool:
    """Whether a PKCE verifier is the challenge's own. Without a challenge there is nothing to prove."""
    if not challenge:
        return not verifier
    digest = hashlib.sha256(verifier.encode()).digest()
    return hmac.compare_digest(_coded(digest), challenge.rstrip("="))


def _id_token(client_id: str, scopes: set[str], now: int) -> str:
    claims: dict[str, Any] = {"iss": "https://identity.xero.com", "aud": client_id, "sub": USER_ID}
    claims |= {"iat": now // SECOND, "exp": now // SECOND + 300, "xero_userid": USER_ID}
    if "profile" in scopes:
        claims |= {"given_name": USER["given_name"], "family_name": USER["family_name"], "name": USER["name"]}
    if "email" in scopes:
        claims["email"] = USER["email"]
    return _token_of(claims)


def _token_of(claims: dict[str, Any]) -> str:
    """A JSON Web Token to look at, with a signature of chance: only the state file knows which are ours."""
    header = {"alg": "RS256", "kid": "mock", "typ": "JWT"}
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    return ".".join(map(_coded, [*parts, secrets.token_bytes(32)]))


def _coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
