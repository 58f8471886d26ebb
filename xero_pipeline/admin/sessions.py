"""Who has signed in: the token, the signed session, and the brake on guessing. Not here: what a request needs
to come through (`security.py`), and the sign-in page (`pages.py`)."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadSignature, TimestampSigner

from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import Settings

SESSION_LIFE = timedelta(hours=12)

# A person mistypes a few times; after that each wrong guess doubles the wait.
FREE_GUESSES = 5
FREE_GUESSES_OF_ALL = 50
LONGEST_WAIT = timedelta(minutes=15)
LONGEST_WAIT_OF_ALL = timedelta(minutes=1)
# After so long without a wrong guess all is forgiven.
MEMORY = timedelta(hours=1)
_CLIENTS_REMEMBERED = 10_000


class WrongToken(PipelineError):
    code = "wrong_token"
    default_advice = "It is the value of ADMIN_TOKEN where this pipeline runs."


class TooManyGuesses(PipelineError):
    code = "too_many_guesses"

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too many wrong tokens.", advice=f"Wait {retry_after} s, then try again.")
        self.retry_after = retry_after
        """Whole seconds."""


@dataclass
class _FailedAttempts:
    wrong: int = 0
    last: datetime | None = None
    blocked_until: datetime | None = None


class LoginThrottle:
    """Slows guessing down: for each client, and for all together, should they be many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[str, _FailedAttempts] = {}
        self._all = _FailedAttempts()

    def attempt(self, client: str, right: bool) -> bool:
        """Count a guess; answers whether it was right.

        While the brake is on, a guess is not even looked at: else it would tell.

        Raises:
            TooManyGuesses: with the seconds to wait.
        """
        now = self._clock.now()
        with self._lock:
            own = self._of(client, now)
            for guesses in (own, self._all):
                if guesses.blocked_until is not None and guesses.blocked_until > now:
                    raise TooManyGuesses(math.ceil((guesses.blocked_until - now).total_seconds()))
            if right:
                self._clients.pop(client, None)
                return True
            _count(own, now, FREE_GUESSES, LONGEST_WAIT)
            _count(self._all, now, FREE_GUESSES_OF_ALL, LONGEST_WAIT_OF_ALL)
            return False

    def _of(self, client: str, now: datetime) -> _FailedAttempts:
        for guesses in (self._all, self._clients.get(client)):
            if guesses is not None and guesses.last is not None and guesses.last + MEMORY < now:
                guesses.wrong, guesses.blocked_until = 0, None
        if client not in self._clients:
            while len(self._clients) >= _CLIENTS_REMEMBERED:
                del self._clients[next(iter(self._clients))]
        # Moved to the end: who is forgotten first has been quiet for longest.
        guesses = self._clients.pop(client, None) or _FailedAttempts()
        self._clients[client] = guesses
        return guesses


def _count(guesses: _FailedAttempts, now: datetime, free: int, longest: timedelta) -> None:
    guesses.wrong += 1
    guesses.last = now
    if guesses.wrong >= free:
        guesses.blocked_until = now + min(longest, timedelta(seconds=2.0 ** min(guesses.wrong - free, 30)))


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
        self._brake = LoginThrottle(clock)
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
        if not self._brake.attempt(_network(client), right):
            raise WrongToken("This token is wrong.")

    def begin(self) -> str:
        """A new session's cookie."""
        return self._signer.sign(secrets.token_urlsafe(24)).decode()

    def is_valid(self, cookie: str | None) -> bool:
        """Whether it is a session that we began, that is not over and not ended."""
        return cookie is not None and self._session(cookie) is not None

    def end(self, cookie: str | None) -> None:
        """Sign out: that session is worth nothing any more, also to somebody who copied it. A restart of the page
        forgets who has signed out; nobody's session outlives `SESSION_LIFE`."""
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


def _network(client: str | None) -> str:
    """Whom the brake takes for one client. Whoever has one IPv6 address has 2^64 of them."""
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return client or "unknown"
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
