"""Canned answers of the HTTP API: every state that the page can show, as a `Scene`.

The figures are invented but consistent: subtotals are sums, and each week opens with the closing balances of the week
before. `stub.py` is the server that sends these answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

LATEST = date(2026, 11, 21)
FIRST = date(2025, 1, 4)
NOW = "2026-11-24T01:00:00+00:00"
MOCK = "mock-tenant-001"
SECOND = "8be6b2a0-2f6e-4f4f-9f6e-2a5f7b0c1d22"
DAGSTER = "http://localhost:3001/dagster"
Json = Any


@dataclass(frozen=True)
class Scene:
    """One state of a deployment, as the HTTP API answers it."""

    standing: Json
    summary: Json = field(default_factory=lambda: summary())
    weeks: Callable[[str], Json] = field(default_factory=lambda: week)
    months: Callable[[str], Json] = field(default_factory=lambda: month)
    logs: Json = field(default_factory=lambda: logs())
    restatements: Json = field(default_factory=lambda: restatements())
    run: tuple[Json, ...] = ()
    """The answers to the polls of the run, one after another; the last one is repeated."""
    start: Json = field(
        default_factory=lambda: {"runId": RUN, "status": "queued", "logs": [], "url": f"{DAGSTER}/runs/{RUN}"}
    )
    audit: Json = field(default_factory=lambda: audit_rows())
    sessions: Json = field(default_factory=lambda: open_sessions())
    persons: Json = field(default_factory=lambda: persons())
    notice: dict[str, str] | None = None
    signed_in: bool = False
    who: str | None = None
    role: str = "owner"
    mock_mode: bool = True
    delay: float = 0.0
    """Seconds that each request for figures takes, to show the loading state."""
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)
    """The calls that fail, by their path: the status and the message."""

    def but(self, **changes: Any) -> Scene:
        return replace(self, **changes)


RUN = "5f0c7a52-6f0e-4c5e-9a1e-0c6a3f6b7d10"


def _to_cents(number: float) -> int:
    return round(number * 100)


def _to_text(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def _compute_noise(number: int) -> float:
    return (math.sin(number * 12.9898) * 43758.5453) % 1.0


def _list_weeks(count: int) -> list[date]:
    return [LATEST - timedelta(weeks=back) for back in range(count - 1, -1, -1)]


def _build_books(ending: date) -> dict[str, int]:
    """A week's figures in cents."""
    n = (ending - FIRST).days // 7
    income = _to_cents(246_000 + 34_000 * math.sin(n / 8) + 24_000 * (_compute_noise(n) - 0.5))
    cost = income * 31 // 100 + _to_cents(2500 * _compute_noise(n + 9))
    costs = _to_cents(122_000 + 9_000 * math.cos(n / 5) + 6_000 * _compute_noise(n + 3))
    other = _to_cents(180 + 90 * _compute_noise(n + 5))
    return {
        "income": income,
        "cost": cost,
        "gross": income - cost,
        "other": other,
        "opex": costs,
        "net": income - cost + other - costs,
    }


def _split_revenue(ending: date) -> dict[str, int]:
    books = _build_books(ending)
    n = (ending - FIRST).days // 7
    residential = books["income"] * (46 + int(4 * _compute_noise(n + 1))) // 100
    commercial = books["income"] * (32 + int(4 * _compute_noise(n + 2))) // 100
    return {
        "residential": residential,
        "commercial": commercial,
        "retrospective": books["income"] - residential - commercial,
    }


def _build_balances(ending: date) -> dict[str, dict[str, int]]:
    n = (ending - FIRST).days // 7
    accounts: dict[str, dict[str, int]] = {}
    for index, (name, base) in enumerate((("Business Cheque Account", 412_000), ("Tax Savings", 168_500))):
        balance = [
            _to_cents(base + 60_000 * math.sin((n + k) / 6 + index) + 8_000 * _compute_noise(n + k + index))
            for k in (0, 1)
        ]
        spent = _to_cents(150_000 / (1 + 4 * index) + 9_000 * _compute_noise(n + 20 + index))
        accounts[name] = {
            "opening": balance[0],
            "received": balance[1] - balance[0] + spent,
            "spent": spent,
            "closing": balance[1],
        }
    return accounts


