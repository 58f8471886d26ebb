"""`connection_health`: a light daily check of every connection, so that a problem shows before a sync fails.

`ConnectionMonitor` holds the rules and needs no Dagster: which organisations Xero lists for each consent, how long the
refresh token is valid, which scopes were granted. The sensor only calls it and `dagster_health.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil

import dagster as dg

from xero_pipeline.automation.alerts import Alerter, open_alerter
from xero_pipeline.automation.dagster_health import HEALTH_SENSOR, DagsterMonitor
from xero_pipeline.automation.failure_text import format_list, get_failure_text
from xero_pipeline.connection import ConnectionService
from xero_pipeline.errors import PipelineError
from xero_pipeline.grants import ConnectionStatus, Organisation
from xero_pipeline.resources import Deployment, DeploymentOpener, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.errors import DatabaseUnavailable, LockTimeout
from xero_pipeline.xero.errors import (
    OrganisationDisconnected,
    PermissionMissing,
    ReconnectNeeded,
    ScopeMissing,
    XeroError,
)
from xero_pipeline.xero.scopes import is_granted

# How often Xero is asked about a consent, and how soon again when it could not be asked.
CHECK_INTERVAL = timedelta(days=1)
RECHECK_INTERVAL = timedelta(hours=1)
# Days before the refresh token expires on which people are warned, once each.
WARN_DAYS = (14, 3)
# The key in Dagster's storage under which the sensor keeps its state between two ticks.
_STATE_KEY = "xero_pipeline/connection_health"
# Scopes whose absence is no problem: they name the person who connected, or ask for a refresh token, which is
# evident from the refresh token itself.
_OPTIONAL_SCOPES = {"openid", "profile", "email", "offline_access"}


class ConnectionMonitor:
    """Checks a deployment's connections and alerts people."""

    def __init__(self, deployment: Deployment, alerter: Alerter) -> None:
        self._deployment = deployment
        self._alerter = alerter
        self._tokens = deployment.warehouse.tokens

    def evaluate(self, next_checks: Mapping[str, str]) -> dict[str, str]:
        """Ask Xero about each consent whose check is due, and report problems and recoveries.

        Args:
            next_checks: when to ask Xero next about each consent, by grant id (ISO 8601), and about the organisations
                of a consent that are stored as lost, by `lost:` and the grant id. Without an entry, that is now.

        Returns:
            The same for the next evaluation.
        """
        now = self._deployment.clock.now()
        following_checks = {}
        for grant_id, organisations in self._list_grants().items():
            check_at = next_checks.get(grant_id)
            if check_at is None or _is_due(check_at, now):
                answered = self._check_with_xero(grant_id, organisations)
                check_at = (now + (CHECK_INTERVAL if answered else RECHECK_INTERVAL)).isoformat()
            following_checks[grant_id] = check_at
        for key, organisations in self._list_lost().items():
            check_at = next_checks.get(key)
            if check_at is None or _is_due(check_at, now):
                self._restore_if_connected(organisations)
                # Soon once more, since Xero may have been wrong for a while; then once a day.
                check_at = (now + (CHECK_INTERVAL if check_at else RECHECK_INTERVAL)).isoformat()
            following_checks[key] = check_at
        notify_connections(self._deployment, self._alerter)
        grants = self._list_grants()
        for grant_id, organisations in grants.items():
            self._report_expiry(grant_id, organisations)
            self._report_scopes(grant_id, organisations)
        return following_checks

    def postpone_checks(self, next_checks: Mapping[str, str]) -> dict[str, str]:
        """Return what `evaluate` would return if Xero could not be asked.

        The caller stores it before it evaluates. So if the evaluation is cut off, as Dagster does with a slow tick,
        not every tick asks Xero again.
        """
        now = self._deployment.clock.now()
        later = {key: at for key, at in next_checks.items() if not _is_due(at, now)}
        keys = [*self._list_grants(), *self._list_lost()]
        return dict.fromkeys(keys, (now + RECHECK_INTERVAL).isoformat()) | later

    def _list_grants(self) -> dict[str, list[Organisation]]:
        """Return the connected organisations of each consent."""
        grants: dict[str, list[Organisation]] = defaultdict(list)
        for organisation in self._tokens.list_connected():
            grants[organisation.grant_id].append(organisation)
        return grants

    def _list_lost(self) -> dict[str, list[Organisation]]:
        """Return the organisations that have to be connected again, by `lost:` and their grant id."""
        lost: dict[str, list[Organisation]] = defaultdict(list)
        for organisation in self._tokens.list_organisations():
            if organisation.status is ConnectionStatus.RECONNECT_NEEDED:
                lost[f"lost:{organisation.grant_id}"].append(organisation)
        return lost

    def _restore_if_connected(self, organisations: Sequence[Organisation]) -> None:
        """Take back the status of organisations that Xero lists after all, so that nobody has to connect again."""
        try:
            listed = ConnectionService(self._deployment).list_connections_despite_status(organisations)
        except PipelineError:
            # Nothing is proven. Where the refresh token was refused again, the status is right.
            return
        listed_ids = {connection.tenant_id for connection in listed}
        for organisation in organisations:
            if organisation.tenant_id in listed_ids:
                self._tokens.set_status(
                    organisation.tenant_id, ConnectionStatus.CONNECTED, grant_id=organisation.grant_id
                )

    def _check_with_xero(self, grant_id: str, organisations: Sequence[Organisation]) -> bool:
        """Check that Xero still lists these organisations, and return whether Xero could be asked."""
        cause = f"check:{grant_id}"
        try:
            listed = ConnectionService(self._deployment).list_connections_at_xero(organisations[0].tenant_id)
        except PipelineError as error:
            if isinstance(error, ReconnectNeeded):
                # The refusal of the refresh token has set the status.
                self._alerter.withdraw(cause)
                return True
            if _is_temporary(error) or _is_refused_list(error):
                return False
            failure, names = get_failure_text(error.code), _format_names(organisations)
            self._alerter.report_problem(
                cause,
                f"{names}: the connection cannot be checked, {failure.summary}",
                f"The daily check of the connection to Xero failed: {failure.summary}.\nWhat to do: {failure.advice}",
                _build_details(grant_id, organisations),
                kind="check",
            )
            return False
        listed_ids = {connection.tenant_id for connection in listed}
        self._mark_lost([organisation for organisation in organisations if organisation.tenant_id not in listed_ids])
        if self._alerter.log.get(cause):
            self._alerter.report_recovery(cause, "Xero answers the daily check of the connection again.")
        return True

    def _mark_lost(self, organisations: Sequence[Organisation]) -> None:
        for organisation in organisations:
            # The grant id protects a new consent that was given while Xero was asked with the old tokens.
            self._tokens.set_status(
                organisation.tenant_id, ConnectionStatus.RECONNECT_NEEDED, grant_id=organisation.grant_id
            )

    def _report_expiry(self, grant_id: str, organisations: Sequence[Organisation]) -> None:
        expires_at = organisations[0].refresh_token_expires_at
        if expires_at is None:
            return
        time_left = expires_at - self._deployment.clock.now()
        stage = min((days for days in WARN_DAYS if time_left <= timedelta(days=days)), default=None)
        for days in WARN_DAYS:
            cause = f"token_expiry:{grant_id}:{days}"
            if days == stage:
                days_left = max(0, ceil(time_left / timedelta(days=1)))
                self._warn_of_expiry(cause, grant_id, organisations, expires_at, days_left)
            elif self._is_open(cause) and stage is None:
                self._alerter.report_recovery(cause, f"The connection of {_format_names(organisations)} was renewed.")
            elif self._is_open(cause):
                self._alerter.withdraw(cause)

    def _warn_of_expiry(
        self, cause: str, grant_id: str, organisations: Sequence[Organisation], expires_at: datetime, days_left: int
    ) -> None:
        if self._is_open(cause):
            return
        names = _format_names(organisations)
        self._alerter.report_problem(
            cause,
            f"{names}: the connection to Xero ends in {days_left} days",
            f"Nothing has been fetched from Xero for weeks; the unused connection of {names} ends at "
            f"{self._alerter.format_moment(expires_at)}.\nWhat to do: see why no sync runs (is daily_sync switched "
            "on?) and start one: each sync renews the connection. After that day somebody has to connect again.",
            _build_details(grant_id, organisations),
            kind="token_expiry",
            occurrence=expires_at.isoformat(),
        )

    def _report_scopes(self, grant_id: str, organisations: Sequence[Organisation]) -> None:
        settings, cause = self._deployment.settings, f"scopes:{grant_id}"
        granted = set(organisations[0].scope.split())
        wanted = set(settings.scopes.split()) - _OPTIONAL_SCOPES
        # A server may leave out which scopes it granted. That does not mean that it granted none.
        missing = sorted(scope for scope in wanted if not is_granted(scope, granted)) if granted else []
        if not missing:
            if self._is_open(cause):
                self._alerter.report_recovery(cause, f"The consent of {_format_names(organisations)} has every scope.")
        elif not self._is_open(cause):
            names = _format_names(organisations)
            self._alerter.report_problem(
                cause,
                f"{names}: the consent at Xero lacks {'a scope' if len(missing) == 1 else 'scopes'}",
                f"XERO_SCOPES asks for {format_list(missing)}, which the consent of {names} does not have.\n"
                f"What to do: {get_failure_text('scope_missing').advice}",
                _build_details(grant_id, organisations),
                kind="scopes",
            )

    def _is_open(self, cause: str) -> bool:
        alert = self._alerter.log.get(cause)
        return alert is not None and alert.is_open


