"""Speaking up: once for a cause, then no more than a count, then once that it is well again.

`Alerter` decides when a message goes to which address; what has been told lies in the warehouse
(`warehouse/logs/alert_log.py`), so that every process of the deployment speaks with one voice. The words come
from those who notice something (`failure_alert.py`, `connection_health.py`, `dagster_health.py`).

Only words leave the machine: whatever looks like a secret or an amount is hidden here, as the last fence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from xero_pipeline.automation.delivery import MessageKind, read_addresses
from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline.warehouse.logs.alert_rules import AlertState, DeliveryClaim
from xero_pipeline.warehouse.logs.sync_log import without_secrets

if TYPE_CHECKING:
    from xero_pipeline.resources import Deployment

# One message a cause in so long, and then one with the count of what was swallowed.
QUIET = timedelta(minutes=30)

# An amount as books write it: two decimals after a point. Addresses and versions have no such end.
_AMOUNT = re.compile(r"(?<![\d.])[-(]?[$€£]?\d[\d,]*\.\d{2}(?![\d.])\)?")


class AlertNotDelivered(PipelineError):
    """A message did not arrive; it is kept and tried again with every look."""

    code = "alert_not_delivered"
    default_advice = (
        "Check it in ALERT_URLS (the command `apprise -vv -b test <address>` says more); it is tried again "
        "until it arrives."
    )


class Alerter:
    """Tells people of causes.

    Args:
        log: what has been told.
        urls: Apprise addresses; none: nothing is sent, the log is kept all the same.
        dagster_url: where Dagster's UI is, for links.
        timezone: the zone in which moments are written.
    """

    def __init__(
        self,
        log: AlertLog,
        urls: Sequence[str],
        clock: Clock,
        *,
        dagster_url: str = "http://localhost:3000",
        timezone: tzinfo = UTC,
        quiet: timedelta = QUIET,
    ) -> None:
        self.log = log
        self._addresses = read_addresses(urls)
        self._clock = clock
        self._dagster_url = dagster_url.rstrip("/")
        self._timezone = timezone
        self._quiet = quiet
        # Who refused a message is not asked again before the next flush: a service that hangs must not eat
        # a tick's time with each of its messages.
        self._resting: set[str] = set()

    def problem(
        self,
        cause: str,
        title: str,
        text: str,
        details: Mapping[str, Any] | None = None,
        *,
        kind: str = "problem",
        occurrence: str | None = None,
        quiet: timedelta | None = None,
    ) -> None:
        """Tell of a cause, unless it was told a while ago: then it is only counted.

        A post that fails is recorded and shows in `error` and with the next `flush`; it raises nothing here,
        so that whoever noticed one thing goes on to notice the next.

        Args:
            cause: the same for everything that one message can stand for.
            details: kept with the cause, for the caller; no secrets, no figures. They replace the last ones.
            occurrence: a name for what happened, so that noticing it twice counts it once.
            quiet: how long after a message further ones are swallowed.
        """
        self.log.observe(
            cause,
            kind=kind,
            title=_safe(title),
            text=_safe(text),
            details=details or {},
            quiet=self._quiet if quiet is None else quiet,
            now=self._clock.now(),
            occurrence=occurrence,
        )
        self._tell(cause)

    def recovered(self, cause: str, text: str) -> None:
        """Tell that a cause is well again. A cause that is not open is no error, and nothing is said."""
        if self.log.recover(cause, _safe(text), self._clock.now()):
            self._tell(cause)

    def withdraw(self, cause: str) -> None:
        """Forget a cause that no longer means anything; nobody is told."""
        self.log.withdraw(cause, self._clock.now())

    def flush(self) -> None:
        """Send whatever is due: counts whose quiet time is over, and what could not be sent before.

        Raises:
            AlertNotDelivered: an address did not take its message, names which. The others got theirs.
        """
        self._resting.clear()
        for cause, label in self.log.pending([one.label for one in self._addresses], self._clock.now()):
            self._post(cause, label)
        broken = self.error
        if broken:
            raise AlertNotDelivered(broken)

    @property
    def error(self) -> str | None:
        """Which addresses did not take their last message, in one line; `None` when all is well."""
        broken = self.log.broken(address.label for address in self._addresses)
        return " ".join(broken.values()) or None

    def run_link(self, run_id: str) -> str:
        """Where a run is shown in Dagster's UI."""
        return f"{self._dagster_url}/runs/{run_id}"

    def when(self, moment: datetime) -> str:
        """A moment as a person reads it: `14:05`, or `14:05 on 25/11/2026` on another day."""
        local = moment.astimezone(self._timezone)
        today = self._clock.now().astimezone(self._timezone).date()
        return f"{local:%H:%M}" if local.date() == today else f"{local:%H:%M on %d/%m/%Y}"

    def _tell(self, cause: str) -> None:
        for address in self._addresses:
            self._post(cause, address.label)

    def _post(self, cause: str, label: str) -> None:
        """Tell one address what is due to it, if anything."""
        if label in self._resting:
            return
        claim = self.log.claim(cause, label, self._clock.now())
        if claim is None:
            return
        title, body, tone = self._worded(claim)
        address = next(one for one in self._addresses if one.label == label)
        if address.post(title, body, tone):
            self.log.delivered(claim, self._clock.now())
        else:
            self.log.refused(claim, f"An alert could not be posted to {label}.")
            self._resting.add(label)

    def _worded(self, claim: DeliveryClaim) -> tuple[str, str, MessageKind]:
        alert, more, since = claim.alert, claim.more, self.when(claim.since)
        if claim.says is AlertState.PROBLEM:
            tone = MessageKind.WARNING if alert.kind in WARNINGS else MessageKind.FAILURE
            if not more:
                return alert.title, alert.text, tone
            return f"{alert.title} ({more} more)", f"{alert.text}\n\n{more} more since {since}.", tone
        body = alert.recovery_text or "It is well again."
        if not claim.knew:
            times = "once" if more == 0 else f"{more + 1} times"
            body += f"\n\nIt had happened {times} since {since}, and you were not told then."
        elif more:
            body += f"\n\nUntil then it happened {more} more {'time' if more == 1 else 'times'} since {since}."
        return f"Recovered: {alert.title}", body, MessageKind.SUCCESS


WARNINGS = frozenset({"partial", "token_expiry", "day_limit"})
"""Kinds of alerts that ask for attention, not for haste."""


def open_alerter(deployment: Deployment) -> Alerter:
    """A deployment's alerter."""
    settings = deployment.settings
    return Alerter(
        AlertLog(deployment.warehouse.engine),
        [url.get_secret_value() for url in settings.alert_urls],
        deployment.clock,
        dagster_url=settings.dagster_page,
        timezone=settings.calendar.timezone,
    )


def _safe(text: str) -> str:
    hidden: str = without_secrets(text)
    return _AMOUNT.sub("[amount]", hidden)
