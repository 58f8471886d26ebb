"""How the rules of a group of checks are evaluated, and what Dagster shows of it. `checks.py` has the rules."""

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import Engine, Table

from xero_pipeline.assets.freshness import find_weeks_due
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.checks import history
from xero_pipeline.warehouse.checks.clean_organisations import (
    compute_fingerprints,
    list_clean,
    list_newest_weeks,
    save_clean,
)
from xero_pipeline.warehouse.checks.snapshot import Violation, WarehouseSnapshot, read_snapshot_from
from xero_pipeline.warehouse.errors import DatabaseUnavailable
from xero_pipeline.warehouse.figures.queries import open_snapshot
from xero_pipeline.warehouse.logs.reconciliations import ReconciliationLog
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week

# Dagster stores an event's metadata for ever, so long lists are cut.
_MAX_TABLE_ROWS = 50
_MAX_LINES = 10


@dataclass(frozen=True)
class AssetCheckContext:
    """What a rule needs besides the tables.

    `weeks` are the run's weeks, `None` for all. `due` is the newest week that must have landed, by tenant id. `engine`
    is for rules about tables that are too large to be read whole. `clean` are the organisations that need not be read.
    """

    weeks: Collection[Week] | None
    due: Mapping[str, Week]
    engine: Engine
    clean: Collection[str] = ()


FindViolations = Callable[[WarehouseSnapshot, AssetCheckContext], list[Violation]]


@dataclass(frozen=True)
class AssetCheckRule:
    """One check. `description` says what a failure means and what a bookkeeper does about it."""

    name: str
    find_violations: FindViolations
    description: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    alert_on_failure: bool = False
    """Whether a failure sends an alert. Set where only a manual edit of the table can break the rule."""


@dataclass(frozen=True)
class AssetCheckGroup:
    """Checks of one asset that run as one step, so that the tables are read once."""

    asset: str
    step: str
    rules: Sequence[AssetCheckRule]
    tables: Sequence[Table]
    after: Sequence[str] = ()
    """Other assets that must be materialised before, when the same run materialises them."""


def evaluate_checks(
    group: AssetCheckGroup,
    rules: Sequence[AssetCheckRule],
    settings: Settings,
    warehouse: Warehouse,
    weeks: Collection[Week] | None,
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate these rules of a group on the tables as they are now.

    Args:
        weeks: the run's weeks; `None` where the run has none.
    """
    names = warehouse.tokens.list_names()
    for rule, violations, context in find_violations(group, rules, settings, warehouse, weeks):
        yield _build_result(group, rule, violations, context, names)


def find_violations(
    group: AssetCheckGroup,
    rules: Sequence[AssetCheckRule],
    settings: Settings,
    warehouse: Warehouse,
    weeks: Collection[Week] | None,
) -> Iterator[tuple[AssetCheckRule, list[Violation], AssetCheckContext]]:
    """Find what breaks each of these rules.

    In a run, an organisation that the group found in order and that has the same rows as then is not read for the
    rules about all weeks, and no week is read for the others that lies further back than they look.
    """
    errors = [rule for rule in rules if rule.severity is dg.AssetCheckSeverity.ERROR]
    due = find_weeks_due(settings, warehouse)
    reconciliations = ReconciliationLog(warehouse.engine).list_current()
    with open_snapshot(warehouse.engine) as connection:
        fingerprints: Mapping[str, str] = {}
        clean: set[str] = set()
        if errors:
            fingerprints = compute_fingerprints(connection, _read_own_source(), group.tables)
            if weeks is not None:
                clean = list_clean(connection, group.step, fingerprints)
                newest = list_newest_weeks(connection, group.tables[0])
                clean -= {tenant for tenant, week in due.items() if newest.get(tenant, date.min) < week.ending}
        everything = read_snapshot_from(connection, group.tables, reconciliations, without=clean) if errors else None
        recent = everything
        if len(errors) < len(rules) and (everything is None or clean):
            first = min(weeks).shift(-history.WEEKS_BEFORE) if weeks else None
            recent = read_snapshot_from(connection, group.tables, first=first)
    in_order = set(fingerprints) - clean
    for rule in rules:
        snapshot = everything if rule.severity is dg.AssetCheckSeverity.ERROR else recent
        if snapshot is None:
            raise RuntimeError(f"no rows were read for {rule.name}")
        context = AssetCheckContext(
            weeks, {tenant: week for tenant, week in due.items() if tenant not in clean}, warehouse.engine, clean
        )
        violations = rule.find_violations(snapshot, context)
        if rule in errors:
            in_order -= {violation.tenant_id for violation in violations}
        yield rule, violations, context
    if len(errors) == sum(rule.severity is dg.AssetCheckSeverity.ERROR for rule in group.rules):
        # Whoever may not write reads the same rows again the next time.
        with contextlib.suppress(DatabaseUnavailable):
            save_clean(warehouse.engine, group.step, fingerprints, in_order, warehouse.clock.now())


@cache
def _read_own_source() -> str:
    """A hash of the rules: other rules may find something in the same rows."""
    modules = [*Path(__file__).parent.glob("check*.py"), *Path(history.__file__).parent.glob("*.py")]
    return hashlib.sha256(b"".join(module.read_bytes() for module in sorted(modules))).hexdigest()


def _build_result(
    group: AssetCheckGroup,
    rule: AssetCheckRule,
    violations: Sequence[Violation],
    context: AssetCheckContext,
    names: Mapping[str, str],
) -> dg.AssetCheckResult:
    run_weeks = context.weeks or ()
    # The run's weeks come first, then the newest ones.
    ordered = sorted(
        violations, key=lambda violation: (violation.week in run_weeks, violation.week.ending), reverse=True
    )
    found = [violation for violation in ordered if violation.accepted is None]
    accepted = [violation for violation in ordered if violation.accepted is not None]
    metadata: dict[str, Any] = {"findings": dg.MetadataValue.int(len(found))}
    if found:
        metadata["what_was_found"] = _build_table(found[:_MAX_TABLE_ROWS], names)
    description = _describe_violations(found, names) if found else "No problem was found."
    if accepted:
        metadata["accepted"] = dg.MetadataValue.int(len(accepted))
        description += f"\n\nAccepted, so not counted:\n{_describe_violations(accepted, names)}"
    return dg.AssetCheckResult(
        passed=not found,
        asset_key=group.asset,
        check_name=rule.name,
        severity=rule.severity,
        description=description,
        metadata=metadata,
    )


def _describe_violations(violations: Sequence[Violation], names: Mapping[str, str]) -> str:
    lines = [
        f"{names.get(violation.tenant_id, violation.tenant_id)}, week ending {violation.week}: {violation.sentence}"
        + (f" It was {violation.accepted}." if violation.accepted else "")
        for violation in violations[:_MAX_LINES]
    ]
    if len(violations) > _MAX_LINES:
        lines.append(f"… and {len(violations) - _MAX_LINES} more.")
    return "\n".join(f"- {line}" for line in lines)


def _build_table(violations: Sequence[Violation], names: Mapping[str, str]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "organisation": names.get(violation.tenant_id, violation.tenant_id),
                    "week_ending": str(violation.week),
                    "row": violation.row,
                    "figures": ", ".join(f"{name} {amount}" for name, amount in violation.amounts.items()),
                    "what": violation.sentence,
                }
            )
            for violation in violations
        ],
        schema=dg.TableSchema(
            columns=[dg.TableColumn(name) for name in ("organisation", "week_ending", "row", "figures", "what")]
        ),
    )
