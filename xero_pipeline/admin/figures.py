"""Routes of the figures: sums of the latest weeks, one whole week, and restatements. They only read the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query

from xero_pipeline.admin.api_models import (
    IsoDate,
    OrganisationWeekResponse,
    RestatementResponse,
    SummaryResponse,
    SummaryWeekResponse,
    WeekResponse,
)
from xero_pipeline.admin.context import AdminContext, AdminContextDep
from xero_pipeline.admin.error_responses import document_errors
from xero_pipeline.admin.requested_periods import RequestedWeek
from xero_pipeline.admin.sync import Limit, TenantId
from xero_pipeline.warehouse.figures.overview import list_tenants_with_figures
from xero_pipeline.warehouse.figures.queries import WeekFigures, WeekSummary, read_revenue_by_type, read_summaries
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.weeks import NoSuchWeek, Week

router = APIRouter(tags=["figures"])

_SUMMED_COLUMNS = ("total_trading_income", "gross_profit", "net_profit", "net_revenue", "closing_cash")
# The most restatements shown for one organisation's week.
_RESTATEMENTS_A_WEEK = 500


@router.get("/summary", responses=document_errors(404))
def summary(
    context: AdminContextDep,
    weeks: Annotated[int, Query(ge=1, le=520)] = 26,
    tenant_id: TenantId = None,
    currency: Annotated[str | None, Query(pattern="^[A-Za-z]{3}$")] = None,
) -> SummaryResponse:
    """The latest weeks, summed over the organisations of one currency or for one organisation (`tenantId`).

    The default currency is the one with the most figures.
    """
    context.require_tenant(tenant_id)
    span = _list_latest_weeks(context, weeks)
    rows = _read_summaries(context, tenant_id, span)
    currencies = [name for name, _ in Counter(sorted(row.currency for row in rows)).most_common()]
    chosen = currency.upper() if currency else (currencies[0] if currencies else None)
    rows = [row for row in rows if row.currency == chosen]
    revenue_by_type = _sum_revenue_by_type(context, rows)
    shown_weeks = [week for week in span if rows and week >= min(row.week for row in rows)]
    return SummaryResponse(
        currency=chosen if rows else None,
        currencies=currencies,
        weeks=[
            _sum_week(week, [row for row in rows if row.week == week], revenue_by_type.get(week, {}))
            for week in shown_weeks
        ],
    )


def _list_latest_weeks(context: AdminContext, weeks: int) -> list[Week]:
    try:
        return context.settings.calendar.list_latest_weeks(weeks, context.clock.now())
    except NoSuchWeek:
        return []


def _read_summaries(context: AdminContext, tenant_id: str | None, span: Sequence[Week]) -> list[WeekSummary]:
    if not span:
        return []
    warehouse = context.deployment.warehouse
    tenants = [tenant_id] if tenant_id is not None else list_tenants_with_figures(warehouse.engine)
    return list(read_summaries(warehouse.engine, tenants, span).values())


def _sum_revenue_by_type(context: AdminContext, rows: Sequence[WeekSummary]) -> dict[Week, dict[str, Decimal]]:
    """Sum net revenue by type for each week, over the organisations and weeks in these rows."""
    weeks: dict[Week, dict[str, Decimal]] = {}
    weeks_in_rows = {(row.tenant_id, row.week) for row in rows}
    for tenant_id in {row.tenant_id for row in rows}:
        first, last = min(row.week for row in rows), max(row.week for row in rows)
        for week, types in read_revenue_by_type(context.deployment.warehouse.engine, tenant_id, first, last).items():
            if (tenant_id, week) in weeks_in_rows:
                summed = weeks.setdefault(week, {})
                for name, amount in types.items():
                    summed[name] = summed.get(name, Decimal(0)) + amount
    return weeks


def _sum_week(week: Week, rows: Sequence[WeekSummary], types: dict[str, Decimal]) -> SummaryWeekResponse:
    amounts: dict[str, Any] = {}
    for name in _SUMMED_COLUMNS:
        known = [amount for row in rows if (amount := getattr(row, name)) is not None]
        amounts[name] = sum(known, Decimal(0)) if known else None
    by_type = types if amounts["net_revenue"] is not None else None
    return SummaryWeekResponse(week_ending=week.ending, revenue_by_type=by_type, organisations=len(rows), **amounts)


@router.get("/weeks/{weekEnding}", responses=document_errors(404))
def week(
    context: AdminContextDep,
    chosen: RequestedWeek,
    tenant_id: TenantId = None,
) -> WeekResponse:
    """All figures of one week, by organisation. 404 for a date that is no week ending."""
    context.require_tenant(tenant_id)
    warehouse = context.deployment.warehouse
    tenants = [tenant_id] if tenant_id is not None else list_tenants_with_figures(warehouse.engine)
    names = context.deployment.warehouse.tokens.list_names()
    organisations = [
        OrganisationWeekResponse.model_validate(build_organisation_figures(context, figures, names))
        for figures in (warehouse.read_week_figures(tenant, chosen) for tenant in tenants)
        if list_rows(figures)
    ]
    return WeekResponse(week_ending=chosen.ending, organisations=organisations)


def list_rows(figures: WeekFigures) -> list[dict[str, Any]]:
    """All rows of a week or month, of whatever table."""
    totals = [figures.profit_and_loss] if figures.profit_and_loss else []
    return [*totals, *figures.lines, *figures.revenue, *figures.cash]


def build_organisation_figures(context: AdminContext, figures: WeekFigures, names: dict[str, str]) -> dict[str, Any]:
    """Build the fields of `OrganisationWeekResponse` for a week or month that has rows."""
    rows = list_rows(figures)
    updated: datetime = max(row["updated_at"] for row in rows)
    restatements = context.deployment.warehouse.list_restatements(
        tenant_id=figures.tenant_id, limit=_RESTATEMENTS_A_WEEK, week=figures.week
    )
    return {
        "tenant_id": figures.tenant_id,
        "tenant_name": names.get(figures.tenant_id),
        "currency": rows[0]["currency"],
        "data_source": rows[0]["data_source"],
        "updated_at": updated,
        "profit_and_loss": figures.profit_and_loss,
        "lines": figures.lines,
        "revenue": figures.revenue,
        "cash": figures.cash,
        "restatements": _build_restatements(context, restatements, names),
    }


@router.get("/restatements", responses=document_errors(404))
def restatements(
    context: AdminContextDep,
    limit: Limit = 50,
    tenant_id: TenantId = None,
    since: Annotated[
        IsoDate | None, Query(description="Only restatements found on or after that day (in PIPELINE_TIMEZONE).")
    ] = None,
) -> list[RestatementResponse]:
    """Figures of closed weeks that a later sync changed, newest first."""
    context.require_tenant(tenant_id)
    start = None if since is None else context.settings.calendar.start_of_day(since)
    restatements = context.deployment.warehouse.list_restatements(start, tenant_id, limit)
    return _build_restatements(context, restatements, context.deployment.warehouse.tokens.list_names())


def _build_restatements(
    context: AdminContext, restatements: Sequence[Restatement], names: dict[str, str]
) -> list[RestatementResponse]:
    return [
        RestatementResponse.model_validate(
            restatement.as_dict()
            | {
                "tenantName": names.get(restatement.tenant_id),
                "runUrl": context.build_run_url(restatement.dagster_run_id),
            }
        )
        for restatement in restatements
    ]
