"""Each week is stored once, without gaps and in time, and its figures agree with Xero's own totals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Table

from xero_pipeline.money import to_cents, to_decimal
from xero_pipeline.warehouse.checks.snapshot import Key, Violation, WarehouseSnapshot, cached_check
from xero_pipeline.warehouse.logs.acceptances import AcceptedDifferences, list_differences
from xero_pipeline.warehouse.logs.reconciliations import ReconciliationKind
from xero_pipeline.warehouse.logs.sync_log import SyncStatus, SyncType
from xero_pipeline.weeks import Week

_KIND_NAMES = {
    SyncType.PROFIT_AND_LOSS: "profit and loss",
    SyncType.INVOICES: "revenue",
    SyncType.BANK_SUMMARY: "cash position",
    SyncType.PROFIT_AND_LOSS_MONTHLY: "profit and loss",
    SyncType.BANK_SUMMARY_MONTHLY: "cash position",
}

_RECONCILED = {
    SyncType.PROFIT_AND_LOSS: ReconciliationKind.PROFIT_AND_LOSS,
    SyncType.INVOICES: ReconciliationKind.DOCUMENTS,
    SyncType.BANK_SUMMARY: ReconciliationKind.BANK_SUMMARY,
}


def check_no_duplicates(snapshot: WarehouseSnapshot, *tables: Table) -> list[Violation]:
    """Each row occurs once in its organisation's week, regardless of upper case and surrounding spaces in its key.

    The primary key forbids the same key twice, but it treats `Residential` and `residential` as different.
    """
    return [violation for table in tables for violation in _find_duplicates(snapshot, table)]


@cached_check
def _find_duplicates(snapshot: WarehouseSnapshot, table: Table) -> list[Violation]:
    ours = ("tenant_id", "week_ending", "month_ending")
    key_names = [column.name for column in table.primary_key.columns if column.name not in ours]
    counts: Counter[tuple[str, Week, tuple[str, ...]]] = Counter()
    spellings: dict[tuple[str, Week, tuple[str, ...]], set[str]] = defaultdict(set)
    for row in snapshot.rows(table):
        key = (row["tenant_id"], row["week"], tuple(str(row[name]).strip().lower() for name in key_names))
        counts[key] += 1
        spellings[key].add(" / ".join(row[name] for name in key_names))
    violations = []
    for key, count in counts.items():
        if count > 1:
            tenant_id, week, _ = key
            names = " and ".join(repr(name) for name in sorted(spellings[key]) if name) or f"the {key[1].NOUN}"
            violations.append(
                Violation(
                    tenant_id,
                    week,
                    min(spellings[key]),
                    {"rows": count},
                    f"{table.name} holds {names} {count} times; it belongs there once.",
                )
            )
    return violations


def check_no_gaps(snapshot: WarehouseSnapshot, kind: SyncType) -> list[Violation]:
    """From an organisation's first week to its last week of this kind, every week is stored with all landed rows.

    The first week is the first of any kind. `check_fresh` is about the weeks after the last.
    """
    first: dict[str, Week] = {}
    last: dict[str, Week] = {}
    for any_kind in snapshot.landed:
        for tenant_id, week in snapshot.weeks(any_kind):
            first[tenant_id] = min(first.get(tenant_id, week), week)
    for tenant_id, week in snapshot.weeks(kind):
        last[tenant_id] = max(last.get(tenant_id, week), week)
    violations = []
    for tenant_id in sorted(last):
        week = first[tenant_id]
        while week <= last[tenant_id]:
            if not snapshot.is_whole(kind, (tenant_id, week)):
                violations.append(_describe_gap(snapshot, kind, (tenant_id, week), first[tenant_id], last[tenant_id]))
            week = week.shift(1)
    return violations


def check_matches_xero_totals(snapshot: WarehouseSnapshot, kind: SyncType) -> list[Violation]:
    """The stored weeks add up to Xero's own totals over blocks of weeks, as the last reconciliation found them."""
    violations = []
    for row in snapshot.reconciliations:
        if row.kind is not _RECONCILED[kind] or not row.is_left_over:
            continue
        for figure in row.difference.get("figures", []):
            stated, held = to_decimal(figure["stated"]), to_decimal(figure["held"])
            first, last = figure.get("first_week", row.weeks.first), figure.get("last_week", row.weeks.last)
            violations.append(
                Violation(
                    row.tenant_id,
                    row.weeks.last,
                    figure["account_name"],
                    {"stated": stated, "held": held},
                    f"over the weeks ending {first} to {last}, Xero states {stated} for "
                    f"{figure['account_name']} ({figure['figure'].replace('_', ' ')}), the stored weeks add up to "
                    f"{held}.",
                )
            )
    return violations


