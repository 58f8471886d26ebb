"""Alerts for asset checks that fail because somebody wrote into a table. Dagster shows such a failure and tells nobody.

Only checks whose `AssetCheckRule.alert_on_failure` is set lead to an alert. The other checks fail for causes that lead
to an alert anyway (a `partial` week, a failed sync, a stopped schedule), or that the sensors put right.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from xero_pipeline.assets.checks import CHECK_GROUPS
from xero_pipeline.automation.alerts import Alerter
from xero_pipeline.dagster_internals import AssetCheckExecutionRecordStatus

KIND = "check_failed"


def notify_failing_checks(instance: dg.DagsterInstance, alerter: Alerter) -> None:
    """Report each alerting check whose last evaluation failed, and each one that passes again."""
    open_causes = {alert.cause for alert in alerter.log.list_open(KIND)}
    for key in _list_alerting_checks():
        record = instance.get_latest_asset_check_evaluation_record(key)
        if record is None:
            continue
        table, cause = key.asset_key.to_user_string(), f"{KIND}:{key.to_user_string()}"
        if record.status is AssetCheckExecutionRecordStatus.FAILED and cause not in open_causes:
            alerter.report_problem(
                cause,
                f"{table} no longer holds what landed",
                f"The check {key.name} of {table} fails: somebody has written into the table.\n"
                f"What to do: Dagster's UI names the weeks, under the checks of the asset {table}; sync them again.\n"
                f"Run: {alerter.build_run_url(record.run_id)}",
                {"run": record.run_id},
                kind=KIND,
                occurrence=record.run_id,
            )
        elif record.status is AssetCheckExecutionRecordStatus.SUCCEEDED and cause in open_causes:
            alerter.report_recovery(cause, f"The check {key.name} of {table} passes again.")


def _list_alerting_checks() -> Iterator[dg.AssetCheckKey]:
    for group in CHECK_GROUPS:
        for rule in group.rules:
            if rule.alert_on_failure:
                yield dg.AssetCheckKey(dg.AssetKey(group.asset), rule.name)