def summary(count: int = 26, *, without: frozenset[date] = frozenset()) -> Json:
    """`GET /summary`."""
    weeks = []
    for ending in _list_weeks(count):
        if ending in without:
            weeks.append(
                {"weekEnding": ending.isoformat()}
                | dict.fromkeys(_SUMMED)
                | {"revenueByType": None, "organisations": 0}
            )
            continue
        books = _build_books(ending)
        weeks.append(
            {
                "weekEnding": ending.isoformat(),
                "totalTradingIncome": _to_text(books["income"]),
                "grossProfit": _to_text(books["gross"]),
                "netProfit": _to_text(books["net"]),
                "netRevenue": _to_text(books["income"]),
                "closingCash": _to_text(sum(account["closing"] for account in _build_balances(ending).values())),
                "revenueByType": {name: _to_text(amount) for name, amount in _split_revenue(ending).items()},
                "organisations": 1,
            }
        )
    return {"currency": "AUD", "currencies": ["AUD"], "weeks": weeks}


_SUMMED = ("totalTradingIncome", "grossProfit", "netProfit", "netRevenue", "closingCash")
EMPTY_SUMMARY: Json = {"currency": None, "currencies": [], "weeks": []}

_SALES = (("200", "Residential Sales", 47), ("210", "Commercial Sales", 33), ("220", "Retrospective Sales", 20))
_EXPENSES = (
    ("404", "Wages and Salaries", 58),
    ("469", "Rent", 14),
    ("477", "Superannuation", 7),
    ("400", "Advertising and Marketing", 9),
    ("429", "Software and Subscriptions", 5),
    ("493", "Travel", 4),
)


def _split_into_lines(
    total: int, shares: tuple[tuple[str, str, int], ...], category: str, kind: str
) -> list[dict[str, Any]]:
    """Build lines that add up to the total: the last line takes the remainder."""
    lines, left = [], total
    for index, (code, name, share) in enumerate(shares):
        amount = left if index == len(shares) - 1 else total * share // 100
        left -= amount
        lines.append(
            {
                "accountId": f"account-{code}",
                "accountCode": code,
                "accountName": name,
                "accountType": kind,
                "category": category,
                "amount": _to_text(amount),
            }
        )
    return lines


def month(ending_text: str) -> Json:
    """`GET /months/{monthEnding}` of one organisation: the figures of the last week in it, beside other months."""
    last = date.fromisoformat(ending_text)
    (figures,) = week(str(last - timedelta(days=(last.weekday() + 2) % 7)), restated=False)["organisations"]
    totals = figures["profitAndLoss"]
    names = ("totalTradingIncome", "costOfSales", "grossProfit", "netProfit")
    amounts = {name: totals[name] for name in names} | {
        "netRevenue": totals["totalTradingIncome"],
        "closingCash": figures["cash"][0]["closingBalance"],
    }
    comparison = {
        "month": amounts,
        "monthBefore": amounts | {"netProfit": "1234567.89"},
        "lastYear": amounts | {"netRevenue": None},
        "yearToDate": amounts | {"netProfit": "7654321.01", "closingCash": None},
        "yearToDateLastYear": dict.fromkeys(amounts),
        "financialYear": 2027,
    }
    return {"monthEnding": ending_text, "organisations": [figures | {"comparison": comparison}]}


