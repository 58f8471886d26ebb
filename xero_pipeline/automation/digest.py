"""`weekly_digest`: the sensor that posts the weekly letter to the addresses in DIGEST_URLS, when DIGEST_CRON says.

A letter that is due is stored among the alerts, without its figures (`warehouse/logs/alert_log.py`). So each address
gets it once, whichever process sends it, and one that refuses it gets it later. A letter that was due while nothing ran
is sent as soon as something does; of several, the last one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from xero_pipeline.automation.alerts import Alerter, open_alerter
from xero_pipeline.automation.dagster_health import DIGEST_SENSOR
from xero_pipeline.automation.delivery import AlertAddress, MessageKind, read_addresses
from xero_pipeline.automation.digest_text import Digest, OrganisationFigures
from xero_pipeline.automation.failure_text import format_list
from xero_pipeline.dagster_internals import reverse_cron_string_iterator
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import Deployment, DeploymentOpener, open_deployment
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.overview import list_tenants_with_figures
from xero_pipeline.warehouse.figures.queries import read_summaries
from xero_pipeline.warehouse.logs.alert_rules import UNLISTED_KINDS, AlertKind
from xero_pipeline.weeks import NoSuchWeek, Week

# The alert that an address does not take the letter.
_NOT_DELIVERED = "digest_not_delivered"
# A letter that could not be posted for so long is no news any more.
_LIFE = timedelta(days=3)
# As many weeks before, the same week of last year began within a day of this one.
_WEEKS_A_YEAR = 52


def find_due_times(settings: Settings, now: datetime) -> tuple[datetime, datetime]:
    """Return when a letter was last due, and when the one before it."""
    ticks = reverse_cron_string_iterator(now.timestamp(), settings.digest_cron, settings.timezone_name)
    due, before = next(ticks), next(ticks)
    return due.astimezone(UTC), before.astimezone(UTC)


def build_digest(deployment: Deployment, week: Week, since: datetime) -> Digest:
    """Read what the letter about that week says.

    Args:
        since: the restatements found since then are listed.
    """
    warehouse, zone = deployment.warehouse, deployment.settings.calendar.timezone
    connected = warehouse.tokens.list_organisations()
    names = warehouse.tokens.list_names() | {one.tenant_id: one.display_name for one in connected}
    connected_ids = [one.tenant_id for one in connected]
    tenant_ids = list(dict.fromkeys([*connected_ids, *list_tenants_with_figures(warehouse.engine)]))
    weeks = [week.shift(-number) for number in (0, 1, _WEEKS_A_YEAR)]
    summaries = read_summaries(warehouse.engine, tenant_ids, weeks)
    organisations = [
        OrganisationFigures(
            tenant_id, names.get(tenant_id, tenant_id), *(summaries.get((tenant_id, each)) for each in weeks)
        )
        for tenant_id in tenant_ids
    ]
    return Digest(
        week=week,
        # One that was disconnected long ago has no figures of the week, and nothing to say.
        organisations=[one for one in organisations if one.week is not None or one.tenant_id in connected_ids],
        restated=warehouse.list_restatements(since),
        since=since.astimezone(zone).date(),
        problems=_list_problems(deployment),
        page=deployment.settings.server_url,
        names=names,
    )


def _list_problems(deployment: Deployment) -> list[str]:
    """The open alerts by their titles, and lost connections that no alert is about yet."""
    alerts = [alert for alert in open_alerter(deployment).log.list_open() if alert.kind not in UNLISTED_KINDS]
    told = {alert.details.get("tenant_id") for alert in alerts if alert.kind == "connection"}
    lost = [
        f"{organisation.display_name}: it has to be connected to Xero again"
        for organisation in deployment.warehouse.tokens.list_organisations()
        if organisation.status is not ConnectionStatus.CONNECTED and organisation.tenant_id not in told
    ]
    return [*(alert.title for alert in alerts), *lost]


def read_digest_addresses(settings: Settings) -> list[AlertAddress]:
    """The addresses in DIGEST_URLS, each with a label of its own."""
    return read_addresses([url.get_secret_value() for url in settings.digest_urls], "DIGEST_URLS")


class DigestSender:
    """Posts the letters that are due."""

    def __init__(self, deployment: Deployment, alerter: Alerter) -> None:
        self._deployment = deployment
        self._alerter = alerter
        self._log = alerter.log
        # An address may be in ALERT_URLS too, where its label stands for other messages.
        self._addresses = {
            f"digest: {address.label}": address for address in read_digest_addresses(deployment.settings)
        }

    def begin(self, due: datetime, since: datetime) -> None:
        """Store that a letter is due. Doing so again changes nothing. An older one is not sent any more."""
        cause = f"digest:{due.isoformat()}"
        for older in self._log.list_open(AlertKind.DIGEST):
            if older.cause != cause:
                self._log.withdraw(older.cause, self._deployment.clock.now())
        self._log.observe(
            cause,
            kind=AlertKind.DIGEST,
            title="The weekly letter",
            text="",
            details={"due": due.isoformat(), "since": since.isoformat()},
            quiet=timedelta(0),
            now=self._deployment.clock.now(),
            occurrence=cause,
        )

    def send(self) -> str:
        """Post what is due, tell people of addresses that refuse it, and summarise that in a sentence."""
        now, labels = self._deployment.clock.now(), list(self._addresses)
        pending = self._log.list_pending(labels, now, digests=True)
        # Each address gets the same letter, whatever lands meanwhile.
        letters: dict[str, Digest] = {}
        posts = [self._post(cause, label, letters) for cause, label in pending]
        refused = [address.label for address in posts if address is not None]
        if refused:
            names = format_list(refused)
            self._alerter.report_problem(
                _NOT_DELIVERED,
                f"The weekly letter could not be posted to {names}",
                f"{names} did not take the weekly letter; it is sent again until it arrives, for three days.\n"
                "What to do: check the address in DIGEST_URLS.",
                kind=_NOT_DELIVERED,
                occurrence=pending[0][0],
            )
        self._close_letters(labels, now)
        return f"{len(pending) - len(refused)} letters posted, {len(refused)} refused."

    def _post(self, cause: str, label: str, letters: dict[str, Digest]) -> AlertAddress | None:
        """Post a letter to one address, and return the address if it refused."""
        claim = self._log.claim(cause, label, self._deployment.clock.now())
        if claim is None:
            # Another process is posting it.
            return None
        if cause not in letters:
            due, since = (datetime.fromisoformat(claim.alert.details[name]) for name in ("due", "since"))
            week = self._deployment.settings.calendar.find_latest_week(due)
            letters[cause] = build_digest(self._deployment, week, since)
        digest = letters[cause]
        address = self._addresses[label]
        if address.post(digest.title, digest.body, MessageKind.INFO):
            self._log.mark_delivered(claim, self._deployment.clock.now())
            return None
        self._log.mark_failed(claim, f"The weekly letter could not be posted to {address.label}.")
        return address

    def _close_letters(self, labels: list[str], now: datetime) -> None:
        """Close the letters that every address has got, or that are no news any more."""
        for letter in self._log.list_open(AlertKind.DIGEST):
            is_told = not self._log.list_untold(letter.cause, labels)
            if is_told or letter.opened_at + _LIFE < now:
                self._log.withdraw(letter.cause, now)
                if is_told:
                    self._alerter.report_recovery(_NOT_DELIVERED, "Every address has got the weekly letter.")


def build_weekly_digest_sensor(
    settings: Settings, *, opener: DeploymentOpener = open_deployment, interval_seconds: int = 60
) -> dg.SensorDefinition:
    """Build the sensor. It runs from the start where DIGEST_URLS has an address."""

    @dg.sensor(
        name=DIGEST_SENSOR,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.digest_urls else dg.DefaultSensorStatus.STOPPED,
        description="Posts the weekly letter to the addresses in DIGEST_URLS when DIGEST_CRON says: the week's figures "
        "against the week before and last year, what was restated, what needs a person. Starts no runs.",
    )
    def weekly_digest(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not settings.digest_urls:
            return dg.SkipReason("DIGEST_URLS is empty: nobody gets the weekly letter.")
        with opener(settings) as deployment:
            now = deployment.clock.now()
            due, since = find_due_times(settings, now)
            # The first tick only notes the time: nobody waits for a letter that was due before.
            # A clock that was ahead must not hold the letters back until it is right.
            seen = min(now, datetime.fromisoformat(context.cursor)) if context.cursor else now
            context.update_cursor(now.isoformat())
            sender = DigestSender(deployment, open_alerter(deployment))
            try:
                deployment.settings.calendar.find_latest_week(due)
            except NoSuchWeek as error:
                return dg.SkipReason(str(error))
            if seen < due:
                sender.begin(due, since)
            return dg.SkipReason(f"{sender.send()} The last one was due at {due.isoformat()}.")

    return weekly_digest
