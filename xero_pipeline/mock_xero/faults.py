"""Faults that a test arms: which requests each affects, how often, and how it changes the answer."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from xero_pipeline.mock_xero.messages import ConnectionBreak, MockRequest, MockResponse
from xero_pipeline.mock_xero.problems import respond_forbidden


class FaultKind(StrEnum):
    STATUS = "status"
    """Answers with `status`, `body` and `headers`; the request has no effect."""
    DROP = "drop"
    """Drops the connection without an answer."""
    TIME_OUT = "time_out"
    """Never answers."""
    CUT = "cut"
    """Sends `keep` bytes of the body, then closes the connection."""
    TRUNCATE = "truncate"
    """Sends `keep` bytes of the body as if they were all of it."""
    INVALID_JSON = "invalid_json"
    """Answers with a body that is not valid JSON."""
    DELAY = "delay"
    """Waits `seconds` by the clock, then answers as usual."""
    IGNORE_DATES = "ignore_dates"
    """Answers a report or list as if the request named no dates."""
    NO_REPORTS = "no_reports"
    """Answers reports with 403, as for a user whose role has no access to them."""


@dataclass(frozen=True, slots=True)
class MockFault:
    """A fault and the requests that it affects.

    Attributes:
        method: the HTTP method; `None` matches any.
        path: a regular expression, searched in the path.
        tenant_id: the organisation; `None` matches any.
        skip: how many matching requests pass unaffected first.
        times: how many matching requests are affected after that; `None` means until cleared.
        keep: for `CUT` and `TRUNCATE`, how many bytes of the body arrive.
        handled: for `DROP` and `TIME_OUT`, whether the request takes effect before its answer is lost.
    """

    kind: FaultKind
    method: str | None = None
    path: str = ""
    tenant_id: str | None = None
    skip: int = 0
    times: int | None = 1
    status: int = 500
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    keep: int = 40
    seconds: float = 0.0
    handled: bool = True

    def __post_init__(self) -> None:
        try:
            re.compile(self.path)
        except re.error:
            raise ValueError("a fault's path must be a regular expression") from None


def arm(connection: sqlite3.Connection, fault: MockFault) -> int:
    """Store a fault and return its number."""
    payload = json.dumps({**asdict(fault), "headers": dict(fault.headers)})
    number = connection.execute("INSERT INTO faults (payload) VALUES (?)", (payload,)).lastrowid
    return int(number or 0)


def clear(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM faults")


def match_fault(connection: sqlite3.Connection, request: MockRequest, tenant_id: str) -> MockFault | None:
    """The first armed fault that applies to the request, or `None`.

    Each fault that the request matches counts it, also while that fault still skips requests. A fault that
    has reached its `times` is deleted.
    """
    for row in connection.execute("SELECT id, payload, seen FROM faults ORDER BY id").fetchall():
        fault = read_fault(json.loads(row["payload"]))
        if not _is_match(fault, request, tenant_id):
            continue
        seen = row["seen"] + 1
        connection.execute("UPDATE faults SET seen = ? WHERE id = ?", (seen, row["id"]))
        if seen <= fault.skip:
            continue
        if fault.times is not None and seen >= fault.skip + fault.times:
            connection.execute("DELETE FROM faults WHERE id = ?", (row["id"],))
        return fault
    return None


def read_fault(given: Mapping[str, Any]) -> MockFault:
    """Make a fault from its fields.

    Raises:
        ValueError: a field is unknown, `kind` is missing, or a value is not allowed.
    """
    known = {attribute.name for attribute in fields(MockFault)}
    unknown = set(given) - known
    if unknown or "kind" not in given:
        raise ValueError(f"a fault needs a kind and can have the fields {', '.join(sorted(known))}")
    return MockFault(**{**given, "kind": FaultKind(given["kind"])})


def _is_match(fault: MockFault, request: MockRequest, tenant_id: str) -> bool:
    if fault.kind is FaultKind.NO_REPORTS and "/reports/" not in request.path.lower():
        return False
    return (
        (fault.method is None or fault.method.upper() == request.method)
        and (fault.tenant_id is None or fault.tenant_id == tenant_id)
        and re.search(fault.path, request.path) is not None
    )


def replace_response(fault: MockFault) -> MockResponse | None:
    """The answer that a fault gives without handling the request; `None` if the request is handled first."""
    if fault.kind is FaultKind.STATUS:
        kind = "application/json" if fault.body.lstrip()[:1] in ("{", "[") else "text/plain"
        return MockResponse(fault.status, {"Content-Type": kind, **fault.headers}, fault.body.encode())
    if fault.kind is FaultKind.NO_REPORTS:
        return respond_forbidden("You do not have permission to view reports")
    if fault.kind is FaultKind.DROP and not fault.handled:
        return MockResponse(broken=ConnectionBreak.DROP)
    if fault.kind is FaultKind.TIME_OUT and not fault.handled:
        return MockResponse(broken=ConnectionBreak.TIME_OUT)
    return None


def corrupt_response(fault: MockFault, response: MockResponse) -> MockResponse:
    """An answer as the fault changes it after the request was handled."""
    if fault.kind is FaultKind.DROP:
        return replace(response, broken=ConnectionBreak.DROP)
    if fault.kind is FaultKind.TIME_OUT:
        return replace(response, broken=ConnectionBreak.TIME_OUT)
    if fault.kind is FaultKind.CUT:
        return replace(
            response, broken=ConnectionBreak.CUT, delivered_bytes=min(fault.keep, max(0, len(response.body) - 1))
        )
    if fault.kind is FaultKind.TRUNCATE:
        return replace(response, body=response.body[: fault.keep])
    if fault.kind is FaultKind.INVALID_JSON:
        return replace(response, body=b'{"Status": "OK", "Reports": [oops')
    return response
