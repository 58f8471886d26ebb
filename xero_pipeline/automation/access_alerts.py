"""Closes the alerts about access, which `audit.py` stores: a new connection, a disconnect, and guessing.

They are sent like every other alert that is due, when the sensor flushes.
"""

from __future__ import annotations

from datetime import timedelta

from xero_pipeline.audit import GUESS_OUTCOMES, GUESSING_CAUSE
from xero_pipeline.automation.alerts import Alerter
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.logs.alert_rules import EVENT_KINDS, AlertKind

# How long nobody may have guessed before people are told that it is over.
_QUIET_AFTER_GUESSES = timedelta(hours=2)
# An event that could not be sent for so long is no news any more.
_EVENT_LIFE = timedelta(days=7)


def notify_access(deployment: Deployment, alerter: Alerter) -> None:
    """Close the events that every address has been told about, and report when guessing has stopped."""
    now = deployment.clock.now()
    for event in alerter.log.list_open(*EVENT_KINDS):
        if alerter.is_told_to_all(event.cause) or event.opened_at + _EVENT_LIFE < now:
            # Nobody needs to hear that an event is over.
            alerter.withdraw(event.cause)
    if not alerter.log.list_open(AlertKind.GUESSING):
        return
    since = now - _QUIET_AFTER_GUESSES
    if deployment.warehouse.audit.count_failures(AuditAction.SIGN_IN, GUESS_OUTCOMES, since) == 0:
        alerter.report_recovery(GUESSING_CAUSE, "Nobody has tried a wrong token for two hours.")
