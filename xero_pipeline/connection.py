"""Connects and disconnects organisations, for the admin page and for the command line.

A consent begins with a one-time state and ends when every organisation of the consent is stored. If anything fails in
between, nothing is changed, and the tokens that Xero has issued for it are revoked where that ends nothing else.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from xero_pipeline.access import AccessControl
from xero_pipeline.grants import Connection, Organisation, Tokens
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.connections.oauth_states import (
    ConsentStarter,
    OAuthStates,
    PendingConsent,
    StateProblem,
)
from xero_pipeline.warehouse.errors import UnknownOrganisation
from xero_pipeline.xero.errors import ConnectionLost, ConsentFailed, ConsentProblem, RequestRefused, XeroError
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.oauth import read_connections
from xero_pipeline.xero.readers.accounts import read_organisation

log = logging.getLogger(__name__)

_STATE_PROBLEMS = {
    StateProblem.UNKNOWN: (
        ConsentProblem.STATE_UNKNOWN,
        "This sign-in was not begun here: its state is unknown.",
    ),
    StateProblem.USED: (
        ConsentProblem.STATE_USED,
        "This sign-in was finished already: its state has been used.",
    ),
    StateProblem.EXPIRED: (ConsentProblem.STATE_EXPIRED, "This sign-in took longer than ten minutes."),
    StateProblem.ENDED: (
        ConsentProblem.STATE_ENDED,
        "This sign-in has ended: since it began somebody signed out, disconnected, or changed the access token.",
    ),
    StateProblem.OTHER_BROWSER: (
        ConsentProblem.OTHER_BROWSER,
        "This sign-in was begun in another browser.",
    ),
}

# Held while tokens are stored, so that a consent is stored before a disconnect lists the organisations, or not at all.
_CONSENT_LOCK = "consents"
# These scopes only tell who consented. The pipeline does not need them.
_OPTIONAL_SCOPES = {"openid", "profile", "email"}
_OFFLINE = "offline_access"
# By the beginning of a granular scope: the broad scope that Xero split it off from.
_BROAD_SCOPES = {
    "accounting.reports.": "accounting.reports",
    "accounting.invoices": "accounting.transactions",
}


class ConnectionService:
    """The consents of a deployment and the organisations connected by them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._tokens = deployment.warehouse.tokens
        self._states = OAuthStates(deployment.warehouse.engine, deployment.warehouse.cipher)

    def begin_consent(self, *, browser: str | None, starter: ConsentStarter | None = None) -> str:
        """Begin a consent and return the address of Xero's consent page.

        Args:
            browser: a secret that only this browser knows, so that no other browser can finish the consent. `None`
                on the command line: then any browser can finish it.
            starter: who begins it. The consent ends when their session or access token does.
        """
        sign_in = self._deployment.sign_in
        state = secrets.token_urlsafe(32)
        verifier = sign_in.create_code_verifier()
        self._states.begin(state, verifier, browser=browser, now=self._deployment.clock.now(), starter=starter)
        return sign_in.build_consent_url(state=state, code_verifier=verifier)

    def finish_consent(self, answer: Mapping[str, str], *, browser: str | None) -> Sequence[Organisation]:
        """Finish a consent and store every organisation of it.

        Args:
            answer: the query parameters with which Xero sent the browser back.
            browser: the secret of this browser, as for `begin_consent`.

        Raises:
            ConsentFailed: the state is missing, unknown, used, expired, ended or another browser's; the person or Xero
                refused the consent; the code is missing or refused; a requested scope is missing; no organisation was
                chosen.
            AppRefused: the client id, the secret or the scopes are not those of the app at Xero.
        """
        state = answer.get("state", "")
        if not state:
            raise ConsentFailed("Xero's answer carries no state.", reason=ConsentProblem.STATE_MISSING)
        consent = self._states.use(state, browser=browser, now=self._deployment.clock.now())
        if isinstance(consent, StateProblem):
            raise _build_state_failure(consent)
        self._require_in_force(consent)
        if answer.get("error"):
            raise _build_refusal(answer)
        if not answer.get("code"):
            raise ConsentFailed("Xero's answer carries no code.", reason=ConsentProblem.CODE_MISSING)
        tokens = self._deployment.sign_in.exchange_code(answer["code"], code_verifier=consent.code_verifier)
        return self._store(tokens, consent)

    def find_starter(self, answer: Mapping[str, str], *, browser: str | None) -> ConsentStarter | None:
        """Tell who began the consent that this answer belongs to, as far as this browser may know."""
        return self._states.find_starter(answer.get("state", ""), browser=browser)

    def end_consents(self) -> int:
        """End every consent in progress, and return how many there were."""
        with self._deployment.warehouse.locks.hold(_CONSENT_LOCK, timeout=60.0):
            return self._states.end_all(self._deployment.clock.now())

    def _require_in_force(self, consent: PendingConsent) -> None:
        access = AccessControl(self._deployment.settings, self._deployment.warehouse)
        is_bound_and_over = consent.starter is not None and not access.may_finish(consent.starter)
        if is_bound_and_over or self._states.has_ended(consent.state):
            raise _build_state_failure(StateProblem.ENDED)

    def connect_custom(self) -> Sequence[Organisation]:
        """Connect a Xero Custom Connection, which uses client credentials and needs no browser."""
        return self._store(self._deployment.sign_in.request_client_credentials_token())

    def connect_mock(self) -> Sequence[Organisation]:
        """Give the mock's consent, as a person does in the browser, and finish it."""
        mock = self._deployment.backend.mock
        if mock is None:
            raise ConsentFailed(
                "Only the mock Xero can be connected without a person.", reason=ConsentProblem.NOT_A_MOCK
            )
        answer = mock.give_consent(self.begin_consent(browser=None))
        return self.finish_consent(dict(parse_qsl(urlsplit(answer).query)), browser=None)

    def _store(self, tokens: Tokens, consent: PendingConsent | None = None) -> Sequence[Organisation]:
        connections: Sequence[Connection] | None = None
        try:
            self._require_scopes(tokens)
            apis = self._build_apis(tokens)
            connections = read_connections(apis.get_connections())
            named = [_fill_in_name(connection, apis) for connection in connections]
            if not named:
                raise ConsentFailed(
                    "The consent opened no organisation.",
                    reason=ConsentProblem.NO_ORGANISATION,
                    advice="Nothing was changed; begin again and choose at least one on Xero's page.",
                )
            with self._deployment.warehouse.locks.hold(_CONSENT_LOCK, timeout=60.0):
                if consent is not None:
                    # Somebody may have signed out or disconnected while Xero was asked.
                    self._require_in_force(consent)
                stored = self._tokens.save_consent(tokens, named, now=self._deployment.clock.now())
        except Exception:
            self._revoke_unkept(tokens, connections)
            raise
        log.info("connected %s", format_names(stored))
        return stored

    def _revoke_unkept(self, tokens: Tokens, connections: Sequence[Connection] | None) -> None:
        """Revoke tokens that are not stored, unless that would end connections that are. Never raises.

        Xero's revocation ends every connection of the person who consented. If one of these is stored, with the tokens
        of an earlier consent, the new tokens are left to expire.
        """
        if not tokens.refresh_token:
            # An access token alone cannot be revoked. It expires within half an hour.
            return
        try:
            kept = {organisation.connection_id for organisation in self._tokens.list_organisations()}
            if kept and connections is None:
                connections = read_connections(self._build_apis(tokens).get_connections())
            if kept.intersection(connection.connection_id for connection in connections or ()):
                log.info("the tokens of the failed consent were not revoked: that would end kept connections")
                return
            self._deployment.sign_in.revoke(tokens.refresh_token)
            log.info("revoked the tokens of the failed consent")
        except Exception as error:  # noqa: BLE001 - the consent's own error is the one to show
            log.warning("the tokens of the failed consent could not be revoked (%s)", type(error).__name__)

    def _require_scopes(self, tokens: Tokens) -> None:
        """Refuse a consent that lacks a scope. It would fail later, at the first sync or after half an hour."""
        app = self._deployment.sign_in.app
        granted = set(tokens.scope.split())
        # An answer without a list of scopes means that all requested ones were granted (RFC 6749, 5.1).
        requested = set(app.scopes.split()) - _OPTIONAL_SCOPES - {_OFFLINE} if granted else set()
        missing = sorted(scope for scope in requested if not is_granted(scope, granted))
        if not tokens.refresh_token and not app.custom_connection:
            missing.append(_OFFLINE)
        if missing:
            raise ConsentFailed(
                f"The consent lacks the scope{'s' * (len(missing) > 1)} {', '.join(missing)}.",
                reason=ConsentProblem.SCOPE_MISSING,
                advice="Nothing was changed; compare XERO_SCOPES with .env.example, then connect again.",
            )

    def _build_apis(self, tokens: Tokens) -> XeroApis:
        """Build the APIs with these tokens, which are not stored yet."""
        settings = self._deployment.settings
        return XeroApis(
            self._deployment.session,
            api_url=settings.api_url,
            access_token=lambda _rejected: tokens.access_token,
        )

    def list_connections_at_xero(self, tenant_id: str) -> Sequence[Connection]:
        """List the connections that Xero has now for the consent that this organisation belongs to."""
        return read_connections(self._deployment.build_apis(tenant_id).get_connections())

    def disconnect(self, tenant_id: str | None = None) -> Sequence[Organisation]:
        """Disconnect one organisation, or all, at Xero and here, and return them.

        Figures and logs stay. The tokens of an organisation are deleted only after Xero has disconnected it, or has
        said that it is not connected.

        Raises:
            UnknownOrganisation: no such organisation is connected.
            XeroError: Xero could not be reached. The tokens of organisations that are still connected there stay.
        """
        # First, so that no consent in progress connects an organisation again behind this disconnect.
        self.end_consents()
        organisations = self._tokens.list_organisations()
        leaving = [organisation for organisation in organisations if tenant_id in (None, organisation.tenant_id)]
        if not leaving and tenant_id is not None:
            raise UnknownOrganisation(f"No organisation with the id {tenant_id} is connected.")
        if tenant_id is None:
            for grant_id in dict.fromkeys(organisation.grant_id for organisation in leaving):
                self.revoke_grant(grant_id)
        else:
            self._disconnect_organisation(leaving[0])
        for organisation in leaving:
            log.info("disconnected %s", organisation.tenant_name)
        return leaving

    def revoke_grant(self, grant_id: str) -> None:
        """Revoke a whole consent, which disconnects every organisation of it.

        A Custom Connection has no refresh token to revoke. Its organisation is disconnected by its connection id.

        Raises:
            XeroError: Xero could not be reached. The tokens stay.
            NotDecryptable: the tokens cannot be read. They stay.
        """
        # No other process may refresh during this: the revoked token must be the current one.
        with self._tokens.hold_refresh_lock(grant_id):
            # Read inside the lock: somebody may have connected one of them again with another consent.
            organisations = [
                organisation for organisation in self._tokens.list_organisations() if organisation.grant_id == grant_id
            ]
            if not organisations:
                return
            refresh_token = self._tokens.load_tokens(organisations[0].tenant_id).refresh_token
            if refresh_token:
                self._deployment.sign_in.revoke(refresh_token)
                self._tokens.forget_grant(grant_id)
                return
        for organisation in organisations:
            self._disconnect_organisation(organisation)

    def _disconnect_organisation(self, organisation: Organisation) -> None:
        try:
            apis = self._deployment.build_apis(organisation.tenant_id, for_disconnect=True)
            apis.delete_connection(organisation.connection_id)
        except ConnectionLost as error:
            log.info("%s was disconnected at Xero already: %s", organisation.tenant_name, error.what)
        except RequestRefused as error:
            if error.status != 404:
                raise
            log.info("%s was disconnected at Xero already", organisation.tenant_name)
        self._tokens.forget(organisation.tenant_id)


