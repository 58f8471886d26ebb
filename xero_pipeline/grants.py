"""The result of a consent as plain values: tokens, and the organisations that they give access to.

`xero/oauth.py` gets them from Xero and `warehouse/connections/tokens.py` stores them. Both import this module, so it
knows neither HTTP nor SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

# A refresh token expires after 60 days without use (Xero, "Token types").
REFRESH_TOKEN_LIFE = timedelta(days=60)


class ConnectionStatus(StrEnum):
    CONNECTED = "connected"
    RECONNECT_NEEDED = "reconnect_needed"


@dataclass(frozen=True, slots=True)
class Tokens:
    """One pair of tokens. The secrets are left out of `repr`.

    `refresh_token` is empty for a Custom Connection (`client_credentials`), which has none.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    id_token: str = field(repr=False)
    token_type: str
    scope: str
    expires_at: datetime
    refreshed_at: datetime

    def expires_within(self, margin: timedelta, now: datetime) -> bool:
        return self.expires_at - margin <= now

    @property
    def refresh_token_expires_at(self) -> datetime | None:
        """When the refresh token expires if nobody uses it; `None` where there is no refresh token."""
        return self.refreshed_at + REFRESH_TOKEN_LIFE if self.refresh_token else None


@dataclass(frozen=True, slots=True)
class Connection:
    """One organisation that a consent gives access to: a row of `GET /connections`."""

    connection_id: str
    tenant_id: str
    tenant_name: str


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation as it is stored: its identity and the state of its connection, without tokens."""

    tenant_id: str
    tenant_name: str
    connection_id: str
    grant_id: str
    status: ConnectionStatus
    scope: str
    connected_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    last_sync_at: datetime | None
    refresh_token_expires_at: datetime | None
    shares_name: bool = False
    """Whether another stored organisation has the same name, as after a reset of Xero's demo company."""

    @property
    def display_name(self) -> str:
        """The name for people: Xero's, with the tenant id behind it where two organisations have the same one."""
        return f"{self.tenant_name} ({self.tenant_id})" if self.shares_name else self.tenant_name

    @property
    def reconnect_advice(self) -> str:
        """What to do when the organisation has to be connected again."""
        return (
            "Connect again: on the admin page, or with `xero-pipeline connect`. If it is gone for good: "
            f"`xero-pipeline disconnect --organisation {self.tenant_id}`."
        )
