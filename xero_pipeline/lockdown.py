"""Ends everything that lets somebody in or lets this pipeline into Xero, after a leak. Figures and logs stay."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from xero_pipeline.connection import ConnectionService
from xero_pipeline.grants import Organisation
from xero_pipeline.resources import Deployment

log = logging.getLogger(__name__)


@dataclass
class LockdownReport:
    """What was ended, and what is left to a person."""

    consents: int = 0
    """Consents that somebody had begun and not finished."""
    sessions: int = 0
    """Sessions of the admin page."""
    revoked: list[Organisation] = field(default_factory=list)
    not_revoked: dict[str, list[Organisation]] = field(default_factory=dict)
    """By the reason: the organisations that Xero did not disconnect. Their tokens here are deleted all the same."""

    def list_what_is_left(self) -> list[str]:
        """What only a person can do, in the order in which it should be done."""
        still_there = [one.tenant_name for organisations in self.not_revoked.values() for one in organisations]
        at_xero = (
            f"disconnect this app from {', '.join(still_there)}: Xero did not confirm that it is gone"
            if still_there
            else "check that this app is gone from every organisation"
        )
        return [
            "Stop the admin page, Dagster and every other process of this deployment.",
            f"At Xero, under Settings, Connected apps: {at_xero}.",
            "At developer.xero.com make a new client secret, delete the old one, and set XERO_CLIENT_SECRET.",
            "Set a new XERO_ENCRYPTION_KEY (openssl rand -hex 32) and empty XERO_ENCRYPTION_KEYS_RETIRED.",
            "Set a new ADMIN_TOKEN (openssl rand -hex 24): that ends every session of the page.",
            "Replace the password in DATABASE_URL and the addresses in ALERT_URLS, if they may have leaked too.",
            "Delete the backups that hold the old tokens, start again, and connect again.",
        ]


def lock_down(deployment: Deployment) -> LockdownReport:
    """End pending consents and sessions, revoke every connection at Xero, and delete all tokens.

    Tokens are deleted even where Xero does not answer: they may be what leaked, and a person can disconnect at Xero.
    """
    report = LockdownReport()
    warehouse = deployment.warehouse
    service = ConnectionService(deployment)
    # First, so that no consent that was begun before brings new tokens afterwards, and nobody begins another one.
    report.consents = service.end_consents()
    report.sessions = warehouse.sessions.end_all()
    for disconnection in service.disconnect():
        if disconnection.unconfirmed:
            report.not_revoked.setdefault(disconnection.unconfirmed, []).append(disconnection.organisation)
        else:
            report.revoked.append(disconnection.organisation)
    _log(report.revoked, "revoked")
    return report


def _log(organisations: Sequence[Organisation], what: str) -> None:
    for organisation in organisations:
        log.info("lockdown: %s %s", what, organisation.tenant_name)
