"""Differences of `partial` weeks that a person has accepted: who accepted which amounts, why, and when.

An accepted difference is one of exact amounts in one organisation's week and kind. The same one on a later sync of
that week is accepted as well; one of other amounts is not. `sync_log.py` reads them with its rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Date,
    Index,
    Integer,
    Row,
    Table,
    Text,
    func,
    insert,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB

from xero_pipeline.money import CENT, to_decimal
from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime
from xero_pipeline.warehouse.errors import WarehouseError


class NoSuchLogRow(WarehouseError):
    code = "no_such_log_row"
    default_advice = "`xero-pipeline logs` lists the rows with their ids."


class NothingToAccept(WarehouseError):
    """The row of the sync log has no difference that a person could accept."""

    code = "nothing_to_accept"
    default_advice = "`xero-pipeline logs` shows which rows are partial."


MAX_NOTE_LENGTH = 500

accepted_differences = Table(
    "accepted_differences",
    metadata,
    # SQLite generates row ids only for a column whose type is exactly INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("tenant_id", Text, nullable=False),
    Column("sync_type", Text, nullable=False),
    Column("week_ending", Date, nullable=False),
    # As `normalise_difference` writes it.
    Column("difference", JSON().with_variant(JSONB(), "postgresql"), nullable=False),
    Column("note", Text),
    Column("accepted_by", Text, nullable=False),
    Column("accepted_at", UtcDateTime, nullable=False),
    Index("ix_accepted_differences_week", "tenant_id", "sync_type", "week_ending"),
)

SyncedWeek = tuple[str, str, date]
"""Tenant id, kind of figures, week ending."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who accepted a difference, or all differences of a week."""

    who: str
    note: str | None
    at: datetime

    def __str__(self) -> str:
        return f"accepted by {self.who}" + (f" ({self.note})" if self.note else "")

    def as_dict(self) -> dict[str, Any]:
        """The form of the HTTP API and of `--json`."""
        return {"by": self.who, "note": self.note, "at": self.at.isoformat()}


class AcceptedDifferences:
    """The accepted differences of some weeks."""

    def __init__(self, acceptances: Mapping[tuple[SyncedWeek, str], Acceptance]) -> None:
        self._acceptances = acceptances

    def get(self, week: SyncedWeek, difference: object) -> Acceptance | None:
        """Who accepted this difference of the week; `None` if nobody did."""
        return self._acceptances.get((week, _make_key(difference)))

    def get_for_all(self, week: SyncedWeek, error_log: object) -> Acceptance | None:
        """Who accepted the week's differences; `None` if it has none or if one of them is not accepted."""
        found = [self.get(week, difference) for difference in list_differences(error_log)]
        accepted = [acceptance for acceptance in found if acceptance is not None]
        if not accepted or len(accepted) < len(found):
            return None
        names = dict.fromkeys(acceptance.who for acceptance in accepted)
        notes = dict.fromkeys(acceptance.note for acceptance in accepted if acceptance.note)
        return Acceptance(", ".join(names), "; ".join(notes) or None, max(acceptance.at for acceptance in accepted))

    def has_any(self, week: SyncedWeek) -> bool:
        """Whether somebody has ever accepted a difference of the week."""
        return any(accepted_week == week for accepted_week, _ in self._acceptances)


def read_accepted_differences(connection: Connection, weeks: Iterable[SyncedWeek] | None = None) -> AcceptedDifferences:
    """Read the accepted differences of these weeks, or of all."""
    table = accepted_differences.c
    query = select(accepted_differences).order_by(table.id)
    if weeks is not None:
        wanted = list(dict.fromkeys(weeks))
        if not wanted:
            return AcceptedDifferences({})
        # SQLite has a limit of parameters, so many weeks are picked out below.
        if len(wanted) <= 100:
            query = query.where(tuple_(table.tenant_id, table.sync_type, table.week_ending).in_(wanted))
    acceptances: dict[tuple[SyncedWeek, str], Acceptance] = {}
    for row in connection.execute(query):
        key = (row.tenant_id, row.sync_type, row.week_ending), _make_key(row.difference)
        acceptances.setdefault(key, _to_acceptance(row))
    return AcceptedDifferences(acceptances)


def insert_acceptances(
    connection: Connection, week: SyncedWeek, error_log: object, *, who: str, note: str | None, now: datetime
) -> None:
    """Record that a person accepts the week's differences. Those that are accepted already stay as they are."""
    known = read_accepted_differences(connection, [week])
    tenant_id, sync_type, week_ending = week
    note = " ".join((note or "").split())[:MAX_NOTE_LENGTH] or None
    for difference in list_differences(error_log):
        if known.get(week, difference) is None:
            connection.execute(
                insert(accepted_differences).values(
                    tenant_id=tenant_id,
                    sync_type=sync_type,
                    week_ending=week_ending,
                    difference=normalise_difference(difference),
                    note=note,
                    accepted_by=who,
                    accepted_at=now,
                )
            )


def read_accepted_kinds(connection: Connection, after: int) -> tuple[list[str], int]:
    """The kinds of figures of which differences were accepted after the row of that id, and the newest row's id."""
    table = accepted_differences.c
    query = select(table.sync_type, func.max(table.id).label("newest")).where(table.id > after)
    newest_by_kind = {row.sync_type: row.newest for row in connection.execute(query.group_by(table.sync_type))}
    return sorted(newest_by_kind), max(newest_by_kind.values(), default=after)


def list_differences(error_log: object) -> Sequence[Any]:
    """The differences that a row of the sync log names."""
    differences = error_log.get("differences") if isinstance(error_log, Mapping) else error_log
    return differences if isinstance(differences, list) else []


def normalise_difference(difference: object) -> dict[str, str]:
    """What makes a difference the same one later: where it is, and both amounts, each written in one way."""
    if not isinstance(difference, Mapping):
        return {"where": _normalise(difference)}
    names = ("where", "stated", "found") if difference.get("where") else tuple(sorted(map(str, difference)))
    return {name: _normalise(difference.get(name)) for name in names}


def _normalise(value: object) -> str:
    try:
        amount = to_decimal(value)
    except ValueError:
        return " ".join(str("" if value is None else value).split())
    # "5", "5.0" and "5.00" are one amount; a fraction of a cent stays.
    exact = amount.normalize() + Decimal(0)
    return format(exact.quantize(CENT) if exact == exact.quantize(CENT) else exact, "f")


def _make_key(difference: object) -> str:
    return json.dumps(normalise_difference(difference), sort_keys=True)


def _to_acceptance(row: Row[Any]) -> Acceptance:
    return Acceptance(row.accepted_by, row.note, row.accepted_at)
