"""Asset checks that fail because somebody wrote into a table: Dagster shows that, and tells nobody.

Only those (`Rule.told`). What else a check finds has a cause that people are told of anyway (a `partial` week, a sync
that failed, a schedule that has stopped), or the sensors put it right.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from xero_pipeline.assets.checks import CHECKED
from xero_pipeline.automation.alerts import Alerter
from xero_pipeline.dagster_internals import AssetCheckExecutionRecordStatus

KIND = "check_failed"


def notify_failing_checks(instance: dg.DagsterInstance, alerter: Alerter) -> None:
    """Tell of each such check that failed when it was last asked, and of those that hold again."""
    known = {alert.cause: alert for alert in alerter.log.open_alerts(KIND)}
    for key in _told():
        record = instance.get_latest_asset_check_evaluation_record(key)
        if record is None:
            continue
        table, cause = key.asset_key.to_user_string(), f"{KIND}:{key.to_user_string()}"
        if record.status is AssetCheckExecutionRecordStatus.FAILED and cause not in known:
            alerter.problem(
                cause,
                f"{table} no longer holds what landed",
                f"The check {key.name} of {table} fails: somebody has written into the table.\n"
                f"What to do: Dagster's UI names the weeks, under the checks of the asset {table}; sync them again.\n"
                f"Run: {alerter.run_link(record.run_id)}",
                {"run": record.run_id},
                kind=KIND,
                occurrence=record.run_id,
            )
        elif record.status is AssetCheckExecutionRecordStatus.SUCCEEDED and cause in known:
            alerter.recovered(cause, f"The check {key.name} of {table} holds again.")


def _told() -> Iterator[dg.AssetCheckKey]:
    for checked in CHECKED:
        for rule in checked.rules:
            if rule.told:
                yield dg.AssetCheckKey(dg.AssetKey(checked.asset), rule.name)
