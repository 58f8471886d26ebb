"""What a materialised week says about itself in Dagster's UI, and what its newest week says of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg
from sqlalchemy import func, select

from xero_pipeline.assets.columns import column_schema
from xero_pipeline.assets.outcomes import WeekOutcome
from xero_pipeline.assets.pictures import WEEKS_SHOWN, Chart, Curve, chart_markdown
from xero_pipeline.warehouse.figures.queries import newest_week, revenue_by_type
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week

# Dagster keeps an event's metadata for ever: a long list is cut.
_LINES_SHOWN = 50
_ORGANISATIONS_DRAWN = 5

_TABLES = {
    SyncType.PROFIT_AND_LOSS: (financial_weekly, financial_weekly_lines),
    SyncType.INVOICES: (revenue_weekly,),
    SyncType.BANK_SUMMARY: (cash_position_weekly,),
}


def week_metadata(week: Week, outcomes: Sequence[WeekOutcome]) -> dict[str, Any]:
    """One week's metadata: who, how much, what it cost, what changed.

    The totals are numbers, which Dagster plots over the weeks; the exact decimals stand in `figures`.
    """
    named = _told_apart({outcome.tenant_id: outcome.tenant_name for outcome in outcomes})
    restated = [change for outcome in outcomes for change in outcome.restated]
    metadata: dict[str, Any] = {
        "week_ending": dg.MetadataValue.text(str(week)),
        "organisations": dg.MetadataValue.text(", ".join(outcome.tenant_name for outcome in outcomes)),
        "dagster/partition_row_count": dg.MetadataValue.int(sum(outcome.rows for outcome in outcomes)),
        "api_calls": dg.MetadataValue.int(sum(outcome.calls for outcome in outcomes)),
        "figures": dg.MetadataValue.json(
            {
                named[outcome.tenant_id]: {"currency": outcome.currency, "status": outcome.status}
                | {name: str(amount) for name, amount in outcome.totals.items()}
                for outcome in outcomes
            }
        ),
        "restated": dg.MetadataValue.int(len(restated)),
    }
    metadata |= {name: dg.MetadataValue.float(float(amount)) for name, amount in _plotted(outcomes).items()}
    if restated:
        metadata["what_changed"] = dg.MetadataValue.md(_changes_table(outcomes))
    differences = [f"- {o.tenant_name}: {difference}" for o in outcomes for difference in o.differences]
    if differences:
        metadata["does_not_add_up"] = dg.MetadataValue.md("\n".join(differences[:_LINES_SHOWN]))
    notes = [f"- {o.tenant_name}: {note}" for o in outcomes for note in o.notes]
    if notes:
        metadata["notes"] = dg.MetadataValue.md("\n".join(notes[:_LINES_SHOWN]))
    return metadata


def _told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """The organisations' names by tenant id, with the id where two have the same one."""
    often = Counter(names.values())
    return {one: name if often[name] == 1 else f"{name} ({one})" for one, name in names.items()}


def _plotted(outcomes: Sequence[WeekOutcome]) -> dict[str, Decimal]:
    """The organisations' totals together, as long as they are in one currency."""
    if len({outcome.currency for outcome in outcomes}) != 1:
        return {}
    totals: dict[str, Decimal] = {}
    for outcome in outcomes:
        for name, amount in outcome.totals.items():
            totals[name] = totals.get(name, Decimal(0)) + amount
    return totals


def _changes_table(outcomes: Sequence[WeekOutcome]) -> str:
    lines = ["| organisation | table | row | figure | before | now |", "|---|---|---|---|---|---|"]
    for outcome in outcomes:
        for change in outcome.restated[:_LINES_SHOWN]:
            cells = (change.table_name, change.row_key, change.column_name, change.old_value, change.new_value)
            lines.append(f"| {outcome.tenant_name} | " + " | ".join("" if c is None else str(c) for c in cells) + " |")
    return "\n".join(lines)


def columns_metadata(kind: SyncType) -> dict[str, Any]:
    """Which columns a week was written with. What they mean is said once, by the asset."""
    return {"dagster/column_schema": column_schema(_TABLES[kind][0], described=False)}


def table_metadata(warehouse: Warehouse, kind: SyncType, organisations: Mapping[str, str]) -> dict[str, Any]:
    """What is held by now: all rows of the asset's tables, and a picture of the last weeks.

    Args:
        organisations: their names by tenant id.
    """
    with warehouse.engine.connect() as connection:
        counts = [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in _TABLES[kind]]
    metadata: dict[str, Any] = {}
    for tenant_id, name in list(_told_apart(organisations).items())[:_ORGANISATIONS_DRAWN]:
        chart = _chart(warehouse, kind, tenant_id, name)
        if chart is not None and (picture := chart_markdown(chart)):
            title = "last_weeks" if len(organisations) == 1 else f"last_weeks of {name}"
            metadata[title] = dg.MetadataValue.md(picture)
    return metadata | {"dagster/row_count": dg.MetadataValue.int(sum(counts))}


def _chart(warehouse: Warehouse, kind: SyncType, tenant_id: str, name: str) -> Chart | None:
    last = newest_week(warehouse.engine, tenant_id)
    if last is None:
        return None
    first = last.shift(1 - WEEKS_SHOWN)
    rows = warehouse.summary(tenant_id, first, last)

    def curve(title: str, column: str) -> Curve:
        return Curve(title, {row.week: amount for row in rows if (amount := getattr(row, column)) is not None})

    currency = rows[-1].currency
    if kind is SyncType.PROFIT_AND_LOSS:
        area, line = curve("trading income", "total_trading_income"), curve("net profit", "net_profit")
        return Chart(name, currency, area, line)
    if kind is SyncType.BANK_SUMMARY:
        return Chart(name, currency, curve("closing cash", "closing_cash"))
    by_type = revenue_by_type(warehouse.engine, tenant_id, first, last)
    return Chart(name, currency, curve("net revenue", "net_revenue"), _largest_type(by_type))


def _largest_type(by_type: Mapping[Week, Mapping[str, Decimal]]) -> Curve | None:
    """The revenue type that brings the most, where there are several."""
    sums: dict[str, Decimal] = {}
    for amounts in by_type.values():
        for name, amount in amounts.items():
            sums[name] = sums.get(name, Decimal(0)) + amount
    if len(sums) < 2:
        return None
    largest = max(sorted(sums), key=lambda name: sums[name])
    return Curve(largest, {week: amounts.get(largest, Decimal("0.00")) for week, amounts in by_type.items()})
