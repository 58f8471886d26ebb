"""The mock's commands as JSON over HTTP, under `/mock/`: what a test does when the mock is another process.

    GET    /mock/organisations                    POST /mock/faults             {"kind": "status", "status": 503, …}
    GET    /mock/counters                         DELETE /mock/faults
    GET    /mock/requests                         POST /mock/disconnect         {"tenantId"}
    POST   /mock/expire-access-tokens             POST /mock/revoke-all         POST /mock/reset
    GET    /mock/{tenant}/documents?from=&to=     the documents of a range of days
    POST   /mock/{tenant}/documents               {"type", "date", "lines": [{"amount", …}], …}: a new one
    PATCH  /mock/{tenant}/documents/{id}          {"change", "lines", "date", "status", "paidOn"}
    GET    /mock/{tenant}/weeks/{week ending}     what the books say of a week

Amounts are texts. Nothing here is Xero's.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from xero_pipeline.errors import PipelineError
from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, DocumentStatus, MockLine, TaxTreatment
from xero_pipeline.mock_xero.faults import read_fault
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.weeks import Week

if TYPE_CHECKING:
    from xero_pipeline.mock_xero.xero import MockXero

Json = dict[str, Any]


def answer(mock: MockXero, request: MockRequest, *, allowed: bool = True) -> MockResponse:
    """Do what a command says; 400 with a line that says what is wrong with it."""
    if not allowed:
        return _problem("the commands are not served here", 404)
    parts = request.path.strip("/").split("/")[1:]
    try:
        given = json.loads(request.body, parse_float=Decimal) if request.body else {}
        if not isinstance(given, dict):
            raise ValueError("the body is no JSON object")
        simple = _simple(mock).get(f"{request.method} {'/'.join(parts)}")
        found = simple(given) if simple else _of_organisation(mock, request, parts, given)
    except (ValueError, KeyError, TypeError, InvalidOperation, PipelineError) as problem:
        return _problem(f"{type(problem).__name__}: {problem}", 400)
    return _problem("there is no such command", 404) if found is None else _json(found)


def _simple(mock: MockXero) -> Mapping[str, Callable[[Json], Any]]:
    def done(act: Callable[[], None]) -> Callable[[Json], Json]:
        def run(_given: Json) -> Json:
            act()
            return {"done": True}

        return run

    return {
        "GET organisations": lambda _: [asdict(one) for one in mock.organisations],
        "GET counters": lambda _: dict(mock.counters()),
        "GET requests": lambda _: [dict(one) for one in mock.request_log()],
        "POST faults": lambda given: {"id": mock.add_fault(read_fault(given))},
        "DELETE faults": done(mock.clear_faults),
        "POST disconnect": lambda given: done(lambda: mock.disconnect(given["tenantId"]))(given),
        "POST revoke-all": done(mock.revoke_all),
        "POST expire-access-tokens": done(mock.expire_access_tokens),
        "POST reset": done(mock.reset),
    }


def _of_organisation(mock: MockXero, request: MockRequest, parts: list[str], given: Json) -> Any:
    """Commands under /mock/{tenant}/."""
    if len(parts) not in (2, 3):
        return None
    tenant_id, what, *rest = parts
    asked = (request.method, what, len(rest))
    if asked == ("GET", "documents", 0):
        ends = [dt.date.fromisoformat(request.parameter(name) or "") for name in ("from", "to")]
        return [_document(one) for one in mock.books(tenant_id).documents((ends[0], ends[1]))]
    if asked == ("POST", "documents", 0):
        return {"id": _add(mock, tenant_id, given)}
    if asked == ("PATCH", "documents", 1):
        _edit(mock, tenant_id, rest[0], given)
        return _document(mock.books(tenant_id).document(rest[0]))
    if asked == ("GET", "weeks", 1):
        return _week(mock, tenant_id, Week(dt.date.fromisoformat(rest[0])))
    return None


def _add(mock: MockXero, tenant_id: str, given: Json) -> str:
    kind = DocumentKind(given.get("type", "ACCREC"))
    add = mock.add_credit_note if kind.is_credit else mock.add_invoice
    return add(
        tenant_id,
        kind=kind,
        date=dt.date.fromisoformat(given["date"]),
        lines=_lines(given["lines"]),
        status=DocumentStatus(given.get("status", "AUTHORISED")),
        tax=TaxTreatment(given.get("lineAmountTypes", "Exclusive")),
        currency=given.get("currency"),
        rate=_decimal(given.get("rate")),
        contact=str(given.get("contact", "Late Customer Pty Ltd")),
        paid_on=_day(given.get("paidOn")),
    )


def _edit(mock: MockXero, tenant_id: str, document_id: str, given: Json) -> None:
    kind = mock.books(tenant_id).document(document_id).kind
    edit = mock.edit_credit_note if kind.is_credit else mock.edit_invoice
    edit(
        tenant_id,
        document_id,
        change=_decimal(given.get("change")),
        lines=_lines(given["lines"]) if "lines" in given else None,
        date=_day(given.get("date")),
        status=DocumentStatus(given["status"]) if "status" in given else None,
        paid_on=_day(given.get("paidOn")),
    )


def _lines(given: list[Json]) -> list[MockLine]:
    return [
        MockLine(
            amount=Decimal(str(line["amount"])),
            account_code=str(line.get("accountCode", "200")),
            revenue_type=line.get("revenueType"),
            region=line.get("region"),
            tax=_decimal(line.get("tax")),
            description=str(line.get("description", "Work as agreed")),
        )
        for line in given
    ]


def _decimal(given: object) -> Decimal | None:
    return None if given is None else Decimal(str(given))


def _day(given: str | None) -> dt.date | None:
    return None if given is None else dt.date.fromisoformat(given)


def _document(one: Document) -> Json:
    return {
        "id": one.id,
        "type": one.kind.value,
        "number": one.number,
        "date": one.date,
        "status": one.status.value,
        "paidOn": one.paid_on,
        "updatedAt": one.updated_at,
    }


def _week(mock: MockXero, tenant_id: str, week: Week) -> Json:
    books = mock.books(tenant_id)
    revenue = [
        {"revenueType": kind, "region": region, **asdict(cell)} for (kind, region), cell in books.revenue(week).items()
    ]
    return {
        "profitAndLoss": asdict(books.profit_and_loss(week)),
        "revenue": revenue,
        "bank": {account: asdict(movement) for account, movement in books.bank(week).items()},
    }


def _json(found: Any) -> MockResponse:
    return MockResponse(200, {"Content-Type": "application/json"}, json.dumps(found, default=str).encode())


def _problem(text: str, status: int) -> MockResponse:
    return MockResponse(status, {"Content-Type": "application/json"}, json.dumps({"error": text}).encode())
