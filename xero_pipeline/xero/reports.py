"""The envelope of Xero's reports: its rows, its window, its cells. What the rows mean is their readers' matter.

Pure: JSON in, values out. Source: Xero's "Reports" endpoint; every value is a string, `Rows` and `Title`
may be missing or empty anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from xero_pipeline.money import to_cents, to_decimal
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.periods import read_period


@dataclass(frozen=True, slots=True)
class Difference:
    """Two figures of Xero's own that should be one: what it states, and what its parts add up to."""

    where: str
    stated: Decimal
    found: Decimal

    def __str__(self) -> str:
        return f"{self.where}: Xero states {self.stated}, its parts add up to {self.found}"

    def as_dict(self) -> dict[str, str]:
        return {
            "where": self.where,
            "stated": str(self.stated),
            "found": str(self.found),
            "difference": str(self.stated - self.found),
        }


@dataclass(frozen=True, slots=True)
class Cell:
    value: Any
    attributes: Mapping[str, str]
    """By lower-case Id."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row and the number of the section that it stands in; rows of no section have one of their own."""

    kind: str
    cells: tuple[Cell, ...]
    section: int
    title: str

    def attribute(self, *ids: str) -> str | None:
        """The first of these attributes in any cell."""
        for cell in self.cells:
            for wanted in ids:
                if cell.attributes.get(wanted):
                    return cell.attributes[wanted]
        return None

    @property
    def label(self) -> str:
        return str(self.cells[0].value or "").strip() if self.cells else ""


def read_report(payload: Mapping[str, Any], name: str, week: Week) -> list[Row]:
    """The rows of the one report, in order, once its window is seen to be the asked week.

    Raises:
        PayloadNotUnderstood: no report, more than one, or rows of an unknown kind.
        WrongPeriod: the report is for other dates: Xero has ignored the ones that were asked.
    """
    reports = payload.get("Reports")
    if not isinstance(reports, list) or len(reports) != 1 or not isinstance(reports[0], dict):
        raise PayloadNotUnderstood(f"Xero's {name} answer does not hold exactly one report.")
    report = reports[0]
    titles = [str(title) for title in report.get("ReportTitles") or []]
    period = read_period(titles, week)
    if period is None:
        raise PayloadNotUnderstood(f"The {name} report does not say in its titles which dates it is for.")
    if period != (week.start, week.ending):
        raise WrongPeriod(
            f"The {name} report is for {period[0]} to {period[1]}, asked was {week.start} to {week.ending}."
        )
    return list(_rows(report.get("Rows"), name))


def _rows(rows: object, name: str) -> Iterator[Row]:
    numbers = count(1)
    for node in _nodes(rows, name):
        yield from _walk(node, name, numbers, next(numbers), "")


def _walk(node: Mapping[str, Any], name: str, numbers: Iterator[int], section: int, title: str) -> Iterator[Row]:
    kind = _kind(node, name)
    if kind != "section":
        yield Row(kind, _cells(node, name), section, title)
        return
    title = str(node.get("Title") or "").strip() or title
    own = next(numbers)
    for inner in _nodes(node.get("Rows"), name):
        yield from _walk(inner, name, numbers, own, title)


def _nodes(rows: object, name: str) -> list[Mapping[str, Any]]:
    if rows is None:
        return []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PayloadNotUnderstood(f"The {name} report has Rows that are no list of rows.")
    return rows


def _kind(node: Mapping[str, Any], name: str) -> str:
    kind = str(node.get("RowType") or "").lower()
    if kind not in {"header", "section", "row", "summaryrow"}:
        raise PayloadNotUnderstood(f"The {name} report has a row of the unknown type {kind[:40]!r}.")
    return kind


def _cells(node: Mapping[str, Any], name: str) -> tuple[Cell, ...]:
    return tuple(Cell(cell.get("Value"), _attributes(cell)) for cell in _nodes(node.get("Cells"), name))


def _attributes(cell: Mapping[str, Any]) -> dict[str, str]:
    attributes = cell.get("Attributes") or []
    if not isinstance(attributes, list):
        return {}
    return {
        str(one.get("Id") or "").lower(): str(one.get("Value") or "").strip()
        for one in attributes
        if isinstance(one, dict)
    }


def read_amount(cell: Cell | None, where: str) -> Decimal:
    """A cell's amount, exact to the cent.

    Raises:
        PayloadNotUnderstood: it is missing, empty, no plain decimal, or finer than a cent.
    """
    value = cell.value if cell is not None else None
    try:
        amount = to_decimal(value)
    except ValueError:
        raise PayloadNotUnderstood(f"{where} has an amount that is no plain decimal number.") from None
    cents = to_cents(amount)
    if cents != amount:
        raise PayloadNotUnderstood(f"{where} has an amount finer than a cent.")
    return cents
