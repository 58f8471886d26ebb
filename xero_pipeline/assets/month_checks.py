"""The asset checks of the months: the rules of the weeks, on the tables of the months.

Each of them covers every stored month, whichever months the run was about.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import dagster as dg

from xero_pipeline.warehouse.checks import cash, presence, totals
from xero_pipeline.warehouse.checks.months import read_month_snapshot
from xero_pipeline.warehouse.checks.snapshot import Violation, WarehouseSnapshot
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import cash_position_monthly, financial_monthly, financial_monthly_lines
from xero_pipeline.warehouse.store import Warehouse

# Dagster stores an event's metadata for ever, so long lists are cut.
_MAX_LINES = 10

_SYNC_AGAIN = "Sync the month again; if that does not help, compare the month with Xero's own report."
_ADDS_UP = (
    "Fails when a month landed as `partial`: its figures differ from the totals that Xero states itself. Open the same "
    "month in Xero and compare the named total with its lines; when it is corrected there, sync the month again. If it "
    "is right as it is, accept it: `xero-pipeline accept`."
)
_NO_GAPS = (
    "Fails when a month between an organisation's first and last month never landed, or has lost rows since. Switch on "
    "the sensor `missing_months`, or sync the named months; the sync log says why a month failed."
)


@dataclass(frozen=True)
class MonthCheck:
    """One check. `description` says what a failure means and what a bookkeeper does about it."""

    name: str
    find_violations: Callable[[WarehouseSnapshot], list[Violation]]
    description: str


_FINANCIAL = (
    MonthCheck(
        "lines_add_up",
        totals.check_lines_add_up,
        f"Fails when a total of a month is not the sum of its lines: somebody changed the table. {_SYNC_AGAIN}",
    ),
    MonthCheck(
        "gross_and_net_add_up",
        totals.check_gross_and_net_add_up,
        "Fails when a month's gross profit is not its trading income less cost of sales, or its net profit not gross "
        f"profit and other income less operating expenses. {_SYNC_AGAIN}",
    ),
    MonthCheck(
        "no_duplicates",
        lambda snapshot: presence.check_no_duplicates(snapshot, financial_monthly, financial_monthly_lines),
        f"Fails when a row is stored twice in one organisation's month. Somebody wrote into the table. {_SYNC_AGAIN}",
    ),
    MonthCheck(
        "adds_up_in_xero",
        partial(presence.check_adds_up_in_xero, kind=SyncType.PROFIT_AND_LOSS_MONTHLY),
        _ADDS_UP,
    ),
    MonthCheck("no_gaps", partial(presence.check_no_gaps, kind=SyncType.PROFIT_AND_LOSS_MONTHLY), _NO_GAPS),
)
_CASH = (
    MonthCheck(
        "closing_follows_from_opening",
        cash.check_closing_follows_from_opening,
        "Fails when a bank account's closing balance is not its opening balance plus received, less spent, plus "
        f"currency gain. {_SYNC_AGAIN}",
    ),
    MonthCheck(
        "opening_is_the_closing_before",
        cash.check_opening_is_the_closing_before,
        "Fails when a bank account's opening balance is not the closing balance of the month before. Most often "
        "somebody has entered or changed a bank transaction of an older month: sync the months before the named one "
        "again, back to the transaction.",
    ),
    MonthCheck(
        "no_duplicates",
        lambda snapshot: presence.check_no_duplicates(snapshot, cash_position_monthly),
        f"Fails when a row is stored twice in one organisation's month. Somebody wrote into the table. {_SYNC_AGAIN}",
    ),
    MonthCheck(
        "adds_up_in_xero", partial(presence.check_adds_up_in_xero, kind=SyncType.BANK_SUMMARY_MONTHLY), _ADDS_UP
    ),
    MonthCheck("no_gaps", partial(presence.check_no_gaps, kind=SyncType.BANK_SUMMARY_MONTHLY), _NO_GAPS),
)
MONTH_CHECKS: Mapping[str, Sequence[MonthCheck]] = {"financial_monthly": _FINANCIAL, "cash_position_monthly": _CASH}
"""The checks of each asset."""


def build_month_checks() -> list[dg.AssetChecksDefinition]:
    """Build every check of the months. Those of one asset run as one step, so that the tables are read once."""
    return [_build_step(asset, checks) for asset, checks in MONTH_CHECKS.items()]


def _build_step(asset: str, checks: Sequence[MonthCheck]) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{asset}_checks",
        specs=[dg.AssetCheckSpec(check.name, asset=asset, description=check.description) for check in checks],
        can_subset=True,
    )
    def evaluate(
        context: dg.AssetCheckExecutionContext, warehouse: dg.ResourceParam[Warehouse]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name: key.asset_key for key in context.selected_asset_check_keys}
        for name, violations in evaluate_month_checks(asset, warehouse).items():
            if name in selected:
                yield _build_result(name, selected[name], violations, warehouse.tokens.list_names())

    return evaluate


def evaluate_month_checks(asset: str, warehouse: Warehouse) -> dict[str, list[Violation]]:
    """Evaluate the checks of an asset on the tables as they are now; the violations by the check's name."""
    snapshot = read_month_snapshot(warehouse.engine)
    return {check.name: check.find_violations(snapshot) for check in MONTH_CHECKS[asset]}


def _build_result(
    name: str, asset_key: dg.AssetKey, violations: Sequence[Violation], names: Mapping[str, str]
) -> dg.AssetCheckResult:
    found = [violation for violation in violations if violation.accepted is None]
    lines = [
        f"- {names.get(one.tenant_id, one.tenant_id)}, month ending {one.week}: {one.sentence}"
        for one in sorted(found, key=lambda one: one.week.ending, reverse=True)
    ]
    more = [f"… and {len(lines) - _MAX_LINES} more."] if len(lines) > _MAX_LINES else []
    return dg.AssetCheckResult(
        passed=not found,
        asset_key=asset_key,
        check_name=name,
        severity=dg.AssetCheckSeverity.ERROR,
        description="\n".join([*lines[:_MAX_LINES], *more]) or "No problem was found.",
        metadata={"findings": dg.MetadataValue.int(len(found))},
    )
