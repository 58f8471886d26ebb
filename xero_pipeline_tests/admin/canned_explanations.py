"""Canned answers of `GET /weeks/{weekEnding}/explain`, consistent with the figures of `canned.py`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from xero_pipeline_tests.admin.canned import DAGSTER, MOCK, RESTATED, RUN, week

Json = Any

CONTACTS = ("Harbour Kitchens Pty Ltd", "Blue Gum Cafés", "Northshore Medical Centre", "Åkerblom & Søn")


def explain(ending: str, query: Mapping[str, str]) -> Json:
    """The explanation of the figure that the query names."""
    figures = week(ending)["organisations"][0]
    if "account" in query:
        line = next(line for line in figures["lines"] if line["accountId"] == query["account"])
        name = f"{line['accountCode']} {line['accountName']}"
        return [
            _build(
                ending,
                "account",
                name,
                "amount",
                line["amount"],
                parts=[_part("Other entries in Xero", line["amount"])],
                share="46.9",
                weeks=_list_weeks(ending, line["amount"]),
            )
        ]
    if "bank" in query:
        row = next(row for row in figures["cash"] if row["bankAccountId"] == query["bank"])
        before = (date.fromisoformat(ending) - timedelta(weeks=1)).isoformat()
        parts = [
            _part("Opening balance", row["openingBalance"], note=f"the closing balance of the week ending {before}"),
            _part("Received", row["cashReceived"]),
            _part("Spent", f"-{row['cashSpent']}"),
        ]
        return [_build(ending, "bank", row["bankAccountName"], "closing_balance", row["closingBalance"], parts=parts)]
    if "type" in query:
        return [_explain_cell(ending, figures, query["type"], query["region"])]
    lines = [line for line in figures["lines"] if line["category"] == "trading_income"]
    parts = [
        _part(f"{each['accountCode']} {each['accountName']}", each["amount"], key=each["accountId"]) for each in lines
    ]
    total = figures["profitAndLoss"]["totalTradingIncome"]
    return [_build(ending, "total", "Total trading income", "total_trading_income", total, parts=parts)]


def _explain_cell(ending: str, figures: Json, revenue_type: str, region: str) -> Json:
    cell = next(row for row in figures["revenue"] if (row["revenueType"], row["region"]) == (revenue_type, region))
    count = cell["invoiceCount"]
    invoiced, credited = Decimal(cell["invoiced"]), Decimal(cell["credited"])
    shares = [(invoiced / (count + 1)).quantize(Decimal("0.01"))] * (count - 1)
    nets = [invoiced - sum(shares), *shares]
    documents = [_document(ending, number, net, "invoice") for number, net in enumerate(nets)]
    if credited:
        documents.append(_document(ending, count, credited, "credit_note"))
    history = []
    if ending == RESTATED.isoformat() and (revenue_type, region) == ("commercial", "north"):
        changes = [
            _change(documents[0], f"{nets[0] - 1250:.2f}", f"{nets[0]:.2f}"),
            _change(documents[1], None, f"{nets[1]:.2f}", other="2026-11-14"),
        ]
        history = [
            _restatement(column, old, new, changes)
            for column, old, new in (
                ("invoiced", "19315.49", cell["invoiced"]),
                ("net_revenue", "19315.49", cell["netRevenue"]),
            )
        ]
    return _build(
        ending,
        "revenue",
        f"{revenue_type} / {region}",
        "net_revenue",
        cell["netRevenue"],
        parts=[
            _part("Invoices", f"{invoiced:.2f}", note=f"{len(documents)} documents"),
            _part("Credit notes", f"{-credited:.2f}"),
        ],
        figures={
            "invoiced": cell["invoiced"],
            "credited": cell["credited"],
            "net_revenue": cell["netRevenue"],
            "tax": cell["tax"],
            "invoice_count": count,
            "credit_note_count": cell["creditNoteCount"],
        },
        documents=documents,
        documentCount=len(documents),
        documentsNet=cell["netRevenue"],
        history=history,
    )


def _build(ending: str, kind: str, name: str, figure: str, amount: str, **more: Any) -> Json:
    return {
        "tenantId": MOCK,
        "tenantName": "Mock Organisation",
        "weekEnding": ending,
        "currency": "AUD",
        "kind": kind,
        "name": name,
        "figure": figure,
        "amount": amount,
        "share": None,
        "figures": {},
        "documentCount": None,
        "documentsNet": None,
        "documents": [],
        "weeks": [],
        "history": [],
        "note": None,
    } | more


def _part(name: str, amount: str, *, note: str | None = None, key: str | None = None) -> Json:
    return {"name": name, "amount": amount, "note": note, "key": key}


def _document(ending: str, number: int, net: Decimal, kind: str) -> Json:
    foreign = number == 2
    day = date.fromisoformat(ending) - timedelta(days=number % 7)
    page = "invoicing/view" if kind == "invoice" else "credit-note"
    return {
        "tenantId": MOCK,
        "documentId": f"document-{number}",
        "documentType": kind,
        "documentNumber": f"{'INV' if kind == 'invoice' else 'CN'}-{1040 + number:04d}",
        "documentDate": day.isoformat(),
        "status": "PAID",
        "contactId": f"contact-{number % 4}",
        "contactName": CONTACTS[number % 4],
        "documentCurrency": "USD" if foreign else "AUD",
        "currencyRate": "0.65" if foreign else "1",
        "documentNet": f"{net * Decimal('0.65'):.2f}" if foreign else f"{net:.2f}",
        "net": f"{net:.2f}",
        "tax": f"{net / 10:.2f}",
        "adds": f"{-net if kind == 'credit_note' else net:.2f}",
        "xeroUrl": f"https://go.xero.com/app/!23vYl/{page}/document-{number}",
    }


def _change(document: Json, old: str | None, new: str | None, *, other: str | None = None) -> Json:
    kept = ("documentId", "documentType", "documentNumber", "contactName", "xeroUrl")
    return {name: document[name] for name in kept} | {
        "accountCode": "210",
        "revenueType": "commercial",
        "region": "north",
        "oldNet": old,
        "newNet": new,
        "oldTax": None,
        "newTax": None,
        "otherWeekEnding": other,
    }


def _restatement(column: str, old: str, new: str, documents: Json) -> Json:
    return {
        "name": "commercial / north",
        "column": column,
        "old": old,
        "new": new,
        "restatedAt": "2026-11-23T20:05:12+00:00",
        "dagsterRunId": RUN,
        "runUrl": f"{DAGSTER}/runs/{RUN}",
        "documents": documents,
    }


def _list_weeks(ending: str, amount: str) -> list[Json]:
    last = date.fromisoformat(ending)
    return [
        {"weekEnding": (last - timedelta(weeks=n)).isoformat(), "amount": amount, "share": f"{46 + n}.5"}
        for n in reversed(range(5))
    ]
