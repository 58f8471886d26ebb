"""The one-time OAuth states of consents in progress. Each is valid for ten minutes and can be used once.

The table holds a hash of the state and the encrypted code verifier, so a reader of the table cannot complete a
consent. It also holds who began the consent. `xero_pipeline/access.py` decides whether that session or credential
still counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, Row, delete, insert, select, update

from xero_pipeline.warehouse.access.audit_log import Actor
from xero_pipeline.warehouse.connections.cipher import Cipher
from xero_pipeline.warehouse.schema import oauth_states

STATE_LIFE = timedelta(minutes=10)
# A used or expired state is kept this long, so that it can be distinguished from an unknown one.
_RETENTION = timedelta(days=1)


class StateProblem(StrEnum):
    UNKNOWN = "unknown"
    USED = "used"
    EXPIRED = "expired"
    ENDED = "ended"
    OTHER_BROWSER = "other_browser"


@dataclass(frozen=True, slots=True)
class ConsentStarter:
    """Who began a consent, and what it was begun with.

    `session_hash` is `None` for a consent that no session began.
    """

    actor: Actor
    credential: str
    session_hash: str | None = None


@dataclass(frozen=True, slots=True)
class PendingConsent:
    """A consent whose state was used just now."""

    state: str = field(repr=False)
    code_verifier: str = field(repr=False)
    starter: ConsentStarter | None


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


class OAuthStates:
    def __init__(self, engine: Engine, cipher: Cipher) -> None:
        self._engine = engine
        self._cipher = cipher

    def begin(
        self,
        state: str,
        code_verifier: str,
        *,
        browser: str | None,
        now: datetime,
        starter: ConsentStarter | None = None,
    ) -> None:
        """Store the state of a new consent. `browser` is a secret of the browser that began it, if there is one."""
        key = _hash(state)
        belongs_to = (
            {}
            if starter is None
            else {
                "who": starter.actor.who,
                "role": starter.actor.role,
                "origin": starter.actor.origin,
                "credential": starter.credential,
                "session_hash": starter.session_hash,
            }
        )
        with self._engine.begin() as connection:
            connection.execute(delete(oauth_states).where(oauth_states.c.created_at < now - _RETENTION))
            connection.execute(
                insert(oauth_states).values(
                    state_hash=key,
                    code_verifier=self._cipher.encrypt(code_verifier, f"{key}:code_verifier"),
                    browser_hash=_hash(browser) if browser is not None else None,
                    created_at=now,
                    **belongs_to,
                )
            )

    def use(self, state: str, *, browser: str | None, now: datetime) -> PendingConsent | StateProblem:
        """Mark a state as used and return its consent, or say what is wrong with it and leave it unchanged."""
        key = _hash(state)
        with self._engine.begin() as connection:
            row = connection.execute(select(oauth_states).where(oauth_states.c.state_hash == key)).one_or_none()
            if row is None:
                return StateProblem.UNKNOWN
            if not _is_same_browser(row, browser):
                return StateProblem.OTHER_BROWSER
            if row.used_at is not None:
                return StateProblem.USED
            if row.ended_at is not None:
                return StateProblem.ENDED
            if row.created_at + STATE_LIFE <= now:
                return StateProblem.EXPIRED
            spent = connection.execute(
                update(oauth_states)
                .where(
                    oauth_states.c.state_hash == key,
                    oauth_states.c.used_at.is_(None),
                    oauth_states.c.ended_at.is_(None),
                )
                .values(used_at=now)
            )
            if spent.rowcount != 1:
                return StateProblem.USED
            verifier = self._cipher.decrypt(row.code_verifier, f"{key}:code_verifier")
        return PendingConsent(state, verifier, _to_starter(row))

    def find_starter(self, state: str, *, browser: str | None) -> ConsentStarter | None:
        """Who began a consent; `None` if it is unknown, nobody's, or another browser asks."""
        with self._engine.connect() as connection:
            row = connection.execute(
                select(oauth_states).where(oauth_states.c.state_hash == _hash(state))
            ).one_or_none()
        return None if row is None or not _is_same_browser(row, browser) else _to_starter(row)

    def has_ended(self, state: str) -> bool:
        """Whether `end_all` was called since the consent began, also after its state was used."""
        query = select(oauth_states.c.ended_at).where(oauth_states.c.state_hash == _hash(state))
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return row is None or row.ended_at is not None

    def end_all(self, now: datetime) -> int:
        """End every consent in progress, and return how many were not used yet."""
        with self._engine.begin() as connection:
            is_open = oauth_states.c.ended_at.is_(None)
            pending = connection.execute(
                update(oauth_states).where(is_open, oauth_states.c.used_at.is_(None)).values(ended_at=now)
            )
            # One whose state was used may be waiting for Xero's answer just now.
            connection.execute(update(oauth_states).where(is_open).values(ended_at=now))
        return pending.rowcount


def _is_same_browser(row: Row[Any], browser: str | None) -> bool:
    return row.browser_hash is None or (browser is not None and row.browser_hash == _hash(browser))


def _to_starter(row: Row[Any]) -> ConsentStarter | None:
    if row.who is None:
        return None
    return ConsentStarter(Actor(row.who, row.role, row.origin), row.credential or "", row.session_hash)
