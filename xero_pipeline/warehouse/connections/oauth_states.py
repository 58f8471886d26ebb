"""The one-time states of consents that were begun: each lives ten minutes and is used once.

Only a hash of a state is kept, and its code verifier encrypted: who reads the table can finish nothing.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Engine, delete, insert, select, update

from xero_pipeline.warehouse.connections.cipher import Cipher
from xero_pipeline.warehouse.schema import oauth_states

STATE_LIFE = timedelta(minutes=10)
# A spent or expired state is remembered so long that it can be told from one that never was.
_MEMORY = timedelta(days=1)


class StateProblem(StrEnum):
    UNKNOWN = "unknown"
    USED = "used"
    EXPIRED = "expired"
    OTHER_BROWSER = "other_browser"


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


class OAuthStates:
    def __init__(self, engine: Engine, cipher: Cipher) -> None:
        self._engine = engine
        self._cipher = cipher

    def begin(self, state: str, code_verifier: str, *, browser: str | None, now: datetime) -> None:
        """Remember a consent that begins. `browser` is a secret of the browser that began it, if one did."""
        key = _hash(state)
        with self._engine.begin() as connection:
            connection.execute(delete(oauth_states).where(oauth_states.c.created_at < now - _MEMORY))
            connection.execute(
                insert(oauth_states).values(
                    state_hash=key,
                    code_verifier=self._cipher.encrypt(code_verifier, f"{key}:code_verifier"),
                    browser_hash=_hash(browser) if browser is not None else None,
                    created_at=now,
                )
            )

    def use(self, state: str, *, browser: str | None, now: datetime) -> str | StateProblem:
        """Spend a state: its code verifier, or what is wrong with it. Only a good state is spent."""
        key = _hash(state)
        with self._engine.begin() as connection:
            row = connection.execute(select(oauth_states).where(oauth_states.c.state_hash == key)).one_or_none()
            if row is None:
                return StateProblem.UNKNOWN
            if row.browser_hash is not None and (browser is None or row.browser_hash != _hash(browser)):
                return StateProblem.OTHER_BROWSER
            if row.used_at is not None:
                return StateProblem.USED
            if row.created_at + STATE_LIFE <= now:
                return StateProblem.EXPIRED
            spent = connection.execute(
                update(oauth_states)
                .where(oauth_states.c.state_hash == key, oauth_states.c.used_at.is_(None))
                .values(used_at=now)
            )
            if spent.rowcount != 1:
                return StateProblem.USED
            return self._cipher.decrypt(row.code_verifier, f"{key}:code_verifier")
