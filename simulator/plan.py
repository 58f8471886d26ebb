"""What a seed draws: the deployment, and everything that happens to it in a year, as a list of events.

An event has a moment, a kind, and a seed of its own that decides the rest when it happens. So a year can be replayed
with its first events alone, which is how a failing seed is shortened.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from simulator import database, lists, network
from xero_pipeline.mock_xero import MockOrganisation

_LAYOUTS = (("AU", "AUD", "AU"), ("NZ", "NZD", "NZ"), ("GB", "GBP", "GB"), ("SG", "SGD", "SG"), ("US", "USD", "US"))
_ZONES = ("Australia/Sydney", "Pacific/Auckland", "Europe/London", "America/New_York", "Asia/Singapore", "UTC")
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Event:
    """Something that happens. `kind` names a function of `events.py`."""

    at: datetime
    kind: str
    seed: int
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.at:%Y-%m-%d %H:%M} {self.kind}{f' ({shown})' if shown else ''}"


@dataclass(frozen=True)
class Plan:
    """A deployment and its year."""

    seed: int
    begin: datetime
    days: int
    zone: ZoneInfo
    xero_zone: ZoneInfo
    start_date: date
    organisations: tuple[MockOrganisation, ...]
    postgres: bool
    settings: dict[str, Any]
    page_size: int
    days_between_looks: int
    skew: timedelta
    addresses: int
    events: tuple[Event, ...]

    @property
    def end(self) -> datetime:
        return self.begin + timedelta(days=self.days)


def draw_plan(seed: int, *, weeks: int = 52, postgres: bool | None = None) -> Plan:
    """Draw the deployment and the events of a seed."""
    draw = random.Random(f"plan {seed}")
    zone = ZoneInfo(draw.choice(_ZONES))
    day = date(2022, 1, 2) + timedelta(weeks=draw.randrange(0, 100))
    begin = datetime.combine(day, time(4), zone).astimezone(UTC)
    count = draw.choices((1, 2, 3, 4, 5), (80, 13, 4, 2, 1))[0]
    organisations = tuple(_draw_organisation(draw, seed, number) for number in range(count))
    on_postgres = draw.random() < 0.2 if postgres is None else postgres
    settings = {
        "SYNC_LOOKBACK_WEEKS": draw.choice((0, 0, 1, 2)),
        "XERO_CONCURRENT_CALLS": draw.choice((1, 3, 5)),
        "XERO_CALLS_PER_MINUTE": draw.choice((30, 55, 55)),
        "XERO_CALLS_PER_DAY": draw.choice((950, 4800)),
        "ORGANISATIONS_PER_RUN": draw.choice((1, 2, 20)),
        "KEEP_CONTACT_NAMES": draw.choice((True, False)),
    }
    return Plan(
        seed=seed,
        begin=begin,
        days=7 * weeks,
        zone=zone,
        xero_zone=zone if draw.random() < 0.7 else ZoneInfo(draw.choice(_ZONES)),
        start_date=day - timedelta(weeks=draw.choices((2, 4, 9, 20, 60), (40, 30, 19, 8, 3))[0]),
        organisations=organisations,
        postgres=on_postgres,
        settings=settings,
        page_size=draw.choice((2, 3, 5, 1000)),
        days_between_looks=draw.choices((1, 2, 3, 5), (20, 25, 30, 25))[0],
        skew=timedelta(seconds=draw.choice((0, 0, -90, 45, 600))),
        addresses=draw.choice((1, 2)),
        events=tuple(sorted(_draw_events(draw, begin, weeks, count), key=lambda event: event.at)),
    )


def _draw_organisation(draw: random.Random, seed: int, number: int) -> MockOrganisation:
    country, currency, layout = draw.choice(_LAYOUTS)
    return MockOrganisation(
        tenant_id=f"tenant-{number + 1}",
        name=f"Organisation {number + 1}",
        country=country,
        base_currency=currency,
        layout=layout,
        seed=f"{seed}-{number}",
        documents=draw.choice((2, 3, 5)),
        payments_touch_documents=draw.random() < 0.15,
    )


# The share of weeks in which most things happen.
BUSY_WEEKS = 0.12
# How often each kind happens, by weight.
EDITS = {
    "edit": 6,
    "void": 3,
    "move": 4,
    "new_invoice": 3,
    "new_bill": 2,
    "credit": 2,
    "pay": 2,
    "journal": 2,
    "bank_movement": 1,
    "payroll": 1,
    "retype": 0.4,
}
ACTIONS = {
    "sync_by_hand": 3,
    "several_by_hand": 2,
    "restart": 2,
    "locks_lost": 4,
    "power_cut": 1,
    "rotate_key": 0.6,
    "consent_again": 0.6,
    "disconnect_at_xero": 0.5,
    "disconnect": 0.3,
    "clock_step": 0.8,
    "mail_away": 2,
    "tick": 6,
}


def _draw_events(draw: random.Random, begin: datetime, weeks: int, organisations: int) -> list[Event]:
    events: list[Event] = []

    def add(at: datetime, kind: str, **values: Any) -> None:
        events.append(Event(at, kind, draw.getrandbits(32), values))

    for week in range(weeks):
        # From Sunday morning to Thursday evening. What follows is calm, and on Saturday everything must be exact.
        start = begin + week * 7 * DAY
        # Most of what happens comes together, so that one thing happens while another is not over.
        is_busy = weeks == 1 or draw.random() < BUSY_WEEKS
        edits = min(16, int(draw.expovariate(1 / (8.0 if is_busy else 0.5))))
        for _ in range(edits):
            kind = draw.choices(list(EDITS), list(EDITS.values()))[0]
            add(start + draw.uniform(0, 4.6) * DAY, kind, organisation=draw.randrange(organisations))
        if not is_busy or week < 1 < weeks:
            continue
        for _ in range(draw.choice((2, 3, 4))):
            # Faults come in a day of their own, around the moments at which something runs.
            day = start + draw.randrange(0, 4) * DAY
            for _ in range(draw.choice((1, 1, 2, 4))):
                at = day + timedelta(hours=draw.choice((1.99, 2.3, 7.9, 15.9)), seconds=draw.uniform(0, 600))
                _draw_fault(draw, add, at)
        for _ in range(draw.choice((1, 2, 3))):
            kind = draw.choices(list(ACTIONS), list(ACTIONS.values()))[0]
            at = start + draw.randrange(0, 4) * DAY + timedelta(hours=draw.choice((2.0, 2.001, 2.01, 8.3, 12.5)))
            add(at + timedelta(seconds=draw.uniform(0, 20)), kind, organisation=draw.randrange(organisations))
    return events


def _draw_fault(draw: random.Random, add: Any, at: datetime) -> None:
    where = draw.choices(("network", "list", "database", "kill"), (5, 2, 3, 3))[0]
    lasts = draw.choice((0, 0, 0, 1, 6))
    if where == "network":
        name = draw.choice(list(network.FAULTS))
        endpoint = draw.choice(list(network.ENDPOINTS))
        add(at, "http_fault", name=name, endpoint=endpoint, times=draw.choice((1, 1, 2, 3, 10)), hours=lasts,
            skip=draw.choice((0, 0, 1, 3, 7)))  # fmt: skip
    elif where == "list":
        endpoint = draw.choice(("invoices", "credit notes"))
        name = draw.choice(lists.FAULTS)
        add(at, "list_fault", name=name, endpoint=endpoint, times=draw.choice((1, 2)), skip=draw.choice((0, 0, 1, 2)))
    elif where == "database":
        add(at, "database_fault", name=draw.choice(list(database.FAULTS)), skip=int(draw.expovariate(1 / 60)),
            times=draw.choice((1, 1, 1, 3, 20)), hours=draw.choice((0, 0, 0, 0, 0.2, 2)))  # fmt: skip
    else:
        add(at, "kill", process=draw.choice(("run", "run", "tick", "hand")), step=1 + int(draw.expovariate(1 / 90)))
