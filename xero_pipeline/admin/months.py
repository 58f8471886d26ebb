"""The route of the months: all figures of one month, beside the month before, last year and the year to date."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from xero_pipeline.admin.context import AdminContext, AdminContextDep
from xero_pipeline.admin.error_responses import document_errors
from xero_pipeline.admin.figures import build_organisation_figures, list_rows
from xero_pipeline.admin.month_models import (
    MonthAmountsResponse,
    MonthComparisonResponse,
    MonthResponse,
    OrganisationMonthResponse,
)
from xero_pipeline.admin.requested_periods import RequestedMonth
from xero_pipeline.admin.sync import TenantId
from xero_pipeline.periods import Month
from xero_pipeline.warehouse.figures.overview import list_tenants_with_monthly_figures
from xero_pipeline.warehouse.figures.queries import Row, read_comparison, read_figures

router = APIRouter(tags=["figures"])


@router.get("/months/{monthEnding}", responses=document_errors(404))
def month(
    context: AdminContextDep,
    chosen: RequestedMonth,
    tenant_id: TenantId = None,
) -> MonthResponse:
    """All figures of one month, by organisation. 404 for a date that is no month ending."""
    context.require_tenant(tenant_id)
    engine = context.deployment.warehouse.engine
    tenants = [tenant_id] if tenant_id is not None else list_tenants_with_monthly_figures(engine)
    names = context.deployment.warehouse.tokens.list_names()
    organisations = [
        OrganisationMonthResponse.model_validate(
            build_organisation_figures(context, figures, names)
            | {"comparison": _compare(context, figures.tenant_id, chosen)}
        )
        for figures in (read_figures(engine, tenant, chosen) for tenant in tenants)
        if list_rows(figures)
    ]
    return MonthResponse(month_ending=chosen.ending, organisations=organisations)


def _compare(context: AdminContext, tenant_id: str, month: Month) -> MonthComparisonResponse:
    rows = read_comparison(context.deployment.warehouse.engine, tenant_id, month.previous, month)
    row: Row = rows.get(month, {})
    return MonthComparisonResponse(
        month=_read_amounts(row),
        month_before=_read_amounts(rows.get(month.previous, {})),
        last_year=_read_amounts(row, "_last_year"),
        year_to_date=_read_amounts(row, "_to_date"),
        year_to_date_last_year=_read_amounts(row, "_to_date_last_year"),
        financial_year=row.get("financial_year"),
    )


def _read_amounts(row: Mapping[str, Any], suffix: str = "") -> MonthAmountsResponse:
    names = MonthAmountsResponse.model_fields
    return MonthAmountsResponse.model_validate({name: row.get(f"{name}{suffix}") for name in names})