def build_connection_cause(tenant_id: str) -> str:
    return f"connection:{tenant_id}"


def notify_connections(deployment: Deployment, alerter: Alerter) -> None:
    """Report every organisation that has to be connected again, and every one that was. Close alerts about consents
    that no longer exist."""
    organisations = {
        organisation.tenant_id: organisation for organisation in deployment.warehouse.tokens.list_organisations()
    }
    open_alerts = {alert.cause: alert for alert in alerter.log.list_open("connection")}
    for organisation in organisations.values():
        cause = build_connection_cause(organisation.tenant_id)
        if organisation.status is not ConnectionStatus.CONNECTED:
            if cause not in open_alerts:
                notify_lost_connection(alerter, organisation)
        elif cause in open_alerts:
            alerter.report_recovery(cause, f"{organisation.display_name} is connected to Xero again.")
    for cause, alert in open_alerts.items():
        if alert.details.get("tenant_id") not in organisations:
            alerter.withdraw(cause)
    _close_alerts_of_ended_consents(deployment.warehouse.tokens.list_connected(), alerter)


def _close_alerts_of_ended_consents(connected: Sequence[Organisation], alerter: Alerter) -> None:
    """Close alerts about consents that a new consent replaced or that nobody needs any more.

    The check runs here because `connection_health` itself stops with the last organisation's connection.
    """
    grants = {organisation.grant_id for organisation in connected}
    tenants = {organisation.tenant_id for organisation in connected}
    for alert in alerter.log.list_open("check", "token_expiry", "scopes"):
        if alert.details.get("grant_id") in grants:
            continue
        if tenants.intersection(alert.details.get("tenants", [])):
            alerter.report_recovery(alert.cause, "Somebody has connected again.")
        else:
            alerter.withdraw(alert.cause)


