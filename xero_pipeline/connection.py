"""Connects and disconnects organisations, for the admin page and for the command line.

A consent begins with a one-time state and ends when every organisation of the consent is stored. If anything fails in
between, nothing is changed, and the tokens that Xero has issued for it are revoked where that ends nothing else.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlsplit

from xero_pipeline.access import AccessControl
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import Connection, ConnectionStatus, Organisation, Tokens
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.connections.oauth_states import (
    ConsentStarter,
    OAuthStates,
    PendingConsent,
    StateProblem,
)
from xero_pipeline.warehouse.errors import DatabaseUnavailable, UnknownOrganisation
from xero_pipeline.xero.custom_connections import list_custom_connections
from xero_pipeline.xero.errors import (
    ConnectionLost,
    ConsentFailed,
    ConsentProblem,
    OrganisationDisconnected,
    RequestRefused,
    XeroError,
)
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.oauth import read_connections
from xero_pipeline.xero.readers.accounts import read_organisation
from xero_pipeline.xero.scopes import is_granted

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


@dataclass(frozen=True, slots=True)
class Disconnection:
    """An organisation whose tokens have been deleted here. `unconfirmed` says why it may still be connected at Xero."""

    organisation: Organisation
    unconfirmed: str = ""

    def __str__(self) -> str:
        name = f"{self.organisation.tenant_name} ({self.organisation.tenant_id})"
        if not self.unconfirmed:
            return f"disconnected {name}"
        return (
            f"disconnected {name} here: its tokens are deleted. Xero did not confirm it: {self.unconfirmed} See in "
            "Xero, under the organisation's connected apps, whether it is still connected there."
        )


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
        stored = self._store(tokens, consent)
        names = {organisation.tenant_name for organisation in stored}
        for former in self._tokens.list_connected():
            if former.tenant_name in names and former.grant_id != stored[0].grant_id:
                self._mark_if_gone(former)
        return stored

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
        """Connect a Xero Custom Connection, which uses client credentials and needs no browser.

        It opens one organisation. Every other one that is stored has to be connected again from then on: its requests
        would be answered for the one that the Custom Connection opens now.
        """
        stored = self._store(self._deployment.sign_in.request_client_credentials_token())
        opened = {organisation.tenant_id for organisation in stored}
        for former in self._tokens.list_connected():
            if former.tenant_id not in opened:
                self._mark_lost(former)
        return stored

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
            apis = self._deployment.build_apis_for(tokens)
            connections = self._list_connections(apis)
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
                connections = self._list_connections(self._deployment.build_apis_for(tokens))
            if kept.intersection(connection.connection_id for connection in connections or ()):
                log.info("the tokens of the failed consent were not revoked: that would end kept connections")
                return
            self._deployment.sign_in.revoke(tokens.refresh_token)
            log.info("revoked the tokens of the failed consent")
        except Exception as error:  # noqa: BLE001 - the consent's own error is the one to show
            log.warning("the tokens of the failed consent could not be revoked (%s)", type(error).__name__)

    def _mark_if_gone(self, former: Organisation) -> None:
        """Mark an organisation that Xero no longer lists.

        A reset of Xero's demo company replaces it by another one of the same name.
        """
        try:
            listed = self.list_connections_at_xero(former.tenant_id)
        except ConnectionLost:
            listed = []
        except PipelineError as error:
            log.info("whether %s is still there is not known: %s", former.display_name, error)
            return
        if all(connection.tenant_id != former.tenant_id for connection in listed):
            self._mark_lost(former)

    def _mark_lost(self, former: Organisation) -> None:
        # The grant id protects a new consent that is given meanwhile.
        self._tokens.set_status(former.tenant_id, ConnectionStatus.RECONNECT_NEEDED, grant_id=former.grant_id)
        log.info("%s has to be connected again", former.display_name)

    def _list_connections(self, apis: XeroApis) -> Sequence[Connection]:
        if self._deployment.sign_in.app.custom_connection:
            return list_custom_connections(apis)
        return read_connections(apis.get_connections())

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

    def list_connections_at_xero(self, tenant_id: str) -> Sequence[Connection]:
        """List the connections that Xero has now for the consent that this organisation belongs to."""
        return self._list_connections(self._deployment.build_apis(tenant_id))

    def list_connections_despite_status(self, organisations: Sequence[Organisation]) -> Sequence[Connection]:
        """List what Xero has for organisations of one consent that are stored as lost, to see whether that is wrong.

        If the whole consent is lost, its refresh token was refused. So it is tried once more: an access token that has
        not expired yet would prove nothing.

        Raises:
            ReconnectNeeded: Xero refuses the refresh token again.
        """
        grant_id, tenant_id = organisations[0].grant_id, organisations[0].tenant_id
        is_whole_grant_lost = all(
            organisation.status is ConnectionStatus.RECONNECT_NEEDED
            for organisation in self._tokens.list_organisations()
            if organisation.grant_id == grant_id
        )
        if is_whole_grant_lost:
            stored = self._tokens.load_tokens(tenant_id).access_token
            self._deployment.access_tokens.get(tenant_id, rejected=stored, for_disconnect=True)
        return self._list_connections(self._deployment.build_apis(tenant_id, for_disconnect=True))

    def disconnect(self, tenant_id: str | None = None) -> Sequence[Disconnection]:
        """Disconnect one organisation, or all, at Xero and here.

        Figures and logs stay. The tokens here are deleted in any case, even if Xero refuses or cannot be reached.

        Returns:
            Each organisation, with what Xero did not confirm.

        Raises:
            UnknownOrganisation: no such organisation is connected.
        """
        # First, so that no consent in progress connects an organisation again behind this disconnect.
        self.end_consents()
        organisations = self._tokens.list_organisations()
        leaving = [organisation for organisation in organisations if tenant_id in (None, organisation.tenant_id)]
        if not leaving and tenant_id is not None:
            raise UnknownOrganisation(f"No organisation with the id {tenant_id} is connected.")
        if tenant_id is not None:
            return [self._disconnect_organisation(leaving[0])]
        grant_ids = dict.fromkeys(organisation.grant_id for organisation in leaving)
        return [disconnection for grant_id in grant_ids for disconnection in self._revoke_grant(grant_id)]

    def _revoke_grant(self, grant_id: str) -> list[Disconnection]:
        """Revoke a whole consent, which disconnects every organisation of it.

        A Custom Connection has no refresh token to revoke. Its organisation is disconnected by its connection id.
        """
        try:
            # No other process may refresh during this: the revoked token must be the current one.
            with self._tokens.hold_refresh_lock(grant_id):
                # Read inside the lock: somebody may have connected one of them again with another consent.
                organisations = self._list_of_grant(grant_id)
                if not organisations:
                    return []
                refresh_token = self._tokens.load_tokens(organisations[0].tenant_id).refresh_token
                if refresh_token:
                    self._deployment.sign_in.revoke(refresh_token)
                    self._tokens.forget_grant(grant_id)
                    return [_report_disconnection(organisation) for organisation in organisations]
        except DatabaseUnavailable:
            raise
        except PipelineError as error:
            organisations = self._list_of_grant(grant_id)
            self._tokens.forget_grant(grant_id)
            return [_report_disconnection(organisation, error.what) for organisation in organisations]
        return [self._disconnect_organisation(organisation) for organisation in organisations]

    def _list_of_grant(self, grant_id: str) -> list[Organisation]:
        return [organisation for organisation in self._tokens.list_organisations() if organisation.grant_id == grant_id]

    def _disconnect_organisation(self, organisation: Organisation) -> Disconnection:
        unconfirmed = ""
        try:
            if organisation.connection_id:
                apis = self._deployment.build_apis(organisation.tenant_id, for_disconnect=True)
                apis.delete_connection(organisation.connection_id)
            else:
                unconfirmed = "Xero has not told this app the connection's id."
        except OrganisationDisconnected as error:
            log.info("%s was disconnected at Xero already: %s", organisation.display_name, error.what)
        except DatabaseUnavailable:
            raise
        except PipelineError as error:
            if not isinstance(error, RequestRefused) or error.status != 404:
                unconfirmed = error.what
        self._tokens.forget(organisation.tenant_id)
        return _report_disconnection(organisation, unconfirmed)


def _report_disconnection(organisation: Organisation, unconfirmed: str = "") -> Disconnection:
    disconnection = Disconnection(organisation, unconfirmed)
    log.info("%s", disconnection)
    return disconnection


def format_names(organisations: Sequence[Organisation]) -> str:
    """The names of organisations, for people."""
    return ", ".join(organisation.display_name for organisation in organisations)


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
