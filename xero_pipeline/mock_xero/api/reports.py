"""GET Reports/ProfitAndLoss and Reports/BankSummary: the books' figures as Xero's reports.

Every value is a string. `report_layouts.py` defines the sections and their titles.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from typing import Any

from xero_pipeline.mock_xero.api.report_layouts import LAYOUTS, Layout, LayoutProfitLine, LayoutSection
from xero_pipeline.mock_xero.api.tracking_columns import ReportColumn, list_tracking_columns
from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.documents import cents_to_decimal
from xero_pipeline.mock_xero.books.figures import Credits, Figures, Movement
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.messages import MockRequest
from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.problems import ValidationProblem
from xero_pipeline.mock_xero.state import State

Json = dict[str, Any]
Days = tuple[dt.date, dt.date]

# Xero's reports cover at most a year: 366 days in a leap year.
MAX_DAYS = 366

_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


class Reports:
    """Renders one organisation's reports."""

    def __init__(self, books: Books, state: State, now: dt.datetime) -> None:
        self._books = books
        self._figures = Figures(books, state, now)
        self._now = now
        self._chart = books.chart

    @property
    def _organisation(self) -> MockOrganisation:
        return self._books.organisation

    def render_profit_and_loss(self, request: MockRequest, *, ignore_dates: bool = False) -> Json:
        """The profit and loss report.

        Raises:
            ValidationProblem: Xero would reject the dates, timeframe, periods or tracking categories.
        """
        days = self._read_days(request, ignore_dates)
        cash_basis = (request.parameter("paymentsOnly") or "").lower() == "true"
        columns = list_tracking_columns(self._books, days, request, cash_basis=cash_basis) or [
            ReportColumn(f"{last.day} {last:%b %y}", self._figures.sum_credits(first, last, cash_basis=cash_basis))
            for first, last in (days, *_list_earlier_columns(days, request))
        ]
        header = _make_row("Header", _make_cell(""), *(_make_cell(column.title) for column in columns))
        layout = LAYOUTS[self._organisation.layout]
        rows = [header, *self._render_parts(layout, [column.credits for column in columns])]
        first, last = days
        window = f"{_format_long_date(first)} to {_format_long_date(last)}"
        return self._wrap_report("ProfitAndLoss", "Profit and Loss", "Profit & Loss", window, rows)

    def render_bank_summary(self, request: MockRequest, *, ignore_dates: bool = False) -> Json:
        """The bank summary. Raises ValidationProblem if Xero would reject the dates."""
        first, last = self._read_days(request, ignore_dates)
        movements = self._figures.sum_movements(first, last)
        with_gain = any(movement.gain for movement in movements.values())
        titles = ["Bank Accounts", "Opening Balance", "Cash Received", "Cash Spent"]
        titles += ["Foreign Currency Gain"] if with_gain else []
        header = _make_row("Header", *map(_make_cell, [*titles, "Closing Balance"]))
        rows = [self._render_bank_row(code, movement, with_gain) for code, movement in movements.items()]
        total = Movement(*(sum(column) for column in zip(*map(_to_tuple, movements.values()), strict=True)))
        rows.append(
            _make_row("SummaryRow", _make_cell("Total"), *map(_make_amount_cell, _list_amounts(total, with_gain)))
        )
        section = {"RowType": "Section", "Title": "", "Rows": rows}
        window = f"From {_format_long_date(first)} to {_format_long_date(last)}"
        return self._wrap_report("BankSummary", "Bank Summary", "Bank Summary", window, [header, section])

    def _render_bank_row(self, code: str, movement: Movement, with_gain: bool) -> Json:
        account = self._chart[code]
        amounts = [_make_amount_cell(cents) for cents in _list_amounts(movement, with_gain)]
        # Only the cells of movements link to their transactions.
        for cell in amounts[1:-1]:
            cell["Attributes"] = [{"Value": account.id, "Id": "account"}]
        name = {"Value": account.name, "Attributes": [{"Value": account.id, "Id": "accountID"}]}
        return _make_row("Row", name, *amounts)

    def _render_parts(self, layout: Layout, credits: Sequence[Credits]) -> list[Json]:
        rendered = [
            self._render_section(part, credits)
            if isinstance(part, LayoutSection)
            else self._render_profit_line(part, credits, layout)
            for part in layout.parts
        ]
        return [json for json in rendered if json is not None]

    def _render_section(self, section: LayoutSection, credits: Sequence[Credits]) -> Json | None:
        """A section with its rows sorted by account name; `None` if it has no amounts."""
        accounts = [account for account in self._chart.values() if section.has_account(account)]
        shown = [
            (account, [section.apply_sign(account, column[account.code]) for column in credits])
            for account in accounts
            if any(column[account.code] for column in credits)
        ]
        if not shown:
            return None
        rows = [
            self._render_account_row(account, amounts)
            for account, amounts in sorted(shown, key=lambda row: row[0].name)
        ]
        sums = [sum(column) for column in zip(*(amounts for _, amounts in shown), strict=True)]
        rows.append(_make_row("SummaryRow", _make_cell(section.summary), *map(_make_amount_cell, sums)))
        return {"RowType": "Section", "Title": section.title, "Rows": rows}

    def _render_account_row(self, account: chart.MockAccount, amounts: Sequence[int]) -> Json:
        is_gain = account.code == chart.CURRENCY_GAINS
        account_id = chart.CURRENCY_GAINS_ID if is_gain else account.id
        cells = [_make_cell(chart.CURRENCY_GAINS_NAME if is_gain else account.name), *map(_make_amount_cell, amounts)]
        for cell in cells:
            cell["Attributes"] = [{"Value": account_id, "Id": "account"}]
        return _make_row("Row", *cells)

    def _render_profit_line(self, part: LayoutProfitLine, credits: Sequence[Credits], layout: Layout) -> Json:
        """A profit line, or the empty section that Xero puts before the last line."""
        json: Json = {"RowType": "Section"}
        if not layout.sparse:
            json["Title"] = ""
        if not part.label:
            return json if layout.sparse else {**json, "Rows": []}
        accounts = [account for account in self._chart.values() if account.is_profit_and_loss]
        sums = [sum(column[account.code] for account in accounts if account.type in part.types) for column in credits]
        return {**json, "Rows": [_make_row("Row", _make_cell(part.label), *map(_make_amount_cell, sums))]}

    def _read_days(self, request: MockRequest, ignore_dates: bool) -> Days:
        """The requested range of days; by default the current month."""
        today = self._books.today
        from_date = None if ignore_dates else _parse_day(request, "fromDate")
        first = from_date or today.replace(day=1)
        to_date = None if ignore_dates else _parse_day(request, "toDate")
        last = to_date or first.replace(day=calendar.monthrange(first.year, first.month)[1])
        if last < first:
            raise ValidationProblem("The fromDate must be before the toDate")
        if (last - first).days >= MAX_DAYS:
            raise ValidationProblem("The date range must be 365 days or less")
        return first, last

    def _wrap_report(self, key: str, name: str, title: str, window: str, rows: list[Json]) -> Json:
        milliseconds = int(self._now.timestamp() * 1000)
        report = {
            "ReportID": key,
            "ReportName": name,
            "ReportType": key,
            "ReportTitles": [title, self._organisation.name, window],
            "ReportDate": _format_long_date(self._books.today),
            "UpdatedDateUTC": f"/Date({milliseconds})/",
            "Fields": [],
            "Rows": rows,
        }
        return {"Reports": [report]}


