"""Alerts: one message for a cause, then counts of further occurrences, then one message when it has recovered.

`Alerter` sends each address the messages that are due to it. The warehouse records what was sent
(`warehouse/logs/alert_log.py`), so the processes of a deployment never repeat each other's messages. The texts come
from the modules that notice something (`failure_alert.py`, `connection_health.py`, `dagster_health.py`,
`failing_checks.py`).

No secret and no amount may leave the machine: as the last safeguard, `Alerter` hides whatever looks like one.
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
from xero_pipeline.warehouse.logs.alert_rules import EVENT_KINDS, AlertState, DeliveryClaim
from xero_pipeline.warehouse.logs.hidden_secrets import hide_secrets

if TYPE_CHECKING:
    from xero_pipeline.resources import Deployment

# The least time between two messages about the same open cause. The second one counts the occurrences in between.
QUIET_PERIOD = timedelta(minutes=30)

# An amount as books write it: two decimals after a point. Addresses and versions do not end like that.
_AMOUNT = re.compile(r"(?<![\d.])[-(]?[$€£]?\d[\d,]*\.\d{2}(?![\d.])\)?")


class AlertNotDelivered(PipelineError):
    """A message did not arrive. It stays due, and each tick tries again to send it."""

    code = "alert_not_delivered"
    default_advice = (
        "Check the address in ALERT_URLS (the command `apprise -vv -b test <address>` shows more); the message is "
        "sent again until it arrives."
    )


class Alerter:
    """Sends people messages about problems and recoveries.

    Args:
        log: the record of what was sent.
        urls: Apprise addresses. Without any, nothing is sent, and the log is written all the same.
        dagster_url: the address of Dagster's UI, for links.
        timezone: the time zone of the times in messages.
        quiet: the least time between two messages about the same open cause.
    """

    def __init__(
        self,
        log: AlertLog,
        urls: Sequence[str],
        clock: Clock,
        *,
        dagster_url: str = "http://localhost:3000",
        timezone: tzinfo = UTC,
        quiet: timedelta = QUIET_PERIOD,
    ) -> None:
        self.log = log
        self._addresses = read_addresses(urls)
        self._clock = clock
        self._dagster_url = dagster_url.rstrip("/")
        self._timezone = timezone
        self._quiet = quiet
        # The addresses that refused a message since the last flush. They get no other message until the next flush,
        # so that a service that hangs does not use up the tick's time with every message.
        self._refusing: set[str] = set()

    def report_problem(
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
        """Send a message about a cause, or only count it if one was sent within the quiet time.

        Never raises when a post fails, so that the caller can go on with its other checks. The failure is recorded:
        `delivery_error` and the next `flush` report it.

        Args:
            cause: the same for everything that one message can stand for.
            details: stored with the cause, for the caller; no secrets, no figures. They replace the earlier ones.
            occurrence: the name of what happened. Reporting the same name twice counts once.
            quiet: how long after a message further occurrences are only counted.
        """
        self.log.observe(
            cause,
            kind=kind,
            title=_hide_secrets_and_amounts(title),
            text=_hide_secrets_and_amounts(text),
            details=details or {},
            quiet=self._quiet if quiet is None else quiet,
            now=self._clock.now(),
            occurrence=occurrence,
        )
        self._post_to_all(cause)

    def report_recovery(self, cause: str, text: str) -> None:
        """Send a message that a cause has recovered. Does nothing when the cause is not open."""
        if self.log.recover(cause, _hide_secrets_and_amounts(text), self._clock.now()):
            self._post_to_all(cause)

    def withdraw(self, cause: str) -> None:
        """Close a cause that no longer means anything, without a message."""
        self.log.withdraw(cause, self._clock.now())

    def is_told_to_all(self, cause: str) -> bool:
        """Whether every address has got a message about every occurrence of a cause. True where there is no address."""
        return not self.log.list_untold(cause, [address.label for address in self._addresses])

    def flush(self) -> None:
        """Send everything that is due: counts whose quiet time is over, and messages that failed before.

        Raises:
            AlertNotDelivered: an address did not take its message; the text names it. The others got theirs.
        """
        self._refusing.clear()
        labels = [address.label for address in self._addresses]
        for cause, label in self.log.list_pending(labels, self._clock.now()):
            self._post(cause, label)
        error = self.delivery_error
        if error:
            raise AlertNotDelivered(error)

    @property
    def delivery_error(self) -> str | None:
        """The addresses that did not take their last message, in one line; `None` when all took it."""
        errors = self.log.list_delivery_errors(address.label for address in self._addresses)
        return " ".join(errors.values()) or None

    def build_run_url(self, run_id: str) -> str:
        """Build the address of a run in Dagster's UI."""
        return f"{self._dagster_url}/runs/{run_id}"

    def format_moment(self, moment: datetime) -> str:
        """Format a moment for people: `14:05` today, `14:05 on 25/11/2026` on another day."""
        local = moment.astimezone(self._timezone)
        today = self._clock.now().astimezone(self._timezone).date()
        return f"{local:%H:%M}" if local.date() == today else f"{local:%H:%M on %d/%m/%Y}"

    def _post_to_all(self, cause: str) -> None:
        for address in self._addresses:
            self._post(cause, address.label)

    def _post(self, cause: str, label: str) -> None:
        """Send one address the message about a cause that is due to it, if any."""
        if label in self._refusing:
            return
        claim = self.log.claim(cause, label, self._clock.now())
        if claim is None:
            return
        title, body, kind = self._compose_message(claim)
        address = next(address for address in self._addresses if address.label == label)
        if address.post(title, body, kind):
            self.log.mark_delivered(claim, self._clock.now())
        else:
            self.log.mark_failed(claim, f"An alert could not be posted to {label}.")
            self._refusing.add(label)

    def _compose_message(self, claim: DeliveryClaim) -> tuple[str, str, MessageKind]:
        alert, more, since = claim.alert, claim.more_occurrences, self.format_moment(claim.since)
        if claim.state is AlertState.PROBLEM:
            kind = MessageKind.WARNING if alert.kind in WARNING_KINDS else MessageKind.FAILURE
            if not more:
                return alert.title, alert.text, kind
            return f"{alert.title} ({more} more)", f"{alert.text}\n\n{more} more since {since}.", kind
        body = alert.recovery_text or "The problem is resolved."
        if not claim.was_notified:
            times = "once" if more == 0 else f"{more + 1} times"
            body += f"\n\nIt had happened {times} since {since}, and you were not told then."
        elif more:
            body += f"\n\nUntil then it happened {more} more {'time' if more == 1 else 'times'} since {since}."
        return f"Recovered: {alert.title}", body, MessageKind.SUCCESS


WARNING_KINDS = frozenset({"partial", "token_expiry", "day_limit", *EVENT_KINDS})
"""The kinds of alerts that are sent as warnings: they need attention, but not at once."""


def open_alerter(deployment: Deployment) -> Alerter:
    """Build a deployment's alerter."""
    settings = deployment.settings
    return Alerter(
        AlertLog(deployment.warehouse.engine),
        [url.get_secret_value() for url in settings.alert_urls],
        deployment.clock,
        dagster_url=settings.dagster_page,
        timezone=settings.calendar.timezone,
    )


def _hide_secrets_and_amounts(text: str) -> str:
    hidden: str = hide_secrets(text)
    return _AMOUNT.sub("[amount]", hidden)
