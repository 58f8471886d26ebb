"""The stored alerts: what went wrong, since when, how often, and which addresses have been notified.

A cause (`alerts`) is open until it has recovered. Deliveries are stored for each address (`alert_deliveries`), so
a failed one is retried without repeating messages to the others. Before a process sends a message it claims it for a
limited time. So two processes never send the same message, and if one dies between claim and post, another sends it.

`automation/` decides what is a problem, writes the texts and posts them. It passes in neither secrets nor figures.
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
    LEASE,
    Alert,
    AlertKind,
    AlertState,
    Delivery,
    DeliveryClaim,
    can_claim,
    make_claim,
)

# How long counted occurrences are stored: far longer than any evaluation looks back.
_RETENTION = timedelta(days=30)

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
    # Counts all occurrences ever, not only those since `opened_at`. `alert_deliveries.told` is compared with it.
    Column("occurrences", Integer, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False, index=True),
    Column("recovered_at", UtcDateTime),
    Column("recovery_text", Text),
)

# The occurrences that were counted already. A tick that is evaluated twice, or by two daemons, counts once.
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
    # `told` is the number of the cause's occurrences that this address was told about, `said` the last message's state.
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
    """Safe to use from several threads and processes. Every method is one transaction."""

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
        """Record that a cause has occurred, and return whether the occurrence was new.

        The stored title, text and details are those of the last call.

        Args:
            occurrence: a name, so that the same occurrence counts once although it is reported several times.
                Without a name each call counts.
        """
        wording = {"kind": kind, "title": title, "text": text, "details": dict(details)}
        with self._engine.begin() as connection:
            alert = self._lock_or_create(connection, cause, wording | {"opened_at": now, "last_seen_at": now})
            is_new = occurrence is None or _insert_occurrence(connection, cause, occurrence, now)
            if not is_new and not alert.is_open:
                return False
            values: dict[str, Any] = wording | {"quiet_seconds": round(quiet.total_seconds())}
            if is_new:
                values |= {"occurrences": alert.occurrences + 1, "last_seen_at": now}
                if not alert.is_open:
                    values |= {"opened_at": now, "recovered_at": None, "recovery_text": None}
            connection.execute(update(alerts).where(alerts.c.cause == cause).values(values))
        return is_new

    def recover(self, cause: str, text: str, now: datetime) -> bool:
        """Record that a cause has recovered, and return whether it was open."""
        with self._engine.begin() as connection:
            closed = connection.execute(
                update(alerts)
                .where(alerts.c.cause == cause, alerts.c.recovered_at.is_(None))
                .values(recovered_at=now, recovery_text=text)
            )
        return closed.rowcount == 1

    def withdraw(self, cause: str, now: datetime) -> None:
        """Close a cause that no longer applies, without notifying anybody."""
        with self._engine.begin() as connection:
            alert = _read_alert(connection, cause, lock=True)
            if alert is None or not alert.is_open:
                return
            connection.execute(
                update(alerts).where(alerts.c.cause == cause).values(recovered_at=now, recovery_text=None)
            )
            connection.execute(
                update(alert_deliveries)
                .where(alert_deliveries.c.cause == cause)
                .values(
                    told=alert.occurrences,
                    said=AlertState.RECOVERED.value,
                    claim=None,
                    claimed_until=None,
                    attempts=0,
                    last_error=None,
                )
            )

    def get(self, cause: str) -> Alert | None:
        with self._engine.connect() as connection:
            return _read_alert(connection, cause)

    def list_open(self, *kinds: str) -> list[Alert]:
        """The open causes of these kinds, or of all kinds if none is given, oldest first."""
        query = select(alerts).where(alerts.c.recovered_at.is_(None)).order_by(alerts.c.opened_at)
        if kinds:
            query = query.where(alerts.c.kind.in_(kinds))
        with self._engine.connect() as connection:
            return [_to_alert(row) for row in connection.execute(query)]

    def list_pending(self, addresses: Sequence[str], now: datetime, *, digests: bool = False) -> list[tuple[str, str]]:
        """The (cause, address) pairs for which a message is due now. It only reads, so it takes no lock.

        Args:
            digests: list the digests, and nothing else. They go to addresses of their own, since they carry figures.
        """
        has_pending_delivery = exists().where(
            alert_deliveries.c.cause == alerts.c.cause,
            or_(
                alert_deliveries.c.told < alerts.c.occurrences,
                and_(alerts.c.recovered_at.is_not(None), alert_deliveries.c.said == AlertState.PROBLEM.value),
            ),
        )
        is_candidate = or_(alerts.c.recovered_at.is_(None), has_pending_delivery)
        is_kind = alerts.c.kind == AlertKind.DIGEST if digests else alerts.c.kind != AlertKind.DIGEST
        query = select(alerts).where(is_candidate, is_kind).order_by(alerts.c.opened_at)
        with self._engine.connect() as connection:
            candidates = [_to_alert(row) for row in connection.execute(query)]
            deliveries = _read_deliveries(connection, [alert.cause for alert in candidates])
        return [
            (alert.cause, address)
            for alert in candidates
            for address in addresses
            if can_claim(alert, deliveries.get(alert.cause, {}).get(address), now)
        ]

    def list_untold(self, cause: str, addresses: Sequence[str]) -> list[str]:
        """The addresses that have not got a message about every occurrence of a cause."""
        with self._engine.connect() as connection:
            alert = _read_alert(connection, cause)
            told = _read_deliveries(connection, [cause]).get(cause, {})
        if alert is None:
            return []
        return [
            address for address in addresses if told.get(address, Delivery()).notified_occurrences < alert.occurrences
        ]

    def claim(self, cause: str, address: str, now: datetime) -> DeliveryClaim | None:
        """Take the right to notify one address; `None` if no message is due or another process has claimed it.

        The claim lasts for `LEASE`. `mark_delivered` or `mark_failed` ends it.
        """
        with self._engine.begin() as connection:
            alert = _read_alert(connection, cause, lock=True)
            if alert is None:
                return None
            delivery = _read_deliveries(connection, [cause]).get(cause, {}).get(address)
            if not can_claim(alert, delivery, now):
                return None
            if delivery is None:
                new_row = {"cause": cause, "address": address, "told": 0, "attempts": 0}
                connection.execute(alert_deliveries.insert().values(new_row))
                delivery = Delivery()
            claim = make_claim(alert, address, delivery, now)
            connection.execute(
                update(alert_deliveries)
                .where(alert_deliveries.c.cause == cause, alert_deliveries.c.address == address)
                .values(claim=claim.token, claimed_until=now + LEASE)
            )
        return claim

    def mark_delivered(self, claim: DeliveryClaim, now: datetime) -> None:
        """Record that the message has arrived. The quiet time begins now."""
        values: dict[str, Any] = {
            "told": claim.alert.occurrences,
            "said": claim.state.value,
            "attempts": 0,
            "last_error": None,
        }
        if claim.state is AlertState.PROBLEM or not claim.was_notified:
            values["last_sent_at"] = now
        self._settle(claim, values)

    def mark_failed(self, claim: DeliveryClaim, error: str) -> None:
        """Record that the message has not arrived. It is due again at once."""
        self._settle(claim, {"attempts": alert_deliveries.c.attempts + 1, "last_error": error})

    def list_delivery_errors(self, addresses: Iterable[str]) -> dict[str, str]:
        """The addresses that did not receive their last message, with the error."""
        query = select(alert_deliveries.c.address, alert_deliveries.c.last_error).where(
            alert_deliveries.c.address.in_(list(addresses)), alert_deliveries.c.last_error.is_not(None)
        )
        with self._engine.connect() as connection:
            return {row.address: row.last_error for row in connection.execute(query.order_by("address"))}

    def _settle(self, claim: DeliveryClaim, values: Mapping[str, Any]) -> None:
        # If the claim has expired and another process has taken over, the token differs and nothing changes.
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

    def _lock_or_create(self, connection: Connection, cause: str, initial: Mapping[str, Any]) -> Alert:
        """Read the cause's row, or create it, and lock it until the transaction ends."""
        _insert_if_new(connection, alerts, {"cause": cause, "quiet_seconds": 0, "occurrences": 0} | dict(initial))
        alert = _read_alert(connection, cause, lock=True)
        assert alert is not None  # noqa: S101 - just inserted, and rows are never deleted
        return alert


