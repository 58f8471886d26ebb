"""Connect and disconnect: what a person does with a connection, whether by page or by command.

One place for the whole act, so that both do the same: a consent begins with a one-time state, ends with
every organisation of that consent stored, and leaves nothing changed when anything is wrong on the way.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from xero_pipeline.grants import Connection, Organisation, Tokens
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.connections.oauth_states import OAuthStates, StateProblem
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
    StateProblem.OTHER_BROWSER: (
        ConsentProblem.OTHER_BROWSER,
        "This sign-in was begun in another browser.",
    ),
}

# They only say who connected: nothing here needs them.
_DISPENSABLE_SCOPES = {"openid", "profile", "email"}
_OFFLINE = "offline_access"
# The broad scope that each family of granular ones was split off from.
_BROAD_SCOPES = {
    "accounting.reports.": "accounting.reports",
    "accounting.invoices": "accounting.transactions",
}


class ConnectionService:
    """A deployment's consents."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._vault = deployment.warehouse.tokens
        self._states = OAuthStates(deployment.warehouse.engine, deployment.warehouse.cipher)

    def begin(self, *, browser: str | None) -> str:
        """Start a consent; answers the page at Xero that the person is sent to.

        Args:
            browser: a secret that only the browser knows which begins; `None` when the command line begins,
                where whoever was shown the address may finish it.
        """
        sign_in = self._deployment.sign_in
        state = secrets.token_urlsafe(32)
        verifier = sign_in.create_code_verifier()
        self._states.begin(state, verifier, browser=browser, now=self._deployment.clock.now())
        return sign_in.build_consent_url(state=state, code_verifier=verifier)

    def finish(self, answer: Mapping[str, str], *, browser: str | None) -> Sequence[Organisation]:
        """Take what Xero sent the browser back with, and store every organisation of the consent.

        Raises:
            ConsentFailed: no, used, expired or another browser's state; consent refused; code refused; a
                scope that was asked for is missing; no organisation was chosen.
            AppRefused: client id, secret or scopes are not what the app at Xero has.
        """
        state = answer.get("state", "")
        if not state:
            raise ConsentFailed("Xero's answer carries no state.", reason=ConsentProblem.STATE_MISSING)
        verifier = self._states.use(state, browser=browser, now=self._deployment.clock.now())
        if isinstance(verifier, StateProblem):
            reason, what = _STATE_PROBLEMS[verifier]
            raise ConsentFailed(what, reason=reason)
        if answer.get("error"):
            raise _refused_consent(answer)
        if not answer.get("code"):
            raise ConsentFailed("Xero's answer carries no code.", reason=ConsentProblem.CODE_MISSING)
        return self._store(self._deployment.sign_in.exchange_code(answer["code"], code_verifier=verifier))

    def connect_custom(self) -> Sequence[Organisation]:
        """Connect a Xero Custom Connection: client credentials, no browser."""
        return self._store(self._deployment.sign_in.request_client_credentials_token())

    def connect_mock(self) -> Sequence[Organisation]:
        """Give the mock's consent as a person would in the browser, and finish it."""
        mock = self._deployment.chosen.mock
        if mock is None:
            raise ConsentFailed(
                "Only the mock Xero can be connected without a person.", reason=ConsentProblem.NOT_A_MOCK
            )
        answer = mock.give_consent(self.begin(browser=None))
        return self.finish(dict(parse_qsl(urlsplit(answer).query)), browser=None)

    def _store(self, tokens: Tokens) -> Sequence[Organisation]:
        self._require_scopes(tokens)
        apis = self._bearing(tokens)
        connections = [_named(one, apis) for one in read_connections(apis.get_connections())]
        if not connections:
            raise ConsentFailed(
                "The consent opened no organisation.",
                reason=ConsentProblem.NO_ORGANISATION,
                advice="Nothing was changed; begin again and choose at least one at Xero's page.",
            )
        stored = self._vault.save_consent(tokens, connections, now=self._deployment.clock.now())
        log.info("connected %s", ", ".join(organisation.tenant_name for organisation in stored))
        return stored

    def _require_scopes(self, tokens: Tokens) -> None:
        """A consent that lacks something would only fail later, at the first sync or after half an hour."""
        app = self._deployment.sign_in.app
        granted = set(tokens.scope.split())
        # Without a list of scopes in the answer they are those that were asked for (RFC 6749, 5.1).
        asked = set(app.scopes.split()) - _DISPENSABLE_SCOPES - {_OFFLINE} if granted else set()
        missing = sorted(scope for scope in asked if not is_granted(scope, granted))
        if not tokens.refresh_token and not app.custom_connection:
            missing.append(_OFFLINE)
        if missing:
            raise ConsentFailed(
                f"The consent lacks the scope{'s' * (len(missing) > 1)} {', '.join(missing)}.",
                reason=ConsentProblem.SCOPE_MISSING,
                advice="Nothing was changed; compare XERO_SCOPES with .env.example, then connect again.",
            )

    def _bearing(self, tokens: Tokens) -> XeroApis:
        """The APIs with these very tokens, which are not stored yet."""
        settings = self._deployment.settings
        return XeroApis(
            self._deployment.session,
            api_url=settings.api_url,
            access_token=lambda _rejected: tokens.access_token,
        )

    def still_connected(self, tenant_id: str) -> Sequence[Connection]:
        """What Xero lists today for the consent that this organisation belongs to."""
        return read_connections(self._deployment.apis(tenant_id).get_connections())

    def disconnect(self, tenant_id: str | None = None) -> Sequence[Organisation]:
        """Disconnect one organisation, or all, at Xero and here. Gone at Xero already is as good.

        Figures and logs stay. An organisation is forgotten here only once Xero has let go of it, or says
        that it knows nothing of it.

        Raises:
            UnknownOrganisation: no such organisation is kept.
            XeroError: Xero could not be reached; nothing was forgotten that is not gone there.
        """
        kept = list(self._vault.organisations())
        leaving = [organisation for organisation in kept if tenant_id in (None, organisation.tenant_id)]
        if not leaving and tenant_id is not None:
            raise UnknownOrganisation(f"No organisation with the id {tenant_id} is connected.")
        if tenant_id is None:
            for grant_id in dict.fromkeys(organisation.grant_id for organisation in leaving):
                self._end_grant(grant_id)
        else:
            self._leave(leaving[0])
        for organisation in leaving:
            log.info("disconnected %s", organisation.tenant_name)
        return leaving

    def _end_grant(self, grant_id: str) -> None:
        """Revoke a whole consent, which disconnects every organisation of it. A Custom Connection has no
        refresh token to revoke: its organisation is disconnected by itself."""
        # Nobody may refresh meanwhile: the token that is revoked must be the one in force.
        with self._vault.hold_refresh_lock(grant_id):
            # Read only now: meanwhile somebody may have connected one of them again, by another consent.
            organisations = [one for one in self._vault.organisations() if one.grant_id == grant_id]
            if not organisations:
                return
            refresh_token = self._vault.tokens(organisations[0].tenant_id).refresh_token
            if refresh_token:
                self._deployment.sign_in.revoke(refresh_token)
                self._vault.forget_grant(grant_id)
                return
        for organisation in organisations:
            self._leave(organisation)

    def _leave(self, organisation: Organisation) -> None:
        try:
            apis = self._deployment.apis(organisation.tenant_id, leaving=True)
            apis.delete_connection(organisation.connection_id)
        except ConnectionLost as error:
            log.info("%s was disconnected at Xero already: %s", organisation.tenant_name, error.what)
        except RequestRefused as error:
            if error.status != 404:
                raise
            log.info("%s was disconnected at Xero already", organisation.tenant_name)
        self._vault.forget(organisation.tenant_id)


