"""GET Reports/ProfitAndLoss and Reports/BankSummary: figures in the rows and words of Xero's reports.

Every value is a text. Which sections there are, and what they are called, is `report_layouts.py`'s matter.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from typing import Any

from xero_pipeline.mock_xero.api.report_layouts import LAYOUTS, Layout, LayoutProfitLine, LayoutSection
from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.documents import in_units
from xero_pipeline.mock_xero.books.figures import Credits, Figures, Movement
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.messages import MockRequest
from xero_pipeline.mock_xero.organisations import MockOrganisation
from xero_pipeline.mock_xero.problems import ValidationProblem
from xero_pipeline.mock_xero.state import State

Json = dict[str, Any]
Days = tuple[dt.date, dt.date]

# Xero: a report covers a year at most.
LONGEST = 366

_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


class Reports:
    """One organisation's reports for a request."""

    def __init__(self, books: Books, state: State, now: dt.datetime) -> None:
        self._books = books
        self._figures = Figures(books, state, now)
        self._now = now

    @property
    def _organisation(self) -> MockOrganisation:
        return self._books.organisation

    def profit_and_loss(self, request: MockRequest, *, ignore_dates: bool = False) -> Json:
        """Raises ValidationProblem for dates, timeframes or periods that Xero would not take."""
        days = self._days(request, ignore_dates)
        columns = [days, *_earlier(days, request)]
        cash = (request.parameter("paymentsOnly") or "").lower() == "true"
        credits = [self._figures.credits(*column, cash_basis=cash) for column in columns]
        layout = LAYOUTS[self._organisation.layout]
        header = _row("Header", _cell(""), *(_cell(f"{last.day} {last:%b %y}") for _, last in columns))
        rows = [header, *self._parts(layout, credits)]
        first, last = days
        window = f"{_long(first)} to {_long(last)}"
        return self._report("ProfitAndLoss", "Profit and Loss", "Profit & Loss", window, rows)

    def bank_summary(self, request: MockRequest, *, ignore_dates: bool = False) -> Json:
        """Raises ValidationProblem for dates that Xero would not take."""
        first, last = self._days(request, ignore_dates)
        moves = self._figures.bank(first, last)
        with_gain = any(move.gain for move in moves.values())
        titles = ["Bank Accounts", "Opening Balance", "Cash Received", "Cash Spent"]
        titles += ["Foreign Currency Gain"] if with_gain else []
        header = _row("Header", *map(_cell, [*titles, "Closing Balance"]))
        rows = [self._bank_row(code, move, with_gain) for code, move in moves.items()]
        whole = Movement(*(sum(column) for column in zip(*map(_parts_of, moves.values()), strict=True)))
        rows.append(_row("SummaryRow", _cell("Total"), *map(_amount, _columns(whole, with_gain))))
        section = {"RowType": "Section", "Title": "", "Rows": rows}
        window = f"From {_long(first)} to {_long(last)}"
        return self._report("BankSummary", "Bank Summary", "Bank Summary", window, [header, section])

    def _bank_row(self, code: str, move: Movement, with_gain: bool) -> Json:
        account = chart.chart_of(self._organisation)[code]
        amounts = [_amount(cents) for cents in _columns(move, with_gain)]
        # Only the cells of movements lead on to their transactions.
        for cell in amounts[1:-1]:
            cell["Attributes"] = [{"Value": account.id, "Id": "account"}]
        name = {"Value": account.name, "Attributes": [{"Value": account.id, "Id": "accountID"}]}
        return _row("Row", name, *amounts)

    def _parts(self, layout: Layout, credits: Sequence[Credits]) -> list[Json]:
        made = [
            self._section(part, credits) if isinstance(part, LayoutSection) else self._profit(part, credits, layout)
            for part in layout.parts
        ]
        return [json for json in made if json is not None]

    def _section(self, section: LayoutSection, credits: Sequence[Credits]) -> Json | None:
        """The section's rows by name; no section where there is nothing to show."""
        accounts = [one for one in chart.chart_of(self._organisation).values() if section.holds(one)]
        shown = [
            (account, [section.amount(account, column[account.code]) for column in credits])
            for account in accounts
            if any(column[account.code] for column in credits)
        ]
        if not shown:
            return None
        rows = [self._account_row(account, amounts) for account, amounts in sorted(shown, key=lambda one: one[0].name)]
        sums = [sum(column) for column in zip(*(amounts for _, amounts in shown), strict=True)]
        rows.append(_row("SummaryRow", _cell(section.summary), *map(_amount, sums)))
        return {"RowType": "Section", "Title": section.title, "Rows": rows}

    def _account_row(self, account: chart.MockAccount, amounts: Sequence[int]) -> Json:
        is_gain = account.code == chart.CURRENCY_GAINS
        account_id = chart.CURRENCY_GAINS_ID if is_gain else account.id
        cells = [_cell(chart.CURRENCY_GAINS_NAME if is_gain else account.name), *map(_amount, amounts)]
        for cell in cells:
            cell["Attributes"] = [{"Value": account_id, "Id": "account"}]
        return _row("Row", *cells)

    def _profit(self, part: LayoutProfitLine, credits: Sequence[Credits], layout: Layout) -> Json:
        """A profit line, or the empty section that Xero puts before the last one."""
        json: Json = {"RowType": "Section"}
        if not layout.sparse:
            json["Title"] = ""
        if not part.label:
            return json if layout.sparse else {**json, "Rows": []}
        accounts = [one for one in chart.chart_of(self._organisation).values() if one.is_profit_and_loss]
        sums = [sum(column[one.code] for one in accounts if one.type in part.types) for column in credits]
        return {**json, "Rows": [_row("Row", _cell(part.label), *map(_amount, sums))]}

    def _days(self, request: MockRequest, ignore_dates: bool) -> Days:
        """The range that is asked for; by default the running month."""
        today = self._books.today
        given = None if ignore_dates else _day(request, "fromDate")
        first = given or today.replace(day=1)
        end = None if ignore_dates else _day(request, "toDate")
        last = end or first.replace(day=calendar.monthrange(first.year, first.month)[1])
        if last < first:
            raise ValidationProblem("The fromDate must be before the toDate")
        if (last - first).days >= LONGEST:
            raise ValidationProblem("The date range must be 365 days or less")
        return first, last

    def _report(self, key: str, name: str, title: str, window: str, rows: list[Json]) -> Json:
        milliseconds = int(self._now.timestamp() * 1000)
        report = {
            "ReportID": key,
            "ReportName": name,
            "ReportType": key,
            "ReportTitles": [title, self._organisation.name, window],
            "ReportDate": _long(self._books.today),
            "UpdatedDateUTC": f"/Date({milliseconds})/",
            "Fields": [],
            "Rows": rows,
        }
        return {"Reports": [report]}


