"""The one-time OAuth states of consents in progress. Each is valid for ten minutes and can be used once.

The table holds a hash of the state and the encrypted code verifier, so a reader of the table cannot complete a
consent.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Engine, delete, insert, select, update

from xero_pipeline.warehouse.connections.cipher import Cipher
from xero_pipeline.warehouse.schema import oauth_states

STATE_LIFE = timedelta(minutes=10)
# A used or expired state is kept this long, so that it can be distinguished from an unknown one.
_RETENTION = timedelta(days=1)


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
        """Store the state of a new consent. `browser` is a secret of the browser that began it, if there is one."""
        key = _hash(state)
        with self._engine.begin() as connection:
            connection.execute(delete(oauth_states).where(oauth_states.c.created_at < now - _RETENTION))
            connection.execute(
                insert(oauth_states).values(
                    state_hash=key,
                    code_verifier=self._cipher.encrypt(code_verifier, f"{key}:code_verifier"),
                    browser_hash=_hash(browser) if browser is not None else None,
                    created_at=now,
                )
            )

    def use(self, state: str, *, browser: str | None, now: datetime) -> str | StateProblem:
        """Mark a state as used and return its code verifier, or say what is wrong with it and leave it unchanged."""
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

    def forget_all(self) -> int:
        """Delete every state, so that no consent that was begun can be finished. Returns how many were pending."""
        with self._engine.begin() as connection:
            pending = connection.execute(delete(oauth_states).where(oauth_states.c.used_at.is_(None))).rowcount
            connection.execute(delete(oauth_states))
        return pending
