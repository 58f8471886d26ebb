"""How a deployment stands: what `xero-pipeline status` and the admin page's status card say."""

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
from xero_pipeline.warehouse.logs.alert_rules import Alert


@dataclass(frozen=True)
class OrganisationStatus:
    """One organisation's connection, sync and calls."""

    organisation: Organisation
    usage: Usage
    days_left: int | None
    """Whole days until the refresh token dies unused; 0 once it is dead, `None` where there is none."""
    token_error: str | None = None
    """Why the stored tokens cannot be read and how to mend it, without them; `None` when all is well."""

    def as_dict(self) -> dict[str, Any]:
        """The HTTP API's words for it."""
        return {
            "tenantId": self.organisation.tenant_id,
            "tenantName": self.organisation.tenant_name,
            "status": self.organisation.status.value,
            "connectedAt": self.organisation.connected_at.isoformat(),
            "lastSyncAt": _iso(self.organisation.last_sync_at),
            "refreshTokenExpiresAt": _iso(self.organisation.refresh_token_expires_at),
            "refreshTokenDaysLeft": self.days_left,
            "callsToday": self.usage.today,
            "callsPerDay": self.usage.per_day,
            "callsLeftToday": self.usage.left_today,
            "tokenError": self.token_error,
        }


@dataclass(frozen=True)
class DeploymentStatus:
    """The whole deployment's. `scheduler_running` is `None` when Dagster does not answer."""

    mock_mode: bool
    scheduler_running: bool | None
    organisations: list[OrganisationStatus]
    timezone: ZoneInfo
    alert_error: str | None = None
    """Which alert could not be posted, in a line without secrets; `None` when all is well."""
    alerts: Sequence[Alert] = ()
    """What is not well yet, the oldest first, whether or not `ALERT_URLS` names anybody who was told."""

    @property
    def connected(self) -> bool:
        """Whether any organisation can be synced now."""
        return any(one.organisation.status is ConnectionStatus.CONNECTED for one in self.organisations)

    @property
    def last_sync_at(self) -> datetime | None:
        moments = [one.organisation.last_sync_at for one in self.organisations]
        return max((moment for moment in moments if moment), default=None)

    def as_dict(self) -> dict[str, Any]:
        """The HTTP API's words for it."""
        names = [one.organisation.tenant_name for one in self.organisations]
        return {
            "connected": self.connected,
            "tenantName": ", ".join(names) if names else None,
            "lastSyncAt": _iso(self.last_sync_at),
            "mockMode": self.mock_mode,
            "schedulerRunning": self.scheduler_running,
            "alertError": self.alert_error,
            "alerts": [one.as_dict() for one in self.alerts],
            "organisations": [one.as_dict() for one in self.organisations],
        }


def read_deployment_status(
    deployment: Deployment, *, scheduler_running: bool | None, alert_error: str | None = None
) -> DeploymentStatus:
    """Look it up: the database only, no call to Xero."""
    now = deployment.clock.now()
    budget = deployment.warehouse.budget(deployment.limits)
    return DeploymentStatus(
        mock_mode=deployment.settings.mock_mode,
        scheduler_running=scheduler_running,
        organisations=[
            OrganisationStatus(
                organisation,
                budget.read_usage(organisation.tenant_id, now),
                _days_left(organisation, now),
                _token_error(deployment, organisation.tenant_id),
            )
            for organisation in deployment.warehouse.tokens.organisations()
        ],
        timezone=deployment.settings.calendar.timezone,
        alert_error=alert_error,
        alerts=AlertLog(deployment.warehouse.engine).open_alerts(),
    )


def _token_error(deployment: Deployment, tenant_id: str) -> str | None:
    try:
        deployment.warehouse.tokens.tokens(tenant_id)
    except NotDecryptable as error:
        return str(error)
    except UnknownOrganisation:
        # Disconnected this very moment.
        pass
    return None


def _days_left(organisation: Organisation, now: datetime) -> int | None:
    until = organisation.refresh_token_expires_at
    if until is None:
        return None
    # Whatever its date says, it is no longer taken.
    lost = organisation.status is ConnectionStatus.RECONNECT_NEEDED
    return 0 if lost else max(0, (until - now).days)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
