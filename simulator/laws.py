"""The laws: what must hold whatever happens. Each law is one sentence here, and a broken one names what is wrong.

Some are held at each landing, in the moment in which the figures become visible; the others each day or each week of
simulated time. "Within its promise": a week must be exact once the time has passed that the documentation promises for
the kind of edit, not counting the time in which faults were going on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, bindparam, func, select, text

from simulator.truth import CELLS, KINDS, MOVEMENTS, TABLES, TOTALS, Figures, Key, Truth
from xero_pipeline.warehouse.call_budget.counts import call_slots
from xero_pipeline.warehouse.logs.sync_types import LANDED, SyncType
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    financial_weekly_lines,
    restatements,
    revenue_weekly,
)
from xero_pipeline.warehouse.schema import xero_sync_logs as logs
from xero_pipeline.weeks import Week


class LawBroken(Exception):
    """A law does not hold. The text names the law and what is wrong."""


@dataclass
class _Held:
    """What the laws saw last of one organisation's week."""

    figures: dict[SyncType, Figures] = field(default_factory=dict)
    landed: dict[SyncType, int] = field(default_factory=dict)
    status: dict[SyncType, str] = field(default_factory=dict)


@dataclass
class _SilentEdit:
    """An edit that only a comparison with Xero's totals finds: the weeks `first` to `last` are exact by `until`."""

    kind: SyncType
    first: Week
    last: Week | None
    until: datetime

    def concerns(self, kind: SyncType, week: Week) -> bool:
        return kind is self.kind and self.first <= week and (self.last is None or week <= self.last)


class Promises:
    """Until when figures of an organisation need not be exact yet, after an edit."""

    def __init__(self) -> None:
        self._weeks: dict[tuple[SyncType, Week], datetime] = {}
        self._later: dict[SyncType, list[tuple[Week, datetime]]] = defaultdict(list)
        self._silent: list[_SilentEdit] = []

    def excuse(self, kind: SyncType, week: Week, until: datetime) -> None:
        key = (kind, week)
        self._weeks[key] = max(until, self._weeks.get(key, until))

    def excuse_from(self, kind: SyncType, first: Week, until: datetime) -> None:
        """Excuse this week and every later one."""
        self._later[kind].append((first, until))

    def excuse_silent(self, kind: SyncType, first: Week, last: Week | None, until: datetime) -> None:
        """Excuse these weeks, without `last` all later ones too, until a comparison must have found the edit."""
        self._silent.append(_SilentEdit(kind, first, last, until))

    def postpone(self, now: datetime, until: datetime) -> None:
        """A comparison may have failed now, and the next one comes later: only that one finds silent edits."""
        for edit in self._silent:
            if edit.until > now:
                edit.until = max(edit.until, until)

    def is_due(self, kind: SyncType, week: Week, now: datetime) -> bool:
        if self._weeks.get((kind, week), now) > now:
            return False
        later = self._later[kind]
        later[:] = [one for one in later if one[1] > now]
        self._silent = [one for one in self._silent if one.until > now]
        if any(one.concerns(kind, week) for one in self._silent):
            return False
        return all(week < first for first, _ in later)


class FigureLaws:
    """The laws about figures. `watch` sees each landing, `hold_exact` compares with the books."""

    def __init__(self, engine: Engine, truths: dict[str, Truth]) -> None:
        self._engine = engine
        self._truths = truths
        self.promises = {tenant_id: Promises() for tenant_id in truths}
        self._held: dict[tuple[str, Week], _Held] = defaultdict(_Held)
        self._last_restatement = 0
        self._chains: dict[tuple[str, Week], list[Any]] = defaultdict(list)
        # Until when a week may be wrong that landed as `partial`, which says so: the next comparison reads it again.
        self.partial_until: datetime | None = None
        self.broken: list[str] = []
        self.landings = 0
        self.restated = 0

    def watch(self, tenant_id: str, week: Week, log_id: int | None = None) -> None:
        """Look at a week after something may have landed; `log_id` is the row that has just landed."""
        self._read_restatements()
        landed = _read_landed(self._engine, tenant_id, week)
        kinds = [kind for kind in KINDS if log_id is None or landed.get(kind, (0, ""))[0] == log_id]
        stored = _read_stored(self._engine, tenant_id, week, kinds)
        held = self._held[tenant_id, week]
        chains = self._chains.pop((tenant_id, week), [])
        for kind in kinds:
            before, after = held.figures.get(kind), stored[kind]
            newest, status = landed.get(kind, (0, ""))
            self.landings += log_id is not None
            name = f"{tenant_id} {week} {kind.value}"
            if before is not None and before != after:
                self._hold_restated(name, before, after, [row for row in chains if row.table_name in TABLES[kind]])
                if newest <= held.landed.get(kind, 0):
                    self.broken.append(f"figures changed without a landing: {name}")
            elif before is None and newest == 0 and after:
                self.broken.append(f"figures are visible that have not landed: {name}")
            if newest and status == "success" and (before != after or held.status.get(kind) != status):
                never = self._truths[tenant_id].find_never_stated(kind, week, after)
                self.broken += [f"figures are visible that Xero never stated: {tenant_id} {one}" for one in never]
            if newest:
                held.figures[kind] = after
                held.landed[kind] = newest
                held.status[kind] = status
        if log_id is not None and all(newest != log_id for newest, _ in landed.values()):
            self.broken.append(f"an older reading replaced a newer one: {tenant_id} {week}, row {log_id}")

    def _read_restatements(self) -> None:
        query = select(restatements).where(restatements.c.id > self._last_restatement).order_by(restatements.c.id)
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                self._last_restatement = row.id
                self._chains[row.tenant_id, Week(row.week_ending)].append(row)
                self.restated += 1

    def _hold_restated(self, name: str, before: Figures, after: Figures, rows: list[Any]) -> None:
        chains: dict[Key, list[Any]] = defaultdict(list)
        for row in rows:
            chains[row.table_name, row.row_key, row.column_name].append(row)
        for key in before.keys() | after.keys():
            old, new, chain = before.get(key), after.get(key), chains.get(key, [])
            if old == new or (_is_nothing(key, old) and _is_nothing(key, new)):
                continue
            values = [row.old_value for row in chain[:1]] + [row.new_value for row in chain]
            if not chain or not _are_same(key, values[0], old) or not _are_same(key, values[-1], new):
                self.broken.append(f"a change is no restatement: {name} {key} from {old} to {new}, recorded {values}")
                return

    def hold_exact(self, tenant_id: str, weeks: Iterable[Week], now: datetime) -> int:
        """Compare every week whose promise is due with the books, and return how many figures were compared."""
        truth, promises, compared = self._truths[tenant_id], self.promises[tenant_id], 0
        for week in weeks:
            held = self._held.get((tenant_id, week))
            for kind in KINDS:
                if not promises.is_due(kind, week, now):
                    continue
                expected = truth.read(kind, week)
                stored = held.figures.get(kind) if held else None
                compared += len(expected)
                name = f"{tenant_id} {week} {kind.value}"
                if stored is None:
                    self.broken.append(f"a week is missing: {name}")
                elif stored != expected:
                    is_partial = held is not None and held.status.get(kind) == "partial"
                    if is_partial and self.partial_until is not None and now < self.partial_until:
                        continue
                    different = [
                        f"{key[0]} {key[1]} {key[2]}: {stored.get(key)} instead of {expected.get(key)}"
                        for key in sorted(stored.keys() | expected.keys())
                        if stored.get(key) != expected.get(key)
                    ]
                    self.broken.append(f"a week is not exact within its promise: {name}: {'; '.join(different[:3])}")
        return compared

    def refresh(self, tenant_id: str, weeks: Iterable[Week]) -> None:
        for week in weeks:
            self.watch(tenant_id, week)