def format_names(organisations: Sequence[Organisation]) -> str:
    """The names of organisations, for people."""
    return ", ".join(organisation.tenant_name for organisation in organisations)


def _fill_in_name(connection: Connection, apis: XeroApis) -> Connection:
    """Fill in a missing name: the one in the organisation's own details, or else its id."""
    if connection.tenant_name:
        return connection
    try:
        details = read_organisation(apis.get("Organisation", "get_organisations", connection.tenant_id))
    except XeroError as error:
        log.warning("The name of organisation %s is not known: %s", connection.tenant_id, error)
        return replace(connection, tenant_name=connection.tenant_id)
    return replace(connection, tenant_name=details.name or connection.tenant_id)


def is_granted(scope: str, granted: Collection[str]) -> bool:
    """Whether a consent covers a scope.

    It does with the scope itself, with the same scope that also allows writing, or with the broad scope of older apps
    that it was split off from (Xero's granular scopes, March 2026).
    """
    write_scope = scope.removesuffix(".read")
    broad = next((old for prefix, old in _BROAD_SCOPES.items() if write_scope.startswith(prefix)), write_scope)
    return bool({scope, write_scope, broad, f"{broad}.read"} & set(granted))


def _build_state_failure(problem: StateProblem) -> ConsentFailed:
    reason, what = _STATE_PROBLEMS[problem]
    return ConsentFailed(what, reason=reason)


def _build_refusal(answer: Mapping[str, str]) -> ConsentFailed:
    error = answer["error"]
    if error == "access_denied":
        return ConsentFailed(
            "The consent was not given: somebody pressed Cancel at Xero.", reason=ConsentProblem.ACCESS_DENIED
        )
    # The text comes from the address bar, so anybody can write anything into it: 200 printable characters are kept.
    text = f"{error} {answer.get('error_description', '')}"
    shown = "".join(character for character in text if character.isprintable())[:200].strip()
    if error == "invalid_scope" or "scope" in text.lower():
        return ConsentFailed(
            f"Xero does not allow this app a scope that it asked for: {shown}.",
            reason=ConsentProblem.SCOPE_REFUSED,
            advice="Nothing was changed; compare XERO_SCOPES with your app at developer.xero.com.",
        )
    return ConsentFailed(f"Xero refused the consent: {shown}.", reason=ConsentProblem.CONSENT_REFUSED)