def _earlier(days: Days, request: MockRequest) -> list[Days]:
    """The columns that `periods` adds: the same range, so many months, quarters or years earlier."""
    periods, timeframe = request.parameter("periods"), (request.parameter("timeframe") or "MONTH").upper()
    if timeframe not in _MONTHS:
        raise ValidationProblem("The timeframe must be MONTH, QUARTER or YEAR")
    if periods is None:
        return []
    if not periods.isascii() or not periods.isdigit() or not 1 <= int(periods) <= 11:
        raise ValidationProblem("The periods must be a whole number between 1 and 11")
    months = _MONTHS[timeframe]
    return [(_back(days[0], months * at), _back(days[1], months * at)) for at in range(1, int(periods) + 1)]


def _back(day: dt.date, months: int) -> dt.date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _day(request: MockRequest, name: str) -> dt.date | None:
    text = request.parameter(name)
    if not text:
        return None
    try:
        return dt.date.fromisoformat(text[:10])
    except ValueError:
        raise ValidationProblem(f"The {name} is not a date: use YYYY-MM-DD") from None


def _long(day: dt.date) -> str:
    return f"{day.day} {day:%B %Y}"


def _parts_of(move: Movement) -> tuple[int, int, int, int]:
    return move.opening, move.received, move.spent, move.gain


def _columns(move: Movement, with_gain: bool) -> list[int]:
    gain = [move.gain] if with_gain else []
    return [move.opening, move.received, move.spent, *gain, move.closing]


def _cell(value: str) -> Json:
    return {"Value": value}


def _amount(cents: int) -> Json:
    return _cell(f"{in_units(cents):f}")


def _row(kind: str, *cells: Json) -> Json:
    return {"RowType": kind, "Cells": list(cells)}
