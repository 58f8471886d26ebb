"""The stored connections between apps and organisations, as /connections lists and deletes them."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.state import from_microseconds


def connect(connection: sqlite3.Connection, client_id: str, tenant_ids: Sequence[str], event: str, now: int) -> None:
    """Connect an app to organisations; an existing connection keeps its id."""
    connection.executemany(
        "INSERT INTO connections (id, client_id, tenant_id, event, created, updated) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (client_id, tenant_id) DO UPDATE SET event = excluded.event, updated = excluded.updated",
        [(str(uuid.uuid4()), client_id, tenant_id, event, now, now) for tenant_id in tenant_ids],
    )


def is_connected(connection: sqlite3.Connection, client_id: str, tenant_id: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM connections WHERE client_id = ? AND tenant_id = ?", (client_id, tenant_id)
    ).fetchone()
    return row is not None


def list_connections(
    connection: sqlite3.Connection, client_id: str, organisations: Mapping[str, MockOrganisation]
) -> list[dict[str, Any]]:
    """The body of GET /connections."""
    rows = connection.execute("SELECT * FROM connections WHERE client_id = ? ORDER BY created, rowid", (client_id,))
    return [
        {
            "id": row["id"],
            "authEventId": row["event"],
            "tenantId": row["tenant_id"],
            "tenantType": "ORGANISATION",
            "tenantName": organisations[row["tenant_id"]].name,
            "createdDateUtc": _format_moment(row["created"]),
            "updatedDateUtc": _format_moment(row["updated"]),
        }
        for row in rows
        if row["tenant_id"] in organisations
    ]


def delete_connection(connection: sqlite3.Connection, client_id: str, connection_id: str) -> bool:
    """Delete a connection by its id; `False` if there is none."""
    cursor = connection.execute(
        "DELETE FROM connections WHERE client_id = ? AND id = ?", (client_id, connection_id.lower())
    )
    return cursor.rowcount > 0


def delete_connections(connection: sqlite3.Connection, client_id: str) -> None:
    connection.execute("DELETE FROM connections WHERE client_id = ?", (client_id,))


def _format_moment(at: int) -> str:
    """A moment as Xero writes it here: UTC, seven decimals of a second, no time zone."""
    return f"{from_microseconds(at):%Y-%m-%dT%H:%M:%S.%f}0"
