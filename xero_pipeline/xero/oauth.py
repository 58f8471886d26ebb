"""OAuth 2.0 with Xero's identity server: consent, tokens, refresh and revocation.

oauthlib writes and parses the messages of the protocol; `XeroSession` sends them. A `TokenVault`, which is passed in,
stores the tokens. Nothing here logs or repeats a secret.

Sources: Xero's "The standard authorization code flow", "Custom Connections", "Token types".
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error, WebApplicationClient
from requests.auth import HTTPBasicAuth

from xero_pipeline.clock import Clock
from xero_pipeline.grants import Connection, ConnectionStatus, Organisation, Tokens
from xero_pipeline.xero.errors import (
    AppRefused,
    ConsentFailed,
    ConsentProblem,
    PayloadNotUnderstood,
    ReconnectNeeded,
)
from xero_pipeline.xero.http.answers import raise_for_token_answer
from xero_pipeline.xero.http.session import XeroSession

log = logging.getLogger(__name__)

# A token that expires this soon is refreshed first, because it must outlive the request that carries it.
EXPIRY_MARGIN = timedelta(minutes=2)
# For how long a refused client id or secret is not sent again: otherwise a run would send it for each of its weeks.
APP_REFUSAL_COOLDOWN = timedelta(minutes=1)
# The characters of an access token (RFC 6749, A.12, without the space).
_SENDABLE_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class XeroApp:
    """The app at developer.xero.com that people consent to, and the addresses of Xero's servers."""

    client_id: str
    client_secret: str = field(repr=False)
    scopes: str
    redirect_uri: str
    login_url: str
    identity_url: str
    custom_connection: bool = False


ListConnections = Callable[[Tokens], Sequence[Connection]]
"""Lists the organisations that these tokens open."""


class TokenVault(Protocol):
    """The store of the tokens; `warehouse/connections/tokens.py` implements it."""

    def load_with_tokens(self, tenant_id: str) -> tuple[Organisation, Tokens]:
        """Return an organisation and its tokens, read at the same moment."""
        ...

    def hold_refresh_lock(self, grant_id: str) -> AbstractContextManager[None]:
        """Hold the lock for refreshing this grant's tokens, against every process of the deployment."""
        ...

    def save_refreshed(self, grant_id: str, tokens: Tokens) -> bool:
        """Save a new pair for the grant's organisations. Return `False` if the grant has none any more."""
        ...

    def set_status(self, whose: str, status: ConnectionStatus) -> None:
        """Set the status of a grant's connections, or of one organisation's."""
        ...


