"""Silent edits that the books make by themselves as time goes on, if an organisation has them (`silent_edits`).

In each quarter of thirteen weeks somebody posts a journal, enters a bank movement and moves a payroll run, all in weeks
that have long been over; once a year an account gets another type. No list of changes shows any of it. Pure, like
`generation.py`: the seed decides what is edited and when, and an edit counts from its moment on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.chart import MockAccount
from xero_pipeline.mock_xero.books.entries import Entry
from xero_pipeline.mock_xero.books.ledger import FIRST_DAY
from xero_pipeline.mock_xero.books.seeded_random import SeededRandom
from xero_pipeline.mock_xero.organisations import MockOrganisation

WEEKS_PER_QUARTER = 13
# How many weeks before its moment an edit changes: later than any look-back of a daily sync.
AGES = (6, 30)

# None of these is trading income, which would no longer be the revenue of the documents.
_JOURNAL_ACCOUNTS = (chart.RENT, chart.INSURANCE, chart.DEPRECIATION, chart.SUNDRY_INCOME, "429")
_SPENT_ON = (chart.BANK_FEES, chart.INTEREST_EXPENSE, "485")
# The accounts that get another type, and that type; a later year gives them their own type again.
_OTHER_TYPES = ((chart.BANK_FEES, "DIRECTCOSTS"), ("449", "DIRECTCOSTS"), (chart.SITE_LABOUR, "EXPENSE"))


@dataclass(frozen=True, slots=True)
class SilentEdit:
    """One silent edit: the entries that it adds, or the account (by code) to which it gives another type."""

    kind: str
    made_at: dt.datetime
    entries: tuple[Entry, ...] = ()
    account: str = ""
    account_type: str = ""


def list_silent_edits(organisation: MockOrganisation, zone: dt.tzinfo, now: dt.datetime) -> list[SilentEdit]:
    """The edits that were made by now, oldest first; none for an organisation without them."""
    if not organisation.silent_edits:
        return []
    quarters = range((now.date() - FIRST_DAY).days // (7 * WEEKS_PER_QUARTER) + 1)
    made = [
        edit for number in quarters for edit in _generate_quarter(organisation, number, zone) if edit.made_at <= now
    ]
    return sorted(made, key=lambda edit: edit.made_at)


def list_entries(organisation: MockOrganisation, zone: dt.tzinfo, now: dt.datetime) -> Iterator[Entry]:
    """The entries that the edits up to now added, of every day."""
    return (entry for edit in list_silent_edits(organisation, zone, now) for entry in edit.entries)


def apply_types(
    organisation: MockOrganisation, zone: dt.tzinfo, now: dt.datetime, accounts: dict[str, MockAccount]
) -> dict[str, MockAccount]:
    """The chart of accounts with the types that the edits up to now gave."""
    types = {edit.account: edit.account_type for edit in list_silent_edits(organisation, zone, now) if edit.account}
    return {
        code: replace(account, type=types[code], account_class=chart.CLASSES[types[code]]) if code in types else account
        for code, account in accounts.items()
    }


@lru_cache(maxsize=1024)
def _generate_quarter(organisation: MockOrganisation, number: int, zone: dt.tzinfo) -> tuple[SilentEdit, ...]:
    start = FIRST_DAY + dt.timedelta(weeks=number * WEEKS_PER_QUARTER)
    edits = []
    for kind in ("journal", "bank movement", "payroll"):
        random = SeededRandom(organisation.books_seed, number, "silent", kind)
        made_at = _draw_moment(random, start, zone)
        entries = _draw_entries(kind, random, made_at.date())
        if all(entry.day >= FIRST_DAY for entry in entries):
            edits.append(SilentEdit(kind, made_at, entries))
    if number % 4 == 1:
        random = SeededRandom(organisation.books_seed, "silent", "retyped account")
        turn = number // 4 + random.draw_below(len(_OTHER_TYPES))
        code, other = _OTHER_TYPES[turn % len(_OTHER_TYPES)]
        own = chart.get_chart(organisation)[code].type
        kind = other if turn // len(_OTHER_TYPES) % 2 == 0 else own
        moment = _draw_moment(SeededRandom(organisation.books_seed, number, "silent", "retyped account"), start, zone)
        edits.append(SilentEdit("retyped account", moment, account=code, account_type=kind))
    return tuple(edits)


def _draw_moment(random: SeededRandom, start: dt.date, zone: dt.tzinfo) -> dt.datetime:
    """A moment in working hours of the quarter."""
    day = start + dt.timedelta(weeks=random.draw_below(WEEKS_PER_QUARTER), days=random.draw_between(1, 5))
    minute = random.draw_between(9 * 60, 17 * 60)
    return dt.datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone).astimezone(dt.UTC)


def _draw_entries(kind: str, random: SeededRandom, made_on: dt.date) -> tuple[Entry, ...]:
    day = made_on - dt.timedelta(weeks=random.draw_between(*AGES), days=random.draw_below(7))
    amount = random.draw_between(10_000, 480_000)
    if kind == "journal":
        return (Entry(day, random.pick(_JOURNAL_ACCOUNTS), -amount if random.has_chance(70) else amount),)
    if kind == "bank movement":
        return (Entry(day, random.pick(_SPENT_ON), -amount, chart.OPERATING_BANK, -amount),)
    # Wages that are owed, not paid, so no bank account changes.
    other = day - dt.timedelta(weeks=random.draw_between(1, 3))
    return Entry(day, chart.WAGES, amount), Entry(other, chart.WAGES, -amount)
