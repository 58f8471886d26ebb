"""`connection_health`: a light daily look at every connection, before a sync finds out the hard way.

`HealthCheck` holds the rules and needs no Dagster: what Xero lists for each consent, how long the refresh
token lives, which scopes were given. The sensor is a thin shell around it and around `dagster_health.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil

import dagster as dg

from xero_pipeline.automation.alerts import Alerter, open_alerter
from xero_pipeline.automation.dagster_health import HEALTH, DagsterMonitor
from xero_pipeline.automation.failure_text import failure_text, format_list
from xero_pipeline.connection import ConnectionService, is_granted
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus, Organisation
from xero_pipeline.resources import Deployment, Opening, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.errors import DatabaseUnavailable, LockTimeout
from xero_pipeline.xero.errors import ConnectionLost, PermissionMissing, ScopeMissing, XeroError

# How often Xero is asked about a consent, and when again after it could not be asked.
CHECK_EVERY = timedelta(days=1)
CHECK_AGAIN = timedelta(hours=1)
# Days before a refresh token dies on which somebody is warned, once each.
WARN_DAYS = (14, 3)
# Where the sensor keeps, in Dagster's storage, what one look leaves for the next.
_MEMORY = "xero_pipeline/connection_health"
# They say who connected, or that a refresh token is wanted, which is there or is not.
_NOT_MISSED = {"openid", "profile", "email", "offline_access"}


class HealthCheck:
    """One look at a deployment's connections."""

    def __init__(self, deployment: Deployment, alerter: Alerter) -> None:
        self._deployment = deployment
        self._alerter = alerter
        self._vault = deployment.warehouse.tokens

    def look(self, due: Mapping[str, str]) -> dict[str, str]:
        """Ask Xero where it is time to, and tell what is wrong or well again.

        Args:
            due: when Xero is to be asked next about each consent, by its grant's id (ISO 8601); a consent
                that is not named is asked about now.

        Returns:
            the same for the next look.
        """
        now = self._deployment.clock.now()
        asked_next = {}
        for grant_id, organisations in self._grants().items():
            at = due.get(grant_id)
            if at is None or datetime.fromisoformat(at) <= now:
                at = (now + (CHECK_EVERY if self._ask_xero(grant_id, organisations) else CHECK_AGAIN)).isoformat()
            asked_next[grant_id] = at
        notify_connections(self._deployment, self._alerter)
        grants = self._grants()
        for grant_id, organisations in grants.items():
            self._tell_expiry(grant_id, organisations)
            self._tell_scopes(grant_id, organisations)
        return asked_next

    def postponed(self, due: Mapping[str, str]) -> dict[str, str]:
        """What `look` would return if Xero could not be asked.

        To be kept before the look: should it be cut off, as Dagster does with a slow tick, Xero is not asked
        again with every tick.
        """
        now = self._deployment.clock.now()
        later = {grant_id: at for grant_id, at in due.items() if datetime.fromisoformat(at) > now}
        return dict.fromkeys(self._grants(), (now + CHECK_AGAIN).isoformat()) | later

    def _grants(self) -> dict[str, list[Organisation]]:
        """The connected organisations of each consent."""
        grants: dict[str, list[Organisation]] = defaultdict(list)
        for organisation in self._vault.connected():
            grants[organisation.grant_id].append(organisation)
        return grants

    def _ask_xero(self, grant_id: str, organisations: Sequence[Organisation]) -> bool:
        """See to it that Xero still lists these organisations; answers whether it could be asked."""
        cause = f"check:{grant_id}"
        try:
            listed_now = ConnectionService(self._deployment).still_connected(organisations[0].tenant_id)
        except PipelineError as error:
            if isinstance(error, ConnectionLost) or _is_forbidden(error):
                self._mark_lost(organisations)
                self._alerter.withdraw(cause)
                return True
            if _passes_by_itself(error):
                return False
            words, names = failure_text(error.code), _names(organisations)
            self._alerter.problem(
                cause,
                f"{names}: the connection cannot be checked, {words.what}",
                f"The daily check of the connection to Xero failed: {words.what}.\nWhat to do: {words.to_do}",
                _about(grant_id, organisations),
                kind="check",
            )
            return False
        there = {connection.tenant_id for connection in listed_now}
        self._mark_lost([one for one in organisations if one.tenant_id not in there])
        if self._alerter.log.get(cause):
            self._alerter.recovered(cause, "Xero answers the daily check of the connection again.")
        return True

    def _mark_lost(self, organisations: Sequence[Organisation]) -> None:
        for one in organisations:
            # Somebody may have connected again while Xero was asked with the old tokens.
            self._vault.set_status(one.tenant_id, ConnectionStatus.RECONNECT_NEEDED, grant_id=one.grant_id)

    def _tell_expiry(self, grant_id: str, organisations: Sequence[Organisation]) -> None:
        dies = organisations[0].refresh_token_expires_at
        if dies is None:
            return
        left = dies - self._deployment.clock.now()
        stage = min((days for days in WARN_DAYS if left <= timedelta(days=days)), default=None)
        for days in WARN_DAYS:
            cause = f"token_expiry:{grant_id}:{days}"
            if days == stage:
                self._warn_of_expiry(cause, grant_id, organisations, dies, max(0, ceil(left / timedelta(days=1))))
            elif self._is_open(cause) and stage is None:
                self._alerter.recovered(cause, f"The connection of {_names(organisations)} was renewed.")
            elif self._is_open(cause):
                self._alerter.withdraw(cause)

    def _warn_of_expiry(
        self, cause: str, grant_id: str, organisations: Sequence[Organisation], dies: datetime, days_left: int
    ) -> None:
        if self._is_open(cause):
            return
        names = _names(organisations)
        self._alerter.problem(
            cause,
            f"{names}: the connection to Xero ends in {days_left} days",
            f"Nothing has been fetched from Xero for weeks; unused, the connection of {names} ends at "
            f"{self._alerter.when(dies)}.\nWhat to do: see why no sync runs (is daily_sync switched on?) and "
            "start one: each sync renews the connection. After that day somebody has to connect again.",
            _about(grant_id, organisations),
            kind="token_expiry",
            occurrence=dies.isoformat(),
        )

    def _tell_scopes(self, grant_id: str, organisations: Sequence[Organisation]) -> None:
        settings, cause = self._deployment.settings, f"scopes:{grant_id}"
        granted = set(organisations[0].scope.split())
        wanted = set(settings.scopes.split()) - _NOT_MISSED
        # A server that does not say what it granted is not taken to have granted nothing.
        missing = sorted(one for one in wanted if not is_granted(one, granted)) if granted else []
        if not missing:
            if self._is_open(cause):
                self._alerter.recovered(cause, f"The consent of {_names(organisations)} has every scope.")
        elif not self._is_open(cause):
            names = _names(organisations)
            self._alerter.problem(
                cause,
                f"{names}: the consent at Xero lacks {'a scope' if len(missing) == 1 else 'scopes'}",
                f"XERO_SCOPES asks for {format_list(missing)}, which the consent of {names} does not have.\n"
                f"What to do: {failure_text('scope_missing').to_do}",
                _about(grant_id, organisations),
                kind="scopes",
            )

    def _is_open(self, cause: str) -> bool:
        alert = self._alerter.log.get(cause)
        return alert is not None and alert.is_open


