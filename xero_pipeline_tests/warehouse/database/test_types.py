"""Both databases return money and moments exactly as they were written, or refuse to write them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Engine, Integer, MetaData, Table, delete, insert, select, text
from sqlalchemy.exc import StatementError

from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.types import Money, UtcDateTime

stored = Table(
    "stored", MetaData(), Column("id", Integer, primary_key=True), Column("a", Money), Column("at", UtcDateTime)
)

each = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    stored.metadata.create_all(engine)
    yield engine
    engine.dispose()


def write_and_read(engine: Engine, **values: Any) -> Any:
    """Write one row and return what the database then holds."""
    with engine.begin() as connection:
        connection.execute(delete(stored))
        connection.execute(insert(stored).values(**values))
    with engine.connect() as connection:
        return connection.execute(select(stored)).one()


cents = st.integers(-(10**18) + 1, 10**18 - 1).map(lambda whole: Decimal(whole).scaleb(-2))


@each
@given(cents)
@example(Decimal("9999999999999999.99"))
@example(Decimal("-9999999999999999.99"))
@example(Decimal("-0.01"))
@example(Decimal("0.1") + Decimal("0.2"))
def test_an_amount_is_read_exactly_as_written(engine: Engine, amount: Decimal) -> None:
    back = write_and_read(engine, a=amount).a
    assert type(back) is Decimal
    assert (back, back.as_tuple().exponent) == (amount, -2)


@pytest.mark.parametrize(
    ("given_amount", "written"), [("5", "5.00"), ("1E+3", "1000.00"), ("-0.00", "0.00"), ("7.100", "7.10")]
)
def test_an_amount_without_a_fraction_of_a_cent_is_written_with_two_decimals(
    engine: Engine, given_amount: str, written: str
) -> None:
    assert str(write_and_read(engine, a=Decimal(given_amount)).a) == written


@pytest.mark.parametrize(
    "wrong",
    [
        1.5,
        100,
        "100.00",
        True,
        Decimal("0.001"),
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1E16"),
        Decimal("-1E16"),
    ],
)
def test_anything_but_exact_cents_is_refused(engine: Engine, wrong: object) -> None:
    with pytest.raises(StatementError), engine.begin() as connection:
        connection.execute(insert(stored).values(a=wrong))


def test_sqlite_stores_plain_text_and_postgresql_a_numeric(engine: Engine) -> None:
    write_and_read(
        engine, a=Decimal("161101.83"), at=datetime(2026, 11, 24, 12, 0, tzinfo=timezone(timedelta(hours=11)))
    )
    kind = "typeof" if engine.dialect.name == "sqlite" else "pg_typeof"
    with engine.connect() as connection:
        amount, moment, of = connection.execute(
            text(f"SELECT CAST(a AS TEXT), CAST(at AS TEXT), CAST({kind}(a) AS TEXT) FROM stored")
        ).one()
    assert amount == "161101.83"
    assert moment == ("2026-11-24 01:00:00.000000" if of == "text" else "2026-11-24 01:00:00+00")
    assert of == ("text" if engine.dialect.name == "sqlite" else "numeric")


# Not quite the first and last days of the calendar, since converting the time zone would leave it.
_FIRST, _LAST = datetime(1900, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001
moments = st.datetimes(_FIRST, _LAST, timezones=st.timezones())


@each
@given(moments)
def test_a_moment_is_read_as_the_same_moment_in_utc(engine: Engine, moment: datetime) -> None:
    back = write_and_read(engine, at=moment).at
    assert back == moment.astimezone(UTC)
    assert back.tzinfo is UTC


@pytest.mark.parametrize("wrong", [datetime(2026, 11, 24), "2026-11-24", 0])  # noqa: DTZ001
def test_a_moment_without_a_time_zone_is_refused(engine: Engine, wrong: object) -> None:
    with pytest.raises(StatementError), engine.begin() as connection:
        connection.execute(insert(stored).values(at=wrong))


def test_none_is_stored_as_null(engine: Engine) -> None:
    row = write_and_read(engine, a=None, at=None)
    assert (row.a, row.at) == (None, None)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(moments, min_size=2, max_size=6))
def test_moments_sort_chronologically_in_the_database(engine: Engine, given_moments: list[datetime]) -> None:
    with engine.begin() as connection:
        connection.execute(delete(stored))
        connection.execute(insert(stored), [{"at": moment} for moment in given_moments])
        back = connection.execute(select(stored.c.at).order_by(stored.c.at)).scalars().all()
    assert back == sorted(moment.astimezone(UTC) for moment in given_moments)
