"""The asset checks: what must hold in the tables, looked at after every run and whenever somebody starts them.

Thin: the rules are in `warehouse/checks/`; here they get their names, what a broken one means and what to do
about it, and their findings are put so that a bookkeeper finds the line. No check blocks: a wrong week of one
table stops no other.

A rule that says a figure is wrong looks at every week that is held, whatever weeks the run was about: Dagster
shows the last result for the whole table, and a later run must not turn it green while an older week is
still wrong. A warning is news, not a state: it is about the weeks of the run.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dagster as dg
from sqlalchemy import Table

from xero_pipeline.assets.freshness import weeks_due
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.checks import cash, history, presence, revenue, totals
from xero_pipeline.warehouse.checks.snapshot import Violation, WarehouseSnapshot, read_snapshot
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
_FINDINGS_KEPT = 50
_FINDINGS_TOLD = 10


@dataclass(frozen=True)
class AssetCheckContext:
    """What a rule is given besides the tables: the run's weeks (`None`: all), and which week is due of whom."""

    weeks: Collection[Week] | None
    due: Mapping[str, Week]


Find = Callable[[WarehouseSnapshot, AssetCheckContext], list[Violation]]


@dataclass(frozen=True)
class AssetCheckRule:
    """A check: `description` says what it means when it fails, and what a bookkeeper does about it."""

    name: str
    find: Find
    description: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    told: bool = False
    """Whether people are told when it fails: nothing but a hand in the table breaks it, and no sensor mends it."""


@dataclass(frozen=True)
class CheckOutcome:
    """A table's checks, which run as one step: its tables are read once."""

    asset: str
    step: str
    rules: Sequence[AssetCheckRule]
    tables: Sequence[Table]
    # Assets that must be done before, when the same run makes them.
    after: Sequence[str] = ()


_SYNC_AGAIN = "Sync the week again; if that does not mend it, compare the week with Xero's own report."


def _of_all_weeks(find: Callable[[WarehouseSnapshot], list[Violation]]) -> Find:
    return lambda held, _look: find(held)


def _of_run(find: Callable[[WarehouseSnapshot, Collection[Week] | None], list[Violation]]) -> Find:
    return lambda held, look: find(held, look.weeks)


def _revenue_of_run(held: WarehouseSnapshot, look: AssetCheckContext) -> list[Violation]:
    found = revenue.revenue_matches_income(held)
    return found if look.weeks is None else [finding for finding in found if finding.week in look.weeks]


def _common(kind: SyncType, *tables: Table) -> list[AssetCheckRule]:
    """What is asked of every table."""
    return [
        AssetCheckRule(
            "adds_up_in_xero",
            _of_all_weeks(partial(presence.adds_up_in_xero, kind=kind)),
            "Fails when a week landed as `partial`: its figures differ from the totals that Xero states itself. "
            "The figures are held as Xero's lines give them. Open the same week in Xero and compare the named "
            "total with its lines; when it is put right there, sync the week again.",
        ),
        AssetCheckRule(
            "no_duplicates",
            _of_all_weeks(lambda held: presence.no_duplicates(held, *tables)),
            "Fails when a row is held twice in one organisation's week, by another spelling or without the "
            f"primary key, so that sums count it twice. Somebody wrote into the table. {_SYNC_AGAIN}",
            told=True,
        ),
        AssetCheckRule(
            "no_gaps",
            _of_all_weeks(partial(presence.no_gaps, kind=kind)),
            "Fails when a week between an organisation's first and last one never landed, or has lost rows since. "
            "Switch on the sensor `missing_weeks`, which fills gaps by itself, or sync the named weeks; the sync "
            "log says why one failed.",
        ),
        AssetCheckRule(
            "fresh",
            lambda held, look: presence.fresh(held, kind, look.due),
            "Fails when the latest week of a connected organisation has not landed some hours after the daily sync "
            "was due. See whether the schedule `daily_sync` is switched on and what the sync log says, then sync "
            "the week.",
        ),
    ]


def _within_history(
    find: Callable[[WarehouseSnapshot, Collection[Week] | None], list[Violation]], what: str
) -> AssetCheckRule:
    return AssetCheckRule(
        "within_history",
        _of_run(find),
        f"Warns when {what} in a week lies far outside the {history.WEEKS_BEFORE} weeks before it (at least "
        f"{history.WEEKS_NEEDED} of them held). It may well be true: a big sale, a yearly bill. Look at the week's "
        "documents in Xero for one with a wrong amount, date or account.",
        dg.AssetCheckSeverity.WARN,
    )


_FINANCIAL = CheckOutcome(
    "financial_weekly",
    "financial_weekly_checks",
    [
        AssetCheckRule(
            "lines_add_up",
            _of_all_weeks(totals.lines_add_up),
            "Fails when a total of a week (income, cost of sales, other income, expenses) is not the sum of its "
            f"lines: a line or the total was changed in the table. {_SYNC_AGAIN}",
            told=True,
        ),
        AssetCheckRule(
            "gross_and_net_add_up",
            _of_all_weeks(totals.gross_and_net_add_up),
            "Fails when a week's gross profit is not its trading income less cost of sales, or its net profit not "
            f"gross profit and other income less operating expenses. {_SYNC_AGAIN}",
            told=True,
        ),
        *_common(SyncType.PROFIT_AND_LOSS, financial_weekly, financial_weekly_lines),
        _within_history(history.financial_within_history, "income, cost of sales, expenses or net profit"),
    ],
    [financial_weekly, financial_weekly_lines],
)

