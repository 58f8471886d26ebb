"""The stored connections: organisations, their encrypted tokens, and the lock around a token refresh.

Xero issues one pair of tokens to a user and an app. It gives access to every organisation that this user has
connected. So the organisations of one consent share a `grant_id`. Each row has its own encrypted copy of the pair,
bound to that row, and a refresh writes all copies in one transaction.

`xero/oauth.py` makes the requests to Xero.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, Row, and_, bindparam, delete, exists, func, insert, or_, select, update

from xero_pipeline.clock import Clock
from xero_pipeline.grants import REFRESH_TOKEN_LIFE, Connection, ConnectionStatus, Organisation, Tokens
from xero_pipeline.warehouse.connections.cipher import Cipher, associated_data
from xero_pipeline.warehouse.database.locks import Locks
from xero_pipeline.warehouse.errors import NotDecryptable, UnknownOrganisation
from xero_pipeline.warehouse.logs.sync_log import LANDED
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.warehouse.schema import xero_tokens as table

_SECRETS = ("access_token", "refresh_token", "id_token")

_others = table.alias("others")
# Every column, and whether another organisation has the same name, as people compare names.
_organisations = select(
    table,
    exists()
    .where(
        _others.c.tenant_id != table.c.tenant_id,
        func.lower(func.trim(_others.c.tenant_name)) == func.lower(func.trim(table.c.tenant_name)),
    )
    .label("shares_name"),
)
# Every call reads one row. The statements are built once, since SQLAlchemy takes longer to build than to run them.
_by_name = _organisations.order_by(table.c.tenant_name, table.c.tenant_id)
_by_id = _organisations.where(table.c.tenant_id == bindparam("tenant_id"))
_TOUCH = update(table).where(table.c.tenant_id == bindparam("of_tenant_id"))


class TokenStore:
    def __init__(self, engine: Engine, cipher: Cipher, clock: Clock, locks: Locks | None = None) -> None:
        self._engine = engine
        self._cipher = cipher
        self._clock = clock
        self._locks = locks or Locks(engine)

    def save_consent(self, tokens: Tokens, connections: Sequence[Connection], *, now: datetime) -> list[Organisation]:
        """Store the organisations and tokens of a new consent in one transaction, and return the organisations.

        Each organisation of the consent gets the new tokens, whatever its grant was before. Its `last_sync_at`,
        figures and log stay. An organisation of an older grant that this consent does not name keeps its own
        tokens. Either another user connected it, and that user's tokens stay valid, or it was disconnected at
        Xero, which its next call shows. The two cases look the same here, and the new tokens would be wrong in
        the first.
        """
        grant_id = str(uuid.uuid4())
        with self._engine.begin() as connection:
            # If Xero names an organisation twice, its last row counts. The order keeps two consents from deadlock.
            by_tenant = {new.tenant_id: new for new in connections}
            for tenant_id, new in sorted(by_tenant.items()):
                _lock_tenant(connection, tenant_id)
                values = self._encrypt_tokens(tenant_id, tokens) | {
                    "tenant_name": new.tenant_name,
                    "connection_id": new.connection_id,
                    "grant_id": grant_id,
                    "scope": tokens.scope,
                    "status": ConnectionStatus.CONNECTED.value,
                    "connected_at": now,
                    "updated_at": now,
                }
                updated = connection.execute(update(table).where(table.c.tenant_id == tenant_id).values(values))
                if updated.rowcount == 0:
                    values |= {
                        "tenant_id": tenant_id,
                        "last_sync_at": _read_last_landed(connection, tenant_id),
                    }
                    connection.execute(insert(table).values(values))
        return [organisation for organisation in self.list_organisations() if organisation.grant_id == grant_id]

    def list_organisations(self) -> list[Organisation]:
        """Every stored organisation, in the order of names."""
        with self._engine.connect() as connection:
            return [_to_organisation(row) for row in connection.execute(_by_name)]

    def list_connected(self) -> list[Organisation]:
        """The organisations that Xero gives access to; those that must be connected again are left out."""
        return [
            organisation
            for organisation in self.list_organisations()
            if organisation.status is ConnectionStatus.CONNECTED
        ]

    def list_names(self) -> dict[str, str]:
        """The name of each stored organisation by its tenant id, with the id where two have the same name."""
        return {organisation.tenant_id: organisation.display_name for organisation in self.list_organisations()}

    def get_organisation(self, tenant_id: str) -> Organisation:
        """
        Raises:
            UnknownOrganisation: it is not stored.
        """
        return _to_organisation(self._read_row(tenant_id))

    def load_tokens(self, tenant_id: str) -> Tokens:
        """The organisation's tokens, decrypted.

        Raises:
            UnknownOrganisation: it is not stored.
            NotDecryptable: no configured key decrypts them, or somebody changed or moved them.
        """
        return self.load_with_tokens(tenant_id)[1]

    def load_with_tokens(self, tenant_id: str) -> tuple[Organisation, Tokens]:
        """An organisation and its tokens, read at the same moment.

        Raises:
            UnknownOrganisation, NotDecryptable: as for `load_tokens`.
        """
        row = self._read_row(tenant_id)
        return _to_organisation(row), Tokens(
            **{name: self._decrypt_column(row, name) for name in _SECRETS},
            token_type=row.token_type,
            scope=row.scope,
            expires_at=row.expires_at,
            refreshed_at=row.refreshed_at,
        )

    def hold_refresh_lock(self, grant_id: str, *, timeout: float = 600.0) -> AbstractContextManager[None]:
        """Hold the right to refresh this grant's tokens, among all processes of the deployment.

        The default timeout covers the slowest refresh: a few attempts, each with its own timeout.

        Raises:
            LockTimeout: another process held it for longer.
        """
        return self._locks.hold(f"refresh-{grant_id}", timeout=timeout)

    def save_refreshed(self, grant_id: str, tokens: Tokens) -> bool:
        """Store refreshed tokens for every organisation of the grant, in one transaction.

        Returns `False` and stores nothing if no organisation belongs to the grant any more, because somebody has
        disconnected or connected again in the meantime.

        The status of each connection stays. An organisation that was disconnected at Xero does not become
        connected when the tokens of its grant are refreshed for another organisation.
        """
        now = self._clock.now()
        with self._engine.begin() as connection:
            rows = _lock_rows(connection, table.c.grant_id == grant_id)
            for row in rows:
                values = self._encrypt_tokens(row.tenant_id, tokens) | {
                    "scope": tokens.scope or row.scope,
                    "updated_at": now,
                }
                connection.execute(update(table).where(table.c.tenant_id == row.tenant_id).values(values))
        return bool(rows)

    def set_status(self, grant_or_tenant_id: str, status: ConnectionStatus, *, grant_id: str | None = None) -> None:
        """Set the connection status of a whole grant, or of one organisation by its tenant id.

        Args:
            grant_id: change only organisations that still belong to this grant, and so none that was connected
                again after the status was found.
        """
        affected = or_(table.c.grant_id == grant_or_tenant_id, table.c.tenant_id == grant_or_tenant_id)
        if grant_id is not None:
            affected = and_(affected, table.c.grant_id == grant_id)
        changes = {"status": ConnectionStatus(status).value, "updated_at": self._clock.now()}
        with self._engine.begin() as connection:
            _lock_rows(connection, affected)
            connection.execute(update(table).where(affected).values(changes))

    def touch_synced(self, tenant_id: str, at: datetime, *, connection: SqlConnection | None = None) -> None:
        """Record when the organisation's figures last landed, in the caller's transaction if there is one."""
        if connection is None:
            with self._engine.begin() as own_connection:
                return self.touch_synced(tenant_id, at, connection=own_connection)
        # The last to write counts, not the latest moment: another process's clock may have been ahead.
        connection.execute(_TOUCH, {"of_tenant_id": tenant_id, "last_sync_at": at, "updated_at": at})
        return None

    def forget(self, tenant_id: str) -> None:
        """Delete an organisation's tokens. Its figures and log stay. Deleting it twice is no error."""
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.tenant_id == tenant_id))

    def forget_grant(self, grant_id: str) -> None:
        """Delete the tokens of every organisation of a grant."""
        with self._engine.begin() as connection:
            _lock_rows(connection, table.c.grant_id == grant_id)
            connection.execute(delete(table).where(table.c.grant_id == grant_id))

    def rotate(self) -> int:
        """Encrypt every value that is under a retired key with the current key, in one transaction.

        Returns the number of organisations whose tokens changed.

        Raises:
            NotDecryptable: no configured key decrypts one of the values; nothing was changed.
        """
        count = 0
        with self._engine.begin() as connection:
            for row in _lock_rows(connection):
                secrets = {name: self._decrypt_column(row, name) for name in _SECRETS if getattr(row, name) is not None}
                if any(self._needs_rotation(row, name) for name in secrets):
                    encrypted = {
                        name: self._cipher.encrypt(secret, associated_data(row.tenant_id, name))
                        for name, secret in secrets.items()
                    }
                    changes = encrypted | {"updated_at": self._clock.now()}
                    connection.execute(update(table).where(table.c.tenant_id == row.tenant_id).values(changes))
                    count += 1
        return count

    def _read_row(self, tenant_id: str) -> Row[Any]:
        with self._engine.connect() as connection:
            row = connection.execute(_by_id, {"tenant_id": tenant_id}).one_or_none()
        if row is None:
            raise UnknownOrganisation(f"No organisation with the id {tenant_id} is connected.")
        return row

    def _encrypt_tokens(self, tenant_id: str, tokens: Tokens) -> dict[str, Any]:
        """The columns of a pair of tokens. Each secret is encrypted for its column; an empty one is NULL."""
        secrets: dict[str, Any] = {
            name: self._cipher.encrypt(secret, associated_data(tenant_id, name)) if secret else None
            for name, secret in ((name, getattr(tokens, name)) for name in _SECRETS)
        }
        return secrets | {
            "token_type": tokens.token_type,
            "expires_at": tokens.expires_at,
            "refreshed_at": tokens.refreshed_at,
        }

    def _decrypt_column(self, row: Row[Any], name: str) -> str:
        value = getattr(row, name)
        if value is None:
            return ""
        try:
            return self._cipher.decrypt(value, associated_data(row.tenant_id, name))
        except NotDecryptable as error:
            name = _to_organisation(row).display_name
            raise NotDecryptable(f"The tokens of {name} cannot be read. {error.what}") from None

    def _needs_rotation(self, row: Row[Any], name: str) -> bool:
        return self._cipher.needs_rotation(getattr(row, name), associated_data(row.tenant_id, name))


def _lock_rows(connection: SqlConnection, *where: Any) -> Sequence[Row[Any]]:
    """Read rows and lock them until the transaction ends. SQLite's transaction has locked the whole file already."""
    query = _organisations.where(*where).order_by(table.c.tenant_id)
    return connection.execute(query.with_for_update(of=table)).all()


def _lock_tenant(connection: SqlConnection, tenant_id: str) -> None:
    """Make a second consent for the same new organisation wait; it then updates the row of the first."""
    if connection.dialect.name == "postgresql":
        key = func.hashtextextended(f"xero_tokens:{tenant_id}", 0)
        connection.execute(select(func.pg_advisory_xact_lock(key)))


def _read_last_landed(connection: SqlConnection, tenant_id: str) -> datetime | None:
    """When an organisation's figures last landed, for one that was disconnected and is connected again."""
    query = (
        select(logs.c.completed_at)
        .where(logs.c.tenant_id == tenant_id, logs.c.status.in_(LANDED))
        .order_by(logs.c.id.desc())
    )
    return connection.execute(query.limit(1)).scalar_one_or_none()


def _to_organisation(row: Row[Any]) -> Organisation:
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
        shares_name=bool(row.shares_name),
    )
