"""Alerts as plain values, and the rule that decides who is notified of what, and when.

All functions are pure. `alert_log.py` stores the alerts.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

# How long a process may take to post a message before another one may try.
LEASE = timedelta(minutes=5)


class AlertState(StrEnum):
    """What a message to an address says about a cause."""

    PROBLEM = "problem"
    RECOVERED = "recovered"


class AlertKind(StrEnum):
    """The kinds of alerts about access, and the weekly digest. The modules of `automation/` name their own kinds."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    GUESSING = "guessing"
    DIGEST = "digest"


EVENT_KINDS = frozenset({AlertKind.CONNECTED, AlertKind.DISCONNECTED})
"""The kinds that report what somebody did and no problem: they are sent once, never listed as open, and not recovered
from."""

UNLISTED_KINDS = EVENT_KINDS | {AlertKind.DIGEST}
"""The kinds that are no problem: no list of open problems has them."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One cause and its present state. `details` is for the program that opened it."""

    cause: str
    kind: str
    title: str
    text: str
    details: dict[str, Any]
    quiet: timedelta
    occurrences: int
    opened_at: datetime
    last_seen_at: datetime
    recovered_at: datetime | None
    recovery_text: str | None

    @property
    def is_open(self) -> bool:
        return self.recovered_at is None

    def as_dict(self) -> dict[str, Any]:
        """The form of the admin page and of `status --json`."""
        return {"kind": self.kind, "title": self.title, "text": self.text, "openedAt": self.opened_at.isoformat()}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one address has been told about a cause.

    `notified_occurrences` is the number of occurrences that the messages to it have covered, `last_state` what the
    last message said.
    """

    notified_occurrences: int = 0
    last_state: AlertState | None = None
    last_sent_at: datetime | None = None
    claimed_until: datetime | None = None
    attempts: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryClaim:
    """The right to send one message to one address, and the content of the message.

    `more_occurrences` counts the occurrences that the address has not been told about, besides the one that the
    message is about.
    """

    token: str
    address: str
    alert: Alert
    state: AlertState
    more_occurrences: int
    since: datetime
    """When the address was last told about the problem, or else when the problem began."""
    was_notified: bool
    """Whether the address has been told about the problem since it began."""


def next_message(alert: Alert, delivery: Delivery, now: datetime) -> AlertState | None:
    """What an address must be told about a cause now; `None` for nothing.

    A problem is reported at once. It is reported again when it has occurred again and its quiet time since the last
    delivered message is over. A recovery is reported at once to an address that knows of the problem. A cause that
    came back and recovered within the quiet time is reported in one message when the quiet time is over.
    """
    has_news = alert.occurrences > delivery.notified_occurrences
    # A message that was sent in the future was dated by a clock that was ahead, so it keeps nobody quiet.
    is_quiet = delivery.last_sent_at is not None and delivery.last_sent_at <= now < delivery.last_sent_at + alert.quiet
    if alert.is_open:
        return AlertState.PROBLEM if has_news and not is_quiet else None
    if delivery.last_state is AlertState.PROBLEM or (has_news and not is_quiet):
        return AlertState.RECOVERED
    return None


def can_claim(alert: Alert, delivery: Delivery | None, now: datetime) -> bool:
    if delivery is None:
        # A new address is not told about a problem that is over.
        return alert.is_open and next_message(alert, Delivery(), now) is not None
    if delivery.claimed_until is not None and now < delivery.claimed_until <= now + 2 * LEASE:
        # A claim for longer was made by a clock that was ahead.
        return False
    return next_message(alert, delivery, now) is not None


def make_claim(alert: Alert, address: str, delivery: Delivery, now: datetime) -> DeliveryClaim:
    state = next_message(alert, delivery, now)
    assert state is not None  # noqa: S101 - the caller has checked `can_claim`
    was_notified = delivery.last_state is AlertState.PROBLEM
    new_occurrences = alert.occurrences - delivery.notified_occurrences
    return DeliveryClaim(
        token=str(uuid.uuid4()),
        address=address,
        alert=alert,
        state=state,
        more_occurrences=new_occurrences if was_notified else new_occurrences - 1,
        since=delivery.last_sent_at if was_notified and delivery.last_sent_at else alert.opened_at,
        was_notified=was_notified,
    )