class SignIn:
    """The requests to Xero's identity server, one method each."""

    def __init__(self, session: XeroSession, app: XeroApp, clock: Clock) -> None:
        self._session = session
        self._app = app
        self._clock = clock
        self._web = WebApplicationClient(app.client_id)

    @property
    def app(self) -> XeroApp:
        return self._app

    def create_code_verifier(self) -> str:
        """Create a PKCE verifier (RFC 7636), to be kept until the code is exchanged."""
        verifier: str = self._web.create_code_verifier(96)
        return verifier

    def build_consent_url(self, *, state: str, code_verifier: str) -> str:
        """Build the address of the page on which a person gives the consent."""
        challenge = self._web.create_code_challenge(code_verifier, "S256")
        # oauthlib refuses http, which the settings allow on loopback: build an https address, then put http back.
        scheme, _, rest = self._app.login_url.partition("://")
        url: str = self._web.prepare_request_uri(
            f"https://{rest}/identity/connect/authorize",
            redirect_uri=self._app.redirect_uri,
            scope=self._app.scopes,
            state=state,
            code_challenge=challenge,
            code_challenge_method="S256",
        )
        return scheme + url.removeprefix("https")

    def exchange_code(self, code: str, *, code_verifier: str) -> Tokens:
        """Exchange the code of a consent for tokens.

        Raises:
            ConsentFailed: Xero refuses the code (used, expired, or of another sign-in).
            AppRefused: the client id or secret is wrong.
        """
        body = self._web.prepare_request_body(
            code=code,
            redirect_uri=self._app.redirect_uri,
            code_verifier=code_verifier,
            include_client_id=False,
        )
        try:
            return self._request_tokens(body)
        except ReconnectNeeded as error:
            raise ConsentFailed(
                "Xero refused the code of this sign-in: it is used, expired or not ours.",
                reason=ConsentProblem.CODE_REFUSED,
            ) from error

    def refresh(self, tokens: Tokens) -> Tokens:
        """Exchange a pair of tokens for a new one. This uses up the old refresh token, so save the new pair before use.

        A Custom Connection has no refresh token: it requests a new access token with its client credentials.

        Raises:
            ReconnectNeeded: the refresh token is expired, used or revoked. Never retried.
        """
        if self._app.custom_connection:
            return self.request_client_credentials_token()
        body = self._web.prepare_refresh_body(refresh_token=tokens.refresh_token, scope=None)
        fresh = self._request_tokens(body)
        if not fresh.refresh_token:
            raise PayloadNotUnderstood("Xero's answer to a token refresh has no refresh token.")
        return fresh

    def request_client_credentials_token(self) -> Tokens:
        """Request an access token for a Custom Connection: one organisation, no refresh token, no browser.

        Raises:
            AppRefused: the client id or secret is wrong, or Xero does not grant it now.
        """
        client = BackendApplicationClient(self._app.client_id)
        scopes = " ".join(scope for scope in self._app.scopes.split() if scope != "offline_access")
        try:
            return self._request_tokens(client.prepare_request_body(scope=scopes, include_client_id=False))
        except ReconnectNeeded as error:
            # There is no refresh token that could be used up, so connecting again would ask for the same once more.
            raise AppRefused(
                "Xero does not give this Custom Connection an access token (invalid_grant).",
                advice="The next sync tries again; if it stays so, look at the connection at developer.xero.com.",
                status=error.status,
            ) from error

    def revoke(self, refresh_token: str) -> None:
        """End every connection of the user who consented. A token that is no longer valid is not an error.

        Raises:
            AppRefused: the client id or secret is wrong; nothing was revoked.
        """
        response = self._session.call(
            "POST",
            f"{self._app.identity_url}/connect/revocation",
            data={"token": refresh_token},
            auth=self._client_auth(),
            identity=True,
        )
        try:
            raise_for_token_answer(response)
        except ReconnectNeeded:
            log.info("Xero no longer knows that refresh token: it was revoked or had expired already")

    def _client_auth(self) -> HTTPBasicAuth:
        return HTTPBasicAuth(self._app.client_id, self._app.client_secret)

    def _request_tokens(self, body: str) -> Tokens:
        requested_at = self._clock.now()
        response = self._session.call(
            "POST",
            f"{self._app.identity_url}/connect/token",
            data=body,
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            auth=self._client_auth(),
            identity=True,
            container=dict,
        )
        raise_for_token_answer(response)
        return _read_tokens(response.text, requested_at)


def _read_tokens(text: str, requested_at: datetime) -> Tokens:
    try:
        # oauthlib rejects an error answer and one without an access token or a token type.
        WebApplicationClient("").parse_request_body_response(text)
        answer = json.loads(text)
        expires_at = requested_at + timedelta(seconds=int(answer["expires_in"]))
        access_token = answer["access_token"]
        if not _SENDABLE_TOKEN.fullmatch(access_token):
            raise ValueError("no header can carry it")
    except (OAuth2Error, ValueError, KeyError, TypeError, OverflowError):
        # `from None`, because the exception holds the answer and so the tokens.
        raise PayloadNotUnderstood("Xero's token answer is not understood.") from None
    return Tokens(
        access_token=access_token,
        refresh_token=str(answer.get("refresh_token") or ""),
        id_token=str(answer.get("id_token") or ""),
        token_type=str(answer.get("token_type") or "Bearer"),
        scope=str(answer.get("scope") or ""),
        expires_at=expires_at,
        refreshed_at=requested_at,
    )


