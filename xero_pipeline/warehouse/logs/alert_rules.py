"""An alert as plain values, and the one rule: who is to be told what, and when. Pure; `alert_log.py` keeps it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class AlertState(StrEnum):
    """What an address was told last of a cause."""

    PROBLEM = "problem"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Alert:
    """One cause, as it stands. `details` is for the program that opened it."""

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
        """As the admin page and `status --json` show it."""
        return {"kind": self.kind, "title": self.title, "text": self.text, "openedAt": self.opened_at.isoformat()}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one address knows of a cause."""

    told: int = 0
    said: AlertState | None = None
    last_sent_at: datetime | None = None
    claimed_until: datetime | None = None
    attempts: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryClaim:
    """The right to send one message to one address, and what it has to say.

    `more` counts the occurrences that this address has not heard of, besides the one that opens the message.
    """

    token: str
    address: str
    alert: Alert
    says: AlertState
    more: int
    since: datetime
    """When this address was last told of the problem, or else when it began."""
    knew: bool
    """Whether the address has heard of the problem since it began."""


def next_message(alert: Alert, delivery: Delivery, now: datetime) -> AlertState | None:
    """What an address is to be told of a cause now, if anything.

    A problem is told at once, and again no sooner than its quiet time after the last message that arrived.
    That it is well again is told at once to whoever knows of the problem. A cause that came back and went
    within the quiet time is told when that is over, as one message.
    """
    untold = alert.occurrences > delivery.told
    quiet = delivery.last_sent_at is not None and now < delivery.last_sent_at + alert.quiet
    if alert.is_open:
        return AlertState.PROBLEM if untold and not quiet else None
    if delivery.said is AlertState.PROBLEM or (untold and not quiet):
        return AlertState.RECOVERED
    return None


def may_claim(alert: Alert, delivery: Delivery | None, now: datetime) -> bool:
    if delivery is None:
        # An address that is new has no business with what is over.
        return alert.is_open and next_message(alert, Delivery(), now) is not None
    if delivery.claimed_until is not None and now < delivery.claimed_until:
        return False
    return next_message(alert, delivery, now) is not None


def make_claim(alert: Alert, address: str, delivery: Delivery, now: datetime) -> DeliveryClaim:
    says = next_message(alert, delivery, now)
    assert says is not None  # noqa: S101 - the caller has looked
    knew = delivery.said is AlertState.PROBLEM
    untold = alert.occurrences - delivery.told
    return DeliveryClaim(
        token=str(uuid.uuid4()),
        address=address,
        alert=alert,
        says=says,
        more=untold if knew else untold - 1,
        since=delivery.last_sent_at if knew and delivery.last_sent_at else alert.opened_at,
        knew=knew,
    )
