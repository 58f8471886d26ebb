"""One reconciliation from beginning to end: compare, read again what differs, compare again, record the result."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Engine

from xero_pipeline.reconciliation.comparison import Comparison, Reading, read_known_differences
from xero_pipeline.reconciliation.readings import ReadAgain, plan_readings
from xero_pipeline.reconciliation.reconciler import KINDS, Known, Reconciler
from xero_pipeline.warehouse.logs.reconciliations import (
    Reconciliation,
    ReconciliationKind,
    ReconciliationLog,
    ReconciliationStatus,
)
from xero_pipeline.weeks import WeekRange
from xero_pipeline.xero.client import OrganisationClient

# Edits of the ledger first, then movements of the bank, then the balances after them, and once more for each.
MAX_ROUNDS = 6

# The figures that an asset lands.
KIND_OF_ASSET = {
    "financial_weekly": ReconciliationKind.PROFIT_AND_LOSS,
    "revenue_weekly": ReconciliationKind.DOCUMENTS,
    "cash_position_weekly": ReconciliationKind.BANK_SUMMARY,
}

_Block = tuple[ReconciliationKind, WeekRange]


def reconcile_organisation(
    client: OrganisationClient,
    engine: Engine,
    blocks: Sequence[WeekRange],
    *,
    cash_basis: bool,
    read_again: ReadAgain,
    now: datetime,
) -> list[Reconciliation]:
    """Hold these blocks of an organisation against Xero's totals, mend what differs, and record a row for each kind.

    Returns:
        The recorded rows, by kind and block.

    Raises:
        XeroError: Xero did not answer a comparison, or an answer is not understood. Nothing was recorded.
    """
    log = ReconciliationLog(engine)
    known = read_known(log, client.tenant_id)
    looks = {block.first: log.count_looks(client.tenant_id, block.first) for block in blocks}
    # The rarest looked at come first. A block that is equal takes four calls at most, splits included.
    split_blocks = sorted(looks, key=lambda first: (looks[first], first))[: max(2 * len(blocks) - 3, 1)]
    splits = {first: (looks[first], 1) for first in split_blocks}

    def begin_look() -> Reconciler:
        return Reconciler(
            client,
            engine,
            cash_basis=cash_basis,
            known=known,
            splits=splits,
            list_done=lambda _comparison: done,
        )

    done: set[Reading] = set()
    results = {(one.kind, one.weeks): one for one in begin_look().compare(blocks)}
    calls = {block: comparison.calls for block, comparison in results.items()}
    were_equal = {block for block, comparison in results.items() if _is_settled(comparison)}
    landed: set[Reading] = set()
    readings_by_block: dict[_Block, set[Reading]] = {block: set() for block in results}
    run_id: str | None = None
    for _ in range(MAX_ROUNDS):
        plans = plan_readings(results.values(), done)
        if not plans:
            break
        result = read_again(plans)
        run_id = result.run_id or run_id
        landed |= result.landed
        planned = {reading for plan in plans for reading in plan.list_readings()}
        done |= planned
        unassigned = dict(result.calls)
        for block, comparison in results.items():
            of_block = comparison.list_readings()
            readings_by_block[block] |= of_block & planned
            calls[block] += sum(unassigned.pop(reading, 0) for reading in of_block)
        read_kinds = {(KIND_OF_ASSET[asset], week) for week, asset in planned}
        reread = {block for block in results if any((block[0], week) in read_kinds for week in block[1])}
        for comparison in _compare_again(begin_look(), results.values(), reread):
            block = (comparison.kind, comparison.weeks)
            results[block] = comparison
            calls[block] += comparison.calls
            if not _is_settled(comparison):
                were_equal.discard(block)
    unread = {one.weeks for one in results.values() if one.list_readings() - done}
    rows = []
    for block, comparison in sorted(results.items(), key=lambda item: (KINDS.index(item[0][0]), item[0][1])):
        readings = readings_by_block[block]
        rows.append(
            Reconciliation(
                tenant_id=client.tenant_id,
                kind=comparison.kind,
                weeks=comparison.weeks,
                status=_choose_status(comparison, landed, was_equal=block in were_equal),
                difference=comparison.as_json(
                    left_over=comparison.is_left_over(landed, is_being_explained=comparison.weeks in unread)
                ),
                weeks_read_again=len({week for week, _ in readings}),
                api_calls=calls[block],
                dagster_run_id=run_id if readings else None,
                checked_at=now,
            )
        )
    log.record(rows)
    return rows


def read_known(log: ReconciliationLog, tenant_id: str) -> Known:
    """Read what the last looks have left."""
    return {
        (row.kind, row.weeks.first): read_known_differences(row.difference, is_left_over=row.is_left_over)
        for row in log.list_current(tenant_id)
    }


def _compare_again(
    reconciler: Reconciler, earlier: Iterable[Comparison], reread: Collection[_Block]
) -> list[Comparison]:
    """Compare once more what differed, and what has been read again, whatever it was read for."""
    wanted = [one for one in earlier if not _is_settled(one) or (one.kind, one.weeks) in reread]
    comparisons = []
    for kind in KINDS:
        blocks = [comparison.weeks for comparison in wanted if comparison.kind is kind]
        comparisons += reconciler.compare(blocks, [kind])
    return comparisons


def _is_settled(comparison: Comparison) -> bool:
    return comparison.is_equal and not comparison.weeks_to_read


def _choose_status(comparison: Comparison, landed: Collection[Reading], *, was_equal: bool) -> ReconciliationStatus:
    if not comparison.is_equal or not comparison.list_readings() <= set(landed):
        return ReconciliationStatus.DIFFERS
    return ReconciliationStatus.EQUAL if was_equal else ReconciliationStatus.MENDED
