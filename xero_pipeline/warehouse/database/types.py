"""How money and moments are stored, exactly, in both databases. Which columns there are: `schema.py`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import DateTime, Dialect, Numeric, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from xero_pipeline.money import CENT, to_cents

# What NUMERIC(18, 2) holds.
_LIMIT = Decimal(10) ** 16


class Money(TypeDecorator[Decimal]):
    """An amount to the cent: NUMERIC(18, 2) in PostgreSQL, text such as `161101.83` in SQLite.

    SQLite has no decimals, and its REAL is a binary float. Text does not sort or add up by itself: compare
    and sum money in Python, or in SQL as whole cents, as the view `weekly_summary` does.

    Binding anything but a Decimal without a fraction of a cent raises (SQLAlchemy wraps it in a
    `StatementError`): rounding is for whoever knows the rule, not for the database.
    """

    impl = Numeric(18, 2)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric(18, 2))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        amount = exact_cents(value)
        return format(amount, "f") if dialect.name == "sqlite" else amount

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        # Rounded: somebody may have changed SQLite's text by arithmetic, which is binary there.
        return None if value is None else to_cents(Decimal(str(value)))


def exact_cents(value: object) -> Decimal:
    """The amount with two decimals, if it is a Decimal that has no fraction of a cent and fits.

    Raises:
        ValueError: it is anything else.
    """
    if not isinstance(value, Decimal):
        raise ValueError(f"money must be a Decimal, not a {type(value).__name__}")
    if not value.is_finite() or abs(value) >= _LIMIT:
        raise ValueError("the amount is out of range")
    cents = value.quantize(CENT) + Decimal("0.00")
    if cents != value:
        raise ValueError("the amount has a fraction of a cent")
    return cents


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: `timestamptz` in PostgreSQL, text in UTC such as `2026-11-24 01:00:00.000000` in SQLite.

    A naive datetime is refused, since nobody can know which moment it means; one that is read is in UTC.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if not isinstance(value, datetime) or value.utcoffset() is None:
            raise ValueError("a moment must be a datetime that knows its zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
