"""Ten bugs, put into the code one at a time. Each must be found: `python -m simulator.mutants`.

A bug is a patch of the running code, so the files stay as they are. Years are simulated with it until a law is broken,
at most fifty of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

MOST_YEARS = 50

Patching = Callable[[ExitStack], None]


@dataclass(frozen=True)
class Mutant:
    """A bug: its name as the issue calls it, what it does, and how it gets in."""

    name: str
    does: str
    apply: Patching


def _land_before_the_lock(stack: ExitStack) -> None:
    from xero_pipeline.warehouse.logs.sync_log import SyncLog
    from xero_pipeline.warehouse.store import Warehouse

    land = Warehouse.land

    def land_early(self: Any, write: Any, **values: Any) -> Any:
        # Whether a later sync has landed is asked before the transaction that locks the week begins.
        with self.engine.connect() as connection:
            newer = SyncLog.find_newer(self.log, connection, values["log_id"])
        self.log.find_newer = lambda _connection, _log_id: newer
        try:
            return land(self, write, **values)
        finally:
            del self.log.find_newer

    stack.enter_context(patch.object(Warehouse, "land", land_early))


def _drop_a_restatement(stack: ExitStack) -> None:
    from xero_pipeline.warehouse.figures import restatements

    insert = restatements.insert_restatements
    stack.enter_context(
        patch.object(restatements, "insert_restatements", lambda connection, rows: insert(connection, rows[:-1]))
    )


def _refresh_without_the_lock(stack: ExitStack) -> None:
    from xero_pipeline.warehouse.connections.tokens import TokenStore

    stack.enter_context(patch.object(TokenStore, "hold_refresh_lock", lambda *_, **__: nullcontext()))


def _skip_a_page(stack: ExitStack) -> None:
    from xero_pipeline.xero import listing

    read = listing._read_pagination
    stack.enter_context(
        patch.object(listing, "_read_pagination", lambda *given: (min(read(*given)[0], 2), read(*given)[1]))
    )
    # The difference in the count would show it; this bug believes that the count is of something else.
    stack.enter_context(patch.object(listing._ListReading, "compare_count", lambda *_: None))
    stack.enter_context(patch.object(listing.ListReader, "_is_proven", lambda *_: True))


def _trust_a_count(stack: ExitStack) -> None:
    from xero_pipeline.xero import listing

    # A list is taken for whole when it has as many documents as Xero counts, whatever was edited meanwhile.
    stack.enter_context(
        patch.object(
            listing.ListReader, "_is_proven", lambda _self, _request, sink, result, _at: len(sink) == result.count
        )
    )


def _forget_a_permit(stack: ExitStack) -> None:
    from xero_pipeline.warehouse.call_budget.budget import SqlCallBudget

    release = SqlCallBudget.release

    def forget(self: Any, permit: Any, now: Any, remaining: Any) -> None:
        # A permit of a call that got no answer is not given back.
        if remaining.day is not None:
            release(self, permit, now, remaining)

    stack.enter_context(patch.object(SqlCallBudget, "release", forget))


def _move_a_cursor_early(stack: ExitStack) -> None:
    from xero_pipeline.automation.late_edits import LateEditFinder
    from xero_pipeline.warehouse.logs.cursors import write_cursor

    check = LateEditFinder._check_organisation

    def move_first(self: Any, organisation: Any) -> str:
        with self._engine.begin() as connection:
            write_cursor(connection, organisation.tenant_id, "late_edits", self._deployment.clock.now())
        return check(self, organisation)

    stack.enter_context(patch.object(LateEditFinder, "_check_organisation", move_first))


def _round_a_line(stack: ExitStack) -> None:
    from xero_pipeline.assets import financial

    read = financial.read_profit_and_loss

    def read_rounded(*args: Any, **kwargs: Any) -> Any:
        figures = read(*args, **kwargs)
        lines = figures.lines.copy()
        if len(lines):
            lines.loc[lines.index[-1], "amount"] = (
                lines["amount"].iloc[-1].quantize(Decimal(1)).quantize(Decimal("0.01"))
            )
        return replace(figures, lines=lines)

    stack.enter_context(patch.object(financial, "read_profit_and_loss", read_rounded))


def _alert_twice(stack: ExitStack) -> None:
    from xero_pipeline.warehouse.logs.alert_log import AlertLog

    # That an address took a message is not recorded, so the next tick sends it again.
    stack.enter_context(
        patch.object(AlertLog, "mark_delivered", lambda self, claim, now: self.mark_failed(claim, "lost"))
    )


def _commit_half_a_week(stack: ExitStack) -> None:
    from xero_pipeline.warehouse.figures.landing import Provenance
    from xero_pipeline.warehouse.store import Warehouse

    land = Warehouse.land

    def land_in_halves(self: Any, write: Any, **values: Any) -> Any:
        names = ("tenant_id", "week", "currency", "data_source", "run_id")
        with self.engine.begin() as connection:
            result = write(connection, Provenance(*(values[name] for name in names), self.clock.now()))
        return land(self, lambda _connection, _provenance: result, **values)

    stack.enter_context(patch.object(Warehouse, "land", land_in_halves))


MUTANTS = (
    Mutant("land before the lock", "asks for a newer reading before the week is locked", _land_before_the_lock),
    Mutant("drop a restatement", "stores all restatements of a landing but the last", _drop_a_restatement),
    Mutant("refresh without the lock", "two processes may refresh one grant at once", _refresh_without_the_lock),
    Mutant("skip a page", "reads at most two pages of a list", _skip_a_page),
    Mutant("trust a count", "takes a list for whole because its count is right", _trust_a_count),
    Mutant("forget a permit", "keeps the permit of a call without an answer", _forget_a_permit),
    Mutant("move a cursor early", "moves the cursor of late_edits before it asks Xero", _move_a_cursor_early),
    Mutant("round a line", "rounds the last line of a profit and loss to whole units", _round_a_line),
    Mutant("alert twice", "forgets that an address took a message", _alert_twice),
    Mutant("commit half a week", "commits a week's figures before its row of the sync log", _commit_half_a_week),
)


def find(mutant: Mutant, weeks: int, first: int = 1, most: int = MOST_YEARS) -> tuple[int, float, str]:
    """Simulate years until the bug is found: the seed (0: never), the simulated years, and the broken law."""
    from simulator.years import simulate

    @contextmanager
    def mutate() -> Iterator[None]:
        with ExitStack() as stack:
            mutant.apply(stack)
            yield

    years = 0.0
    seed = first - 1
    while years < most:
        seed += 1
        outcome = simulate(seed, weeks=weeks, mutate=mutate)
        years += outcome.days / 364
        if outcome.broken:
            return seed, years, outcome.broken[0]
    return 0, years, ""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m simulator.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="some of the bugs; by default all")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args(arguments)
    if os.environ.get("PYTHONHASHSEED") != "0":
        again = [sys.executable, "-m", "simulator.mutants", *arguments]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from simulator.database import remove_templates

    missed = 0
    try:
        for mutant in MUTANTS:
            if options.names and mutant.name not in options.names:
                continue
            seed, years, law = find(mutant, options.weeks, options.seed)
            missed += seed == 0
            end = f"found by seed {seed}" if seed else "not found"
            print(f"{mutant.name}: {end} after {years:.2f} years: {law[:200]}", flush=True)
            if options.results:
                line = {"name": mutant.name, "does": mutant.does, "seed": seed, "years": years, "law": law[:300]}
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    finally:
        remove_templates()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
