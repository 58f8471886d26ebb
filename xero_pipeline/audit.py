"""Records what people do, on the admin page and on the command line, and alerts people where it matters.

The alerts are only stored here. Dagster's sensor `run_failure_alert` sends them (`automation/access_alerts.py`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from xero_pipeline.errors import PipelineError
from xero_pipeline.warehouse.access.audit_log import (
    Actor,
    AuditAction,
    AuditEntry,
    AuditOutcome,
)
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline.warehouse.logs.alert_rules import AlertKind
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.xero.errors import ConsentFailed

log = logging.getLogger(__name__)

GUESS_OUTCOMES = (AuditOutcome.WRONG_TOKEN, AuditOutcome.THROTTLED)
# People mistype. This many wrong tokens in an hour, from all addresses together, are reported as guessing.
GUESSES_REPORTED = 10
GUESSING_CAUSE = "guessing"
_GUESSING_QUIET = timedelta(hours=6)
# The first wrong tokens of an address are stored at once, further ones together, so that 20 guesses a second are not
# 20 writes a second.
_STORED_AT_ONCE = 10
_STORE_INTERVAL = timedelta(seconds=10)


@dataclass
class RecordedAction:
    """An action in progress. The block may name the subject when it is known, and an outcome that raises nothing."""

    subject: str
    outcome: str = AuditOutcome.SUCCESS.value


@dataclass
class _CountedGuesses:
    stored: int = 0
    waiting: int = 0
    last_stored_at: datetime | None = None


class AuditTrail:
    """Writes the audit log of a deployment. Safe to use from several threads."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._alerts = AlertLog(warehouse.engine)
        self._lock = threading.Lock()
        self._guesses: dict[tuple[str, str], _CountedGuesses] = {}

    def record(self, actor: Actor, action: AuditAction, subject: str = "", outcome: str = AuditOutcome.SUCCESS) -> None:
        """Record an action, and store an alert about a connection or a disconnect that succeeded."""
        self._warehouse.audit.record(AuditEntry.of(actor, action, subject, outcome), self._warehouse.clock.now())
        if outcome == AuditOutcome.SUCCESS and action in _EVENTS and subject:
            self._store_event(actor, action, subject)

    @contextmanager
    def recording(self, actor: Actor, action: AuditAction, subject: str = "") -> Iterator[RecordedAction]:
        """Record the action of the block when it ends, with the code of the error if it raises one."""
        recorded = RecordedAction(subject)
        try:
            yield recorded
        except BaseException as error:
            # Also Ctrl-C. The error of the action is the one to show, even if it cannot be recorded.
            try:
                self.record(actor, action, recorded.subject, _find_code(error))
            except (PipelineError, SQLAlchemyError) as failure:
                log.warning("%s could not be recorded in the audit log (%s)", action.value, type(failure).__name__)
            raise
        self.record(actor, action, recorded.subject, recorded.outcome)

    def record_guess(self, origin: str, *, throttled: bool) -> None:
        """Count a sign-in with a wrong token, and store an alert when there are many."""
        outcome = (AuditOutcome.THROTTLED if throttled else AuditOutcome.WRONG_TOKEN).value
        now = self._warehouse.clock.now()
        with self._lock:
            counted = self._guesses.setdefault((origin, outcome), _CountedGuesses())
            counted.waiting += 1
            is_due = counted.stored < _STORED_AT_ONCE or (
                counted.last_stored_at is None or counted.last_stored_at + _STORE_INTERVAL <= now
            )
        if is_due:
            self.store_guesses(now)

    def store_guesses(self, now: datetime | None = None) -> None:
        """Store the guesses that were counted and not yet stored."""
        now = now or self._warehouse.clock.now()
        with self._lock:
            waiting = [(key, counted.waiting) for key, counted in self._guesses.items() if counted.waiting]
            for key, count in waiting:
                counted = self._guesses[key]
                counted.stored, counted.waiting, counted.last_stored_at = counted.stored + count, 0, now
            # An address that has been quiet for a while is forgotten, so that many addresses do not fill the memory.
            self._guesses = {
                key: counted
                for key, counted in self._guesses.items()
                if counted.last_stored_at is not None and counted.last_stored_at + timedelta(hours=1) > now
            }
        for (origin, outcome), count in waiting:
            entry = AuditEntry.of(Actor.stranger(origin), AuditAction.SIGN_IN, "", outcome)
            self._warehouse.audit.record(entry, now, count=count)
        if waiting:
            self._report_guessing(now)

    def _report_guessing(self, now: datetime) -> None:
        guesses = self._warehouse.audit.count_failures(AuditAction.SIGN_IN, GUESS_OUTCOMES, now - timedelta(hours=1))
        if guesses < GUESSES_REPORTED:
            return
        self._alerts.observe(
            GUESSING_CAUSE,
            kind=AlertKind.GUESSING,
            title="Somebody is guessing the access token of the admin page",
            text=f"{guesses} wrong tokens were tried within an hour. None was let in, and whoever guesses has to wait "
            "longer each time.\nWhat to do: `xero-pipeline audit` shows the addresses. Keep the page off the open "
            "network, or let a proxy refuse these addresses.",
            details={},
            quiet=_GUESSING_QUIET,
            now=now,
            # One occurrence an hour, however many guesses there are.
            occurrence=f"{now:%Y-%m-%dT%H}",
        )

    def _store_event(self, actor: Actor, action: AuditAction, subject: str) -> None:
        kind, what = _EVENTS[action]
        now = self._warehouse.clock.now()
        self._alerts.observe(
            f"{kind}:{now.isoformat()}",
            kind=kind,
            title=f"{subject}: {what} Xero",
            text=f"{actor.who} ({actor.role}, {_describe_origin(actor.origin)}) {_DID[action]} {subject}.\n"
            "What to do: nothing, if this was meant. Otherwise see `xero-pipeline audit`, and SECURITY.md for what to "
            "do after a leak.",
            details={},
            quiet=timedelta(0),
            now=now,
        )


_EVENTS = {
    AuditAction.CONNECT: (AlertKind.CONNECTED, "connected to"),
    AuditAction.DISCONNECT: (AlertKind.DISCONNECTED, "disconnected from"),
}
_DID = {AuditAction.CONNECT: "connected", AuditAction.DISCONNECT: "disconnected"}


def _find_code(error: BaseException) -> str:
    if isinstance(error, ConsentFailed):
        return error.reason.value
    return error.code if isinstance(error, PipelineError) else AuditOutcome.FAILED.value


def _describe_origin(origin: str) -> str:
    return "on the command line" if origin == "cli" else f"from {origin}"