def connection_cause(tenant_id: str) -> str:
    return f"connection:{tenant_id}"


def notify_connections(deployment: Deployment, alerter: Alerter) -> None:
    """Tell of every organisation that has to be connected again, and of those that are; settle what was said of
    consents that are no more."""
    kept = {one.tenant_id: one for one in deployment.warehouse.tokens.organisations()}
    known = {alert.cause: alert for alert in alerter.log.open_alerts("connection")}
    for organisation in kept.values():
        cause = connection_cause(organisation.tenant_id)
        if organisation.status is not ConnectionStatus.CONNECTED:
            if cause not in known:
                notify_lost_connection(alerter, organisation)
        elif cause in known:
            alerter.recovered(cause, f"{organisation.tenant_name} is connected to Xero again.")
    for cause, alert in known.items():
        if alert.details.get("tenant_id") not in kept:
            alerter.withdraw(cause)
    _settle_gone_consents(deployment.warehouse.tokens.connected(), alerter)


def _settle_gone_consents(connected: Sequence[Organisation], alerter: Alerter) -> None:
    """A new consent took their place, or none is needed. Here, since `connection_health` itself stops with the last
    organisation's connection."""
    grants, tenants = {one.grant_id for one in connected}, {one.tenant_id for one in connected}
    for alert in alerter.log.open_alerts("check", "token_expiry", "scopes"):
        if alert.details.get("grant_id") in grants:
            continue
        if tenants.intersection(alert.details.get("tenants", [])):
            alerter.recovered(alert.cause, "Somebody has connected again.")
        else:
            alerter.withdraw(alert.cause)


