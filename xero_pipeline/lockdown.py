"""Ends everything that lets somebody in or lets this pipeline into Xero, after a leak. Figures and logs stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xero_pipeline.connection import ConnectionService, Disconnection, format_names
from xero_pipeline.resources import Deployment


@dataclass(frozen=True)
class LockdownReport:
    """What was ended, and what is left to a person.

    Attributes:
        sessions: how many sessions of the admin page were ended.
        consents: how many consents somebody had begun and not finished.
        disconnections: the organisations, whose tokens here are deleted whether or not Xero confirmed it.
        persons: who has an access token of their own. It still counts.
    """

    sessions: int
    consents: int
    disconnections: Sequence[Disconnection]
    persons: Sequence[str]

    @property
    def is_confirmed(self) -> bool:
        """Whether Xero has confirmed the end of every connection."""
        return not any(disconnection.unconfirmed for disconnection in self.disconnections)

    def list_what_is_left(self) -> list[str]:
        """What only a person can do, in the order in which it should be done."""
        still_there = [one.organisation for one in self.disconnections if one.unconfirmed]
        at_xero = (
            f"disconnect this app from {format_names(still_there)}: Xero did not confirm that it is gone"
            if still_there
            else "check that this app is gone from every organisation"
        )
        tokens = [
            f"Access tokens still count ({', '.join(self.persons)}): `xero-pipeline access remove NAME` ends one, with "
            "its sessions; `access add` makes a new one."
        ]
        return [
            "Stop the admin page, Dagster and every other process of this deployment.",
            f"At Xero, under Settings, Connected apps: {at_xero}.",
            "At developer.xero.com make a new client secret, delete the old one, and set XERO_CLIENT_SECRET.",
            "Set a new XERO_ENCRYPTION_KEY (openssl rand -hex 32) and empty XERO_ENCRYPTION_KEYS_RETIRED.",
            "Set a new ADMIN_TOKEN (openssl rand -hex 24).",
            *(tokens if self.persons else ()),
            "Replace the password in DATABASE_URL and the addresses in ALERT_URLS and DIGEST_URLS, if they may have "
            "leaked too.",
            "Delete the backups that hold the old tokens, start again, and connect again.",
        ]


def lock_down(deployment: Deployment) -> LockdownReport:
    """End sessions and pending consents, revoke every connection at Xero, and delete all tokens of Xero.

    Tokens are deleted even where Xero does not answer: they may be what leaked, and a person can disconnect at Xero.
    """
    warehouse, service = deployment.warehouse, ConnectionService(deployment)
    return LockdownReport(
        # First, so that nobody begins another consent; then the consents, so that none brings new tokens afterwards.
        sessions=warehouse.sessions.end_all(),
        consents=service.end_consents(),
        disconnections=service.disconnect(),
        persons=[person.name for person in warehouse.persons.list_all()],
    )