def notify_lost_connection(alerter: Alerter, organisation: Organisation, run_id: str | None = None) -> None:
    """Report that an organisation has to be connected again.

    Args:
        run_id: a run that failed because of it. Each run counts except the first: that run and the lost connection
            are one occurrence, whichever is noticed first.
    """
    cause, failure = build_connection_cause(organisation.tenant_id), get_failure_text("reconnect_needed")
    name, alert = organisation.display_name, alerter.log.get(cause)
    details = alert.details if alert is not None and alert.is_open else {}
    first = details.get("first") or f"lost:{alert.recovered_at if alert else organisation.connected_at}"
    first_run = details.get("first_run") or run_id
    link = f"\nRun: {alerter.build_run_url(run_id)}" if run_id else ""
    alerter.report_problem(
        cause,
        f"{name}: {failure.summary}",
        f"Xero no longer lets this app into {name}: the connection was ended, or has expired. Nothing is "
        "fetched until it is connected again; what is missing is then filled in.\n"
        f"What to do: {organisation.reconnect_advice}{link}",
        {"tenant_id": organisation.tenant_id, "first": first, "first_run": first_run},
        kind="connection",
        # Named by the run, so that a run counts once however many of its errors say so and however often it is read.
        occurrence=run_id if run_id and run_id != first_run else first,
    )


