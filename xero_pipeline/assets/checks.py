"""The asset checks. They run after every sync, and whenever somebody starts them in Dagster's UI.

`warehouse/checks/` has the rules. This module names them, says what a failure means and what to do about it, and
reports each violation so that a bookkeeper can find the row. No check blocks: a wrong week of one table does not stop
another table.

A check of severity ERROR covers every stored week, whichever weeks the run was about. Dagster shows only the last
result for a table, so a later run must not pass while an older week is still wrong. A check of severity WARN covers
only the weeks of the run.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial

import dagster as dg
from sqlalchemy import Table

from xero_pipeline.assets.check_evaluation import (
    AssetCheckContext,
    AssetCheckGroup,
    AssetCheckRule,
    FindViolations,
    evaluate_checks,
)
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.checks import cash, documents, history, presence, revenue, totals
from xero_pipeline.warehouse.checks.snapshot import Violation, WarehouseSnapshot
from xero_pipeline.warehouse.figures.account_revenue import revenue_by_account
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week

_SYNC_AGAIN = "Sync the week again; if that does not help, compare the week with Xero's own report."


def _cover_all_weeks(check: Callable[[WarehouseSnapshot], list[Violation]]) -> FindViolations:
    return lambda snapshot, _context: check(snapshot)


def _cover_run(check: Callable[[WarehouseSnapshot, Collection[Week] | None], list[Violation]]) -> FindViolations:
    return lambda snapshot, context: check(snapshot, context.weeks)


def _cover_weeks_of_run(check: Callable[[WarehouseSnapshot], list[Violation]]) -> FindViolations:
    def find(snapshot: WarehouseSnapshot, context: AssetCheckContext) -> list[Violation]:
        return [each for each in check(snapshot) if context.weeks is None or each.week in context.weeks]

    return find


def _build_common_rules(kind: SyncType, *tables: Table) -> list[AssetCheckRule]:
    """The checks that every table has."""
    return [
        AssetCheckRule(
            "adds_up_in_xero",
            _cover_all_weeks(partial(presence.check_adds_up_in_xero, kind=kind)),
            "Fails when a week landed as `partial`: its figures differ from the totals that Xero states itself. "
            "The table has the figures of Xero's lines. Open the same week in Xero and compare the named total "
            "with its lines; when it is corrected there, sync the week again. If it is right as it is, accept it: "
            "`xero-pipeline accept`, or on the admin page.",
        ),
        AssetCheckRule(
            "matches_xero_totals",
            _cover_all_weeks(partial(presence.check_matches_xero_totals, kind=kind)),
            "Fails when the stored weeks do not add up to what Xero states for the whole range of up to 52 weeks, "
            "although the weeks that differed were read again. Unrealised currency gains need not add up over several "
            "weeks. Look at any other account over the same range in Xero, beside the stored weeks; `xero-pipeline "
            "reconcile` compares again.",
        ),
        AssetCheckRule(
            "no_duplicates",
            _cover_all_weeks(lambda snapshot: presence.check_no_duplicates(snapshot, *tables)),
            "Fails when a row is stored twice in one organisation's week, in another spelling or without the "
            f"primary key, so that sums count it twice. Somebody wrote into the table. {_SYNC_AGAIN}",
            alert_on_failure=True,
        ),
        AssetCheckRule(
            "no_gaps",
            _cover_all_weeks(partial(presence.check_no_gaps, kind=kind)),
            "Fails when a week between an organisation's first and last week never landed, or has lost rows since. "
            "Switch on the sensor `missing_weeks`, which fills gaps automatically, or sync the named weeks; the sync "
            "log says why a week failed.",
        ),
        AssetCheckRule(
            "fresh",
            lambda snapshot, context: presence.check_fresh(snapshot, kind, context.due),
            "Fails when the latest week of a connected organisation has not landed six hours after the daily sync "
            "was due. See whether the schedule `daily_sync` is switched on and what the sync log says, then sync "
            "the week.",
        ),
    ]


def _build_history_rule(
    check: Callable[[WarehouseSnapshot, Collection[Week] | None], list[Violation]], figures: str
) -> AssetCheckRule:
    return AssetCheckRule(
        "within_history",
        _cover_run(check),
        f"Warns when {figures} in a week is far outside the range of the {history.WEEKS_BEFORE} weeks before it, if "
        f"at least {history.WEEKS_NEEDED} of them are stored. It may well be right: a big sale, a yearly bill. Look "
        "at the week's documents in Xero for one with a wrong amount, date or account.",
        dg.AssetCheckSeverity.WARN,
    )


_FINANCIAL = AssetCheckGroup(
    "financial_weekly",
    "financial_weekly_checks",
    [
        AssetCheckRule(
            "lines_add_up",
            _cover_all_weeks(totals.check_lines_add_up),
            "Fails when a total of a week (income, cost of sales, other income, expenses) is not the sum of its "
            f"lines: a line or the total was changed in the table. {_SYNC_AGAIN}",
            alert_on_failure=True,
        ),
        AssetCheckRule(
            "gross_and_net_add_up",
            _cover_all_weeks(totals.check_gross_and_net_add_up),
            "Fails when a week's gross profit is not its trading income less cost of sales, or its net profit not "
            f"gross profit and other income less operating expenses. {_SYNC_AGAIN}",
            alert_on_failure=True,
        ),
        *_build_common_rules(SyncType.PROFIT_AND_LOSS, financial_weekly, financial_weekly_lines),
        _build_history_rule(history.check_financial_within_history, "income, cost of sales, expenses or net profit"),
    ],
    [financial_weekly, financial_weekly_lines],
)

_REVENUE = AssetCheckGroup(
    "revenue_weekly",
    "revenue_weekly_checks",
    [
        AssetCheckRule(
            "net_is_invoiced_less_credited",
            _cover_all_weeks(revenue.check_net_is_invoiced_less_credited),
            "Fails when the net revenue of a revenue type in a region is not what was invoiced less what was "
            f"credited. {_SYNC_AGAIN}",
            alert_on_failure=True,
        ),
        AssetCheckRule(
            "documents_add_up",
            lambda _snapshot, context: documents.check_documents_add_up(context.engine, context.weeks, context.clean),
            "Fails when the lines of a week's documents (`revenue_document_lines`) do not add up to a row of "
            "`revenue_weekly`. Weeks that landed before documents were stored are skipped; to store theirs, sync them "
            f"again. {_SYNC_AGAIN}",
            alert_on_failure=True,
        ),
        *_build_common_rules(SyncType.INVOICES, revenue_weekly),
        _build_history_rule(history.check_revenue_within_history, "the revenue, whole or of one type,"),
    ],
    [revenue_weekly],
)

_REVENUE_AND_INCOME = AssetCheckGroup(
    "revenue_weekly",
    "revenue_against_income",
    [
        AssetCheckRule(
            "revenue_matches_income",
            _cover_weeks_of_run(revenue.check_revenue_matches_income),
            "Warns when a week's revenue from invoices and credit notes is not the trading income of its profit and "
            "loss; the result shows the difference. Look in Xero for income without an invoice (money received "
            "straight into a sales account, a manual journal), for an invoice line on an account that is not a sales "
            "account, or, where the difference is a few cents, for rounded foreign currency. Figures on a cash basis "
            "are not compared.",
            dg.AssetCheckSeverity.WARN,
        ),
        AssetCheckRule(
            "revenue_accounts_have_income",
            _cover_weeks_of_run(revenue.check_revenue_accounts_have_income),
            "Warns when a week's documents add revenue to an account and the week's profit and loss has no line of "
            "that account, although other weeks have one. Most often one of the two answers of Xero was incomplete: "
            "sync the week again. Only a manual journal of exactly the opposite amount is another reason.",
            dg.AssetCheckSeverity.WARN,
        ),
    ],
    [revenue_weekly, financial_weekly, financial_weekly_lines, revenue_by_account],
    after=["financial_weekly"],
)

_CASH = AssetCheckGroup(
    "cash_position_weekly",
    "cash_position_weekly_checks",
    [
        AssetCheckRule(
            "closing_follows_from_opening",
            _cover_all_weeks(cash.check_closing_follows_from_opening),
            "Fails when a bank account's closing balance is not its opening balance plus received, less spent, plus "
            f"currency gain. {_SYNC_AGAIN}",
        ),
        AssetCheckRule(
            "opening_is_the_closing_before",
            _cover_all_weeks(cash.check_opening_is_the_closing_before),
            "Fails when a bank account's opening balance is not the closing balance of the week before. Most often "
            "somebody has entered or changed a bank transaction of an older week: sync the weeks before the named "
            "one again, back to the transaction. Until then their balances are out of date.",
        ),
        *_build_common_rules(SyncType.BANK_SUMMARY, cash_position_weekly),
        _build_history_rule(history.check_cash_within_history, "what a bank account received, spent or held"),
    ],
    [cash_position_weekly],
)

CHECK_GROUPS = (_FINANCIAL, _REVENUE, _REVENUE_AND_INCOME, _CASH)


def build_asset_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Build every check of every table for a deployment's settings."""
    return [_build_step(settings, group) for group in CHECK_GROUPS]


def _build_step(settings: Settings, group: AssetCheckGroup) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=group.step,
        specs=[
            dg.AssetCheckSpec(
                rule.name, asset=group.asset, description=rule.description, additional_deps=group.after or None
            )
            for rule in group.rules
        ],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, warehouse: dg.ResourceParam[Warehouse]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name: key.asset_key for key in context.selected_asset_check_keys}
        rules = [rule for rule in group.rules if rule.name in selected]
        for result in evaluate_checks(group, rules, settings, warehouse, _read_weeks_of_run(context)):
            # Another project may have given the asset a prefix.
            yield result._replace(asset_key=selected[result.check_name or ""])

    return checks


def _read_weeks_of_run(context: dg.AssetCheckExecutionContext) -> list[Week] | None:
    """The run's weeks; `None` for a check that somebody started without a sync."""
    op_context = context.op_execution_context
    if op_context.has_partition_key or op_context.has_partition_key_range:
        return [Week.from_key(key) for key in op_context.partition_keys]
    return None
