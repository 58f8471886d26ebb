"""Routes that explain a week's figures: the documents behind its revenue, and what any figure is made of."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query

from xero_pipeline.admin.context import AdminContext, AdminContextDep
from xero_pipeline.admin.error_responses import BadRequest, document_errors
from xero_pipeline.admin.explanation_models import DocumentResponse, DocumentsResponse, ExplanationResponse
from xero_pipeline.admin.requested_periods import RequestedWeek
from xero_pipeline.admin.sync import TenantId
from xero_pipeline.identifiers import normalise_name
from xero_pipeline.warehouse.figures.document_queries import (
    DocumentSelection,
    DocumentSums,
    list_documents,
    sum_documents,
)
from xero_pipeline.warehouse.figures.explanation import ALL_REVENUE, TOTALS, FigureExplainer
from xero_pipeline.warehouse.figures.explanation_json import document_to_dict, explanation_to_dict
from xero_pipeline.warehouse.figures.explanation_types import Explanation
from xero_pipeline.warehouse.figures.overview import list_tenants_with_figures
from xero_pipeline.warehouse.figures.queries import open_snapshot, read_revenue_currencies
from xero_pipeline.warehouse.figures.revenue_documents import are_documents_stored

router = APIRouter(tags=["figures"])

# PostgreSQL takes no text with a NUL.
_TEXT = r"^[^\x00]*$"
RevenueType = Annotated[str | None, Query(alias="type", max_length=500, pattern=_TEXT)]
Region = Annotated[str | None, Query(max_length=500, pattern=_TEXT)]
MaxDocuments = Annotated[int, Query(ge=0, le=10_000, description="How many documents are listed at most.")]


@router.get("/weeks/{weekEnding}/documents", responses=document_errors(404))
def documents(
    context: AdminContextDep,
    week: RequestedWeek,
    tenant_id: TenantId = None,
    revenue_type: RevenueType = None,
    region: Region = None,
    currency: Annotated[str | None, Query(pattern="^[A-Za-z]{3}$")] = None,
    limit: MaxDocuments = 1000,
) -> DocumentsResponse:
    """The documents behind a week's revenue, of all types and regions or of one.

    They are those of one organisation (`tenantId`), or of all that keep their books in one currency. The default
    currency is that of most organisations. Of each organisation, what adds most comes first.
    """
    context.require_tenant(tenant_id)
    warehouse = context.deployment.warehouse
    connected = {one.tenant_id for one in warehouse.tokens.list_organisations()}
    tenants = {tenant_id} if tenant_id is not None else connected.union(list_tenants_with_figures(warehouse.engine))
    with open_snapshot(warehouse.engine) as connection:
        currency_of = read_revenue_currencies(connection, week)
        # One that was disconnected and has no revenue of the week is not waited for.
        expected = [tenant for tenant in tenants if tenant_id or tenant in connected or tenant in currency_of]
        complete = bool(expected) and all(are_documents_stored(connection, tenant, week) for tenant in expected)
        held = {tenant: currency_of[tenant] for tenant in sorted(tenants & currency_of.keys())}
        currencies = [name for name, _ in Counter(sorted(held.values())).most_common()]
        chosen = currency.upper() if currency else next(iter(currencies), None)
        sums, found = DocumentSums(), list[DocumentResponse]()
        for tenant in (tenant for tenant, name in held.items() if name == chosen):
            selection = DocumentSelection(
                tenant, week, normalise_name(revenue_type) or None, normalise_name(region) or None
            )
            sums += sum_documents(connection, selection)
            rest = limit - len(found)
            found += [
                DocumentResponse.model_validate(document_to_dict(document))
                for document in (list_documents(connection, selection, rest) if rest else [])
            ]
    return DocumentsResponse(
        week_ending=week.ending,
        currency=chosen if chosen in currencies else None,
        currencies=currencies,
        count=sums.count,
        invoice_count=sums.invoice_count,
        credit_note_count=sums.credit_note_count,
        invoiced=sums.invoiced,
        credited=sums.credited,
        net_revenue=sums.net_revenue,
        tax=sums.tax,
        complete=complete,
        documents=found,
    )


@router.get("/weeks/{weekEnding}/explain", responses=document_errors(404))
def explain(
    context: AdminContextDep,
    week: RequestedWeek,
    tenant_id: TenantId = None,
    total: Annotated[
        str | None, Query(max_length=50, description="A total of financial_weekly, or net_revenue.")
    ] = None,
    account: Annotated[str | None, Query(max_length=500, description="An account's code, id or name.")] = None,
    revenue_type: RevenueType = None,
    region: Region = None,
    bank: Annotated[str | None, Query(max_length=500, description="A bank account's name or id.")] = None,
    limit: MaxDocuments = 200,
) -> list[ExplanationResponse]:
    """What a figure of a week is made of, for each organisation that has it.

    Without a figure, the totals of the profit and loss and the whole revenue are explained.
    """
    context.require_tenant(tenant_id)
    if sum(option is not None for option in (total, account, bank, revenue_type or region)) > 1:
        raise BadRequest("Name one figure: total, account, type with region, or bank.", code="invalid_request")
    if total is not None and total not in (*TOTALS, ALL_REVENUE):
        known = ", ".join((*TOTALS, ALL_REVENUE))
        raise BadRequest(f"There is no such total. The totals are {known}.", code="invalid_request")
    warehouse = context.deployment.warehouse
    names = warehouse.tokens.list_names()
    tenants = [tenant_id] if tenant_id is not None else list_tenants_with_figures(warehouse.engine)
    return [
        _build_response(context, explanation, names)
        for tenant in tenants
        for explanation in FigureExplainer(warehouse.engine, tenant, week, max_documents=limit).explain(
            total=total, account=account, revenue_type=revenue_type, region=region, bank=bank
        )
    ]


def _build_response(context: AdminContext, explanation: Explanation, names: dict[str, str]) -> ExplanationResponse:
    values = explanation_to_dict(explanation) | {"tenantName": names.get(explanation.tenant_id)}
    for entry in values["history"]:
        entry["runUrl"] = context.build_run_url(entry["dagsterRunId"])
    return ExplanationResponse.model_validate(values)
