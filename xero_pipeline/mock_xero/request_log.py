"""What was asked of the mock: counters, and a log of requests without a secret in it."""

from __future__ import annotations

import os
import re
import sqlite3
from typing import Any

from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.state import moment_of

# The log keeps about so many requests, so that a mock that runs for months stays small.
KEPT = 50_000

# A counter for each resource, not for each document.
_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def count(connection: sqlite3.Connection, name: str) -> None:
    connection.execute(
        "INSERT INTO counters (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", (name,)
    )


def note(connection: sqlite3.Connection, request: MockRequest, response: MockResponse, tenant_id: str, at: int) -> None:
    """Remember a request and how it was answered. Only the API's queries are kept: others may hold secrets."""
    query = "&".join(f"{name}={value}" for name, value in request.query) if "/api.xro/" in request.path else ""
    broken = response.broken.value if response.broken else ""
    cursor = connection.execute(
        "INSERT INTO requests (at, method, path, query, tenant_id, status, broken, pid)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (at, request.method, request.path, query, tenant_id, response.status, broken, os.getpid()),
    )
    if cursor.lastrowid is not None and cursor.lastrowid % 1000 == 0:
        connection.execute("DELETE FROM requests WHERE id <= ?", (cursor.lastrowid - KEPT,))
    count(connection, "requests")
    count(connection, f"{request.method} {_ID.sub('{id}', request.path)}")


def counters(connection: sqlite3.Connection) -> dict[str, int]:
    return {row["name"]: row["value"] for row in connection.execute("SELECT * FROM counters ORDER BY name")}


def requests(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT * FROM requests ORDER BY id")
    return [{**dict(row), "at": moment_of(row["at"])} for row in rows]
