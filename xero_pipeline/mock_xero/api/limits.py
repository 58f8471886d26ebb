"""Xero's limits: counted in the state file, for every process, over rolling windows.

A call that is refused does not count. Source: Xero's "OAuth 2.0 API limits".
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from xero_pipeline.mock_xero.messages import MockResponse
from xero_pipeline.mock_xero.organisations import MockLimits
from xero_pipeline.mock_xero.state import SECOND

MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
# A call whose process died in it stops counting as in progress after so long.
LONGEST_CALL = 300 * SECOND

NOBODY = ""
"""Stands for the app itself, in a call that is for no organisation."""


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """A call that may go on; `call` names it until it is over."""

    call: int | None
    headers: Mapping[str, str]


def admit(
    connection: sqlite3.Connection, limits: MockLimits, tenant_id: str, now: int
) -> RateLimitDecision | MockResponse:
    """Count a call, or refuse it with 429. `tenant_id` is `NOBODY` for a call of the app's own."""
    connection.execute("DELETE FROM calls WHERE at <= ?", (now - DAY,))
    connection.execute("DELETE FROM in_progress WHERE at <= ?", (now - LONGEST_CALL,))
    app = _since(connection, None, now - MINUTE)
    if app >= limits.app_per_minute:
        return _refusal("appminute", {"X-AppMinLimit-Remaining": "0"})
    if tenant_id == NOBODY:
        _count(connection, NOBODY, now)
        return RateLimitDecision(None, {"X-AppMinLimit-Remaining": str(limits.app_per_minute - app - 1)})
    minute, day = _since(connection, tenant_id, now - MINUTE), _since(connection, tenant_id, now - DAY)
    left = {
        "X-AppMinLimit-Remaining": limits.app_per_minute - app,
        "X-MinLimit-Remaining": max(0, limits.per_minute - minute),
        "X-DayLimit-Remaining": max(0, limits.per_day - day),
    }
    refused = {name: str(number) for name, number in left.items()}
    if day >= limits.per_day:
        return _refusal("day", refused, _wait(connection, tenant_id, now, DAY, limits.per_day))
    if minute >= limits.per_minute:
        return _refusal("minute", refused, _wait(connection, tenant_id, now, MINUTE, limits.per_minute))
    if _busy(connection, tenant_id) >= limits.in_progress:
        return _refusal("concurrent", refused)
    _count(connection, tenant_id, now)
    call = connection.execute(
        "INSERT INTO in_progress (tenant_id, at, pid) VALUES (?, ?, ?)", (tenant_id, now, os.getpid())
    ).lastrowid
    return RateLimitDecision(call, {name: str(number - 1) for name, number in left.items()})


def finish(connection: sqlite3.Connection, call: int) -> None:
    """The call is over, however it ended."""
    connection.execute("DELETE FROM in_progress WHERE id = ?", (call,))


def _count(connection: sqlite3.Connection, tenant_id: str, now: int) -> None:
    connection.execute("INSERT INTO calls (tenant_id, at) VALUES (?, ?)", (tenant_id, now))


def _since(connection: sqlite3.Connection, tenant_id: str | None, at: int) -> int:
    if tenant_id is None:
        row = connection.execute("SELECT COUNT(*) FROM calls WHERE at > ?", (at,)).fetchone()
    else:
        row = connection.execute(
            "SELECT COUNT(*) FROM calls WHERE tenant_id = ? AND at > ?", (tenant_id, at)
        ).fetchone()
    return int(row[0])


def _busy(connection: sqlite3.Connection, tenant_id: str) -> int:
    """Calls in progress, but for those whose process is gone."""
    rows = connection.execute("SELECT id, pid FROM in_progress WHERE tenant_id = ?", (tenant_id,)).fetchall()
    dead = [row["id"] for row in rows if not _runs(row["pid"])]
    connection.executemany("DELETE FROM in_progress WHERE id = ?", [(call,) for call in dead])
    return len(rows) - len(dead)


def _runs(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _wait(connection: sqlite3.Connection, tenant_id: str, now: int, window: int, limit: int) -> int:
    """Whole seconds until enough calls have left the window for one more."""
    row = connection.execute(
        "SELECT at FROM calls WHERE tenant_id = ? AND at > ? ORDER BY at DESC LIMIT 1 OFFSET ?",
        (tenant_id, now - window, max(0, limit - 1)),
    ).fetchone()
    until = (row["at"] if row else now) + window
    return max(1, -(-(until - now) // SECOND))


def _refusal(problem: str, left: Mapping[str, str], wait: int | None = None) -> MockResponse:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Rate-Limit-Problem": problem, **left}
    if wait is not None:
        headers["Retry-After"] = str(wait)
    return MockResponse(429, headers, f"The {problem} rate limit has been exceeded".encode())
