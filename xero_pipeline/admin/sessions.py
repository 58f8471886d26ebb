"""Who has signed in: access tokens, session cookies, and the users that a trusted proxy names.

`security.py` decides which requests are let through, `pages.py` has the sign-in page, `login_throttle.py` limits wrong
tokens. Sessions and persons are in the database (`warehouse/access/`).
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import HTTPConnection

from xero_pipeline.access import AccessControl, Identity
from xero_pipeline.admin.login_throttle import LoginThrottle, TooManyGuesses
from xero_pipeline.admin.proxy import read_proxy_user
from xero_pipeline.audit import AuditTrail
from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.access.audit_log import Actor
from xero_pipeline.warehouse.access.sessions import StoredSession, UnknownSession
from xero_pipeline.warehouse.errors import DatabaseUnavailable
from xero_pipeline.warehouse.store import Warehouse


class WrongToken(PipelineError):
    code = "wrong_token"
    default_advice = "It is your own access token, or the value of ADMIN_TOKEN where this pipeline runs."


class NoRole(PipelineError):
    """The proxy has signed somebody in who has no role here."""

    code = "no_role"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends a request, and from where."""

    identity: Identity
    origin: str

    @property
    def actor(self) -> Actor:
        return self.identity.at(self.origin)


def find_origin(request: HTTPConnection) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else "unknown"


class Sessions:
    """The sign-in of one process. Without a setting that needs it, nobody has to sign in, and there is none."""

    def __init__(self, settings: Settings, clock: Clock, warehouse: Warehouse, trail: AuditTrail) -> None:
        if not settings.needs_sign_in:
            raise ValueError("without ADMIN_TOKEN or a trusted proxy nobody can sign in")
        self._settings = settings
        self._clock = clock
        self._store = warehouse.sessions
        self._access = AccessControl(settings, warehouse)
        self._throttle = LoginThrottle(clock)
        self._trail = trail

    @property
    def trail(self) -> AuditTrail:
        return self._trail

    def require_token(self, token: str, client: str | None) -> Identity:
        """Check a token that a client sent, and return whose it is. A wrong one is counted in the audit log.

        Raises:
            WrongToken: it is nobody's.
            TooManyGuesses: this client, or all clients together, sent too many wrong tokens.
        """
        identity = self._access.identify_token(token)
        try:
            is_right = self._throttle.record_attempt(client, identity is not None)
        except TooManyGuesses:
            if identity is None:
                self._trail.record_guess(client or "unknown", throttled=True)
            raise
        if not is_right or identity is None:
            self._trail.record_guess(client or "unknown", throttled=False)
            raise WrongToken("This token is wrong.")
        return identity

    def begin(self, identity: Identity, origin: str) -> str:
        """Begin a session and return its cookie."""
        cookie = secrets.token_urlsafe(32)
        self._store.begin(
            self._access.hash_session(cookie),
            who=identity.who,
            credential=identity.credential,
            origin=origin,
            now=self._clock.now(),
        )
        return cookie

    def identify(self, cookie: str | None, *, by_person: bool = True) -> Identity | None:
        """Tell whose session it is; `None` if there is none, or it has ended or expired.

        Args:
            by_person: whether a person has just used it. A request that the page sends by itself does not keep an idle
                session alive.
        """
        identity = self._access.identify_session(cookie) if cookie else None
        if identity is not None and identity.session is not None and by_person:
            # On a full or read-only database people can still look; at worst the session ends an hour later.
            with suppress(DatabaseUnavailable, SQLAlchemyError):
                self._store.touch(identity.session, self._clock.now())
        return identity

    def identify_proxy_user(self, request: HTTPConnection) -> Identity | None:
        """Tell whom the trusted proxy has signed in; `None` if the request does not come from it.

        Raises:
            NoRole: the proxy names somebody who has no role here.
        """
        name = read_proxy_user(request, self._settings)
        if name is None:
            return None
        identity = self._access.identify_name(name)
        if identity is None:
            raise NoRole(
                "The proxy has signed you in, but you have no role here.",
                advice="The owner gives you one with `xero-pipeline access add`.",
            )
        return identity

    def end(self, session: StoredSession) -> None:
        """End a session. Its cookie, and any copy of it, is refused from now on."""
        # Somebody else may have ended it just now.
        with suppress(UnknownSession):
            self._store.end(session.id)
