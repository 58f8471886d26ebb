"""What went wrong, since when, how often, and who has been told: the alerts' memory.

A cause (`alerts`) is open until it has recovered. Each address is told of it by itself
(`alert_deliveries`), so that a broken one is tried again without repeating anything to the others. Before a
message is sent it is claimed here, for a while: two processes never send the same one, and one that died
between claim and post leaves it to the next.

Not here: what counts as a problem, the words, and the posting (`automation/`). Neither secrets nor figures
are ever handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Integer,
    Row,
    Table,
    Text,
    and_,
    delete,
    exists,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from xero_pipeline.warehouse.database.metadata import metadata
from xero_pipeline.warehouse.database.types import UtcDateTime
from xero_pipeline.warehouse.logs.alert_rules import (
    Alert,
    AlertState,
    Delivery,
    DeliveryClaim,
    make_claim,
    may_claim,
)

# How long one process may take to post one message before another one may try.
LEASE = timedelta(minutes=5)
# How long it is remembered that an occurrence was counted: far longer than anybody looks back.
_MEMORY = timedelta(days=30)

alerts = Table(
    "alerts",
    metadata,
    Column("cause", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column(
        "details",
        JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql"),
        nullable=False,
    ),
    Column("quiet_seconds", Integer, nullable=False),
    # Ever, not only since it was opened: what an address was told is counted against it.
    Column("occurrences", Integer, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False, index=True),
    Column("recovered_at", UtcDateTime),
    Column("recovery_text", Text),
)

# What was counted already: a tick that is evaluated twice, or by two daemons, counts nothing twice.
alert_occurrences = Table(
    "alert_occurrences",
    metadata,
    Column("cause", Text, primary_key=True),
    Column("occurrence", Text, primary_key=True),
    Column("seen_at", UtcDateTime, nullable=False),
)

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("cause", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    # How many of the cause's occurrences this address knows of.
    Column("told", Integer, nullable=False),
    Column("said", Text),
    Column("last_sent_at", UtcDateTime),
    Column("claim", Text),
    Column("claimed_until", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    CheckConstraint("said IN ('problem', 'recovered')", name="said"),
)


class AlertLog:
    """Safe to use from several threads and processes; every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def observe(
        self,
        cause: str,
        *,
        kind: str,
        title: str,
        text: str,
        details: Mapping[str, Any],
        quiet: timedelta,
        now: datetime,
        occurrence: str | None = None,
    ) -> bool:
        """Write that a cause has occurred; answers whether that was news.

        Title, text and details of the last time are kept.

        Args:
            occurrence: names it, so that it is counted once however often it is handed in; without a name
                each call counts.
        """
        wording = {"kind": kind, "title": title, "text": text, "details": dict(details)}
        with self._engine.begin() as connection:
            alert = self._locked(connection, cause, wording | {"opened_at": now, "last_seen_at": now})
            counts = occurrence is None or _remember(connection, cause, occurrence, now)
            if not counts and not alert.is_open:
                return False
            values: dict[str, Any] = wording | {"quiet_seconds": round(quiet.total_seconds())}
            if counts:
                values |= {"occurrences": alert.occurrences + 1, "last_seen_at": now}
                if not alert.is_open:
                    values |= {"opened_at": now, "recovered_at": None, "recovery_text": None}
            connection.execute(update(alerts).where(alerts.c.cause == cause).values(values))
        return counts

    def recover(self, cause: str, text: str, now: datetime) -> bool:
        """Write that a cause is well again; answers whether it was open."""
        with self._engine.begin() as connection:
            closed = connection.execute(
                update(alerts)
                .where(alerts.c.cause == cause, alerts.c.recovered_at.is_(None))
                .values(recovered_at=now, recovery_text=text)
            )
        return closed.rowcount == 1

    def withdraw(self, cause: str, now: datetime) -> None:
        """Close a cause that no longer means anything, and tell nobody."""
        with self._engine.begin() as connection:
            row = _one(connection, cause, lock=True)
            if row is None or not row.is_open:
                return
            connection.execute(
                update(alerts).where(alerts.c.cause == cause).values(recovered_at=now, recovery_text=None)
            )
            connection.execute(
                update(alert_deliveries)
                .where(alert_deliveries.c.cause == cause)
                .values(
                    told=row.occurrences,
                    said=AlertState.RECOVERED.value,
                    claim=None,
                    claimed_until=None,
                    attempts=0,
                    last_error=None,
                )
            )

    def get(self, cause: str) -> Alert | None:
        with self._engine.connect() as connection:
            return _one(connection, cause)

    def open_alerts(self, *kinds: str) -> list[Alert]:
        """The causes that are not well yet, the oldest first, of these kinds (none named: all)."""
        query = select(alerts).where(alerts.c.recovered_at.is_(None)).order_by(alerts.c.opened_at)
        if kinds:
            query = query.where(alerts.c.kind.in_(kinds))
        with self._engine.connect() as connection:
            return [_alert(row) for row in connection.execute(query)]

    def pending(self, addresses: Sequence[str], now: datetime) -> list[tuple[str, str]]:
        """Which cause is to be told to which address now. Only reads: nothing due costs no lock."""
        unsettled = exists().where(
            alert_deliveries.c.cause == alerts.c.cause,
            or_(
                alert_deliveries.c.told < alerts.c.occurrences,
                and_(alerts.c.recovered_at.is_not(None), alert_deliveries.c.said == AlertState.PROBLEM.value),
            ),
        )
        query = select(alerts).where(or_(alerts.c.recovered_at.is_(None), unsettled)).order_by(alerts.c.opened_at)
        with self._engine.connect() as connection:
            found = [_alert(row) for row in connection.execute(query)]
            told = _deliveries(connection, [alert.cause for alert in found])
        return [
            (alert.cause, address)
            for alert in found
            for address in addresses
            if may_claim(alert, told.get(alert.cause, {}).get(address), now)
        ]

    def claim(self, cause: str, address: str, now: datetime) -> DeliveryClaim | None:
        """Take the right to tell one address; `None` when nothing is due or somebody else has it.

        It lasts for `LEASE`; `delivered` or `refused` end it.
        """
        with self._engine.begin() as connection:
            alert = _one(connection, cause, lock=True)
            if alert is None:
                return None
            known = _deliveries(connection, [cause]).get(cause, {}).get(address)
            if not may_claim(alert, known, now):
                return None
            if known is None:
                fresh = {"cause": cause, "address": address, "told": 0, "attempts": 0}
                connection.execute(alert_deliveries.insert().values(fresh))
                known = Delivery()
            claim = make_claim(alert, address, known, now)
            connection.execute(
                update(alert_deliveries)
                .where(alert_deliveries.c.cause == cause, alert_deliveries.c.address == address)
                .values(claim=claim.token, claimed_until=now + LEASE)
            )
        return claim

    def delivered(self, claim: DeliveryClaim, now: datetime) -> None:
        """The message has arrived: from now on the quiet time counts."""
        values: dict[str, Any] = {
            "told": claim.alert.occurrences,
            "said": claim.says.value,
            "attempts": 0,
            "last_error": None,
        }
        if claim.says is AlertState.PROBLEM or not claim.knew:
            values["last_sent_at"] = now
        self._settle(claim, values)

    def refused(self, claim: DeliveryClaim, error: str) -> None:
        """The message has not arrived: it is due again at once."""
        self._settle(claim, {"attempts": alert_deliveries.c.attempts + 1, "last_error": error})

    def broken(self, addresses: Iterable[str]) -> dict[str, str]:
        """Those of the addresses that did not take their last message, and what was wrong."""
        query = select(alert_deliveries.c.address, alert_deliveries.c.last_error).where(
            alert_deliveries.c.address.in_(list(addresses)), alert_deliveries.c.last_error.is_not(None)
        )
        with self._engine.connect() as connection:
            return {row.address: row.last_error for row in connection.execute(query.order_by("address"))}

    def _settle(self, claim: DeliveryClaim, values: Mapping[str, Any]) -> None:
        # Whose claim ran out meanwhile changes nothing: another process has taken over.
        with self._engine.begin() as connection:
            connection.execute(
                update(alert_deliveries)
                .where(
                    alert_deliveries.c.cause == claim.alert.cause,
                    alert_deliveries.c.address == claim.address,
                    alert_deliveries.c.claim == claim.token,
                )
                .values(**values, claim=None, claimed_until=None)
            )

    def _locked(self, connection: Connection, cause: str, fresh: Mapping[str, Any]) -> Alert:
        """The cause's row, made if there is none, held until the transaction ends."""
        _insert_if_new(connection, alerts, {"cause": cause, "quiet_seconds": 0, "occurrences": 0} | dict(fresh))
        found = _one(connection, cause, lock=True)
        assert found is not None  # noqa: S101 - just inserted, and rows are never deleted
        return found


