"""Which weeks are there, once each, fresh, and with figures that add up in Xero itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Table

from xero_pipeline.money import to_cents, to_decimal
from xero_pipeline.warehouse.checks.snapshot import Key, Violation, WarehouseSnapshot, cached_check
from xero_pipeline.warehouse.logs.sync_log import SyncStatus, SyncType
from xero_pipeline.weeks import Week

_NAMES = {
    SyncType.PROFIT_AND_LOSS: "profit and loss",
    SyncType.INVOICES: "revenue",
    SyncType.BANK_SUMMARY: "cash position",
}


def no_duplicates(held: WarehouseSnapshot, *tables: Table) -> list[Violation]:
    """Each row's key is there once in its organisation's week, however it is spelt.

    The primary key forbids the same key twice; it does not know that `Residential` and `residential` are one.
    """
    return [finding for table in tables for finding in _duplicates(held, table)]


@cached_check
def _duplicates(held: WarehouseSnapshot, table: Table) -> list[Violation]:
    own = [column.name for column in table.primary_key.columns if column.name not in ("tenant_id", "week_ending")]
    times: Counter[tuple[str, Week, tuple[str, ...]]] = Counter()
    spelt: dict[tuple[str, Week, tuple[str, ...]], set[str]] = defaultdict(set)
    for row in held.rows(table):
        key = (row["tenant_id"], row["week"], tuple(str(row[name]).strip().lower() for name in own))
        times[key] += 1
        spelt[key].add(" / ".join(row[name] for name in own))
    found = []
    for key, count in times.items():
        if count > 1:
            tenant_id, week, _ = key
            names = " and ".join(repr(name) for name in sorted(spelt[key]) if name) or "the week"
            found.append(
                Violation(
                    tenant_id,
                    week,
                    min(spelt[key]),
                    {"rows": count},
                    f"{table.name} holds {names} {count} times; it belongs there once.",
                )
            )
    return found


def no_gaps(held: WarehouseSnapshot, kind: SyncType) -> list[Violation]:
    """From an organisation's first week to its last of this kind, every week is held as it landed.

    The first week is that of any kind. Weeks after the last are `fresh`'s matter.
    """
    first: dict[str, Week] = {}
    last: dict[str, Week] = {}
    for any_kind in SyncType:
        for tenant_id, week in held.weeks(any_kind):
            first[tenant_id] = min(first.get(tenant_id, week), week)
    for tenant_id, week in held.weeks(kind):
        last[tenant_id] = max(last.get(tenant_id, week), week)
    found = []
    for tenant_id in sorted(last):
        week = first[tenant_id]
        while week <= last[tenant_id]:
            if not held.is_whole(kind, (tenant_id, week)):
                found.append(_gap(held, kind, (tenant_id, week), first[tenant_id], last[tenant_id]))
            week = week.shift(1)
    return found


def _gap(held: WarehouseSnapshot, kind: SyncType, key: Key, first: Week, last: Week) -> Violation:
    name, landing, rows = _NAMES[kind], held.landed[kind].get(key), held.counts[kind].get(key, 0)
    if landing is None:
        amounts = {"rows": rows}
        sentence = f"no {name} of this week ever landed, and weeks from {first} to {last} are held."
    else:
        amounts = {"rows": rows, "rows_landed": landing.record_count}
        sentence = f"{landing.record_count} rows of {name} landed, and {rows} are held: rows have gone since."
    return Violation(*key, "", amounts, sentence)


def fresh(held: WarehouseSnapshot, kind: SyncType, due: Mapping[str, Week]) -> list[Violation]:
    """The week that is due has landed.

    Args:
        due: for each organisation that is looked at, the newest week that must be there by now.
    """
    found = []
    for tenant_id, week in sorted(due.items()):
        weeks = [one for tenant, one in held.weeks(kind) if tenant == tenant_id]
        newest = max(weeks, default=None)
        if newest is None or newest < week:
            said = f"the newest week held is the one ending {newest}" if newest else "no week is held at all"
            sentence = f"the {_NAMES[kind]} of this week should have landed by now; {said}."
            found.append(Violation(tenant_id, week, "", {}, sentence))
    return found


def adds_up_in_xero(held: WarehouseSnapshot, kind: SyncType) -> list[Violation]:
    """No week landed as `partial`: with figures that differ from the totals that Xero states itself."""
    found: list[Violation] = []
    for key, landing in sorted(held.landed[kind].items()):
        if landing.status == SyncStatus.PARTIAL:
            found += _differences(key, landing.error_log)
    return found


def _differences(key: Key, error_log: Any) -> list[Violation]:
    said = error_log.get("differences") if isinstance(error_log, Mapping) else error_log
    found = []
    for difference in said if isinstance(said, list) else []:
        if isinstance(difference, Mapping) and difference.get("where"):
            amounts = {name: amount for name in ("stated", "found") if (amount := _amount(difference.get(name)))}
            by = (
                f"Xero states {amounts['stated']}, its parts add up to {amounts['found']}, "
                f"a difference of {amounts['stated'] - amounts['found']}."
                if len(amounts) == 2
                else "Xero states something else than its parts add up to."
            )
            found.append(Violation(*key, str(difference["where"]), amounts, f"{difference['where']}: {by}"))
    if not found:
        found.append(Violation(*key, "", {}, "the figures do not add up to Xero's own totals; the sync log says more."))
    return found


def _amount(value: object) -> Decimal | None:
    try:
        return to_cents(to_decimal(value))
    except ValueError:
        return None