_REVENUE = CheckOutcome(
    "revenue_weekly",
    "revenue_weekly_checks",
    [
        AssetCheckRule(
            "net_is_invoiced_less_credited",
            _of_all_weeks(revenue.net_is_invoiced_less_credited),
            "Fails when the net revenue of a revenue type in a region is not what was invoiced less what was "
            f"credited. {_SYNC_AGAIN}",
            told=True,
        ),
        *_common(SyncType.INVOICES, revenue_weekly),
        _within_history(history.revenue_within_history, "the revenue, whole or of one type,"),
    ],
    [revenue_weekly],
)

_REVENUE_AND_INCOME = CheckOutcome(
    "revenue_weekly",
    "revenue_against_income",
    [
        AssetCheckRule(
            "revenue_matches_income",
            _revenue_of_run,
            "Warns when a week's revenue from invoices and credit notes is not the trading income of its profit and "
            "loss; the difference is named. Look in Xero for income booked without an invoice (money received "
            "straight into a sales account, a manual journal), for an invoice line on an account that is no sales "
            "account, or, where the difference is a few cents, for rounded foreign currency. Not asked on a cash "
            "basis.",
            dg.AssetCheckSeverity.WARN,
        )
    ],
    [revenue_weekly, financial_weekly, financial_weekly_lines],
    after=["financial_weekly"],
)

_CASH = CheckOutcome(
    "cash_position_weekly",
    "cash_position_weekly_checks",
    [
        AssetCheckRule(
            "closing_follows_from_opening",
            _of_all_weeks(cash.closing_follows_from_opening),
            "Fails when a bank account's closing balance is not its opening balance plus received, less spent, plus "
            f"currency gain. {_SYNC_AGAIN}",
        ),
        AssetCheckRule(
            "opening_is_the_closing_before",
            _of_all_weeks(cash.opening_is_the_closing_before),
            "Fails when a bank account does not open a week with what it closed the week before with. Most often "
            "somebody has entered or changed a bank transaction of an older week: sync the weeks before the named "
            "one again, back to the transaction. Until then their balances are out of date.",
        ),
        *_common(SyncType.BANK_SUMMARY, cash_position_weekly),
        _within_history(history.cash_within_history, "what a bank account received, spent or held"),
    ],
    [cash_position_weekly],
)

CHECKED = (_FINANCIAL, _REVENUE, _REVENUE_AND_INCOME, _CASH)


def asset_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Every check of every table, for a deployment's settings."""
    return [_step(settings, checked) for checked in CHECKED]


def _step(settings: Settings, checked: CheckOutcome) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=checked.step,
        specs=[
            dg.AssetCheckSpec(
                rule.name, asset=checked.asset, description=rule.description, additional_deps=checked.after or None
            )
            for rule in checked.rules
        ],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, warehouse: dg.ResourceParam[Warehouse]
    ) -> Iterator[dg.AssetCheckResult]:
        chosen = {key.name for key in context.selected_asset_check_keys}
        rules = [rule for rule in checked.rules if rule.name in chosen]
        yield from evaluate(checked, rules, settings, warehouse, _weeks_of_run(context))

    return checks


def evaluate(
    checked: CheckOutcome,
    rules: Sequence[AssetCheckRule],
    settings: Settings,
    warehouse: Warehouse,
    weeks: Collection[Week] | None,
) -> Iterator[dg.AssetCheckResult]:
    """What these rules say of the tables as they are now.

    Args:
        weeks: those that the run is about; `None` where it is about none.
    """
    held = read_snapshot(warehouse.engine, *checked.tables)
    look = AssetCheckContext(weeks, weeks_due(settings, warehouse))
    names = {one.tenant_id: one.tenant_name for one in warehouse.tokens.organisations()}
    for rule in rules:
        yield _result(checked, rule, rule.find(held, look), look, names)


def _weeks_of_run(context: dg.AssetCheckExecutionContext) -> list[Week] | None:
    """The weeks that the run is about; `None` for a check that somebody started by itself."""
    about = context.op_execution_context
    if about.has_partition_key or about.has_partition_key_range:
        return [Week.from_key(key) for key in about.partition_keys]
    return None


def _result(
    checked: CheckOutcome,
    rule: AssetCheckRule,
    findings: Sequence[Violation],
    look: AssetCheckContext,
    names: Mapping[str, str],
) -> dg.AssetCheckResult:
    ordered = sorted(findings, key=lambda one: (one.week in (look.weeks or ()), one.week.ending), reverse=True)
    metadata: dict[str, Any] = {"findings": dg.MetadataValue.int(len(ordered))}
    if ordered:
        metadata["what_was_found"] = _table(ordered[:_FINDINGS_KEPT], names)
    return dg.AssetCheckResult(
        passed=not ordered,
        asset_key=checked.asset,
        check_name=rule.name,
        severity=rule.severity,
        description=_in_words(ordered, names) if ordered else "Nothing was found.",
        metadata=metadata,
    )


def _in_words(findings: Sequence[Violation], names: Mapping[str, str]) -> str:
    said = [
        f"{names.get(one.tenant_id, one.tenant_id)}, week ending {one.week}: {one.sentence}"
        for one in findings[:_FINDINGS_TOLD]
    ]
    if len(findings) > _FINDINGS_TOLD:
        said.append(f"… and {len(findings) - _FINDINGS_TOLD} more.")
    return "\n".join(f"- {line}" for line in said)


def _table(findings: Sequence[Violation], names: Mapping[str, str]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "organisation": names.get(one.tenant_id, one.tenant_id),
                    "week_ending": str(one.week),
                    "row": one.row,
                    "figures": ", ".join(f"{name} {amount}" for name, amount in one.amounts.items()),
                    "what": one.sentence,
                }
            )
            for one in findings
        ],
        schema=dg.TableSchema(
            columns=[dg.TableColumn(name) for name in ("organisation", "week_ending", "row", "figures", "what")]
        ),
    )
