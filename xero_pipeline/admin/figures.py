"""Routes of the figures: the last weeks summed, one week whole, what was restated. Reads the database only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from xero_pipeline.admin.api_models import (
    Day,
    OrganisationWeek,
    RestatementAnswer,
    SummaryAnswer,
    SummaryWeek,
    WeekAnswer,
)
from xero_pipeline.admin.context import AdminContext, Context
from xero_pipeline.admin.error_responses import BadRequest, documented_responses
from xero_pipeline.admin.sync import Limit, TenantId
from xero_pipeline.warehouse.figures.overview import tenants_with_figures
from xero_pipeline.warehouse.figures.queries import WeekFigures, WeekSummary, revenue_by_type
from xero_pipeline.warehouse.figures.restatements import Restatement
from xero_pipeline.weeks import NoSuchWeek, Week

router = APIRouter(tags=["figures"])

_SUMMED = ("total_trading_income", "gross_profit", "net_profit", "net_revenue", "closing_cash")
# So many restatements of one organisation's week are shown.
_RESTATEMENTS_A_WEEK = 500


@router.get("/summary", responses=documented_responses(404))
def summary(
    admin: Context,
    weeks: Annotated[int, Query(ge=1, le=520)] = 26,
    tenant_id: TenantId = None,
    currency: Annotated[str | None, Query(pattern="^[A-Za-z]{3}$")] = None,
) -> SummaryAnswer:
    """The latest weeks, summed over the organisations of one currency (default: the one with most figures), or
    of one organisation (`tenantId`)."""
    admin.require_tenant(tenant_id)
    span = _last_weeks(admin, weeks)
    rows = _summaries(admin, tenant_id, span)
    currencies = [name for name, _ in Counter(sorted(row.currency for row in rows)).most_common()]
    chosen = currency.upper() if currency else (currencies[0] if currencies else None)
    rows = [row for row in rows if row.currency == chosen]
    types = _types(admin, rows)
    held = [week for week in span if rows and week >= min(row.week for row in rows)]
    return SummaryAnswer(
        currency=chosen if rows else None,
        currencies=currencies,
        weeks=[_summed(week, [row for row in rows if row.week == week], types.get(week, {})) for week in held],
    )


def _last_weeks(admin: AdminContext, weeks: int) -> list[Week]:
    try:
        return admin.settings.calendar.list_latest_weeks(weeks, admin.clock.now())
    except NoSuchWeek:
        return []


def _summaries(admin: AdminContext, tenant_id: str | None, span: Sequence[Week]) -> list[WeekSummary]:
    if not span:
        return []
    warehouse = admin.deployment.warehouse
    tenants = [tenant_id] if tenant_id is not None else tenants_with_figures(warehouse.engine)
    return [row for tenant in tenants for row in warehouse.summary(tenant, span[0], span[-1])]


def _types(admin: AdminContext, rows: Sequence[WeekSummary]) -> dict[Week, dict[str, Decimal]]:
    """Net revenue by type, summed over the organisations that these rows are of."""
    weeks: dict[Week, dict[str, Decimal]] = {}
    held = {(row.tenant_id, row.week) for row in rows}
    for tenant_id in {row.tenant_id for row in rows}:
        first, last = min(row.week for row in rows), max(row.week for row in rows)
        for week, types in revenue_by_type(admin.deployment.warehouse.engine, tenant_id, first, last).items():
            if (tenant_id, week) in held:
                summed = weeks.setdefault(week, {})
                for name, amount in types.items():
                    summed[name] = summed.get(name, Decimal(0)) + amount
    return weeks


def _summed(week: Week, rows: Sequence[WeekSummary], types: dict[str, Decimal]) -> SummaryWeek:
    amounts: dict[str, Any] = {}
    for name in _SUMMED:
        known = [amount for row in rows if (amount := getattr(row, name)) is not None]
        amounts[name] = sum(known, Decimal(0)) if known else None
    by_type = types if amounts["net_revenue"] is not None else None
    return SummaryWeek(week_ending=week.ending, revenue_by_type=by_type, organisations=len(rows), **amounts)


@router.get("/weeks/{weekEnding}", responses=documented_responses(404))
def week(
    admin: Context,
    week_ending: Annotated[Day, Path(alias="weekEnding")],
    tenant_id: TenantId = None,
) -> WeekAnswer:
    """Everything that is held of one week, by organisation. 404 for a date that names no week."""
    try:
        chosen = admin.week(week_ending)
    except NoSuchWeek as error:
        raise BadRequest(str(error), code=error.code, status=404) from None
    admin.require_tenant(tenant_id)
    warehouse = admin.deployment.warehouse
    tenants = [tenant_id] if tenant_id is not None else tenants_with_figures(warehouse.engine)
    names = admin.names()
    figures = [warehouse.week_figures(tenant, chosen) for tenant in tenants]
    held = [_organisation(admin, one, names) for one in figures if _rows_of(one)]
    return WeekAnswer(week_ending=chosen.ending, organisations=held)


def _rows_of(figures: WeekFigures) -> list[dict[str, Any]]:
    totals = [figures.profit_and_loss] if figures.profit_and_loss else []
    return [*totals, *figures.lines, *figures.revenue, *figures.cash]


def _organisation(admin: AdminContext, figures: WeekFigures, names: dict[str, str]) -> OrganisationWeek:
    rows = _rows_of(figures)
    updated: datetime = max(row["updated_at"] for row in rows)
    found = admin.deployment.warehouse.restatements(
        tenant_id=figures.tenant_id, limit=_RESTATEMENTS_A_WEEK, week=figures.week
    )
    return OrganisationWeek.model_validate(
        {
            "tenant_id": figures.tenant_id,
            "tenant_name": names.get(figures.tenant_id),
            "currency": rows[0]["currency"],
            "data_source": rows[0]["data_source"],
            "updated_at": updated,
            "profit_and_loss": figures.profit_and_loss,
            "lines": figures.lines,
            "revenue": figures.revenue,
            "cash": figures.cash,
            "restatements": _restated(admin, found, names),
        }
    )


@router.get("/restatements", responses=documented_responses(404))
def restatements(
    admin: Context,
    limit: Limit = 50,
    tenant_id: TenantId = None,
    since: Annotated[
        Day | None, Query(description="Only what was found on that day (in PIPELINE_TIMEZONE) or later.")
    ] = None,
) -> list[RestatementAnswer]:
    """Figures of closed weeks that a later sync changed, newest first."""
    admin.require_tenant(tenant_id)
    begins = None if since is None else admin.settings.calendar.start_of_day(since)
    return _restated(admin, admin.deployment.warehouse.restatements(begins, tenant_id, limit), admin.names())


def _restated(admin: AdminContext, found: Sequence[Restatement], names: dict[str, str]) -> list[RestatementAnswer]:
    return [
        RestatementAnswer.model_validate(
            one.as_dict() | {"tenantName": names.get(one.tenant_id), "runUrl": admin.run_url(one.dagster_run_id)}
        )
        for one in found
    ]
