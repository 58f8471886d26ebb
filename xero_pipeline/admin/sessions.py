"""Who has signed in: the token and the signed session.

Not here: which requests are let through (`security.py`), the sign-in page (`pages.py`), and the throttle on wrong
tokens (`login_throttle.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadSignature, TimestampSigner

from xero_pipeline.admin.login_throttle import LoginThrottle
from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import Settings

SESSION_LIFE = timedelta(hours=12)


class WrongToken(PipelineError):
    code = "wrong_token"
    default_advice = "It is the value of ADMIN_TOKEN where this pipeline runs."


class _ClockedSigner(TimestampSigner):
    """Signs with the time of our clock."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        super().__init__(key, salt=b"session", key_derivation="hmac", digest_method=hashlib.sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock.now().timestamp())


class Sessions:
    """The sign-ins of one process. Made only where `ADMIN_TOKEN` is set."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        token = settings.admin_token.get_secret_value().encode() if settings.admin_token else b""
        if not token:
            raise ValueError("without ADMIN_TOKEN nobody can sign in")
        self._digest = hashlib.sha256(token).digest()
        self._signer = _ClockedSigner(_signing_key(token, settings.keys[0]), clock)
        self._throttle = LoginThrottle(clock)
        self._clock = clock
        self._ended: dict[str, datetime] = {}

    def require_token(self, given: str, client: str | None) -> None:
        """
        Raises:
            WrongToken: it is not `ADMIN_TOKEN`.
            TooManyGuesses: this client, or all together, have guessed too often.
        """
        # Digests, so that neither length nor content shows in the time that this takes.
        right = hmac.compare_digest(hashlib.sha256(given.encode()).digest(), self._digest)
        if not self._throttle.attempt(client, right):
            raise WrongToken("This token is wrong.")

    def begin(self) -> str:
        """A new session's cookie."""
        return self._signer.sign(secrets.token_urlsafe(24)).decode()

    def is_valid(self, cookie: str | None) -> bool:
        """Whether it is a session that we began, that is not over and not ended."""
        return cookie is not None and self._session(cookie) is not None

    def end(self, cookie: str | None) -> None:
        """Sign out. The session's cookie is refused from now on, and so is a copy of it.

        A restart of the page forgets which sessions were ended; none is valid for longer than `SESSION_LIFE`.
        """
        session = self._session(cookie) if cookie else None
        now = self._clock.now()
        self._ended = {name: until for name, until in self._ended.items() if until > now}
        if session is not None:
            self._ended[session] = now + SESSION_LIFE

    def _session(self, cookie: str) -> str | None:
        try:
            session = self._signer.unsign(cookie, max_age=int(SESSION_LIFE.total_seconds())).decode()
        except (BadSignature, UnicodeError):
            return None
        return None if session in self._ended else session


def _signing_key(token: bytes, encryption_key: bytes) -> bytes:
    """Of both secrets: changing either ends every session."""
    derive = HKDF(algorithm=SHA256(), length=32, salt=b"xero-pipeline", info=b"admin session")
    return derive.derive(hashlib.sha256(token).digest() + encryption_key)