def _is_nothing(key: Key, value: str | None) -> bool:
    # A line of 0.00 is the same as no line.
    return key[0] == "financial_weekly_lines" and (value is None or Decimal(value) == 0)


def _are_same(key: Key, one: str | None, other: str | None) -> bool:
    return one == other or (_is_nothing(key, one) and _is_nothing(key, other))


_COLUMNS = {
    "financial_weekly": ((), TOTALS),
    "financial_weekly_lines": (("account_id",), ("amount",)),
    "revenue_weekly": (("revenue_type", "region"), CELLS),
    "cash_position_weekly": (("bank_account_id",), MOVEMENTS),
}


def _read_stored(engine: Engine, tenant_id: str, week: Week, kinds: Iterable[SyncType]) -> dict[SyncType, Figures]:
    stored: dict[SyncType, Figures] = {}
    with engine.connect() as connection:
        for kind in kinds:
            stored[kind] = {}
            for name in TABLES[kind]:
                keys, columns = _COLUMNS[name]
                for row in connection.execute(_QUERIES[name], {"tenant": tenant_id, "week": week.ending}):
                    key = " / ".join(getattr(row, column) for column in keys) or "week"
                    values = {(name, key, column): str(getattr(row, column)) for column in columns}
                    if name != "financial_weekly_lines" or row.amount:
                        stored[kind] |= values
    return stored


_QUERIES = {
    table.name: select(*(table.c[name] for group in _COLUMNS[table.name] for name in group)).where(
        table.c.tenant_id == bindparam("tenant"), table.c.week_ending == bindparam("week")
    )
    for table in (financial_weekly, financial_weekly_lines, revenue_weekly, cash_position_weekly)
}


def _read_landed(engine: Engine, tenant_id: str, week: Week) -> dict[SyncType, tuple[int, str]]:
    query = (
        select(logs.c.sync_type, logs.c.id, logs.c.status, logs.c.completed_at)
        .where(logs.c.tenant_id == tenant_id, logs.c.week_ending == week.ending, logs.c.status.in_(LANDED))
        .order_by(logs.c.id)
    )
    with engine.connect() as connection:
        return {SyncType(row.sync_type): (row.id, row.status) for row in connection.execute(query)}


def find_leftovers(engine: Engine, now: datetime) -> list[str]:
    """Rows that a process should have finished or somebody closed: `running` syncs, and permits in use."""
    problems = []
    with engine.connect() as connection:
        running = connection.execute(
            select(func.count()).select_from(logs).where(logs.c.status == "running")
        ).scalar_one()
        if running:
            problems.append(f"{running} rows of the sync log are still running")
        milliseconds = int(now.timestamp() * 1000)
        permits = connection.execute(
            text("SELECT count(*) FROM call_slots WHERE finished_at IS NULL AND expires_at > :now"),
            {"now": milliseconds},
        ).scalar_one()
        if permits:
            problems.append(f"{permits} permits are still in use")
    return problems


def count_permits(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT COALESCE(max(id), 0) FROM call_slots")).scalar_one())


_PERMITS_OF = (
    select(func.count())
    .select_from(call_slots)
    .where(call_slots.c.finished_at.is_(None), call_slots.c.holder.in_(bindparam("names", expanding=True)))
)


def count_permits_of(engine: Engine, names: Iterable[str]) -> int:
    """How many permits are in use by the processes of these names."""
    with engine.connect() as connection:
        return int(connection.execute(_PERMITS_OF, {"names": list(names)}).scalar_one())