def _describe_gap(snapshot: WarehouseSnapshot, kind: SyncType, key: Key, first: Week, last: Week) -> Violation:
    name, landed, rows = _KIND_NAMES[kind], snapshot.landed[kind].get(key), snapshot.counts[kind].get(key, 0)
    if landed is None:
        amounts = {"rows": rows}
        noun = key[1].NOUN
        sentence = f"no {name} of this {noun} has landed, although there are {noun}s from {first} to {last}."
    else:
        amounts = {"rows": rows, "rows_landed": landed.record_count}
        sentence = f"{landed.record_count} rows of {name} landed, but only {rows} are left in the table."
    return Violation(*key, "", amounts, sentence)


def check_fresh(snapshot: WarehouseSnapshot, kind: SyncType, due: Mapping[str, Week]) -> list[Violation]:
    """The week that is due has landed.

    Args:
        due: for each organisation to check, the newest week that must have landed by now.
    """
    violations = []
    for tenant_id, week in sorted(due.items()):
        weeks = [stored_week for tenant, stored_week in snapshot.weeks(kind) if tenant == tenant_id]
        newest = max(weeks, default=None)
        if newest is None or newest < week:
            state = f"the newest stored week is the one ending {newest}" if newest else "no week is stored at all"
            sentence = f"the {_KIND_NAMES[kind]} of this week should have landed by now; {state}."
            violations.append(Violation(tenant_id, week, "", {}, sentence))
    return violations


def check_adds_up_in_xero(snapshot: WarehouseSnapshot, kind: SyncType) -> list[Violation]:
    """No week has landed as `partial`, with figures that differ from the totals that Xero itself states.

    A difference that a person has accepted is among the violations, marked as such.
    """
    violations: list[Violation] = []
    for key, landed in sorted(snapshot.landed[kind].items()):
        if landed.status == SyncStatus.PARTIAL:
            violations += _read_differences(key, kind, landed.error_log, snapshot.accepted)
    return violations


def _read_differences(key: Key, kind: SyncType, error_log: Any, accepted: AcceptedDifferences) -> list[Violation]:
    week = key[0], kind.value, key[1].ending
    violations = []
    for difference in list_differences(error_log):
        if isinstance(difference, Mapping) and difference.get("where"):
            amounts = {name: amount for name in ("stated", "found") if (amount := _parse_amount(difference.get(name)))}
            doubt = difference.get("doubt")
            sentence = (
                f"{difference.get('stated')} or {difference.get('found')}, because {doubt}."
                if doubt
                else f"Xero states {amounts['stated']}, its parts add up to {amounts['found']}, "
                f"a difference of {amounts['stated'] - amounts['found']}."
                if len(amounts) == 2
                else "Xero's own total differs from the sum of its parts."
            )
            where = str(difference["where"])
            violations.append(Violation(*key, where, amounts, f"{where}: {sentence}", accepted.get(week, difference)))
    if not violations:
        sentence = "the figures do not add up to Xero's own totals; the sync log says more."
        violations.append(Violation(*key, "", {}, sentence, accepted.get_for_all(week, error_log)))
    return violations


def _parse_amount(value: object) -> Decimal | None:
    try:
        return to_cents(to_decimal(value))
    except ValueError:
        return None