def week(
    ending_text: str, *, tenant_id: str = MOCK, name: str | None = "Mock Organisation", restated: bool = True
) -> Json:
    """`GET /weeks/{weekEnding}` of one organisation."""
    ending = date.fromisoformat(ending_text)
    books, types = _build_books(ending), _split_revenue(ending)
    lines = _split_into_lines(
        books["income"],
        _SALES,
        "trading_income",
        "REVENUE",
    )
    lines += _split_into_lines(
        books["cost"], (("310", "Materials", 64), ("320", "Subcontractors", 36)), "cost_of_sales", "DIRECTCOSTS"
    )
    lines += _split_into_lines(books["other"], (("270", "Interest Income", 100),), "other_income", "OTHERINCOME")
    lines += _split_into_lines(
        books["opex"], (*_EXPENSES, ("497", "Bank Revaluations", 3)), "operating_expenses", "EXPENSE"
    )
    return {
        "weekEnding": ending_text,
        "organisations": [
            {
                "tenantId": tenant_id,
                "tenantName": name,
                "currency": "AUD",
                "dataSource": "xero_mock",
                "updatedAt": "2026-11-23T20:00:11+00:00",
                "profitAndLoss": {
                    "basis": "accrual",
                    "totalTradingIncome": _to_text(books["income"]),
                    "costOfSales": _to_text(books["cost"]),
                    "grossProfit": _to_text(books["gross"]),
                    "otherIncome": _to_text(books["other"]),
                    "operatingExpenses": _to_text(books["opex"]),
                    "netProfit": _to_text(books["net"]),
                },
                "lines": lines,
                "revenue": _build_revenue_cells(types),
                "cash": [
                    {
                        "bankAccountId": f"bank-{index}",
                        "bankAccountName": account,
                        "openingBalance": _to_text(balances["opening"]),
                        "cashReceived": _to_text(balances["received"]),
                        "cashSpent": _to_text(balances["spent"]),
                        "currencyGain": "0.00",
                        "closingBalance": _to_text(balances["closing"]),
                    }
                    for index, (account, balances) in enumerate(_build_balances(ending).items())
                ],
                "restatements": restatements() if restated and ending == RESTATED else [],
            }
        ],
    }


