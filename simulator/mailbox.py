"""Where alerts arrive. It can be full or away, and it notices what was told twice, or never."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from simulator.processes import Machine
from xero_pipeline.automation.delivery import MessageKind
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline.warehouse.logs.alert_rules import DeliveryClaim


@dataclass(frozen=True)
class Told:
    """One message that an address took."""

    at: datetime
    address: str
    cause: str
    state: str
    title: str
    opened_at: datetime
    occurrences: int

    @property
    def content(self) -> tuple[object, ...]:
        return self.state, self.opened_at, self.occurrences


class Mailbox:
    """Takes messages for every address of the deployment. `refuses_until` is until when it takes none."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.refuses_until: datetime | None = None
        self.told: list[Told] = []
        self.texts: list[str] = []
        self.problems: list[str] = []
        self._claims: dict[str, DeliveryClaim] = {}
        # The causes that a process was telling when something went wrong for it: they may be told again.
        self._doubtful: set[tuple[str, str]] = set()
        self._last: dict[tuple[str, str], tuple[Told, Any]] = {}

    def note_claim(self, claim: DeliveryClaim | None) -> DeliveryClaim | None:
        if claim is not None:
            self._claims[claim.address] = claim
        return claim

    def post(self, label: str, title: str, body: str, kind: MessageKind) -> bool:
        """What a mail server does with a message."""
        del kind
        machine = self._machine
        process = machine.current
        if process is not None:
            process.step()
        if self.refuses_until is not None and machine.scheduler.now() < self.refuses_until:
            machine.note("alert refused")
            return False
        claim = self._claims[label]
        alert = claim.alert
        told = Told(
            machine.scheduler.now(), label, alert.cause, claim.state.value, title, alert.opened_at, alert.occurrences
        )
        self._check(told, process)
        self.told.append(told)
        self.texts.append(f"{title}\n{body}")
        machine.counts["alert told"] += 1
        if process is not None:
            process.step()
        return True

    def _check(self, told: Told, process: Any) -> None:
        key = (told.address, told.cause)
        last = self._last.get(key)
        if last is not None:
            before, teller = last
            same = (before.state, before.opened_at, before.occurrences) == (
                told.state,
                told.opened_at,
                told.occurrences,
            )
            if same and not (teller is not None and teller.was_disturbed):
                self.problems.append(f"{told.address} was told twice: {told.title}")
        self._last[key] = (told, process)


class SimulatedAddress:
    """Stands in for `AlertAddress`, without Apprise."""

    def __init__(self, label: str, mailbox: Mailbox) -> None:
        self.label = label
        self._mailbox = mailbox

    def post(self, title: str, body: str, kind: MessageKind) -> bool:
        return self._mailbox.post(self.label, title, body, kind)


def watch_claims(log: AlertLog, mailbox: Mailbox) -> None:
    """Let the mailbox know which message comes next."""
    claim = log.claim
    log.claim = lambda *args, **kwargs: mailbox.note_claim(claim(*args, **kwargs))  # type: ignore[method-assign]
