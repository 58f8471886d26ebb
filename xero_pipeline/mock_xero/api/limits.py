"""Xero's rate limits: calls of all processes, counted in the state file over rolling windows.

A refused call does not count. Source: Xero's "OAuth 2.0 API limits".
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
# A call counts as in progress for at most this long, in case its process died during the call.
MAX_CALL = 300 * SECOND

APP_ITSELF = ""
"""The tenant id of a call that is for the app itself and for no organisation."""


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """An admitted call: its row in `in_progress` (`None` for the app's own calls) and its limit headers."""

    call_id: int | None
    headers: Mapping[str, str]


def admit(
    connection: sqlite3.Connection, limits: MockLimits, tenant_id: str, now: int
) -> RateLimitDecision | MockResponse:
    """Count a call, or refuse it with 429. `tenant_id` is `APP_ITSELF` for a call that is for no organisation."""
    connection.execute("DELETE FROM calls WHERE at <= ?", (now - DAY,))
    connection.execute("DELETE FROM in_progress WHERE at <= ?", (now - MAX_CALL,))
    app_calls = _count_since(connection, None, now - MINUTE)
    if app_calls >= limits.app_per_minute:
        return _refuse("appminute", {"X-AppMinLimit-Remaining": "0"})
    if tenant_id == APP_ITSELF:
        _record_call(connection, APP_ITSELF, now)
        return RateLimitDecision(None, {"X-AppMinLimit-Remaining": str(limits.app_per_minute - app_calls - 1)})
    minute_calls, day_calls = (
        _count_since(connection, tenant_id, now - MINUTE),
        _count_since(connection, tenant_id, now - DAY),
    )
    remaining = {
        "X-AppMinLimit-Remaining": limits.app_per_minute - app_calls,
        "X-MinLimit-Remaining": max(0, limits.per_minute - minute_calls),
        "X-DayLimit-Remaining": max(0, limits.per_day - day_calls),
    }
    headers = {name: str(number) for name, number in remaining.items()}
    if day_calls >= limits.per_day:
        return _refuse("day", headers, _calculate_wait(connection, tenant_id, now, DAY, limits.per_day))
    if minute_calls >= limits.per_minute:
        return _refuse("minute", headers, _calculate_wait(connection, tenant_id, now, MINUTE, limits.per_minute))
    if _count_in_progress(connection, tenant_id) >= limits.in_progress:
        return _refuse("concurrent", headers)
    _record_call(connection, tenant_id, now)
    call_id = connection.execute(
        "INSERT INTO in_progress (tenant_id, at, pid) VALUES (?, ?, ?)", (tenant_id, now, os.getpid())
    ).lastrowid
    return RateLimitDecision(call_id, {name: str(number - 1) for name, number in remaining.items()})


def finish(connection: sqlite3.Connection, call_id: int) -> None:
    """Stop counting a call as in progress, after success or failure."""
    connection.execute("DELETE FROM in_progress WHERE id = ?", (call_id,))


def _record_call(connection: sqlite3.Connection, tenant_id: str, now: int) -> None:
    connection.execute("INSERT INTO calls (tenant_id, at) VALUES (?, ?)", (tenant_id, now))


def _count_since(connection: sqlite3.Connection, tenant_id: str | None, at: int) -> int:
    if tenant_id is None:
        row = connection.execute("SELECT COUNT(*) FROM calls WHERE at > ?", (at,)).fetchone()
    else:
        row = connection.execute(
            "SELECT COUNT(*) FROM calls WHERE tenant_id = ? AND at > ?", (tenant_id, at)
        ).fetchone()
    return int(row[0])


def _count_in_progress(connection: sqlite3.Connection, tenant_id: str) -> int:
    """Count an organisation's calls in progress; delete those whose process has ended."""
    rows = connection.execute("SELECT id, pid FROM in_progress WHERE tenant_id = ?", (tenant_id,)).fetchall()
    dead = [row["id"] for row in rows if not _is_running(row["pid"])]
    connection.executemany("DELETE FROM in_progress WHERE id = ?", [(call_id,) for call_id in dead])
    return len(rows) - len(dead)


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _calculate_wait(connection: sqlite3.Connection, tenant_id: str, now: int, window: int, limit: int) -> int:
    """Whole seconds until enough calls have left the window to allow one more, at least 1."""
    row = connection.execute(
        "SELECT at FROM calls WHERE tenant_id = ? AND at > ? ORDER BY at DESC LIMIT 1 OFFSET ?",
        (tenant_id, now - window, max(0, limit - 1)),
    ).fetchone()
    until = (row["at"] if row else now) + window
    return max(1, -(-(until - now) // SECOND))


def _refuse(problem: str, remaining: Mapping[str, str], wait: int | None = None) -> MockResponse:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Rate-Limit-Problem": problem, **remaining}
    if wait is not None:
        headers["Retry-After"] = str(wait)
    return MockResponse(429, headers, f"The {problem} rate limit has been exceeded".encode())
