"""Consent, tokens, refresh, disconnect: what is said to Xero's sign-in, and when.

The protocol itself is oauthlib's (it only words and reads the messages); the messages travel over our
session. Where tokens are kept is somebody else's matter: a `TokenVault` is handed in. Nothing here logs or
repeats a secret.

Sources: Xero's "The standard authorization code flow", "Custom Connections", "Token types".
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
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

# A token this close to its end is refreshed first: it must outlive the request that carries it.
EXPIRY_MARGIN = timedelta(minutes=2)
# A client id or secret that was refused is not sent again for so long: a run would, for each of its weeks.
REFUSED_FOR = timedelta(minutes=5)
# What an access token may be made of (RFC 6749, A.12, without the blank).
_SENDABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class XeroApp:
    """The app at developer.xero.com that people consent to, and where its Xero is."""

    client_id: str
    client_secret: str = field(repr=False)
    scopes: str
    redirect_uri: str
    login_url: str
    identity_url: str
    custom_connection: bool = False


class TokenVault(Protocol):
    """Where tokens are kept: see `warehouse/connections/tokens.py`."""

    def held(self, tenant_id: str) -> tuple[Organisation, Tokens]:
        """An organisation and its tokens, of one and the same moment."""
        ...

    def refreshing(self, grant_id: str) -> AbstractContextManager[None]:
        """Hold the right to refresh this grant's tokens, against every process of the deployment."""
        ...

    def save_refreshed(self, grant_id: str, tokens: Tokens) -> bool:
        """Keep a new pair for the grant's organisations; `False` where the grant has none any more."""
        ...

    def mark(self, whose: str, status: ConnectionStatus) -> None: ...


class SignIn:
    """The messages to Xero's identity server. Each method is one of them."""

    def __init__(self, session: XeroSession, app: XeroApp, clock: Clock) -> None:
        self._session = session
        self._app = app
        self._clock = clock
        self._web = WebApplicationClient(app.client_id)

    @property
    def app(self) -> XeroApp:
        return self._app

    def new_code_verifier(self) -> str:
        """A fresh PKCE verifier (RFC 7636), to be kept until the code is exchanged."""
        verifier: str = self._web.create_code_verifier(96)
        return verifier

    def consent_url(self, *, state: str, code_verifier: str) -> str:
        """Where the person is sent to give the consent."""
        challenge = self._web.create_code_challenge(code_verifier, "S256")
        # oauthlib refuses http; settings.py allows it on loopback alone: word it as https, put http back.
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
        """Turn the code of a consent into tokens.

        Raises:
            ConsentFailed: Xero refuses the code (used, expired, or of another sign-in).
            AppRefused: client id or secret is wrong.
        """
        body = self._web.prepare_request_body(
            code=code,
            redirect_uri=self._app.redirect_uri,
            code_verifier=code_verifier,
            include_client_id=False,
        )
        try:
            return self._ask(body)
        except ReconnectNeeded as error:
            raise ConsentFailed(
                "Xero refused the code of this sign-in: it is used, expired or not ours.",
                reason=ConsentProblem.CODE_REFUSED,
            ) from error

    def refresh(self, tokens: Tokens) -> Tokens:
        """A new pair for an old one. The old refresh token is used up: save what comes back before using it.

        A Custom Connection has no refresh token; it asks for a new access token with its client credentials.

        Raises:
            ReconnectNeeded: the refresh token is expired, used or revoked. Never retried.
        """
        if self._app.custom_connection:
            return self.client_credentials()
        body = self._web.prepare_refresh_body(refresh_token=tokens.refresh_token, scope=None)
        fresh = self._ask(body)
        if not fresh.refresh_token:
            raise PayloadNotUnderstood("Xero's answer to a token refresh carries no refresh token.")
        return fresh

    def client_credentials(self) -> Tokens:
        """An access token of a Custom Connection: one organisation, no refresh token, no browser."""
        client = BackendApplicationClient(self._app.client_id)
        scopes = " ".join(scope for scope in self._app.scopes.split() if scope != "offline_access")
        return self._ask(client.prepare_request_body(scope=scopes, include_client_id=False))

    def revoke(self, refresh_token: str) -> None:
        """End every connection of the user who consented. A token that is gone already is no error.

        Raises:
            AppRefused: client id or secret is wrong; nothing was revoked.
        """
        response = self._session.call(
            "POST",
            f"{self._app.identity_url}/connect/revocation",
            data={"token": refresh_token},
            auth=self._basic(),
            identity=True,
        )
        try:
            raise_for_token_answer(response)
        except ReconnectNeeded:
            log.info("Xero knows that refresh token no more: it was revoked or had died already")

    def _basic(self) -> HTTPBasicAuth:
        return HTTPBasicAuth(self._app.client_id, self._app.client_secret)

    def _ask(self, body: str) -> Tokens:
        asked_at = self._clock.now()
        response = self._session.call(
            "POST",
            f"{self._app.identity_url}/connect/token",
            data=body,
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            auth=self._basic(),
            identity=True,
        )
        raise_for_token_answer(response)
        return _read_tokens(response.text, asked_at)