def _list_earlier_columns(days: Days, request: MockRequest) -> list[Days]:
    """The ranges of the columns that `periods` adds, each one timeframe earlier than the one before."""
    periods, timeframe = request.parameter("periods"), (request.parameter("timeframe") or "MONTH").upper()
    if timeframe not in _MONTHS:
        raise ValidationProblem("The timeframe must be MONTH, QUARTER or YEAR")
    if periods is None:
        return []
    if not periods.isascii() or not periods.isdigit() or not 1 <= int(periods) <= 11:
        raise ValidationProblem("The periods must be a whole number between 1 and 11")
    months = _MONTHS[timeframe]
    return [
        (_subtract_months(days[0], months * column), _subtract_months(days[1], months * column))
        for column in range(1, int(periods) + 1)
    ]


def _subtract_months(day: dt.date, months: int) -> dt.date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _parse_day(request: MockRequest, name: str) -> dt.date | None:
    text = request.parameter(name)
    if not text:
        return None
    try:
        return dt.date.fromisoformat(text[:10])
    except ValueError:
        raise ValidationProblem(f"The {name} is not a date: use YYYY-MM-DD") from None


def _format_long_date(day: dt.date) -> str:
    return f"{day.day} {day:%B %Y}"


def _to_tuple(movement: Movement) -> tuple[int, int, int, int]:
    return movement.opening, movement.received, movement.spent, movement.gain


def _list_amounts(movement: Movement, with_gain: bool) -> list[int]:
    gain = [movement.gain] if with_gain else []
    return [movement.opening, movement.received, movement.spent, *gain, movement.closing]


def _make_cell(value: str) -> Json:
    return {"Value": value}


def _make_amount_cell(cents: int) -> Json:
    return _make_cell(f"{cents_to_decimal(cents):f}")


def _make_row(kind: str, *cells: Json) -> Json:
    return {"RowType": kind, "Cells": list(cells)}
