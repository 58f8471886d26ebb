"""Faults on command: which requests they meet, how often, and what they do to the answer."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from xero_pipeline.mock_xero.messages import ConnectionBreak, MockRequest, MockResponse
from xero_pipeline.mock_xero.problems import forbidden


class FaultKind(StrEnum):
    STATUS = "status"
    """Answers `status` with `body` and `headers`; the request has no effect."""
    DROP = "drop"
    """Drops the connection."""
    TIME_OUT = "time_out"
    """Never answers."""
    CUT = "cut"
    """Cuts the body after `keep` bytes, and the connection with it."""
    TRUNCATE = "truncate"
    """Ends the body after `keep` bytes as if it were whole."""
    INVALID_JSON = "invalid_json"
    """Answers 200 with something that is no JSON."""
    DELAY = "delay"
    """Lets `seconds` pass by the clock, then answers as ever."""
    IGNORE_DATES = "ignore_dates"
    """Answers a report or list as if no dates had been asked for."""
    NO_REPORTS = "no_reports"
    """403: the user who consented has a role without reports."""


@dataclass(frozen=True, slots=True)
class MockFault:
    """A fault and the requests that it meets.

    Attributes:
        method: `None` meets any.
        path: a regular expression, searched in the path.
        tenant_id: `None` meets any organisation.
        skip: so many requests that fit go through first.
        times: then so many are met; `None` is for ever.
        handled: for what breaks the connection: whether the request has taken effect when the answer is lost.
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
            raise ValueError("a fault's path is a regular expression") from None


def add(connection: sqlite3.Connection, fault: MockFault) -> int:
    """Arm a fault; answers its number."""
    payload = json.dumps({**asdict(fault), "headers": dict(fault.headers)})
    number = connection.execute("INSERT INTO faults (payload) VALUES (?)", (payload,)).lastrowid
    return int(number or 0)


def clear(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM faults")


def armed(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM faults LIMIT 1").fetchone() is not None


def match_fault(connection: sqlite3.Connection, request: MockRequest, tenant_id: str) -> MockFault | None:
    """The first armed fault that fits the request; it counts as met, and as seen by those before it."""
    for row in connection.execute("SELECT id, payload, seen FROM faults ORDER BY id").fetchall():
        fault = read_fault(json.loads(row["payload"]))
        if not _fits(fault, request, tenant_id):
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
    """A fault from its fields.

    Raises:
        ValueError: a field is unknown, or its value is none that there is.
    """
    known = {one.name for one in fields(MockFault)}
    unknown = set(given) - known
    if unknown or "kind" not in given:
        raise ValueError(f"a fault has the fields {', '.join(sorted(known))}")
    return MockFault(**{**given, "kind": FaultKind(given["kind"])})


def _fits(fault: MockFault, request: MockRequest, tenant_id: str) -> bool:
    if fault.kind is FaultKind.NO_REPORTS and "/reports/" not in request.path.lower():
        return False
    return (
        (fault.method is None or fault.method.upper() == request.method)
        and (fault.tenant_id is None or fault.tenant_id == tenant_id)
        and re.search(fault.path, request.path) is not None
    )


def instead(fault: MockFault) -> MockResponse | None:
    """The answer that a fault gives instead of any; `None` where the request is answered first."""
    if fault.kind is FaultKind.STATUS:
        kind = "application/json" if fault.body.lstrip()[:1] in ("{", "[") else "text/plain"
        return MockResponse(fault.status, {"Content-Type": kind, **fault.headers}, fault.body.encode())
    if fault.kind is FaultKind.NO_REPORTS:
        return forbidden("You do not have permission to view reports")
    if fault.kind is FaultKind.DROP and not fault.handled:
        return MockResponse(broken=ConnectionBreak.DROP)
    if fault.kind is FaultKind.TIME_OUT and not fault.handled:
        return MockResponse(broken=ConnectionBreak.TIME_OUT)
    return None


def corrupt_response(fault: MockFault, response: MockResponse) -> MockResponse:
    """What becomes of an answer under a fault."""
    if fault.kind is FaultKind.DROP:
        return replace(response, broken=ConnectionBreak.DROP)
    if fault.kind is FaultKind.TIME_OUT:
        return replace(response, broken=ConnectionBreak.TIME_OUT)
    if fault.kind is FaultKind.CUT:
        return replace(response, broken=ConnectionBreak.CUT, arriving=min(fault.keep, max(0, len(response.body) - 1)))
    if fault.kind is FaultKind.TRUNCATE:
        return replace(response, body=response.body[: fault.keep])
    if fault.kind is FaultKind.INVALID_JSON:
        return replace(response, body=b'{"Status": "OK", "Reports": [oops')
    return response
