"""The throttle on wrong sign-in tokens: for each client, and for all clients together.

It slows down whoever guesses and never the owner: the right token passes at any time, so nobody can lock the owner
out by guessing. What makes guessing hopeless is the length of the token.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError

# A person mistypes a few times. After that, each wrong token doubles the wait.
FREE_ATTEMPTS = 5
FREE_ATTEMPTS_OF_ALL = 50
LONGEST_WAIT = timedelta(minutes=15)
# All clients together get fewer than 100 answers an hour. A client may have many addresses.
LONGEST_WAIT_OF_ALL = timedelta(minutes=2)
# After this long without a wrong token, the count starts again at zero.
MEMORY = timedelta(hours=1)
_CLIENTS_REMEMBERED = 10_000


class TooManyGuesses(PipelineError):
    code = "too_many_guesses"

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            "This token is wrong, and too many wrong ones were tried.",
            advice=f"The right token is accepted at any time. The next wrong one is answered in {retry_after} seconds.",
        )
        self.retry_after = retry_after
        """Whole seconds."""


@dataclass
class _FailedAttempts:
    wrong: int = 0
    last: datetime | None = None
    blocked_until: datetime | None = None


class LoginThrottle:
    """Makes each client wait after wrong tokens, and all clients together when many of them guess."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[str, _FailedAttempts] = {}
        self._all = _FailedAttempts()

    def record_attempt(self, client: str | None, has_right_token: bool) -> bool:
        """Count an attempt to sign in, and return whether its token was right.

        Raises:
            TooManyGuesses: the token is wrong, and this client or all clients have to wait; with the seconds.
        """
        if has_right_token:
            # It changes no count: a program with the token may share its address with somebody who guesses.
            return True
        client_key, now = group_address(client), self._clock.now()
        with self._lock:
            own = self._get_attempts(client_key, now)
            waits = [attempts.blocked_until - now for attempts in (own, self._all) if attempts.blocked_until]
            if waits and max(waits) > timedelta():
                raise TooManyGuesses(math.ceil(max(waits).total_seconds()))
            _count_failure(own, now, FREE_ATTEMPTS, LONGEST_WAIT)
            _count_failure(self._all, now, FREE_ATTEMPTS_OF_ALL, LONGEST_WAIT_OF_ALL)
            return False

    def _get_attempts(self, client: str, now: datetime) -> _FailedAttempts:
        for attempts in (self._all, self._clients.get(client)):
            if attempts is not None and attempts.last is not None and attempts.last + MEMORY < now:
                attempts.wrong, attempts.blocked_until = 0, None
        if client not in self._clients:
            while len(self._clients) >= _CLIENTS_REMEMBERED:
                del self._clients[next(iter(self._clients))]
        # Move the client to the end: the first one has been quiet for longest, and is forgotten first.
        attempts = self._clients.pop(client, None) or _FailedAttempts()
        self._clients[client] = attempts
        return attempts


def _count_failure(attempts: _FailedAttempts, now: datetime, free: int, longest: timedelta) -> None:
    attempts.wrong += 1
    attempts.last = now
    if attempts.wrong >= free:
        attempts.blocked_until = now + min(longest, timedelta(seconds=2.0 ** min(attempts.wrong - free, 30)))


def group_address(client: str | None) -> str:
    """The address that counts as one client. An IPv6 host has 2^64 addresses, so there it is the /64 network."""
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return client or "unknown"
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
