"""The status of a deployment, which `xero-pipeline status` and the admin page's status card show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from xero_pipeline.grants import ConnectionStatus, Organisation
from xero_pipeline.rate_limits import Usage
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.errors import NotDecryptable, UnknownOrganisation
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline.warehouse.logs.alert_rules import UNLISTED_KINDS, Alert
from xero_pipeline.warehouse.logs.reconciliations import Proof, ReconciliationLog


@dataclass(frozen=True)
class OrganisationStatus:
    """The connection, the last sync and the API calls of one organisation."""

    organisation: Organisation
    usage: Usage
    days_left: int | None
    """Whole days until the refresh token expires unused; 0 once it has expired, `None` where there is none."""
    proof: Proof | None = None
    """How far the stored weeks are proven against Xero's totals; `None` if they have not been compared yet."""
    token_error: str | None = None
    """Why the stored tokens cannot be read and what to do about it; `None` when they can. It shows no token."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as the HTTP API's JSON object."""
        return {
            "tenantId": self.organisation.tenant_id,
            "tenantName": self.organisation.tenant_name,
            "displayName": self.organisation.display_name,
            "status": self.organisation.status.value,
            "connectedAt": self.organisation.connected_at.isoformat(),
            "lastSyncAt": _format_moment(self.organisation.last_sync_at),
            "refreshTokenExpiresAt": _format_moment(self.organisation.refresh_token_expires_at),
            "refreshTokenDaysLeft": self.days_left,
            "callsToday": self.usage.today,
            "callsPerDay": self.usage.per_day,
            "callsLeftToday": self.usage.left_today,
            "tokenError": self.token_error,
            "reconciliation": self.proof.as_dict() if self.proof else None,
        }


@dataclass(frozen=True)
class DeploymentStatus:
    """The status of the whole deployment. `scheduler_running` is `None` when Dagster does not answer."""

    mock_mode: bool
    scheduler_running: bool | None
    organisations: list[OrganisationStatus]
    timezone: ZoneInfo
    alert_error: str | None = None
    """Which alert could not be sent, in one line without secrets; `None` when all were sent."""
    alerts: Sequence[Alert] = ()
    """The problems that are still open, oldest first, whether or not `ALERT_URLS` is set."""

    @property
    def is_connected(self) -> bool:
        """Whether any organisation can be synced now."""
        return any(status.organisation.status is ConnectionStatus.CONNECTED for status in self.organisations)

    @property
    def last_sync_at(self) -> datetime | None:
        moments = [status.organisation.last_sync_at for status in self.organisations]
        return max((moment for moment in moments if moment), default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return it as the HTTP API's JSON object."""
        names = [status.organisation.display_name for status in self.organisations]
        return {
            "connected": self.is_connected,
            "tenantName": ", ".join(names) if names else None,
            "lastSyncAt": _format_moment(self.last_sync_at),
            "mockMode": self.mock_mode,
            "schedulerRunning": self.scheduler_running,
            "alertError": self.alert_error,
            "alerts": [alert.as_dict() for alert in self.alerts],
            "organisations": [status.as_dict() for status in self.organisations],
        }


def read_deployment_status(
    deployment: Deployment, *, scheduler_running: bool | None, alert_error: str | None = None
) -> DeploymentStatus:
    """Read the status from the database, without any call to Xero."""
    now = deployment.clock.now()
    budget = deployment.warehouse.make_call_budget(deployment.limits)
    return DeploymentStatus(
        mock_mode=deployment.settings.mock_mode,
        scheduler_running=scheduler_running,
        organisations=[
            OrganisationStatus(
                organisation,
                budget.read_usage(organisation.tenant_id, now),
                _count_days_left(organisation, now),
                ReconciliationLog(deployment.warehouse.engine).read_proof(organisation.tenant_id),
                _find_token_error(deployment, organisation.tenant_id),
            )
            for organisation in deployment.warehouse.tokens.list_organisations()
        ],
        timezone=deployment.settings.calendar.timezone,
        alert_error=alert_error,
        alerts=[
            alert for alert in AlertLog(deployment.warehouse.engine).list_open() if alert.kind not in UNLISTED_KINDS
        ],
    )


def _find_token_error(deployment: Deployment, tenant_id: str) -> str | None:
    try:
        deployment.warehouse.tokens.load_tokens(tenant_id)
    except NotDecryptable as error:
        return str(error)
    except UnknownOrganisation:
        # Another process has disconnected the organisation just now.
        pass
    return None


def _count_days_left(organisation: Organisation, now: datetime) -> int | None:
    until = organisation.refresh_token_expires_at
    if until is None:
        return None
    if organisation.status is ConnectionStatus.RECONNECT_NEEDED:
        # Xero no longer accepts the token, even if its date is in the future.
        return 0
    return max(0, (until - now).days)


def _format_moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
