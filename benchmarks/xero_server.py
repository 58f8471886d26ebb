"""A Xero of its own for measurements: books of any size, computed from the request, and answers in no time.

It shares no code with the pipeline or its mock, and counts what it is asked. `python -m benchmarks.xero_server PORT`
serves; `GET /counts` returns the counts and `POST /settings` changes these settings, as JSON:

    organisations: how many `GET /connections` lists
    invoices: of each organisation and week, each with two lines
    credit_notes: of each organisation and week
    weeks: how many weeks have documents for who lists what was changed since before the books began, as tap-xero does
    seconds: how long an answer takes; a list by organisation makes some slower than others
    per_minute, in_progress: refuse with 429 what is above (0: no limit); per_minute may be a list by organisation
    dead: the numbers of the organisations that answer nothing but 503
    token_seconds: for how long an access token is valid, from the first refresh on; a call with an older one gets 401

Amounts depend on the week and the document alone, so any program's figures can be compared with `Books.sum_week`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

FIRST_DAY = date(2010, 1, 3)
TENANT = uuid.UUID("aaaaaaaa-0000-4000-8000-000000000000")
ACCOUNTS = {
    "00000000-0000-4000-8000-000000000200": ("200", "Sales", "REVENUE", "REVENUE"),
    "00000000-0000-4000-8000-000000000310": ("310", "Materials", "DIRECTCOSTS", "EXPENSE"),
    "00000000-0000-4000-8000-000000000400": ("400", "Rent", "OVERHEADS", "EXPENSE"),
    "00000000-0000-4000-8000-000000000477": ("477", "Wages", "EXPENSE", "EXPENSE"),
}
SALES, MATERIALS, RENT, WAGES = ACCOUNTS
BANK = "00000000-0000-4000-8000-000000000090"
EDITED_AT = 1_262_304_000_000


def get_tenant(number: int) -> str:
    return str(uuid.UUID(int=TENANT.int + number))


@dataclass
class Books:
    """Each organisation has the same books: `invoices` and `credit_notes` a week, and costs that depend on the week."""

    invoices: int = 20
    credit_notes: int = 2

    def get_amounts(self, number: int) -> tuple[Decimal, Decimal]:
        """The amounts of the two lines of a week's document."""
        return Decimal(10 + number % 90), Decimal(number % 100) / 100

    def sum_documents(self, count: int) -> Decimal:
        return sum((sum(self.get_amounts(number)) for number in range(count)), Decimal("0.00"))

    def sum_week(self, ending: date) -> dict[str, Decimal]:
        """What each account of the profit and loss has in a week."""
        week = (ending - FIRST_DAY).days // 7
        sales = self.sum_documents(self.invoices) - self.sum_documents(self.credit_notes)
        return {
            SALES: sales,
            MATERIALS: Decimal(100 + week % 37),
            RENT: Decimal("450.55"),
            WAGES: Decimal(900 + week % 11) / 4,
        }

    def sum_profit(self, start: date, ending: date) -> dict[str, Decimal]:
        sums = dict.fromkeys(ACCOUNTS, Decimal("0.00"))
        day = start + timedelta(days=6)
        while day <= ending:
            for account, amount in self.sum_week(day).items():
                sums[account] += amount
            day += timedelta(days=7)
        return sums

    def get_balance(self, day: date) -> Decimal:
        """The bank account's balance at the end of a day."""
        return Decimal((day - FIRST_DAY).days // 7) * Decimal("250.25")

    def list_documents(self, key: str, first: date, last: date, start: int, stop: int) -> list[dict[str, Any]]:
        """The documents at these positions of the list of a range of weeks, in the order of their ids.

        An id begins with the document's number in its week, so the weeks alternate.
        """
        weeks = (last - first).days // 7 + 1
        return [self._build(key, position // weeks, first + timedelta(days=7 * (position % weeks)))
                for position in range(start, stop)]  # fmt: skip

    def _build(self, key: str, number: int, sunday: date) -> dict[str, Any]:
        is_invoice = key == "InvoiceID"
        week, day = (sunday - FIRST_DAY).days // 7, sunday + timedelta(days=number % 7)
        identifier = str(uuid.UUID(int=(number << 96) | (week << 64) | (1 if is_invoice else 2)))
        lines = self.get_amounts(number)
        total = sum(lines)
        milliseconds = (day - date(1970, 1, 1)).days * 86_400_000
        return {
            "Type": "ACCREC" if is_invoice else "ACCRECCREDIT",
            key: identifier,
            "InvoiceNumber" if is_invoice else "CreditNoteNumber": f"{'INV' if is_invoice else 'CN'}-{week}-{number}",
            "Contact": {"ContactID": str(uuid.UUID(int=number % 50)), "Name": f"Customer {number % 50}",
                        "Addresses": [], "Phones": [], "ContactGroups": []},
            "Date": f"/Date({milliseconds}+0000)/",
            "DateString": f"{day}T00:00:00",
            "Status": "AUTHORISED",
            "LineAmountTypes": "Exclusive",
            "LineItems": [
                {
                    "LineItemID": str(uuid.UUID(int=(number << 64) | line)),
                    "Description": "Work done",
                    "Quantity": 1.0,
                    "UnitAmount": float(amount),
                    "LineAmount": float(amount),
                    "TaxAmount": 0.0,
                    "AccountCode": "200",
                    "AccountID": SALES,
                    "Tracking": [{"Name": "Region", "Option": ("North", "South")[line], "TrackingCategoryID": "t"}],
                }
                for line, amount in enumerate(lines)
            ],
            "SubTotal": float(total),
            "TotalTax": 0.0,
            "Total": float(total),
            "UpdatedDateUTC": f"/Date({EDITED_AT}+0000)/",
            "CurrencyCode": "NZD",
            "CurrencyRate": 1.0,
            "Payments": [],
            "HasAttachments": False,
        }  # fmt: skip


@dataclass
class Settings:
    organisations: int = 1
    invoices: int = 20
    credit_notes: int = 2
    weeks: int = 26
    seconds: float | list[float] = 0.0
    per_minute: int | list[int] = 0
    in_progress: int = 0
    dead: list[int] = field(default_factory=list)
    token_seconds: int = 1800

    def get_seconds(self, organisation: int) -> float:
        return self.seconds[organisation % len(self.seconds)] if isinstance(self.seconds, list) else self.seconds

    def get_limit(self, organisation: int) -> int:
        limit = self.per_minute
        return limit[organisation % len(limit)] if isinstance(limit, list) else limit


@dataclass
class Counts:
    calls: Counter[str] = field(default_factory=Counter)
    by_organisation: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    most_in_progress: int = 0
    first_call_at: float = 0.0
    last_call_at: float = 0.0
    ended_at: dict[str, float] = field(default_factory=dict)
    refreshes: Counter[str] = field(default_factory=Counter)
    """How often each refresh token was used."""
    seconds_left: list[float] = field(default_factory=list)
    """How long the access token would have been valid at each refresh but the first."""
    expired: int = 0

    def count(self, endpoint: str, tenant: str, now: float) -> None:
        self.calls[endpoint] += 1
        self.by_organisation[tenant] += 1
        self.first_call_at, self.last_call_at = self.first_call_at or now, now


class XeroServer:
    """The ASGI application."""

    def __init__(self) -> None:
        self.settings = Settings()
        self._reset()

    def _reset(self) -> None:
        self.books = Books(self.settings.invoices, self.settings.credit_notes)
        self.counts = Counts()
        self._started: dict[str, deque[float]] = {}
        self._in_progress: Counter[str] = Counter()
        self._kept: dict[str, bytes] = {}
        self._expires_at: dict[str, float] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        status, headers, body = await self._answer(scope, receive)
        headers = [(b"content-type", b"application/json; charset=utf-8"), *headers]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Any, receive: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        path, body = scope["path"], b""
        if scope["method"] == "POST":
            while (message := await receive()).get("more_body"):
                body += message["body"]
            body += message.get("body", b"")
        if path == "/settings":
            self.settings = Settings(**json.loads(body))
            self._reset()
            return 200, [], b"{}"
        if path == "/counts":
            return 200, [], json.dumps(vars(self.counts)).encode()
        if path == "/connect/token":
            return 200, [], json.dumps(self._refresh(dict(parse_qsl(body.decode())).get("refresh_token", ""))).encode()
        if path == "/connections":
            rows = [_describe_connection(number) for number in range(self.settings.organisations)]
            return 200, [], json.dumps(rows).encode()
        return await self._answer_api(path, scope)

    def _refresh(self, refresh_token: str) -> dict[str, Any]:
        now, access, seconds = time.monotonic(), uuid.uuid4().hex, self.settings.token_seconds
        self.counts.refreshes[refresh_token] += 1
        if self._expires_at:
            self.counts.seconds_left.append(max(self._expires_at.values()) - now)
        self._expires_at[access] = now + seconds
        scopes = "accounting.transactions.read accounting.reports.read accounting.settings.read offline_access"
        return {"access_token": access, "refresh_token": uuid.uuid4().hex, "expires_in": seconds,
                "token_type": "Bearer", "scope": scopes}  # fmt: skip

    async def _answer_api(self, path: str, scope: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        headers = dict(scope["headers"])
        tenant = headers.get(b"xero-tenant-id", b"").decode()
        organisation = uuid.UUID(tenant).int - TENANT.int
        endpoint, settings, counts, now = path.rpartition("/")[2], self.settings, self.counts, time.monotonic()
        started, per_minute = self._started.setdefault(tenant, deque()), settings.get_limit(organisation)
        access = headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        # A token that this server has not given out is one of the consent, which the deployment made up.
        if self._expires_at.get(access, now) < now:
            counts.expired += 1
            return 401, [], b"{}"
        while started and started[0] <= now - 60:
            started.popleft()
        if organisation in settings.dead:
            counts.refused["dead"] += 1
            return 503, [], b"{}"
        problem, wait = ("minute", 61 - now + started[0]) if 0 < per_minute <= len(started) else ("", 5.0)
        if 0 < settings.in_progress <= self._in_progress[tenant]:
            problem, wait = "concurrent", 5.0
        if problem:
            counts.refused[problem] += 1
            return 429, [(b"x-rate-limit-problem", problem.encode()), (b"retry-after", str(int(wait)).encode())], b"{}"
        started.append(now)
        counts.count(endpoint, tenant, now)
        self._in_progress[tenant] += 1
        counts.most_in_progress = max(counts.most_in_progress, self._in_progress[tenant])
        remaining = [(b"x-minlimit-remaining", str(per_minute - len(started)).encode())] if per_minute else []
        try:
            if seconds := settings.get_seconds(organisation):
                await asyncio.sleep(seconds)
            return 200, remaining, self._answer_query(path, endpoint, scope["query_string"].decode(), headers)
        finally:
            self._in_progress[tenant] -= 1
            counts.ended_at[tenant] = time.monotonic()

    def _answer_query(self, path: str, endpoint: str, query: str, headers: dict[bytes, bytes]) -> bytes:
        since = headers.get(b"if-modified-since")
        kept = f"{path}?{query}" if since is None else ""
        if kept in self._kept:
            return self._kept[kept]
        payload = self._build(endpoint, dict(parse_qsl(query)), since.decode() if since else "")
        answer = json.dumps(payload, separators=(",", ":")).encode()
        if kept and len(answer) <= 100_000:
            self._kept[kept] = answer
        return answer

    def _build(self, endpoint: str, query: dict[str, str], since: str) -> dict[str, Any]:
        moment = int(time.time() * 1000)
        head = {"Id": str(uuid.uuid4()), "Status": "OK", "DateTimeUTC": f"/Date({moment})/"}
        if endpoint == "Organisation":
            return head | {"Organisations": [{"Name": "Organisation", "BaseCurrency": "NZD", "CountryCode": "NZ"}]}
        if endpoint == "Currencies":
            return head | {"Currencies": [{"Code": "NZD", "Description": "New Zealand Dollar"}]}
        if endpoint == "Accounts":
            rows = [{"AccountID": key, "Code": code, "Name": name, "Type": kind, "Class": group}
                    for key, (code, name, kind, group) in ACCOUNTS.items()]  # fmt: skip
            return head | {"Accounts": rows}
        if endpoint in ("Invoices", "CreditNotes"):
            return head | self._build_list(endpoint, query, since)
        first, last = date.fromisoformat(query["fromDate"]), date.fromisoformat(query["toDate"])
        build = _build_profit_and_loss if endpoint == "ProfitAndLoss" else _build_bank_summary
        return head | build(self.books, first, last)

    def _build_list(self, endpoint: str, query: dict[str, str], since: str) -> dict[str, Any]:
        key, per_week = ("InvoiceID", self.books.invoices)
        if endpoint == "CreditNotes":
            key, per_week = "CreditNoteID", self.books.credit_notes
        if since and _read_moment(since) > EDITED_AT / 1000:
            return {"pagination": _paginate(1, 1, 0), endpoint: []}
        dates = re.findall(r"DateTime\((\d+), ?(\d+), ?(\d+)\)", query.get("where", ""))
        first, end = (date(*map(int, numbers)) for numbers in dates) if dates else get_last_weeks(self.settings.weeks)
        last, page, size = end - timedelta(days=7), int(query.get("page", 1)), int(query.get("pageSize", 100))
        count = ((last - first).days // 7 + 1) * per_week
        rows = self.books.list_documents(key, first, last, min(count, (page - 1) * size), min(count, page * size))
        return {"pagination": _paginate(page, size, count), endpoint: rows}


def get_last_weeks(weeks: int) -> tuple[date, date]:
    """The first day of the newest whole weeks, and the day after their last."""
    end = FIRST_DAY + timedelta(days=(datetime.now(UTC).date() - FIRST_DAY).days // 7 * 7)
    return end - timedelta(days=7 * weeks), end


def _read_moment(text: str) -> float:
    """Seconds since 1970 of an `If-Modified-Since`, which clients write in ISO's form or in HTTP's."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = parsedate_to_datetime(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _describe_connection(number: int) -> dict[str, str]:
    tenant = get_tenant(number)
    return {"id": tenant, "tenantId": tenant, "tenantType": "ORGANISATION", "tenantName": f"Organisation {number + 1}"}


def _paginate(page: int, size: int, count: int) -> dict[str, int]:
    return {"page": page, "pageSize": size, "pageCount": -(-count // size), "itemCount": count}


def _build_profit_and_loss(books: Books, first: date, last: date) -> dict[str, Any]:
    sums = books.sum_profit(first, last)
    gross = sums[SALES] - sums[MATERIALS]
    net = gross - sums[RENT] - sums[WAGES]
    rows = [
        _row("Header", ["", f"{last:%d %b %y}"]),
        _section("Income", [SALES], sums),
        _section("Less Cost of Sales", [MATERIALS], sums),
        {"RowType": "Section", "Title": "", "Rows": [_row("Row", ["Gross Profit", f"{gross:.2f}"])]},
        _section("Less Operating Expenses", [RENT, WAGES], sums),
        {"RowType": "Section", "Title": "", "Rows": [_row("Row", ["Net Profit", f"{net:.2f}"])]},
    ]
    titles = ["Profit and Loss", "Organisation", f"{_say(first)} to {_say(last)}"]
    return {"Reports": [{"ReportID": "ProfitAndLoss", "ReportTitles": titles, "Rows": rows}]}


def _build_bank_summary(books: Books, first: date, last: date) -> dict[str, Any]:
    opening, closing = books.get_balance(first - timedelta(days=1)), books.get_balance(last)
    header = ["Bank Accounts", "Opening Balance", "Cash Received", "Cash Spent", "Closing Balance"]
    cells = ["Bank", f"{opening:.2f}", f"{closing - opening + 100:.2f}", "100.00", f"{closing:.2f}"]
    rows = [
        _row("Header", header),
        {"RowType": "Section", "Title": "", "Rows": [_row("Row", cells, BANK, "accountID")]},
    ]
    titles = ["Bank Summary", "Organisation", f"From {_say(first)} to {_say(last)}"]
    return {"Reports": [{"ReportID": "BankSummary", "ReportTitles": titles, "Rows": rows}]}


def _section(title: str, accounts: list[str], sums: dict[str, Decimal]) -> dict[str, Any]:
    rows = [_row("Row", [ACCOUNTS[one][1], f"{sums[one]:.2f}"], one) for one in accounts]
    total = _row("SummaryRow", [f"Total {title}", f"{sum(sums[one] for one in accounts):.2f}"])
    return {"RowType": "Section", "Title": title, "Rows": [*rows, total]}


def _row(kind: str, values: list[str], account: str | None = None, name: str = "account") -> dict[str, Any]:
    cells: list[dict[str, Any]] = [{"Value": value} for value in values]
    if account is not None:
        cells = [{**cell, "Attributes": [{"Id": name, "Value": account}]} for cell in cells]
    return {"RowType": kind, "Cells": cells}


def _say(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def main() -> None:
    uvicorn.run(XeroServer(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