def _build_revenue_cells(types: dict[str, int]) -> list[Json]:
    cells = []
    for index, (name, net) in enumerate(types.items()):
        left = net
        for region, share in (("east", 31), ("north", 27), ("south", 24), ("west", 100)):
            amount = left if share == 100 else net * share // 100
            left -= amount
            credited = amount * 3 // 100 if (index + share) % 3 == 0 else 0
            cells.append(
                {
                    "revenueType": name,
                    "region": region,
                    "invoiced": _to_text(amount + credited),
                    "credited": _to_text(credited),
                    "netRevenue": _to_text(amount),
                    "tax": _to_text(amount // 10),
                    "invoiceCount": 3 + share % 7,
                    "creditNoteCount": 1 if credited else 0,
                }
            )
    return cells


def entry(number: int, kind: str, ending: date, status: str = "success", **more: Any) -> Json:
    """A row of the sync log."""
    running = status == "running"
    return {
        "id": number,
        "tenantId": MOCK,
        "tenantName": "Mock Organisation",
        "syncType": kind,
        "weekEnding": ending.isoformat(),
        "status": status,
        "recordCount": 0
        if status in ("failed", "running")
        else {"profit_and_loss": 15, "invoices": 12, "bank_summary": 2}[kind],
        "apiCalls": 0 if running else {"profit_and_loss": 2, "invoices": 4, "bank_summary": 1}[kind],
        "errorLog": None,
        "dagsterRunId": RUN,
        "runUrl": f"{DAGSTER}/runs/{RUN}",
        "startedAt": f"2026-11-23T20:{number % 60:02d}:11+00:00",
        "completedAt": None if running else f"2026-11-23T20:{number % 60:02d}:{13 + number % 3}+00:00",
    } | more


KINDS = ("profit_and_loss", "invoices", "bank_summary")
PARTIAL_LOG: Json = {
    "differences": [
        {"what": "operating_expenses", "stated": "131204.18", "summed": "131164.18", "difference": "40.00"},
        {"what": "net_profit", "stated": "48910.02", "summed": "48950.02", "difference": "-40.00"},
    ]
}
FAILED_LOG: Json = {
    "error": "day_limit",
    "message": "Xero's limit of 5,000 calls a day is spent for this organisation.",
    "advice": "Nothing is lost: sync again after 2026-11-24 13:00 UTC.",
    "retry_at": "2026-11-24T13:00:00+00:00",
}


def logs(count: int = 20, *, troubled: bool = True) -> Json:
    """`GET /sync-logs`."""
    rows = [entry(59 - n, KINDS[n % 3], LATEST - timedelta(weeks=n // 3)) for n in range(count)]
    if troubled and count > 6:
        rows[3] |= {"status": "partial", "errorLog": PARTIAL_LOG}
        rows[7] |= {"status": "failed", "recordCount": 0, "errorLog": FAILED_LOG}
    return rows


RESTATED = LATEST - timedelta(weeks=2)


def restatements() -> Json:
    """`GET /restatements`, newest first: an invoice for commercial sales was added after the week had landed."""
    books = _build_books(RESTATED)
    commercial = _split_into_lines(books["income"], _SALES, "trading_income", "REVENUE")[1]["amount"]
    north = next(
        cell
        for cell in _build_revenue_cells(_split_revenue(RESTATED))
        if (cell["revenueType"], cell["region"]) == ("commercial", "north")
    )
    revenue, cell = "revenue_weekly", "commercial / north"
    count = north["invoiceCount"]
    changes: list[tuple[str, str, str, str, str | None, str]] = [
        (
            "financial_weekly_lines",
            "account-210",
            "Commercial Sales",
            "amount",
            _subtract_invoice(commercial),
            commercial,
        ),
        *(
            ("financial_weekly", "week", "week", column, _subtract_invoice(_to_text(books[key])), _to_text(books[key]))
            for column, key in (("total_trading_income", "income"), ("gross_profit", "gross"), ("net_profit", "net"))
        ),
        (revenue, cell, cell, "net_revenue", _subtract_invoice(north["netRevenue"]), north["netRevenue"]),
        (revenue, cell, cell, "invoice_count", str(count - 1), str(count)),
        ("financial_weekly_lines", "account-497", "Bank Revaluations", "amount", None, "112.90"),
    ]
    return [
        {
            "tenantId": MOCK,
            "tenantName": "Mock Organisation",
            "weekEnding": RESTATED.isoformat(),
            "table": table,
            "key": key,
            "name": name,
            "column": column,
            "old": old,
            "new": new,
            "restatedAt": "2026-11-19T19:00:04+00:00",
            "dagsterRunId": RUN,
            "runUrl": f"{DAGSTER}/runs/{RUN}",
        }
        for table, key, name, column, old, new in changes
    ]


def _subtract_invoice(amount: str) -> str:
    """Return the amount before an invoice of 1,240.00 was added."""
    return _to_text(int(amount.replace(".", "")) - 124_000)


def organisation(**more: Any) -> Json:
    """One organisation of `GET /standing`."""
    return {
        "tenantId": MOCK,
        "tenantName": "Mock Organisation",
        "status": "connected",
        "connectedAt": "2026-08-02T03:14:00+00:00",
        "lastSyncAt": "2026-11-23T20:00:14+00:00",
        "refreshTokenExpiresAt": "2027-01-22T20:00:05+00:00",
        "refreshTokenDaysLeft": 59,
        "callsToday": 112,
        "callsPerDay": 4800,
        "callsLeftToday": 4688,
        "tokenError": None,
        "reconciliation": {
            "provenUpTo": "2026-11-21",
            "lastCheckedAt": "2026-11-23T20:04:00+00:00",
            "differingBlocks": 0,
        },
    } | more


ALERT: Json = {
    "kind": "partial",
    "title": "Mock Organisation: figures do not add up",
    "text": "Figures of Mock Organisation landed, but do not add up against Xero's own totals.\n"
    "The week ending 14/11/2026: profit and loss.\nWhat to do: the sync log says by how much and where.",
    "openedAt": "2026-11-22T19:00:05+00:00",
}


def standing(
    *organisations: Json, scheduler: bool | None = True, mock_mode: bool = True, alerts: Sequence[Json] = ()
) -> Json:
    """`GET /standing`."""
    return {
        "connected": any(one["status"] == "connected" for one in organisations),
        "tenantName": ", ".join(one["tenantName"] for one in organisations) or None,
        "lastSyncAt": max((one["lastSyncAt"] for one in organisations if one["lastSyncAt"]), default=None),
        "mockMode": mock_mode,
        "schedulerRunning": scheduler,
        "alerts": list(alerts),
        "organisations": list(organisations),
    }


def _second_organisation(**more: Any) -> Json:
    return (
        organisation(
            tenantId=SECOND,
            tenantName="Harbourside Joinery Pty Ltd",
            lastSyncAt="2026-11-23T20:00:41+00:00",
            callsToday=95,
            callsLeftToday=4705,
        )
        | more
    )


def _week_of_two_organisations(ending: str) -> Json:
    first, second = week(ending), week(ending, tenant_id=SECOND, name="Harbourside Joinery Pty Ltd", restated=False)
    return {"weekEnding": ending, "organisations": first["organisations"] + second["organisations"]}


def no_week(ending: str) -> Json:
    """`GET /weeks/…` of a week without figures."""
    return {"weekEnding": ending, "organisations": []}


def _build_run(status: str, *states: str, **more: Any) -> Json:
    rows = [entry(100 + n, kind, LATEST, state) for n, (kind, state) in enumerate(zip(KINDS, states, strict=False))]
    return {"runId": RUN, "status": status, "logs": rows, "url": f"{DAGSTER}/runs/{RUN}"} | more


RUN_STEPS = (
    _build_run("queued"),
    _build_run("running", "running"),
    _build_run("running", "success", "running"),
    _build_run("success", "success", "success", "success"),
)
RUN_STUCK = (_build_run("running", "success", "running"),)
RUN_PARTIAL = (_build_run("success", "success", "partial", "success"),)
RUN_PARTIAL[0]["logs"][1]["errorLog"] = PARTIAL_LOG
RUN_FAILED = (_build_run("failed", "success", "failed", "success"),)
RUN_FAILED[0]["logs"][1]["errorLog"] = FAILED_LOG


def audit_rows() -> list[Json]:
    """What three persons and a stranger did, newest first."""

    def row(number: int, at: str, who: str, role: str, action: str, subject: str = "", **changes: Any) -> Json:
        moment = f"2026-11-{at}:00+00:00"
        given = {"origin": "203.0.113.7", "outcome": "success", "count": 1, "lastAt": moment} | changes
        return {"id": number, "at": moment, "who": who, "role": role, "action": action, "subject": subject} | given

    return [
        row(8, "24T00:41", "unknown", "none", "sign_in", outcome="wrong_token", origin="198.51.100.23", count=37),
        row(7, "24T00:20", "Tom Smith", "viewer", "sync", outcome="refused"),
        row(6, "24T00:12", "ann@example.com", "owner", "add_access", "Tom Smith, viewer"),
        row(5, "23T22:02", "bob", "operator", "start_scheduler"),
        row(4, "23T22:01", "bob", "operator", "sync", f"week ending 2026-11-21, run {RUN}"),
        row(3, "23T21:55", "bob", "operator", "sign_in"),
        row(2, "23T20:00", "ann@example.com", "owner", "connect", "Kauri Kitchens Limited"),
        row(1, "23T19:58", "xero", "owner", "rotate_key", "1 organisation", origin="cli"),
    ]


def open_sessions() -> list[Json]:
    def session(number: int, who: str, role: str, seen: str, *, is_current: bool = False) -> Json:
        return {
            "id": number,
            "who": who,
            "role": role,
            "origin": "203.0.113.7",
            "beganAt": "2026-11-23T21:55:00+00:00",
            "lastSeenAt": f"2026-11-24T{seen}:00+00:00",
            "endsAt": "2026-11-24T01:40:00+00:00",
            "isCurrent": is_current,
        }

    return [session(2, "ann@example.com", "owner", "00:59", is_current=True), session(1, "bob", "operator", "00:31")]


def persons() -> list[Json]:
    def person(name: str, role: str, *, has_token: bool = True) -> Json:
        return {"name": name, "role": role, "hasToken": has_token, "createdAt": "2026-11-20T02:00:00+00:00"}

    return [
        person("ann@example.com", "owner", has_token=False),
        person("bob", "operator"),
        person("Tom Smith", "viewer"),
    ]


CONNECTED = Scene(standing(organisation()), run=RUN_STEPS)
EMPTY: dict[str, Any] = {"summary": EMPTY_SUMMARY, "weeks": no_week, "logs": [], "restatements": [], "audit": []}

SCENES: dict[str, Scene] = {
    "connected": CONNECTED,
    "connected-real": CONNECTED.but(
        standing=standing(organisation(tenantName="Kauri Kitchens Limited"), mock_mode=False),
        mock_mode=False,
        signed_in=True,
        who="ann@example.com",
    ),
    "viewer": CONNECTED.but(signed_in=True, who="Tom Smith", role="viewer"),
    "not-connected": Scene(standing(scheduler=False), **EMPTY),
    "never-synced": Scene(
        standing(organisation(lastSyncAt=None, callsToday=3, callsLeftToday=4797), scheduler=False),
        run=RUN_STEPS,
        **EMPTY,
    ),
    "reconnect-needed": CONNECTED.but(
        standing=standing(organisation(status="reconnect_needed", refreshTokenDaysLeft=0))
    ),
    "tokens-unreadable": CONNECTED.but(
        standing=standing(
            organisation(tokenError="The tokens of Mock Organisation cannot be read. Set XERO_ENCRYPTION_KEY back.")
        )
    ),
    "alerts": CONNECTED.but(
        standing=standing(organisation(), alerts=[ALERT, ALERT | {"kind": "run_failure", "title": "Sync failed"}])
    ),
    "two-organisations": CONNECTED.but(
        standing=standing(
            organisation(),
            _second_organisation(refreshTokenDaysLeft=9, refreshTokenExpiresAt="2026-12-03T20:00:05+00:00"),
        ),
        weeks=_week_of_two_organisations,
    ),
    "one-of-two-lost": CONNECTED.but(
        standing=standing(organisation(), _second_organisation(status="reconnect_needed")),
        weeks=_week_of_two_organisations,
    ),
    "dagster-down": CONNECTED.but(standing=standing(organisation(), scheduler=None)),
    "loading": CONNECTED.but(delay=3600.0),
    "failing": CONNECTED.but(
        errors=dict.fromkeys(
            ("summary", "weeks", "sync-logs", "restatements", "audit"),
            (500, "The database does not answer: is it running, and is DATABASE_URL right?"),
        )
    ),
    "status-failing": CONNECTED.but(
        standing=None,
        errors={"standing": (503, "The database does not answer: is it running, and is DATABASE_URL right?")},
    ),
    "callback-connected": CONNECTED.but(notice={"kind": "success", "text": "Connected to Xero: Mock Organisation."}),
    "callback-error": Scene(
        standing(scheduler=False),
        notice={
            "kind": "error",
            "text": "The consent was refused at Xero. Nothing was changed; begin again with Connect.",
        },
        **EMPTY,
    ),
    "sync-running": CONNECTED.but(run=RUN_STUCK),
    "sync-partial": CONNECTED.but(run=RUN_PARTIAL),
    "sync-failed": CONNECTED.but(run=RUN_FAILED),
    "short-log": CONNECTED.but(logs=logs(9)),
    "gap": CONNECTED.but(
        summary=summary(without=frozenset({LATEST - timedelta(weeks=8), LATEST - timedelta(weeks=9)}))
    ),
}