def _is_due(check_at: str, now: datetime) -> bool:
    """Whether it is time for a check. One that is further away than any interval was planned by a wrong clock."""
    return not now < datetime.fromisoformat(check_at) <= now + CHECK_INTERVAL


def _is_refused_list(error: PipelineError) -> bool:
    """Whether Xero does not show its list of connections. That proves nothing: a sync may work all the same."""
    return (
        isinstance(error, (OrganisationDisconnected, PermissionMissing))
        and not isinstance(error, ScopeMissing)
        and error.status == 403
    )


def _is_temporary(error: PipelineError) -> bool:
    if isinstance(error, XeroError):
        return error.can_retry
    return isinstance(error, (LockTimeout, DatabaseUnavailable))


def _format_names(organisations: Sequence[Organisation]) -> str:
    return format_list(organisation.display_name for organisation in organisations)


def _build_details(grant_id: str, organisations: Sequence[Organisation]) -> dict[str, object]:
    return {"grant_id": grant_id, "tenants": [organisation.tenant_id for organisation in organisations]}


def build_connection_health_sensor(
    settings: Settings, *, opener: DeploymentOpener = open_deployment, interval_seconds: int = 60
) -> dg.SensorDefinition:
    """Build the sensor. It is stopped until somebody starts it."""

    @dg.sensor(
        name=HEALTH_SENSOR,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks Xero once a day whether each organisation is still connected, warns before a "
        "connection ends, and notices when Dagster's daemon, schedule or sensors have stopped. Starts no runs.",
    )
    def connection_health(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        storage = context.instance.daemon_cursor_storage
        stored = storage.get_cursor_values({_STATE_KEY}).get(_STATE_KEY)
        state = json.loads(stored) if stored else {"due": {}, "suspected": {}}
        with opener(settings) as deployment:
            alerter = open_alerter(deployment)
            monitor = ConnectionMonitor(deployment, alerter)
            postponed = {"due": monitor.postpone_checks(state["due"]), "suspected": state["suspected"]}
            storage.set_cursor_values({_STATE_KEY: json.dumps(postponed)})
            next_checks = monitor.evaluate(state["due"])
            dagster_monitor = DagsterMonitor(
                alerter, deployment.clock, timezone=settings.timezone_name, suspected=state["suspected"]
            )
            dagster_monitor.evaluate(context.instance, excluded=[HEALTH_SENSOR])
            storage.set_cursor_values(
                {_STATE_KEY: json.dumps({"due": next_checks, "suspected": dagster_monitor.suspected})}
            )
            open_alerts = len(alerter.log.list_open())
        return dg.SkipReason(f"{len(next_checks)} consents checked; {open_alerts} alerts are open.")

    return connection_health
