"""What a materialised week says about itself in Dagster's UI."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from xero_pipeline.weeks import Week

if TYPE_CHECKING:
    from xero_pipeline.assets.walk import Outcome

# Dagster keeps an event's metadata for ever: a long list is cut.
_LINES_SHOWN = 50


def week_metadata(week: Week, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One week's metadata: who, how much, what it cost, what changed.

    The totals are numbers, which Dagster plots over the weeks; the exact decimals stand in `figures`.
    """
    restated = [change for outcome in outcomes for change in outcome.restated]
    metadata: dict[str, Any] = {
        "week_ending": dg.MetadataValue.text(str(week)),
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


def _plotted(outcomes: Sequence[Outcome]) -> dict[str, Decimal]:
    """The organisations' totals together, as long as they are in one currency."""
    if len({outcome.currency for outcome in outcomes}) != 1:
        return {}
    totals: dict[str, Decimal] = {}
    for outcome in outcomes:
        for name, amount in outcome.totals.items():
            totals[name] = totals.get(name, Decimal(0)) + amount
    return totals


def _changes_table(outcomes: Sequence[Outcome]) -> str:
    lines = ["| organisation | table | row | figure | before | now |", "|---|---|---|---|---|---|"]
    for outcome in outcomes:
        for change in outcome.restated[:_LINES_SHOWN]:
            cells = (change.table_name, change.row_key, change.column_name, change.old_value, change.new_value)
            lines.append(f"| {outcome.tenant_name} | " + " | ".join("" if c is None else str(c) for c in cells) + " |")
    return "\n".join(lines)
