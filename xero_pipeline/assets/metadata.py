"""The metadata of materialised weeks in Dagster's UI. The newest week of a run also describes the whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg
from sqlalchemy import func, select

from xero_pipeline.assets.columns import build_column_schema
from xero_pipeline.assets.outcomes import WeekOutcome
from xero_pipeline.assets.pictures import WEEKS_SHOWN, Chart, Curve, render_chart_markdown
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.figures.queries import find_newest_week, read_revenue_by_type
from xero_pipeline.warehouse.logs.reconciliations import ReconciliationLog
from xero_pipeline.warehouse.logs.sync_log import MONTHLY_TYPES, SyncType
from xero_pipeline.warehouse.schema import (
    cash_position_monthly,
    cash_position_weekly,
    financial_monthly,
    financial_monthly_lines,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week

# Dagster stores an event's metadata for ever, so long lists are cut.
_MAX_LINES = 50
_MAX_CHARTS = 5

_TABLES = {
    SyncType.PROFIT_AND_LOSS: (financial_weekly, financial_weekly_lines),
    SyncType.INVOICES: (revenue_weekly,),
    SyncType.BANK_SUMMARY: (cash_position_weekly,),
    SyncType.PROFIT_AND_LOSS_MONTHLY: (financial_monthly, financial_monthly_lines),
    SyncType.BANK_SUMMARY_MONTHLY: (cash_position_monthly,),
}


def build_week_metadata(week: Period, outcomes: Sequence[WeekOutcome]) -> dict[str, Any]:
    """Build the metadata of one week or month: organisations, rows, API calls, totals, and the figures that changed.

    The totals are floats, because Dagster plots numbers over the weeks. `figures` has the exact decimals.
    """
    restated = [change for outcome in outcomes for change in outcome.restated]
    metadata: dict[str, Any] = {
        week.COLUMN: dg.MetadataValue.text(str(week)),
        "organisations": dg.MetadataValue.text(", ".join(outcome.tenant_name for outcome in outcomes)),
        "dagster/partition_row_count": dg.MetadataValue.int(sum(outcome.rows for outcome in outcomes)),
        "api_calls": dg.MetadataValue.int(sum(outcome.calls for outcome in outcomes)),
        "figures": dg.MetadataValue.json(
            {
                outcome.tenant_name: {"currency": outcome.currency, "status": outcome.status}
                | {name: str(amount) for name, amount in outcome.totals.items()}
                for outcome in outcomes
            }
        ),
        "restated": dg.MetadataValue.int(len(restated)),
    }
    metadata |= {name: dg.MetadataValue.float(float(amount)) for name, amount in _sum_totals(outcomes).items()}
    if restated:
        metadata["what_changed"] = dg.MetadataValue.md(_format_changes(outcomes))
    differences = [f"- {o.tenant_name}: {difference}" for o in outcomes for difference in o.differences]
    if differences:
        metadata["does_not_add_up"] = dg.MetadataValue.md("\n".join(differences[:_MAX_LINES]))
    notes = [f"- {o.tenant_name}: {note}" for o in outcomes for note in o.notes]
    if notes:
        metadata["notes"] = dg.MetadataValue.md("\n".join(notes[:_MAX_LINES]))
    return metadata


def _sum_totals(outcomes: Sequence[WeekOutcome]) -> dict[str, Decimal]:
    """The sum of the organisations' totals; empty where they are in several currencies, or one's are not known here."""
    if len({outcome.currency for outcome in outcomes}) != 1 or not all(outcome.totals for outcome in outcomes):
        return {}
    totals: dict[str, Decimal] = {}
    for outcome in outcomes:
        for name, amount in outcome.totals.items():
            totals[name] = totals.get(name, Decimal(0)) + amount
    return totals


def _format_changes(outcomes: Sequence[WeekOutcome]) -> str:
    lines = ["| organisation | table | row | figure | before | now |", "|---|---|---|---|---|---|"]
    for outcome in outcomes:
        for change in outcome.restated[:_MAX_LINES]:
            cells = (change.table_name, change.row_key, change.column_name, change.old_value, change.new_value)
            row = " | ".join("" if cell is None else str(cell) for cell in cells)
            lines.append(f"| {outcome.tenant_name} | {row} |")
    return "\n".join(lines)


def build_columns_metadata(kind: SyncType) -> dict[str, Any]:
    """Build the column schema that a week was written with. The asset's own metadata says what the columns mean."""
    return {"dagster/column_schema": build_column_schema(_TABLES[kind][0], with_descriptions=False)}


def build_table_metadata(warehouse: Warehouse, kind: SyncType, organisations: Mapping[str, str]) -> dict[str, Any]:
    """Build the metadata of the whole table: the row count of the asset's tables, and a chart of the last weeks.

    Args:
        organisations: their names by tenant id; no two have the same one.
    """
    with warehouse.engine.connect() as connection:
        counts = [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in _TABLES[kind]]
    metadata: dict[str, Any] = {}
    for tenant_id, name in list(organisations.items())[:_MAX_CHARTS]:
        chart = _read_chart(warehouse, kind, tenant_id, name)
        if chart is not None and (picture := render_chart_markdown(chart)):
            title = "last_weeks" if len(organisations) == 1 else f"last_weeks of {name}"
            metadata[title] = dg.MetadataValue.md(picture)
    proofs = [
        f"- {name}: {proof}, last compared {proof.last_checked_at:%Y-%m-%d %H:%M} UTC"
        for tenant_id, name in organisations.items()
        if (proof := ReconciliationLog(warehouse.engine).read_proof(tenant_id)) is not None
    ]
    if proofs:
        metadata["proven_against_xero"] = dg.MetadataValue.md("\n".join(proofs[:_MAX_LINES]))
    return metadata | {"dagster/row_count": dg.MetadataValue.int(sum(counts))}


def _read_chart(warehouse: Warehouse, kind: SyncType, tenant_id: str, name: str) -> Chart | None:
    last = find_newest_week(warehouse.engine, tenant_id)
    if last is None or kind in MONTHLY_TYPES:
        return None
    first = last.shift(1 - WEEKS_SHOWN)
    rows = warehouse.read_summary(tenant_id, first, last)

    def build_curve(title: str, column: str) -> Curve:
        return Curve(title, {row.week: amount for row in rows if (amount := getattr(row, column)) is not None})

    currency = rows[-1].currency
    if kind is SyncType.PROFIT_AND_LOSS:
        area, line = build_curve("trading income", "total_trading_income"), build_curve("net profit", "net_profit")
        return Chart(name, currency, area, line)
    if kind is SyncType.BANK_SUMMARY:
        return Chart(name, currency, build_curve("closing cash", "closing_cash"))
    by_type = read_revenue_by_type(warehouse.engine, tenant_id, first, last)
    return Chart(name, currency, build_curve("net revenue", "net_revenue"), _find_largest_type(by_type))


def _find_largest_type(by_type: Mapping[Week, Mapping[str, Decimal]]) -> Curve | None:
    """The revenue type with the most revenue; `None` where there are not several types."""
    sums: dict[str, Decimal] = {}
    for amounts in by_type.values():
        for name, amount in amounts.items():
            sums[name] = sums.get(name, Decimal(0)) + amount
    if len(sums) < 2:
        return None
    largest = max(sorted(sums), key=lambda name: sums[name])
    return Curve(largest, {week: amounts.get(largest, Decimal("0.00")) for week, amounts in by_type.items()})
