"""Which organisations an app is connected to, and GET and DELETE /connections."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.state import moment_of


def make(connection: sqlite3.Connection, client_id: str, tenant_ids: Sequence[str], event: str, now: int) -> None:
    """Connect organisations; one that is connected already keeps its connection's id."""
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


def listed(
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
            "createdDateUtc": _moment(row["created"]),
            "updatedDateUtc": _moment(row["updated"]),
        }
        for row in rows
        if row["tenant_id"] in organisations
    ]


def end(connection: sqlite3.Connection, client_id: str, connection_id: str) -> bool:
    """End one by its own id; `False` where there is none."""
    found = connection.execute(
        "DELETE FROM connections WHERE client_id = ? AND id = ?", (client_id, connection_id.lower())
    )
    return found.rowcount > 0


def end_all(connection: sqlite3.Connection, client_id: str) -> None:
    connection.execute("DELETE FROM connections WHERE client_id = ?", (client_id,))


def _moment(at: int) -> str:
    """As Xero writes it: UTC, seven digits of a second, no zone."""
    return f"{moment_of(at):%Y-%m-%dT%H:%M:%S.%f}0"
