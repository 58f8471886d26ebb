"""Faults on command: which requests they meet, how often, and what they do to the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


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
class Fault:
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
