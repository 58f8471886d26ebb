"""Weeks of figures as the layers above pass them to the warehouse. There is no test in this module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pandas as pd
from sqlalchemy import Connection

from xero_pipeline.grants import Connection as Opened
from xero_pipeline.grants import Tokens
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.figures.revenue_documents import (
    CREDIT_NOTE,
    INVOICE,
    RevenueDocument,
    RevenueDocumentLine,
    replace_revenue_documents,
)
from xero_pipeline.warehouse.figures.weekly import replace_cash, replace_profit_and_loss, replace_revenue
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week

KEY = bytes(range(32))
OLD_KEY = bytes(reversed(range(32)))
WEEK = Week(date(2026, 11, 21))
NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)

Write = Callable[[Connection, Provenance], ReplaceResult]

TOTALS = (
    "total_trading_income",
    "cost_of_sales",
    "gross_profit",
    "other_income",
    "operating_expenses",
    "net_profit",
)
LINE_COLUMNS = ["account_id", "account_code", "account_name", "account_type", "category", "amount"]
CELL_COLUMNS = [
    "revenue_type",
    "region",
    "invoiced",
    "credited",
    "net_revenue",
    "tax",
    "invoice_count",
    "credit_note_count",
]
CASH_COLUMNS = [
    "bank_account_id",
    "bank_account_name",
    "opening_balance",
    "cash_received",
    "cash_spent",
    "currency_gain",
    "closing_balance",
]


def frame(columns: list[str], *rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame([dict(zip(columns, row, strict=True)) for row in rows], columns=columns, dtype=object)


def cell(revenue_type: str, region: str, invoiced: str, credited: str = "0.00", invoices: int = 1) -> tuple[Any, ...]:
    net = Decimal(invoiced) - Decimal(credited)
    return (revenue_type, region, Decimal(invoiced), Decimal(credited), net, Decimal("0.10"), invoices, 0)


def revenue(*cells: tuple[Any, ...]) -> Write:
    cells_given = frame(CELL_COLUMNS, *cells)
    return lambda connection, provenance: replace_revenue(connection, provenance, cells_given)


def document(
    key: str,
    *nets: str,
    credit: bool = False,
    cell: tuple[str, str] = ("residential", "north"),
    day: date = WEEK.ending,
) -> RevenueDocument:
    """A document with a line of each net amount, and a tenth of it as tax."""
    lines = [
        RevenueDocumentLine(number, "200", None, *cell, Decimal(net), Decimal(net) / 10, Decimal(net))
        for number, net in enumerate(nets, start=1)
    ]
    kind = CREDIT_NOTE if credit else INVOICE
    url = f"https://go.xero.com/app/!23vYl/invoicing/view/{key}"
    number, one = f"No {key}", Decimal(1)
    return RevenueDocument(key, kind, number, WEEK.ending, "PAID", "contact-1", "Ann", "AUD", one, url, lines)


def documented_revenue(*documents: RevenueDocument) -> Write:
    """The documents, and the cells that they add up to."""
    cells: dict[tuple[str, str], list[Any]] = {}
    for each in documents:
        is_credit = each.document_type == CREDIT_NOTE
        for part in each.lines:
            sums = cells.setdefault((part.revenue_type, part.region), [Decimal("0.00")] * 4 + [set(), set()])
            sums[1 if is_credit else 0] += part.net
            sums[2] += -part.net if is_credit else part.net
            sums[3] += -part.tax if is_credit else part.tax
            sums[5 if is_credit else 4].add(each.key)
    given = frame(CELL_COLUMNS, *((*key, *sums[:4], len(sums[4]), len(sums[5])) for key, sums in cells.items()))

    def write(connection: Connection, provenance: Provenance) -> ReplaceResult:
        result = replace_revenue(connection, provenance, given)
        return replace(result, documents=replace_revenue_documents(connection, provenance, documents))

    return write


def account(account_id: str, closing: str, name: str = "Cheque") -> tuple[Any, ...]:
    nothing = Decimal("0.00")
    return (account_id, name, Decimal("0.00"), Decimal(closing), nothing, nothing, Decimal(closing))


def cash(*accounts: tuple[Any, ...]) -> Write:
    accounts_given = frame(CASH_COLUMNS, *accounts)
    return lambda connection, provenance: replace_cash(connection, provenance, accounts_given)


def line(account_id: str, amount: str, category: str = "trading_income", name: str = "Sales") -> tuple[Any, ...]:
    return (account_id, "200", name, "REVENUE", category, Decimal(amount))


def profit(income: str, *lines: tuple[Any, ...], basis: str = "accrual") -> Write:
    totals = dict.fromkeys(TOTALS, Decimal("0.00")) | {"total_trading_income": Decimal(income)}
    lines_given = frame(LINE_COLUMNS, *lines)
    return lambda connection, provenance: replace_profit_and_loss(connection, provenance, basis, totals, lines_given)


def make_provenance(
    week: Week = WEEK, tenant_id: str = "org-1", now: datetime = NOW, run_id: str = "run-1"
) -> Provenance:
    return Provenance(tenant_id, week, "AUD", "xero_mock", run_id, now)


def land(
    warehouse: Warehouse,
    write: Write,
    sync_type: str,
    *,
    week: Period = WEEK,
    tenant_id: str = "org-1",
    status: str = "success",
    run_id: str = "run-1",
) -> ReplaceResult:
    """Sync one week: begin its row of the log, and land its figures."""
    log_id = warehouse.log.start(tenant_id, sync_type, week, run_id)
    return warehouse.land(
        write,
        tenant_id=tenant_id,
        week=week,
        currency="AUD",
        data_source="xero_mock",
        run_id=run_id,
        log_id=log_id,
        status=status,
        api_calls=2,
    )


land_revenue = partial(land, sync_type="invoices")
land_cash = partial(land, sync_type="bank_summary")
land_profit = partial(land, sync_type="profit_and_loss")


def tokens(name: str = "first", *, at: datetime = NOW, refresh: bool = True) -> Tokens:
    return Tokens(
        access_token=f"access-{name}",
        refresh_token=f"refresh-{name}" if refresh else "",
        id_token="",
        token_type="Bearer",
        scope="offline_access accounting.settings.read",
        expires_at=at.replace(minute=30),
        refreshed_at=at,
    )


def opened(*tenants: str) -> list[Opened]:
    return [Opened(f"connection-{tenant}", tenant, f"Organisation {tenant}") for tenant in tenants]
