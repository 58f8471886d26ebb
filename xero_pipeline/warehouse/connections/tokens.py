"""The connections: which organisations are kept, their encrypted tokens, and the lock around a refresh.

Xero's pair of tokens belongs to a user and an app, and opens every organisation that this user connected.
So the organisations of one consent share a `grant_id`; each row has its own encrypted copies of the pair,
bound to that row, and a refresh writes all of them in one transaction.

Not here: what is said to Xero (`xero/oauth.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, Row, and_, delete, func, insert, or_, select, update

from xero_pipeline.clock import Clock
from xero_pipeline.grants import REFRESH_TOKEN_LIFE, Connection, ConnectionStatus, Organisation, Tokens
from xero_pipeline.warehouse.connections.cipher import Cipher, associated_data
from xero_pipeline.warehouse.database.locks import Locks
from xero_pipeline.warehouse.errors import NotDecryptable, UnknownOrganisation
from xero_pipeline.warehouse.logs.sync_log import LANDED
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.warehouse.schema import xero_tokens as table

_SECRETS = ("access_token", "refresh_token", "id_token")


class TokenStore:
    def __init__(self, engine: Engine, cipher: Cipher, clock: Clock, locks: Locks | None = None) -> None:
        self._engine = engine
        self._cipher = cipher
        self._clock = clock
        self._locks = locks or Locks(engine)

    def save_consent(self, tokens: Tokens, connections: Sequence[Connection], *, now: datetime) -> list[Organisation]:
        """Keep what a new consent opened, all of it in one transaction; answers its organisations.

        Each organisation of the consent gets the new tokens, whichever grant it belonged to before; its
        `last_sync_at`, figures and log stay. An organisation of an older grant that this consent does not
        name keeps its own tokens: it was connected by another user, whose pair lives on, or it was
        disconnected at Xero, which its next call finds out. Nothing here can tell the two apart, and giving
        it the new pair would break the first.
        """
        grant_id = str(uuid.uuid4())
        with self._engine.begin() as connection:
            # Should Xero name one twice, its last row counts. Sorted, so that two consents never deadlock.
            for one in sorted({one.tenant_id: one for one in connections}.values(), key=lambda one: one.tenant_id):
                _lock_row(connection, one.tenant_id)
                values = self._encrypted(one.tenant_id, tokens) | {
                    "tenant_name": one.tenant_name,
                    "connection_id": one.connection_id,
                    "grant_id": grant_id,
                    "scope": tokens.scope,
                    "status": ConnectionStatus.CONNECTED.value,
                    "connected_at": now,
                    "updated_at": now,
                }
                changed = connection.execute(update(table).where(table.c.tenant_id == one.tenant_id).values(values))
                if changed.rowcount == 0:
                    values |= {
                        "tenant_id": one.tenant_id,
                        "last_sync_at": _last_landed(connection, one.tenant_id),
                    }
                    connection.execute(insert(table).values(values))
        return [one for one in self.organisations() if one.grant_id == grant_id]

    def organisations(self) -> list[Organisation]:
        """Every organisation that is kept, by name."""
        query = select(table).order_by(table.c.tenant_name, table.c.tenant_id)
        with self._engine.connect() as connection:
            return [_organisation(row) for row in connection.execute(query)]

    def connected(self) -> list[Organisation]:
        """Those that Xero can be asked about: none of them waits for somebody to connect again."""
        return [one for one in self.organisations() if one.status is ConnectionStatus.CONNECTED]

    def organisation(self, tenant_id: str) -> Organisation:
        """
        Raises:
            UnknownOrganisation: it is not kept.
        """
        return _organisation(self._row(tenant_id))

    def tokens(self, tenant_id: str) -> Tokens:
        """The organisation's tokens, decrypted.

        Raises:
            UnknownOrganisation: it is not kept.
            NotDecryptable: the keys at hand do not open them, or somebody changed or moved them.
        """
        return self.load_with_tokens(tenant_id)[1]

    def load_with_tokens(self, tenant_id: str) -> tuple[Organisation, Tokens]:
        """An organisation and its tokens, of one and the same moment.

        Raises:
            UnknownOrganisation, NotDecryptable: as `tokens`.
        """
        row = self._row(tenant_id)
        return _organisation(row), Tokens(
            **{name: self._decrypted(row, name) for name in _SECRETS},
            token_type=row.token_type,
            scope=row.scope,
            expires_at=row.expires_at,
            refreshed_at=row.refreshed_at,
        )

    def hold_refresh_lock(self, grant_id: str, *, timeout: float = 600.0) -> AbstractContextManager[None]:
        """Hold the right to refresh this grant's tokens, against every process of the deployment.

        The time is for the slowest refresh there is: a few tries, each with its own time-out.

        Raises:
            LockTimeout: somebody held it for longer.
        """
        return self._locks.hold(f"refresh-{grant_id}", timeout=timeout)

    def save_refreshed(self, grant_id: str, tokens: Tokens) -> bool:
        """Keep a new pair, for every organisation of the grant, in one transaction.

        Answers `False`, having kept nothing, where no organisation belongs to the grant any more: meanwhile
        somebody disconnected, or connected again.

        How each connection stands is not touched: an organisation that was disconnected at Xero is not
        connected again by the refresh of another one of its consent.
        """
        now = self._clock.now()
        with self._engine.begin() as connection:
            rows = _locked(connection, table.c.grant_id == grant_id)
            for row in rows:
                values = self._encrypted(row.tenant_id, tokens) | {
                    "scope": tokens.scope or row.scope,
                    "updated_at": now,
                }
                connection.execute(update(table).where(table.c.tenant_id == row.tenant_id).values(values))
        return bool(rows)

    def set_status(self, whose: str, status: ConnectionStatus, *, grant_id: str | None = None) -> None:
        """Write how a connection stands, for a whole grant, or for one organisation by its tenant id.

        Args:
            grant_id: the consent that showed it; an organisation that was connected anew since is left alone.
        """
        named = or_(table.c.grant_id == whose, table.c.tenant_id == whose)
        if grant_id is not None:
            named = and_(named, table.c.grant_id == grant_id)
        changes = {"status": ConnectionStatus(status).value, "updated_at": self._clock.now()}
        with self._engine.begin() as connection:
            _locked(connection, named)
            connection.execute(update(table).where(named).values(changes))

    def touch_synced(self, tenant_id: str, at: datetime, *, connection: SqlConnection | None = None) -> None:
        """Write when the organisation's figures last landed; in the caller's transaction, if one is given."""
        if connection is None:
            with self._engine.begin() as own:
                return self.touch_synced(tenant_id, at, connection=own)
        later = or_(table.c.last_sync_at.is_(None), table.c.last_sync_at < at)
        connection.execute(
            update(table).where(table.c.tenant_id == tenant_id, later).values(last_sync_at=at, updated_at=at)
        )
        return None

    def forget(self, tenant_id: str) -> None:
        """Delete an organisation's tokens. Figures and log stay; one that is gone already is no error."""
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.tenant_id == tenant_id))

    def forget_grant(self, grant_id: str) -> None:
        """Delete the tokens of every organisation of a grant."""
        with self._engine.begin() as connection:
            _locked(connection, table.c.grant_id == grant_id)
            connection.execute(delete(table).where(table.c.grant_id == grant_id))

    def rotate(self) -> int:
        """Encrypt everything under the current key that is still under a retired one, in one transaction.

        Answers for how many organisations there was something to do.

        Raises:
            NotDecryptable: one value opens with no key at hand; nothing was changed.
        """
        count = 0
        with self._engine.begin() as connection:
            for row in _locked(connection):
                kept = {name: self._decrypted(row, name) for name in _SECRETS if getattr(row, name) is not None}
                if any(self._is_old(row, name) for name in kept):
                    fresh = {
                        name: self._cipher.encrypt(kept[name], associated_data(row.tenant_id, name)) for name in kept
                    }
                    changes = fresh | {"updated_at": self._clock.now()}
                    connection.execute(update(table).where(table.c.tenant_id == row.tenant_id).values(changes))
                    count += 1
        return count

    def _row(self, tenant_id: str) -> Row[Any]:
        with self._engine.connect() as connection:
            row = connection.execute(select(table).where(table.c.tenant_id == tenant_id)).one_or_none()
        if row is None:
            raise UnknownOrganisation(f"No organisation with the id {tenant_id} is connected.")
        return row

    def _encrypted(self, tenant_id: str, tokens: Tokens) -> dict[str, Any]:
        """The columns of a pair: each secret encrypted for its place, an empty one NULL."""
        secrets: dict[str, Any] = {
            name: self._cipher.encrypt(secret, associated_data(tenant_id, name)) if secret else None
            for name, secret in ((name, getattr(tokens, name)) for name in _SECRETS)
        }
        return secrets | {
            "token_type": tokens.token_type,
            "expires_at": tokens.expires_at,
            "refreshed_at": tokens.refreshed_at,
        }

    def _decrypted(self, row: Row[Any], name: str) -> str:
        value = getattr(row, name)
        if value is None:
            return ""
        try:
            return self._cipher.decrypt(value, associated_data(row.tenant_id, name))
        except NotDecryptable as error:
            raise NotDecryptable(f"The tokens of {row.tenant_name} cannot be read. {error.what}") from None

    def _is_old(self, row: Row[Any], name: str) -> bool:
        return self._cipher.needs_rotation(getattr(row, name), associated_data(row.tenant_id, name))


