"""Who has signed in: the token and the signed session cookie.

`security.py` decides which requests are let through, `pages.py` has the sign-in page, and `login_throttle.py` limits
wrong tokens.
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
    """A signer that takes the time from the deployment's clock."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        super().__init__(key, salt=b"session", key_derivation="hmac", digest_method=hashlib.sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock.now().timestamp())


class Sessions:
    """The sessions of one process. It needs `ADMIN_TOKEN`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        token = settings.admin_token.get_secret_value().encode() if settings.admin_token else b""
        if not token:
            raise ValueError("without ADMIN_TOKEN nobody can sign in")
        self._digest = hashlib.sha256(token).digest()
        self._signer = _ClockedSigner(_derive_signing_key(token, settings.keys[0]), clock)
        self._throttle = LoginThrottle(clock)
        self._clock = clock
        self._ended: dict[str, datetime] = {}

    def require_token(self, token: str, client: str | None) -> None:
        """Check a token that a client sent.

        Raises:
            WrongToken: it is not `ADMIN_TOKEN`.
            TooManyGuesses: this client, or all clients together, sent too many wrong tokens.
        """
        # Compare digests, so that the time taken reveals neither the length nor the content of the token.
        is_right = hmac.compare_digest(hashlib.sha256(token.encode()).digest(), self._digest)
        if not self._throttle.record_attempt(client, is_right):
            raise WrongToken("This token is wrong.")

    def begin(self) -> str:
        """Begin a session and return its cookie."""
        return self._signer.sign(secrets.token_urlsafe(24)).decode()

    def is_valid(self, cookie: str | None) -> bool:
        """Whether the cookie belongs to a session that began here, has not expired and was not ended."""
        return cookie is not None and self._read_session_id(cookie) is not None

    def end(self, cookie: str | None) -> None:
        """End a session. Its cookie, and any copy of it, is refused from now on.

        A restart of the page forgets which sessions were ended; none is valid for longer than `SESSION_LIFE`.
        """
        ended_id = self._read_session_id(cookie) if cookie else None
        now = self._clock.now()
        self._ended = {session_id: until for session_id, until in self._ended.items() if until > now}
        if ended_id is not None:
            self._ended[ended_id] = now + SESSION_LIFE

    def _read_session_id(self, cookie: str) -> str | None:
        try:
            session_id = self._signer.unsign(cookie, max_age=int(SESSION_LIFE.total_seconds())).decode()
        except (BadSignature, UnicodeError):
            return None
        return None if session_id in self._ended else session_id


def _derive_signing_key(token: bytes, encryption_key: bytes) -> bytes:
    """Derive the key from both secrets, so that changing either one ends every session."""
    derive = HKDF(algorithm=SHA256(), length=32, salt=b"xero-pipeline", info=b"admin session")
    return derive.derive(hashlib.sha256(token).digest() + encryption_key)
