"""Column types that store money and moments exactly in both databases. The columns are in `schema.py`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import DateTime, Dialect, Numeric, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from xero_pipeline.money import CENT, to_cents

# NUMERIC(18, 2) holds amounts below this one.
_LIMIT = Decimal(10) ** 16


class Money(TypeDecorator[Decimal]):
    """An amount to the cent: NUMERIC(18, 2) in PostgreSQL, text such as `161101.83` in SQLite.

    SQLite has no decimals, and its REAL is a binary float. SQL cannot compare or sum amounts stored as text: do
    that in Python, or in SQL with whole cents, as the view `weekly_summary` does.

    Binding anything but a Decimal without a fraction of a cent raises (SQLAlchemy wraps it in a
    `StatementError`). The caller must round, because only the caller knows the rounding rule.
    """

    impl = Numeric(18, 2)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric(18, 2))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        amount = require_exact_cents(value)
        return format(amount, "f") if dialect.name == "sqlite" else amount

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        # Round, because somebody may have changed SQLite's text with arithmetic, which is binary there.
        return None if value is None else to_cents(Decimal(str(value)))


class ExactNumber(TypeDecorator[Decimal]):
    """A number with any decimals, such as a currency rate: NUMERIC in PostgreSQL, text in SQLite."""

    impl = Numeric()
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        if not isinstance(value, Decimal) or not value.is_finite():
            raise ValueError(f"a number must be a finite Decimal, not a {type(value).__name__}")
        return format(value, "f") if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(str(value))


def require_exact_cents(value: object) -> Decimal:
    """The amount with two decimals.

    Raises:
        ValueError: it is no Decimal, has a fraction of a cent, or does not fit into NUMERIC(18, 2).
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

    A naive datetime is refused, since the moment that it means is unknown. A datetime that is read is in UTC.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if not isinstance(value, datetime) or value.utcoffset() is None:
            raise ValueError("a moment must be a datetime with a time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