def notify_lost_connection(alerter: Alerter, organisation: Organisation, run_id: str | None = None) -> None:
    """Tell that an organisation has to be connected again.

    Args:
        run_id: a run that failed for it. Each one counts, but for the first: it and the lost connection are
            one and the same news, whoever notices first.
    """
    cause, words = connection_cause(organisation.tenant_id), failure_text("reconnect_needed")
    name, alert = organisation.tenant_name, alerter.log.get(cause)
    said = alert.details if alert is not None and alert.is_open else {}
    first = said.get("first") or f"lost:{alert.recovered_at if alert else organisation.connected_at}"
    first_run = said.get("first_run") or run_id
    link = f"\nRun: {alerter.run_link(run_id)}" if run_id else ""
    alerter.problem(
        cause,
        f"{name}: {words.what}",
        f"Xero no longer lets this app into {name}: the connection was ended, or has expired. Nothing is "
        "fetched until it is connected again; what is missing is then filled in.\n"
        f"What to do: {words.to_do}{link}",
        {"tenant_id": organisation.tenant_id, "first": first, "first_run": first_run},
        kind="connection",
        # By name: a run fails once, in however many ways it says so and however often it is looked at.
        occurrence=run_id if run_id and run_id != first_run else first,
    )


def _is_forbidden(error: PipelineError) -> bool:
    return isinstance(error, PermissionMissing) and not isinstance(error, ScopeMissing) and error.status == 403


def _passes_by_itself(error: PipelineError) -> bool:
    if isinstance(error, XeroError):
        return error.can_retry
    return isinstance(error, (LockTimeout, DatabaseUnavailable))


def _names(organisations: Sequence[Organisation]) -> str:
    return format_list(organisation.tenant_name for organisation in organisations)


def _about(grant_id: str, organisations: Sequence[Organisation]) -> dict[str, object]:
    return {"grant_id": grant_id, "tenants": [organisation.tenant_id for organisation in organisations]}


def connection_health_sensor(
    settings: Settings, *, opening: Opening = open_deployment, interval_seconds: int = 60
) -> dg.SensorDefinition:
    """The sensor; stopped until somebody starts it."""

    @dg.sensor(
        name=HEALTH,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks Xero once a day whether each organisation is still connected, warns before a "
        "connection ends, and notices when Dagster's daemon, schedule or sensors have stopped. Starts no runs.",
    )
    def connection_health(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        storage = context.instance.daemon_cursor_storage
        kept = storage.get_cursor_values({_MEMORY}).get(_MEMORY)
        memory = json.loads(kept) if kept else {"due": {}, "suspected": {}}
        with opening(settings) as deployment:
            alerter = open_alerter(deployment)
            check = HealthCheck(deployment, alerter)
            postponed = {"due": check.postponed(memory["due"]), "suspected": memory["suspected"]}
            storage.set_cursor_values({_MEMORY: json.dumps(postponed)})
            due = check.look(memory["due"])
            watch = DagsterMonitor(
                alerter, deployment.clock, timezone=settings.timezone_name, suspected=memory["suspected"]
            )
            watch.look(context.instance, but=[HEALTH])
            storage.set_cursor_values({_MEMORY: json.dumps({"due": due, "suspected": watch.suspected})})
            open_alerts = len(alerter.log.open_alerts())
        return dg.SkipReason(f"{len(due)} consents looked at; {open_alerts} alerts are open.")

    return connection_health