def _locked(connection: SqlConnection, *where: Any) -> Sequence[Row[Any]]:
    """Rows that nobody else changes before this transaction ends (SQLite's has the whole file)."""
    return connection.execute(select(table).where(*where).order_by(table.c.tenant_id).with_for_update()).all()


def _lock_row(connection: SqlConnection, tenant_id: str) -> None:
    """Two consents for the same new organisation at once: the second waits, and then updates."""
    if connection.dialect.name == "postgresql":
        key = func.hashtextextended(f"xero_tokens:{tenant_id}", 0)
        connection.execute(select(func.pg_advisory_xact_lock(key)))


def _last_landed(connection: SqlConnection, tenant_id: str) -> datetime | None:
    """When figures of an organisation last landed that was disconnected and is now connected again."""
    query = select(func.max(logs.c.completed_at)).where(logs.c.tenant_id == tenant_id, logs.c.status.in_(LANDED))
    return connection.execute(query).scalar_one_or_none()


def _organisation(row: Row[Any]) -> Organisation:
    return Organisation(
        tenant_id=row.tenant_id,
        tenant_name=row.tenant_name,
        connection_id=row.connection_id,
        grant_id=row.grant_id,
        status=ConnectionStatus(row.status),
        scope=row.scope,
        connected_at=row.connected_at,
        refreshed_at=row.refreshed_at,
        expires_at=row.expires_at,
        last_sync_at=row.last_sync_at,
        refresh_token_expires_at=row.refreshed_at + REFRESH_TOKEN_LIFE if row.refresh_token is not None else None,
    )