def _insert_if_new(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(dict(values)).on_conflict_do_nothing()
    # Not every driver counts the rows of an INSERT; what it returns can be depended on.
    return connection.execute(statement.returning(table.c.cause)).first() is not None


def _remember(connection: Connection, cause: str, occurrence: str, now: datetime) -> bool:
    connection.execute(
        delete(alert_occurrences).where(alert_occurrences.c.cause == cause, alert_occurrences.c.seen_at < now - _MEMORY)
    )
    return _insert_if_new(connection, alert_occurrences, {"cause": cause, "occurrence": occurrence, "seen_at": now})


def _one(connection: Connection, cause: str, *, lock: bool = False) -> Alert | None:
    query = select(alerts).where(alerts.c.cause == cause)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _alert(row)


def _alert(row: Row[Any]) -> Alert:
    values = dict(row._mapping)
    return Alert(quiet=timedelta(seconds=values.pop("quiet_seconds")), **values)


def _deliveries(connection: Connection, causes: Sequence[str]) -> dict[str, dict[str, Delivery]]:
    found: dict[str, dict[str, Delivery]] = {}
    for row in connection.execute(select(alert_deliveries).where(alert_deliveries.c.cause.in_(causes))):
        found.setdefault(row.cause, {})[row.address] = Delivery(
            told=row.told,
            said=AlertState(row.said) if row.said else None,
            last_sent_at=row.last_sent_at,
            claimed_until=row.claimed_until,
            attempts=row.attempts,
            last_error=row.last_error,
        )
    return found