def _insert_if_new(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(dict(values)).on_conflict_do_nothing()
    # Not every driver reports the row count of an INSERT, so check what RETURNING yields.
    return connection.execute(statement.returning(table.c.cause)).first() is not None


def _insert_occurrence(connection: Connection, cause: str, occurrence: str, now: datetime) -> bool:
    """Store an occurrence, and return whether it is new."""
    oldest = now - _RETENTION
    connection.execute(
        delete(alert_occurrences).where(alert_occurrences.c.cause == cause, alert_occurrences.c.seen_at < oldest)
    )
    return _insert_if_new(connection, alert_occurrences, {"cause": cause, "occurrence": occurrence, "seen_at": now})


def _read_alert(connection: Connection, cause: str, *, lock: bool = False) -> Alert | None:
    query = select(alerts).where(alerts.c.cause == cause)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _to_alert(row)


def _to_alert(row: Row[Any]) -> Alert:
    values = dict(row._mapping)
    return Alert(quiet=timedelta(seconds=values.pop("quiet_seconds")), **values)


def _read_deliveries(connection: Connection, causes: Sequence[str]) -> dict[str, dict[str, Delivery]]:
    """The deliveries of these causes, by cause and address."""
    deliveries: dict[str, dict[str, Delivery]] = {}
    for row in connection.execute(select(alert_deliveries).where(alert_deliveries.c.cause.in_(causes))):
        deliveries.setdefault(row.cause, {})[row.address] = Delivery(
            notified_occurrences=row.told,
            last_state=AlertState(row.said) if row.said else None,
            last_sent_at=row.last_sent_at,
            claimed_until=row.claimed_until,
            attempts=row.attempts,
            last_error=row.last_error,
        )
    return deliveries