def _named(connection: Connection, apis: XeroApis) -> Connection:
    """With the name that the organisation gives itself, or else its id, where the list of connections has none."""
    if connection.tenant_name:
        return connection
    try:
        details = read_organisation(apis.get("Organisation", "get_organisations", connection.tenant_id))
    except XeroError as error:
        log.warning("The name of organisation %s is not known: %s", connection.tenant_id, error)
        return replace(connection, tenant_name=connection.tenant_id)
    return replace(connection, tenant_name=details.name or connection.tenant_id)


def is_granted(scope: str, granted: Collection[str]) -> bool:
    """Whether a consent covers a scope: by its own name, by the one that may also write, or by the broad scope
    of older apps that it was split off from (Xero's granular scopes, March 2026)."""
    writing = scope.removesuffix(".read")
    broad = next((old for part, old in _BROAD_SCOPES.items() if writing.startswith(part)), writing)
    return bool({scope, writing, broad, f"{broad}.read"} & set(granted))


def _refused_consent(answer: Mapping[str, str]) -> ConsentFailed:
    error = answer["error"]
    if error == "access_denied":
        return ConsentFailed(
            "The consent was not given: somebody pressed Cancel at Xero.", reason=ConsentProblem.ACCESS_DENIED
        )
    # The text comes from the address bar, so anybody may have written it: keep only what a message needs.
    words = f"{error} {answer.get('error_description', '')}"
    said = "".join(character for character in words if character.isprintable())[:200].strip()
    if error == "invalid_scope" or "scope" in words.lower():
        return ConsentFailed(
            f"Xero does not allow this app a scope that it asked for: {said}.",
            reason=ConsentProblem.SCOPE_REFUSED,
            advice="Nothing was changed; compare XERO_SCOPES with your app at developer.xero.com.",
        )
    return ConsentFailed(f"Xero refused the consent: {said}.", reason=ConsentProblem.CONSENT_REFUSED)
