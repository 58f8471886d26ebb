"""Reads what all of Xero's reports have in common: the period, the rows and the cells. Pure: JSON in, values out.

`profit_and_loss.py` and `bank_summary.py` interpret the rows. Source: Xero's "Reports" endpoint. Every value is a
string, and `Rows` and `Title` may be missing or empty anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from xero_pipeline.differences import Difference as Difference
from xero_pipeline.identifiers import normalise_id
from xero_pipeline.money import to_cents, to_decimal
from xero_pipeline.periods import Period
from xero_pipeline.weeks import WeekRange
from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.readers.periods import read_period

# The attribute with the account's id: `account` in the P&L, `accountID` in the bank summary.
_ACCOUNT_IDS = ("account", "accountid")
# The values of `ReportType` and `ReportID`, in lower case.
_REPORT_TYPES = {
    "agedpayablesbycontact", "agedreceivablesbycontact", "balancesheet", "banksummary", "budgetsummary",
    "executivesummary", "profitandloss", "trialbalance",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReportCell:
    value: Any
    attributes: Mapping[str, str]
    """The values by their lower-case Id."""

    @property
    def is_blank(self) -> bool:
        return self.value is None or (isinstance(self.value, str) and not self.value.strip())


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A row of a report.

    `path` holds the numbers of the row's sections, the outermost first. A row outside of all sections counts as the
    only row of an untitled section.
    """

    kind: str
    cells: tuple[ReportCell, ...]
    path: tuple[int, ...]
    title: str

    @property
    def account_id(self) -> str | None:
        """The id of the row's account in its one spelling, from any of its cells; `None` for totals and profit lines.

        Raises:
            PayloadNotUnderstood: its cells name two accounts, or one without an id.
        """
        ids = {
            normalise_id(cell.attributes[name])
            for cell in self.cells
            for name in _ACCOUNT_IDS
            if name in cell.attributes
        }
        if len(ids) > 1 or "" in ids:
            raise PayloadNotUnderstood(f"The row {self.label[:60]!r} does not name exactly one account.")
        return next(iter(ids), None)

    def has_value(self, column: int) -> bool:
        """Return whether the row's cell in this column exists and is not blank."""
        return column < len(self.cells) and not self.cells[column].is_blank

    @property
    def is_blank(self) -> bool:
        return all(cell.is_blank and not cell.attributes for cell in self.cells)

    @property
    def label(self) -> str:
        return str(self.cells[0].value or "").strip() if self.has_value(0) else ""


def read_report(payload: Mapping[str, Any], name: str, week: Period | WeekRange) -> list[ReportRow]:
    """Return the rows of the one report, in order, after checking that it is for the requested week.

    Raises:
        PayloadNotUnderstood: there is not exactly one report, it has rows of an unknown kind, or it has no header.
        WrongPeriod: the report is for other dates, because Xero ignored the requested ones.
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
        raise PayloadNotUnderstood(f"The titles of the {name} report do not say which dates it is for.")
    if period != (week.start, week.ending):
        raise WrongPeriod(
            f"The {name} report is for {period[0]} to {period[1]}, not for the requested {week.start} to {week.ending}."
        )
    rows = list(_read_rows(report.get("Rows"), name))
    if not any(row.kind == "header" for row in rows):
        raise PayloadNotUnderstood(
            f"The {name} report has no header or no rows at all, which even a week without figures has.",
            advice="Nothing was written; the figures held before stay. The next sync reads the week again.",
        )
    return rows


def _require_name(report: Mapping[str, Any], name: str) -> None:
    """Reject another report than the requested one, if its type or id names a known report."""
    for field in ("ReportType", "ReportID"):
        report_type = str(report.get(field) or "").strip().lower()
        if report_type in _REPORT_TYPES and report_type != _keep_letters(name):
            raise PayloadNotUnderstood(f"Xero answered with the report {report_type[:40]} instead of {name}.")


def _keep_letters(text: object) -> str:
    return re.sub(r"[^a-z]", "", str(text or "").lower())


def _read_rows(rows: object, name: str) -> Iterator[ReportRow]:
    section_numbers = count(1)
    for node in _require_nodes(rows, name):
        yield from _flatten(node, name, section_numbers, (), "")


def _flatten(
    node: Mapping[str, Any], name: str, section_numbers: Iterator[int], path: tuple[int, ...], title: str
) -> Iterator[ReportRow]:
    """Yield the rows of a node of the report's tree, in order."""
    kind, cells = _read_kind(node, name), _read_cells(node, name)
    if kind != "section":
        yield ReportRow(kind, cells, path or (next(section_numbers),), title)
        if _require_nodes(node.get("Rows"), name):
            raise PayloadNotUnderstood(f"The {name} report has a row with rows of its own that is not a section.")
        return
    if any(cell.attributes or not cell.is_blank for cell in cells):
        raise PayloadNotUnderstood(f"The {name} report has a section that is also a row.")
    title = str(node.get("Title") or "").strip()
    path = (*path, next(section_numbers))
    for child in _require_nodes(node.get("Rows"), name):
        yield from _flatten(child, name, section_numbers, path, title)


def _require_nodes(rows: object, name: str) -> list[Mapping[str, Any]]:
    if rows is None:
        return []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PayloadNotUnderstood(f"The {name} report has Rows that are not a list of rows.")
    return rows


def _read_kind(node: Mapping[str, Any], name: str) -> str:
    kind = str(node.get("RowType") or "").lower()
    if kind not in {"header", "section", "row", "summaryrow"}:
        raise PayloadNotUnderstood(f"The {name} report has a row of the unknown type {kind[:40]!r}.")
    return kind


def _read_cells(node: Mapping[str, Any], name: str) -> tuple[ReportCell, ...]:
    cells = _require_nodes(node.get("Cells"), name)
    return tuple(ReportCell(cell.get("Value"), _read_attributes(cell, name)) for cell in cells)


def _read_attributes(cell: Mapping[str, Any], name: str) -> dict[str, str]:
    attributes = cell.get("Attributes") or []
    if not isinstance(attributes, list) or not all(isinstance(attribute, dict) for attribute in attributes):
        raise PayloadNotUnderstood(f"The {name} report has a cell whose Attributes are not a list.")
    return {
        str(attribute.get("Id") or "").strip().lower(): str(attribute.get("Value") or "").strip()
        for attribute in attributes
    }


def describe_format(value: object) -> str:
    """Describe how a value is written, for an error that must not show the value: `, but like '$9,999.99'`."""
    if not isinstance(value, str) or not value.strip():
        return ""
    pattern = re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "9", value.strip()))
    return f", but like {pattern[:40]!r}"


def read_amount(cell: ReportCell | None, where: str) -> Decimal:
    """Read a cell's amount, exact to the cent.

    Raises:
        PayloadNotUnderstood: it is missing, empty, not a plain decimal, or finer than a cent.
    """
    value = cell.value if cell is not None else None
    try:
        amount = to_decimal(value)
    except ValueError:
        raise PayloadNotUnderstood(
            f"{where} has an amount that is not a plain decimal number{describe_format(value)}."
        ) from None
    cents = to_cents(amount)
    if cents != amount:
        raise PayloadNotUnderstood(f"{where} has an amount finer than a cent.")
    return cents