def _read_tokens(text: str, asked_at: datetime) -> Tokens:
    try:
        # oauthlib's own check of the answer: errors, a missing access token or token type.
        WebApplicationClient("").parse_request_body_response(text)
        answer = json.loads(text)
        expires_at = asked_at + timedelta(seconds=int(answer["expires_in"]))
        access_token = answer["access_token"]
        if not _SENDABLE.fullmatch(access_token):
            raise ValueError("no header could carry it")
    except (OAuth2Error, ValueError, KeyError, TypeError, OverflowError):
        # `from None`: the exception would carry the answer, and with it the tokens.
        raise PayloadNotUnderstood("Xero's token answer is not understood.") from None
    return Tokens(
        access_token=access_token,
        refresh_token=str(answer.get("refresh_token") or ""),
        id_token=str(answer.get("id_token") or ""),
        token_type=str(answer.get("token_type") or "Bearer"),
        scope=str(answer.get("scope") or ""),
        expires_at=expires_at,
        refreshed_at=asked_at,
    )


class AccessTokens:
    """A usable access token for an organisation, whenever one is needed.

    Refreshing cannot race: whoever finds the token expired takes the grant's lock, reads again, and asks
    Xero only if nobody else has done so meanwhile. The new pair is saved before anyone uses it. If the
    answer is lost on the way, or the process dies before it is saved, the old refresh token still stands in
    the vault and is simply asked with again (Xero allows that for 30 minutes).
    """

    def __init__(self, vault: TokenVault, sign_in: SignIn, clock: Clock) -> None:
        self._vault = vault
        self._sign_in = sign_in
        self._clock = clock
        self._refused: tuple[AppRefused | None, datetime] = (None, clock.now())

    def current(self, tenant_id: str, *, rejected: str | None = None, leaving: bool = False) -> str:
        """The organisation's access token, refreshed if it is about to expire.

        Args:
            rejected: a token that Xero has just refused: it will not do, whatever its date says.
            leaving: for a disconnect, which is tried with what there is, however the connection stands.

        Raises:
            ReconnectNeeded: the grant is dead; somebody has to connect again.
        """
        while True:
            grant_id, tokens = self._held(tenant_id, leaving)
            if self._usable(tokens, rejected):
                return tokens.access_token
            with self._vault.refreshing(grant_id):
                grant_now, tokens = self._held(tenant_id, leaving)
                # Another grant, whose lock this is not, where somebody has connected again meanwhile.
                if grant_now == grant_id:
                    if self._usable(tokens, rejected):
                        return tokens.access_token
                    if fresh := self._refresh(grant_id, tokens):
                        return fresh.access_token
            # Somebody connected again, or disconnected: reading again finds out which.

    def _refresh(self, grant_id: str, tokens: Tokens) -> Tokens | None:
        refused, until = self._refused
        if refused is not None and self._clock.now() < until:
            raise AppRefused(refused.what, advice=refused.advice, status=refused.status)
        try:
            fresh = self._sign_in.refresh(tokens)
        except ReconnectNeeded:
            self._vault.mark(grant_id, ConnectionStatus.RECONNECT_NEEDED)
            raise
        except AppRefused as error:
            self._refused = error, self._clock.now() + REFUSED_FOR
            raise
        if not self._vault.save_refreshed(grant_id, fresh):
            return None
        log.info("refreshed the tokens of grant %s", grant_id)
        return fresh

    def _usable(self, tokens: Tokens, rejected: str | None) -> bool:
        return tokens.access_token != rejected and not tokens.expires_within(EXPIRY_MARGIN, self._clock.now())

    def _held(self, tenant_id: str, leaving: bool) -> tuple[str, Tokens]:
        organisation, tokens = self._vault.held(tenant_id)
        if not leaving and organisation.status is ConnectionStatus.RECONNECT_NEEDED:
            raise ReconnectNeeded(f"{organisation.tenant_name} is no longer connected to Xero.")
        return organisation.grant_id, tokens


def read_connections(payload: object) -> Sequence[Connection]:
    """The organisations of `GET /connections`; practice connections and the like are left out. The name is empty
    where the list has none.

    Raises:
        PayloadNotUnderstood: it is not the list that Xero documents.
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
