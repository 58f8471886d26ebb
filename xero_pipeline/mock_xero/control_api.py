"""The mock's control API: its commands as JSON over HTTP, under `/mock/`, for a test in another process.

    GET    /mock/organisations                    POST /mock/faults             {"kind": "status", "status": 503, …}
    GET    /mock/counters                         DELETE /mock/faults
    GET    /mock/requests                         POST /mock/disconnect         {"tenantId"}
    POST   /mock/expire-access-tokens             POST /mock/revoke-all         POST /mock/reset
    GET    /mock/{tenant}/documents?from=&to=     the documents dated in a range of days
    POST   /mock/{tenant}/documents               {"type", "date", "lines": [{"amount", …}], …}: add one
    PATCH  /mock/{tenant}/documents/{id}          {"change", "lines", "date", "status", "paidOn"}
    POST   /mock/{tenant}/journals                {"date", "accountCode", "amount"}: a manual journal
    POST   /mock/{tenant}/bank-movements          {"date", "accountCode", "amount", "bank"}: money received or spent
    POST   /mock/{tenant}/payroll                 {"from", "to", "amount"}: move wages to another day
    PATCH  /mock/{tenant}/accounts/{code}         {"type"}: give an account another type
    GET    /mock/{tenant}/weeks/{week ending}     the books' figures for a week

Amounts are strings. Xero itself has none of these paths.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from xero_pipeline.errors import PipelineError
from xero_pipeline.mock_xero.books.chart import OPERATING_BANK
from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, DocumentStatus, MockLine, TaxTreatment
from xero_pipeline.mock_xero.faults import read_fault
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.weeks import Week

if TYPE_CHECKING:
    from xero_pipeline.mock_xero.xero import MockXero

Json = dict[str, Any]


def answer(mock: MockXero, request: MockRequest, *, allowed: bool = True) -> MockResponse:
    """Run a command; a wrong one is answered with 400 and a line that says what is wrong."""
    if not allowed:
        return _respond_error("the control API is not served here", 404)
    parts = request.path.strip("/").split("/")[1:]
    try:
        given = json.loads(request.body, parse_float=Decimal) if request.body else {}
        if not isinstance(given, dict):
            raise ValueError("the body must be a JSON object")
        command = _list_deployment_commands(mock).get(f"{request.method} {'/'.join(parts)}")
        result = command(given) if command else _run_organisation_command(mock, request, parts, given)
    except (ValueError, KeyError, TypeError, InvalidOperation, PipelineError) as error:
        return _respond_error(f"{type(error).__name__}: {error}", 400)
    return _respond_error("there is no such command", 404) if result is None else _respond_json(result)


def _list_deployment_commands(mock: MockXero) -> Mapping[str, Callable[[Json], Any]]:
    def confirm(act: Callable[[], None]) -> Callable[[Json], Json]:
        def run(_given: Json) -> Json:
            act()
            return {"done": True}

        return run

    return {
        "GET organisations": lambda _: [asdict(organisation) for organisation in mock.organisations],
        "GET counters": lambda _: dict(mock.counters()),
        "GET requests": lambda _: [dict(row) for row in mock.request_log()],
        "POST faults": lambda given: {"id": mock.add_fault(read_fault(given))},
        "DELETE faults": confirm(mock.clear_faults),
        "POST disconnect": lambda given: confirm(lambda: mock.disconnect(given["tenantId"]))(given),
        "POST revoke-all": confirm(mock.revoke_all),
        "POST expire-access-tokens": confirm(mock.expire_access_tokens),
        "POST reset": confirm(mock.reset),
    }


def _run_organisation_command(mock: MockXero, request: MockRequest, parts: list[str], given: Json) -> Any:
    """Run a command under /mock/{tenant}/; `None` if there is no such command."""
    if len(parts) not in (2, 3):
        return None
    tenant_id, resource, *rest = parts
    command = (request.method, resource, len(rest))
    if command == ("GET", "documents", 0):
        first, last = (dt.date.fromisoformat(request.parameter(name) or "") for name in ("from", "to"))
        return [_render_document(document) for document in mock.books(tenant_id).documents((first, last))]
    if command == ("POST", "documents", 0):
        return {"id": _add_document(mock, tenant_id, given)}
    if command == ("PATCH", "documents", 1):
        _edit_document(mock, tenant_id, rest[0], given)
        return _render_document(mock.books(tenant_id).document(rest[0]))
    if request.method in ("POST", "PATCH") and _edit_silently(mock, tenant_id, command, rest, given):
        return {"done": True}
    if command == ("GET", "weeks", 1):
        return _render_week(mock, tenant_id, Week(dt.date.fromisoformat(rest[0])))
    return None


def _add_document(mock: MockXero, tenant_id: str, given: Json) -> str:
    kind = DocumentKind(given.get("type", "ACCREC"))
    add = mock.add_credit_note if kind.is_credit else mock.add_invoice
    return add(
        tenant_id,
        kind=kind,
        date=dt.date.fromisoformat(given["date"]),
        lines=_parse_lines(given["lines"]),
        status=DocumentStatus(given.get("status", "AUTHORISED")),
        tax=TaxTreatment(given.get("lineAmountTypes", "Exclusive")),
        currency=given.get("currency"),
        rate=_parse_decimal(given.get("rate")),
        contact=str(given.get("contact", "Late Customer Pty Ltd")),
        paid_on=_parse_day(given.get("paidOn")),
    )


def _edit_document(mock: MockXero, tenant_id: str, document_id: str, given: Json) -> None:
    kind = mock.books(tenant_id).document(document_id).kind
    edit = mock.edit_credit_note if kind.is_credit else mock.edit_invoice
    edit(
        tenant_id,
        document_id,
        change=_parse_decimal(given.get("change")),
        lines=_parse_lines(given["lines"]) if "lines" in given else None,
        date=_parse_day(given.get("date")),
        status=DocumentStatus(given["status"]) if "status" in given else None,
        paid_on=_parse_day(given.get("paidOn")),
    )


def _edit_silently(mock: MockXero, tenant_id: str, command: tuple[str, str, int], rest: list[str], given: Json) -> bool:
    """Make an edit that changes no document; False if the command is another."""
    if command == ("POST", "journals", 0):
        day, amount = dt.date.fromisoformat(given["date"]), Decimal(str(given["amount"]))
        mock.post_journal(tenant_id, date=day, account_code=str(given["accountCode"]), amount=amount)
    elif command == ("POST", "bank-movements", 0):
        day, amount = dt.date.fromisoformat(given["date"]), Decimal(str(given["amount"]))
        bank = str(given.get("bank", OPERATING_BANK))
        mock.add_bank_movement(tenant_id, date=day, account_code=str(given["accountCode"]), amount=amount, bank=bank)
    elif command == ("POST", "payroll", 0):
        first, last = dt.date.fromisoformat(given["from"]), dt.date.fromisoformat(given["to"])
        mock.move_payroll(tenant_id, from_date=first, to_date=last, amount=Decimal(str(given["amount"])))
    elif command == ("PATCH", "accounts", 1):
        mock.retype_account(tenant_id, rest[0], str(given["type"]))
    else:
        return False
    return True


def _parse_lines(given: list[Json]) -> list[MockLine]:
    return [
        MockLine(
            amount=Decimal(str(line["amount"])),
            account_code=str(line.get("accountCode", "200")),
            revenue_type=line.get("revenueType"),
            region=line.get("region"),
            tax=_parse_decimal(line.get("tax")),
            description=str(line.get("description", "Work as agreed")),
        )
        for line in given
    ]


def _parse_decimal(given: object) -> Decimal | None:
    return None if given is None else Decimal(str(given))


def _parse_day(given: str | None) -> dt.date | None:
    return None if given is None else dt.date.fromisoformat(given)


def _render_document(document: Document) -> Json:
    return {
        "id": document.id,
        "type": document.kind.value,
        "number": document.number,
        "date": document.date,
        "status": document.status.value,
        "paidOn": document.paid_on,
        "updatedAt": document.updated_at,
    }


def _render_week(mock: MockXero, tenant_id: str, week: Week) -> Json:
    books = mock.books(tenant_id)
    revenue = [
        {"revenueType": kind, "region": region, **asdict(cell)} for (kind, region), cell in books.revenue(week).items()
    ]
    return {
        "profitAndLoss": asdict(books.profit_and_loss(week)),
        "revenue": revenue,
        "bank": {account: asdict(movement) for account, movement in books.bank(week).items()},
    }


def _respond_json(result: Any) -> MockResponse:
    return MockResponse(200, {"Content-Type": "application/json"}, json.dumps(result, default=str).encode())


def _respond_error(text: str, status: int) -> MockResponse:
    return MockResponse(status, {"Content-Type": "application/json"}, json.dumps({"error": text}).encode())
