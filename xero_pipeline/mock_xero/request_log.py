"""Counters of events, and a log of the requests that the mock received. Neither holds a secret."""

from __future__ import annotations

import os
import re
import sqlite3
from typing import Any

from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.state import from_microseconds

# The log keeps about this many requests, so that the file of a mock that runs for months stays small.
MAX_REQUESTS = 50_000

# Ids are replaced in counter names, so that there is one counter per resource and not one per document.
_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def increment_counter(connection: sqlite3.Connection, name: str) -> None:
    connection.execute(
        "INSERT INTO counters (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", (name,)
    )


def record_request(
    connection: sqlite3.Connection, request: MockRequest, response: MockResponse, tenant_id: str, at: int
) -> None:
    """Log a request and its answer, and count both. Only queries of API calls are stored: others may hold secrets."""
    query = "&".join(f"{name}={value}" for name, value in request.query) if "/api.xro/" in request.path else ""
    broken = response.broken.value if response.broken else ""
    cursor = connection.execute(
        "INSERT INTO requests (at, method, path, query, tenant_id, status, broken, pid)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (at, request.method, request.path, query, tenant_id, response.status, broken, os.getpid()),
    )
    if cursor.lastrowid is not None and cursor.lastrowid % 1000 == 0:
        connection.execute("DELETE FROM requests WHERE id <= ?", (cursor.lastrowid - MAX_REQUESTS,))
    increment_counter(connection, "requests")
    increment_counter(connection, f"{request.method} {_ID.sub('{id}', request.path)}")


def read_counters(connection: sqlite3.Connection) -> dict[str, int]:
    return {row["name"]: row["value"] for row in connection.execute("SELECT * FROM counters ORDER BY name")}


def read_requests(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT * FROM requests ORDER BY id")
    return [{**dict(row), "at": from_microseconds(row["at"])} for row in rows]