class AccessTokens:
    """Provides valid access tokens and refreshes them when needed.

    Two refreshes cannot race: a caller that finds the token expired takes the grant's lock, reads the token again,
    and asks Xero only if no other process has refreshed it since. The new pair is saved before anybody uses it. If
    the answer is lost, or the process dies before the new pair is saved, the vault still holds the old refresh token
    and the next refresh sends it again (Xero allows that for 30 minutes).
    """

    def __init__(
        self, vault: TokenVault, sign_in: SignIn, clock: Clock, list_connections: ListConnections | None = None
    ) -> None:
        """
        Args:
            list_connections: for a Custom Connection, lists what a new access token opens. The connection can be
                given another organisation at Xero. The token then opens that one, whichever organisation a request
                names.
        """
        self._vault = vault
        self._list_connections = list_connections
        self._sign_in = sign_in
        self._clock = clock
        self._last_refusal: tuple[AppRefused | None, datetime] = (None, clock.now())

    def get(self, tenant_id: str, *, rejected: str | None = None, for_disconnect: bool = False) -> str:
        """Return the organisation's access token, refreshed first if it is about to expire.

        Args:
            rejected: a token that Xero has just refused. It is not used again, even if it has not expired.
            for_disconnect: whether the token is for a disconnect, which is tried even if the organisation has to be
                connected again.

        Raises:
            ReconnectNeeded: the grant is no longer valid; somebody has to connect again.
        """
        while True:
            grant_id, tokens = self._load(tenant_id, for_disconnect)
            if self._is_usable(tokens, rejected):
                return tokens.access_token
            with self._vault.hold_refresh_lock(grant_id):
                current_grant_id, tokens = self._load(tenant_id, for_disconnect)
                # If somebody has connected again since, the tokens belong to another grant, which this lock does not
                # protect.
                if current_grant_id == grant_id:
                    if self._is_usable(tokens, rejected):
                        return tokens.access_token
                    if fresh := self._refresh(grant_id, tenant_id, tokens):
                        return fresh.access_token
            # Somebody connected again or disconnected: the next round reads which of the two.

    def _refresh(self, grant_id: str, tenant_id: str, tokens: Tokens) -> Tokens | None:
        refusal, until = self._last_refusal
        if refusal is not None and self._clock.now() < until:
            raise AppRefused(refusal.what, advice=refusal.advice, status=refusal.status)
        try:
            fresh = self._sign_in.refresh(tokens)
        except ReconnectNeeded:
            self._vault.set_status(grant_id, ConnectionStatus.RECONNECT_NEEDED)
            raise
        except AppRefused as error:
            self._last_refusal = error, self._clock.now() + APP_REFUSAL_COOLDOWN
            raise
        if self._list_connections is not None:
            self._require_opened(grant_id, tenant_id, fresh)
        if not self._vault.save_refreshed(grant_id, fresh):
            return None
        log.info("refreshed the tokens of grant %s", grant_id)
        return fresh

    def _require_opened(self, grant_id: str, tenant_id: str, fresh: Tokens) -> None:
        assert self._list_connections is not None  # noqa: S101
        if all(connection.tenant_id != tenant_id for connection in self._list_connections(fresh)):
            self._vault.set_status(grant_id, ConnectionStatus.RECONNECT_NEEDED)
            raise ReconnectNeeded(
                f"The Custom Connection no longer opens the organisation {tenant_id}.",
                advice="Connect with `xero-pipeline connect`: that stores the organisation that it opens now.",
            )

    def _is_usable(self, tokens: Tokens, rejected: str | None) -> bool:
        return tokens.access_token != rejected and not tokens.expires_within(EXPIRY_MARGIN, self._clock.now())

    def _load(self, tenant_id: str, for_disconnect: bool) -> tuple[str, Tokens]:
        organisation, tokens = self._vault.load_with_tokens(tenant_id)
        if not for_disconnect and organisation.status is ConnectionStatus.RECONNECT_NEEDED:
            raise ReconnectNeeded(
                f"{organisation.display_name} is no longer connected to Xero.", advice=organisation.reconnect_advice
            )
        return organisation.grant_id, tokens


def read_connections(payload: object) -> Sequence[Connection]:
    """Read the organisations of `GET /connections`. Practice connections and the like are left out.

    The name is empty if the list has none.

    Raises:
        PayloadNotUnderstood: the answer is not the list that Xero documents.
    """
    if not isinstance(payload, list):
        raise PayloadNotUnderstood("Xero's answer to /connections is not a list.")
    connections = []
    for row in payload:
        if not isinstance(row, dict) or not row.get("id") or not row.get("tenantId"):
            raise PayloadNotUnderstood("Xero's answer to /connections has a row without id or tenantId.")
        if str(row.get("tenantType", "ORGANISATION")).upper() == "ORGANISATION":
            connections.append(Connection(str(row["id"]), str(row["tenantId"]), str(row.get("tenantName") or "")))
    return connections
