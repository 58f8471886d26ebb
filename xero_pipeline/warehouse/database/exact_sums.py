"""Exact sums of money in SQL, on both databases. SQLite stores amounts as text, and its own `SUM` is a binary float."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction


class sum_cents(GenericFunction[int]):
    """The sum of a `Money` column in whole cents; NULL without any row. `to_money` makes an amount of it."""

    type = BigInteger()
    inherit_cache = True
    name = "sum_cents"


@compiles(sum_cents)
def _sum_numeric(element: sum_cents, compiler: Any, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    return f"CAST(SUM({column}) * 100 AS BIGINT)"


@compiles(sum_cents, "sqlite")
def _sum_text(element: sum_cents, compiler: Any, **options: Any) -> str:
    # Text that somebody entered by hand without two decimals is read as a number, as in the view `weekly_summary`.
    column = compiler.process(element.clauses, **options)
    return (
        f"SUM(CASE WHEN {column} GLOB '*[0-9].[0-9][0-9]' THEN CAST(REPLACE({column}, '.', '') AS INTEGER) "
        f"ELSE CAST(ROUND({column} * 100) AS INTEGER) END)"
    )


def to_money(cents: int | None) -> Decimal:
    """The amount of whole cents; 0.00 for NULL."""
    return Decimal(cents or 0).scaleb(-2).quantize(Decimal("0.01"))
