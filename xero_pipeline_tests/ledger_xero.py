"""A Xero of its own with a small ledger: postings, bank movements and invoices, and reports that add them up.

It shares no code with the mock. A test edits the ledger as people edit books: without telling anybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from xero_pipeline.weeks import Week
from xero_pipeline_tests.plain_xero import BANK_TITLES, PlainXero
from xero_pipeline_tests.servers import SeenRequest

ZERO = Decimal("0.00")
SALES, COSTS, WAGES, RENT, BANK = (f"00000000-0000-4000-8000-00000000000{number}" for number in range(1, 6))
_NAMES = {SALES: "Sales", COSTS: "Materials", WAGES: "Wages", RENT: "Rent"}
_SECTIONS = (
    ("Income", "SALES"),
    ("Less Cost of Sales", "DIRECTCOSTS"),
    ("Less Operating Expenses", "EXPENSE"),
)


@dataclass
class Posting:
    """Money that an account adds to the profit on a day; negative for a cost. `cash` is what the bank received."""

    day: date
    account: str
    amount: Decimal
    cash: Decimal = ZERO


@dataclass
class LedgerXero(PlainXero):
    """The server. `calls` counts the requests to the API, whatever they ask."""

    postings: list[Posting] = field(default_factory=list)
    invoices: dict[str, date] = field(default_factory=dict)
    types: dict[str, str] = field(
        default_factory=lambda: {SALES: "SALES", COSTS: "DIRECTCOSTS", WAGES: "EXPENSE", RENT: "EXPENSE"}
    )
    residue: Decimal = ZERO
    year_end: tuple[int, int] | None = None
    """The month and day on which the financial year ends."""
    calls: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=lambda: dict(_NAMES))
    hidden: set[str] = field(default_factory=set)
    """Accounts that the chart does not show."""
    page_size: int = 1000
    before_page: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What happens, once, before a page of invoices is sent."""
    edited: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        PlainXero.__init__(
            self,
            Organisation=self._answer_organisation,
            Accounts=self._answer_accounts,
            ProfitAndLoss=self._answer_profit_and_loss,
            BankSummary=self._answer_bank_summary,
            Invoices=self._answer_invoices,
        )

    def __call__(self, request: SeenRequest) -> Any:
        if "/api.xro/" in request.path:
            self.calls.append(request.path.rsplit("/", 1)[-1])
        return super().__call__(request)

    def keep_books(self, weeks: Iterable[Week]) -> None:
        """Book every week: sales, materials, wages, rent, and two invoices."""
        for number, week in enumerate(weeks):
            amount = Decimal(1000 + 7 * number)
            self.postings += [
                Posting(week.start, SALES, amount, amount),
                Posting(week.start + timedelta(days=1), COSTS, -amount / 4, -amount / 4),
                Posting(week.start + timedelta(days=4), WAGES, Decimal("-300.10")),
                Posting(week.ending, RENT, Decimal("-55.05"), Decimal("-55.05")),
            ]
            for day in (week.start, week.ending):
                self.invoices[f"10000000-0000-4000-8000-{len(self.invoices):012}"] = day

    def sum_profit(self, start: date, end: date) -> dict[str, Decimal]:
        """What each account adds to the profit of these days."""
        sums: dict[str, Decimal] = {}
        for posting in self.postings:
            if start <= posting.day <= end:
                sums[posting.account] = sums.get(posting.account, ZERO) + posting.amount
        return sums

    def sum_bank(self, start: date, end: date) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """The bank account's opening balance, received, spent and closing balance."""
        opening = sum((one.cash for one in self.postings if one.day < start), ZERO)
        received = sum((one.cash for one in self.postings if start <= one.day <= end and one.cash > 0), ZERO)
        spent = -sum((one.cash for one in self.postings if start <= one.day <= end and one.cash < 0), ZERO)
        return opening, received, spent, opening + received - spent

    def _answer_organisation(self, _request: SeenRequest) -> dict[str, Any]:
        details: dict[str, Any] = {"Name": "Demo", "BaseCurrency": "NZD", "CountryCode": "NZ"}
        if self.year_end is not None:
            details |= {"FinancialYearEndMonth": self.year_end[0], "FinancialYearEndDay": self.year_end[1]}
        return {"Organisations": [details]}

    def _answer_accounts(self, _request: SeenRequest) -> dict[str, Any]:
        classes = {"SALES": "REVENUE"}
        return {
            "Accounts": [
                {
                    "AccountID": account,
                    "Code": account[-3:],
                    "Name": self.names[account],
                    "Type": kind,
                    "Class": classes.get(kind, "EXPENSE"),
                }
                for account, kind in self.types.items()
                if account not in self.hidden
            ]
        }

    def _answer_profit_and_loss(self, request: SeenRequest) -> dict[str, Any]:
        start, end = date.fromisoformat(request.query["fromDate"]), date.fromisoformat(request.query["toDate"])
        sums = self.sum_profit(start, end)
        if (end - start).days > 7 and RENT in sums:
            # As with unrealised currency gains, a longer range need not be the sum of its weeks.
            sums[RENT] += self.residue
        rows: list[dict[str, Any]] = [_row("Header", ["", f"{end:%d %b %y}"])]
        profit = ZERO
        for title, kind in _SECTIONS:
            accounts = {one: amount for one, amount in sums.items() if self.types[one] == kind}
            sign = 1 if kind == "SALES" else -1
            details = [_row("Row", [self.names[one], f"{sign * amount:.2f}"], one) for one, amount in accounts.items()]
            total = sum(accounts.values(), ZERO)
            profit += total
            rows.append({"RowType": "Section", "Title": title, "Rows": [*details, _total(title, sign * total)]})
            if kind == "DIRECTCOSTS":
                rows.append(
                    {"RowType": "Section", "Title": "", "Rows": [_row("Row", ["Gross Profit", f"{profit:.2f}"])]}
                )
        rows.append({"RowType": "Section", "Title": "", "Rows": [_row("Row", ["Net Profit", f"{profit:.2f}"])]})
        return _report("Profit and Loss", f"{_text(start)} to {_text(end)}", rows)

    def _answer_bank_summary(self, request: SeenRequest) -> dict[str, Any]:
        start, end = date.fromisoformat(request.query["fromDate"]), date.fromisoformat(request.query["toDate"])
        amounts = [f"{amount:.2f}" for amount in self.sum_bank(start, end)]
        rows = [
            _row("Header", BANK_TITLES),
            {"RowType": "Section", "Title": "", "Rows": [_row("Row", ["Bank", *amounts], BANK, "accountID")]},
        ]
        return _report("Bank Summary", f"From {_text(start)} to {_text(end)}", rows)

    def move(self, key: str, day: date) -> None:
        self.invoices[key] = day
        self.edited.append(key)

    def _answer_invoices(self, request: SeenRequest) -> dict[str, Any]:
        if "if-modified-since" in request.headers:
            edited = [_invoice(key, self.invoices[key]) for key in self.edited]
            pagination = {"page": 1, "pageSize": 1000, "pageCount": 1, "itemCount": len(edited)}
            return {"pagination": pagination, "Invoices": edited}
        self.before_page.pop(int(request.query["page"]), lambda: None)()
        bounds = re.findall(r"DateTime\((\d+), (\d+), (\d+)\)", request.query["where"])
        start, end = (date(*map(int, bound)) for bound in bounds)
        matching = [(key, day) for key, day in sorted(self.invoices.items()) if start <= day < end]
        page, size = int(request.query["page"]), min(self.page_size, int(request.query["pageSize"]))
        rows = [_invoice(key, day) for key, day in matching[(page - 1) * size : page * size]]
        pages = -(-len(matching) // size)
        return {
            "pagination": {"page": page, "pageSize": size, "pageCount": pages, "itemCount": len(matching)},
            "Invoices": rows,
        }


def _row(kind: str, values: Iterable[str], account: str | None = None, name: str = "account") -> dict[str, Any]:
    cells: list[dict[str, Any]] = [{"Value": value} for value in values]
    if account is not None:
        cells[0]["Attributes"] = [{"Id": name, "Value": account}]
    return {"RowType": kind, "Cells": cells}


def _total(title: str, amount: Decimal) -> dict[str, Any]:
    return _row("SummaryRow", [f"Total {title}", f"{amount:.2f}"])


def _text(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _report(name: str, period: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Status": "OK", "Reports": [{"ReportTitles": [name, "Ledger", period], "Rows": rows}]}


def _invoice(key: str, day: date) -> dict[str, Any]:
    return {
        "Type": "ACCREC",
        "InvoiceID": key,
        "InvoiceNumber": key[-4:],
        "DateString": f"{day}T00:00:00",
        "Date": f"/Date({int((day - date(1970, 1, 1)).total_seconds())}000+0000)/",
        "Status": "AUTHORISED",
        "LineAmountTypes": "Exclusive",
        "SubTotal": 10.0,
        "TotalTax": 0.0,
        "Total": 10.0,
        "CurrencyCode": "NZD",
        "CurrencyRate": 1.0,
        "UpdatedDateUTC": "/Date(1700000000000+0000)/",
        "Contact": {"ContactID": "c", "Name": "Customer"},
        "LineItems": [{"LineItemID": key, "LineAmount": 10.0, "TaxAmount": 0.0, "Quantity": 1.0, "UnitAmount": 10.0}],
    }
