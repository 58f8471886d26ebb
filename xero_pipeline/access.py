"""Who somebody is, by an access token, a session or what a trusted proxy says; and what ends with a changed token.

A *credential* is a text by which a session or a consent is bound to what it was begun with. It is stored, so it is no
secret: for a person it is the hash of the token, and for `ADMIN_TOKEN` a hash under the encryption key. When the token
is changed or removed, the credential belongs to nobody, and what was bound to it has ended.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.access.audit_log import Actor
from xero_pipeline.warehouse.access.persons import Person
from xero_pipeline.warehouse.access.roles import AccessRole
from xero_pipeline.warehouse.access.sessions import StoredSession
from xero_pipeline.warehouse.connections.oauth_states import ConsentStarter
from xero_pipeline.warehouse.store import Warehouse

# The names in the audit log of those who are no person of the table (`RESERVED_NAMES`).
ADMIN_NAME = "admin"
LOCAL_NAME = "local"
CLI_ORIGIN = "cli"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is and what they may do. `session` is `None` for one who uses no session."""

    who: str
    role: AccessRole
    credential: str
    session: StoredSession | None = None

    def at(self, origin: str) -> Actor:
        return Actor(self.who, self.role.value, origin)


class AccessControl:
    """Tells who somebody is, for one deployment."""

    def __init__(self, settings: Settings, warehouse: Warehouse) -> None:
        self._persons = warehouse.persons
        self._sessions = warehouse.sessions
        self._clock = warehouse.clock
        self._session_key = _derive_key(settings.keys[0], b"admin session")
        token = settings.admin_token.get_secret_value().encode() if settings.admin_token else b""
        self._digest = hashlib.sha256(token).digest() if token else None
        self._admin_credential = derive_admin_credential(settings)

    def identify_token(self, token: str) -> Identity | None:
        """Tell whose access token it is."""
        # Compare digests, so that the time taken reveals neither the length nor the content of the token.
        given = hashlib.sha256(token.encode()).digest()
        if self._digest is not None and hmac.compare_digest(given, self._digest):
            return Identity(ADMIN_NAME, AccessRole.OWNER, self._admin_credential)
        return _to_identity(self._persons.find_by_token(token))

    def identify_name(self, name: str) -> Identity | None:
        """Tell who has that name. Only for a name that a trusted proxy has checked."""
        return _to_identity(self._persons.find_by_name(name))

    def identify_session(self, cookie: str) -> Identity | None:
        """Tell whose session it is; `None` if it has ended or expired, or its token was changed or removed."""
        session = self._sessions.find(self.hash_session(cookie), self._clock.now())
        return None if session is None else self.resume(session)

    def hash_session(self, cookie: str) -> str:
        """The form in which a session's cookie is stored.

        The hash is under the encryption key, so whoever can only write to the database cannot make a session, and
        changing the key ends every session.
        """
        return hmac.new(self._session_key, cookie.encode(), hashlib.sha256).hexdigest()

    def resume(self, session: StoredSession) -> Identity | None:
        """Tell whose session it is; `None` if the token that it began with was changed or removed."""
        identity = self._identify_credential(session.credential)
        if identity is None:
            return None
        return Identity(session.who, identity.role, session.credential, session)

    def may_finish(self, starter: ConsentStarter) -> bool:
        """Whether the session and the token that a consent began with still count, and allow connecting."""
        if starter.session_hash is not None:
            session = self._sessions.find(starter.session_hash, self._clock.now())
            if session is None or session.credential != starter.credential:
                return False
        identity = self._identify_credential(starter.credential)
        return identity is not None and identity.role.includes(AccessRole.OWNER)

    def _identify_credential(self, credential: str) -> Identity | None:
        if hmac.compare_digest(credential.encode(), self._admin_credential.encode()):
            return Identity(ADMIN_NAME, AccessRole.OWNER, credential)
        return _to_identity(self._persons.find_by_credential(credential))


def _to_identity(person: Person | None) -> Identity | None:
    return None if person is None else Identity(person.name, person.role, person.credential)


def remove_access(warehouse: Warehouse, name: str) -> None:
    """Take somebody's role. Their token, their sessions and the consents that they began are refused from now on.

    Raises:
        UnknownPerson: nobody has that name.
    """
    person = warehouse.persons.remove(name)
    warehouse.sessions.end_of_credential(person.credential)


def _derive_key(encryption_key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=b"xero-pipeline", info=purpose).derive(encryption_key)


def derive_admin_credential(settings: Settings) -> str:
    """The credential of whoever needs no other: `ADMIN_TOKEN`, an open page, the command line.

    It changes when `ADMIN_TOKEN` is set, changed or removed, and when the encryption key is changed.
    """
    token = settings.admin_token.get_secret_value().encode() if settings.admin_token else b""
    key = _derive_key(settings.keys[0], b"admin credential")
    return f"admin:{hmac.new(key, token, hashlib.sha256).hexdigest()}"


def find_cli_actor() -> Actor:
    """The person at the command line: the operating system's user, who may do everything there."""
    return Actor(_find_user_name(), AccessRole.OWNER.value, CLI_ORIGIN)


def _find_user_name() -> str:
    # The user of the process, and not `getpass.getuser()` first: that reads variables which anybody can set.
    with suppress(ImportError, KeyError):
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    get_number: Callable[[], int] | None = getattr(os, "getuid", None)
    return f"uid {get_number()}" if get_number else getpass.getuser()
