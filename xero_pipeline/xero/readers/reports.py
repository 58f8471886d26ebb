"""The envelope of Xero's reports: its rows, its window, its cells. What the rows mean is their readers' matter.

Pure: JSON in, values out. Source: Xero's "Reports" endpoint; every value is a string, `Rows` and `Title`
may be missing or empty anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from xero_pipeline.money import to_cents, to_decimal
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.readers.periods import read_period

# The P&L says `account`, the bank summary `accountID`.
_ACCOUNT_IDS = ("account", "accountid")
# What the reports call themselves in `ReportType` and `ReportID`, in small letters.
_REPORT_TYPES = {
    "agedpayablesbycontact", "agedreceivablesbycontact", "balancesheet", "banksummary", "budgetsummary",
    "executivesummary", "profitandloss", "trialbalance",
}  # fmt: skip


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
class ReportCell:
    value: Any
    attributes: Mapping[str, str]
    """By lower-case Id."""

    @property
    def is_blank(self) -> bool:
        return self.value is None or (isinstance(self.value, str) and not self.value.strip())


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A row and where it stands: the numbers of its sections, the outermost first. A row of no section counts
    as one in an untitled section of its own."""

    kind: str
    cells: tuple[ReportCell, ...]
    path: tuple[int, ...]
    title: str

    @property
    def account_id(self) -> str | None:
        """The account that the row is of, from whichever cell says it; `None` for totals and profit lines.

        Raises:
            PayloadNotUnderstood: its cells name two accounts, or one without an id.
        """
        found = {cell.attributes[name] for cell in self.cells for name in _ACCOUNT_IDS if name in cell.attributes}
        if len({one.lower() for one in found}) > 1 or "" in found:
            raise PayloadNotUnderstood(f"The row {self.label[:60]!r} does not name exactly one account.")
        return next(iter(found), None)

    def says(self, place: int) -> bool:
        """Whether there is anything in that cell."""
        return place < len(self.cells) and not self.cells[place].is_blank

    @property
    def is_blank(self) -> bool:
        return all(cell.is_blank and not cell.attributes for cell in self.cells)

    @property
    def label(self) -> str:
        return str(self.cells[0].value or "").strip() if self.says(0) else ""


def read_report(payload: Mapping[str, Any], name: str, week: Week) -> list[ReportRow]:
    """The rows of the one report, in order, once its window is seen to be the asked week.

    Raises:
        PayloadNotUnderstood: no report, more than one, or rows of an unknown kind.
        WrongPeriod: the report is for other dates: Xero has ignored the ones that were asked.
    """
    reports = payload.get("Reports")
    if not isinstance(reports, list) or len(reports) != 1 or not isinstance(reports[0], dict):
        raise PayloadNotUnderstood(f"Xero's {name} answer does not hold exactly one report.")
    report = reports[0]
    _require_name(report, name)
    titles = report.get("ReportTitles")
    titles = [title for title in titles if isinstance(title, str)] if isinstance(titles, list) else []
    period = read_period(titles, week)
    if period is None:
        raise PayloadNotUnderstood(f"The {name} report does not say in its titles which dates it is for.")
    if period != (week.start, week.ending):
        raise WrongPeriod(
            f"The {name} report is for {period[0]} to {period[1]}, asked was {week.start} to {week.ending}."
        )
    return list(_rows(report.get("Rows"), name))


def _require_name(report: Mapping[str, Any], name: str) -> None:
    """An answer to another question is recognised where the report says what it is."""
    for field in ("ReportType", "ReportID"):
        said = str(report.get(field) or "").strip().lower()
        if said in _REPORT_TYPES and said != _letters(name):
            raise PayloadNotUnderstood(f"Xero answered the report {said[:40]} where {name} was asked.")


def _letters(text: object) -> str:
    return re.sub(r"[^a-z]", "", str(text or "").lower())


def _rows(rows: object, name: str) -> Iterator[ReportRow]:
    numbers = count(1)
    for node in _nodes(rows, name):
        yield from _walk(node, name, numbers, (), "")


def _walk(
    node: Mapping[str, Any], name: str, numbers: Iterator[int], path: tuple[int, ...], title: str
) -> Iterator[ReportRow]:
    kind, cells = _kind(node, name), _cells(node, name)
    if kind != "section":
        yield ReportRow(kind, cells, path or (next(numbers),), title)
        if _nodes(node.get("Rows"), name):
            raise PayloadNotUnderstood(f"The {name} report has a row with rows of its own that is no section.")
        return
    if any(cell.attributes or not cell.is_blank for cell in cells):
        raise PayloadNotUnderstood(f"The {name} report has a section that is a row as well.")
    title = str(node.get("Title") or "").strip()
    path = (*path, next(numbers))
    for inner in _nodes(node.get("Rows"), name):
        yield from _walk(inner, name, numbers, path, title)


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


def _cells(node: Mapping[str, Any], name: str) -> tuple[ReportCell, ...]:
    return tuple(ReportCell(cell.get("Value"), _attributes(cell, name)) for cell in _nodes(node.get("Cells"), name))


def _attributes(cell: Mapping[str, Any], name: str) -> dict[str, str]:
    attributes = cell.get("Attributes") or []
    if not isinstance(attributes, list) or not all(isinstance(one, dict) for one in attributes):
        raise PayloadNotUnderstood(f"The {name} report has a cell whose Attributes are no list.")
    return {str(one.get("Id") or "").strip().lower(): str(one.get("Value") or "").strip() for one in attributes}


def in_form(value: object) -> str:
    """How a value is written, for an error that must not carry what it says: `, but like '$9,999.99'`."""
    if not isinstance(value, str) or not value.strip():
        return ""
    form = re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "9", value.strip()))
    return f", but like {form[:40]!r}"


def read_amount(cell: ReportCell | None, where: str) -> Decimal:
    """A cell's amount, exact to the cent.

    Raises:
        PayloadNotUnderstood: it is missing, empty, no plain decimal, or finer than a cent.
    """
    value = cell.value if cell is not None else None
    try:
        amount = to_decimal(value)
    except ValueError:
        raise PayloadNotUnderstood(f"{where} has an amount that is no plain decimal number{in_form(value)}.") from None
    cents = to_cents(amount)
    if cents != amount:
        raise PayloadNotUnderstood(f"{where} has an amount finer than a cent.")
    return cents
