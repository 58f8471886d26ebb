"""Alerts about weeks that landed but do not add up to Xero's own totals, until they do or somebody accepts that.

A person accepts a week's differences on the command line or on the admin page. From then on the week is told as
little as one that adds up, until its differences are others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from xero_pipeline.assets.check_evaluation import evaluate_checks
from xero_pipeline.assets.checks import CHECK_GROUPS
from xero_pipeline.automation.alerts import Alerter
from xero_pipeline.automation.failure_text import (
    SYNC_TYPE_NAMES,
    format_list,
    format_weeks,
    parse_period,
    parse_periods,
)
from xero_pipeline.dagster_internals import AssetCheckExecutionRecordStatus
from xero_pipeline.resources import Deployment
from xero_pipeline.warehouse.checks.snapshot import TABLE_OF
from xero_pipeline.warehouse.logs.acceptances import read_accepted_differences
from xero_pipeline.warehouse.logs.alert_rules import Alert
from xero_pipeline.warehouse.logs.sync_log import LogEntry, SyncStatus, SyncType

_KIND = "partial"
_CHECK = "adds_up_in_xero"
_PARTIALS_READ = 500
_A_DAY = timedelta(days=1)


class PartialWeekMonitor:
    """Reports partial weeks, and those that add up again or that somebody has accepted."""

    def __init__(self, deployment: Deployment, alerter: Alerter) -> None:
        self._deployment = deployment
        self._alerter = alerter
        self._log = deployment.warehouse.log
        self._names = deployment.warehouse.tokens.list_names()

    def report_partial_weeks(self, since: datetime) -> None:
        """Report weeks that landed since then and do not add up: each week once, an organisation at most once a day."""
        partials: dict[str, list[LogEntry]] = defaultdict(list)
        for entry in self._log.list_newest(_PARTIALS_READ, status=SyncStatus.PARTIAL):
            if (entry.completed_at or entry.started_at) >= since and entry.accepted is None:
                last = self._log.get_last(entry.tenant_id, entry.sync_type, entry.week)
                if last is not None and last.id == entry.id:
                    partials[entry.tenant_id].append(entry)
        for tenant_id, entries in partials.items():
            self._report_organisation(tenant_id, entries)

    def _report_organisation(self, tenant_id: str, entries: Sequence[LogEntry]) -> None:
        cause, name = f"{_KIND}:{tenant_id}", self._get_name(tenant_id)
        alert = self._alerter.log.get(cause)
        weeks: dict[str, Any] = dict(alert.details.get("weeks", {})) if alert is not None and alert.is_open else {}
        for entry in entries:
            known = weeks.setdefault(entry.sync_type, [])
            if str(entry.week) not in known:
                known.append(str(entry.week))
            elif not self._had_accepted_difference(entry):
                continue
            run = f"\nRun: {self._alerter.build_run_url(entry.dagster_run_id)}" if entry.dagster_run_id else ""
            week_list = format_weeks(parse_periods(weeks))
            sync_types = format_list(SYNC_TYPE_NAMES.get(sync_type, sync_type) for sync_type in weeks)
            self._alerter.report_problem(
                cause,
                f"{name}: figures do not add up",
                f"Figures of {name} landed, but do not add up to Xero's own totals.\n"
                f"{week_list[:1].upper()}{week_list[1:]}: {sync_types}.\n"
                "What to do: the sync log says by how much and where; sync the weeks again, and if the difference "
                "stays, compare them with Xero's own report. If it is right as it is, accept it on the admin page or "
                f"with `xero-pipeline accept {entry.id}`.{run}",
                {"tenant_id": tenant_id, "weeks": weeks},
                kind=_KIND,
                occurrence=str(entry.id),
                quiet=_A_DAY,
            )

    def _had_accepted_difference(self, entry: LogEntry) -> bool:
        """Whether the week was accepted with other differences, so that the present ones are news."""
        week = entry.tenant_id, entry.sync_type, entry.week.ending
        with self._deployment.warehouse.engine.connect() as connection:
            return read_accepted_differences(connection, [week]).has_any(week)

    def report_recoveries(self) -> None:
        """Report organisations whose weeks all add up, or are accepted."""
        for alert in self._alerter.log.list_open(_KIND):
            if alert.details.get("tenant_id") in self._names:
                self._report_if_settled(alert)

    def _report_if_settled(self, alert: Alert) -> None:
        tenant_id, weeks = alert.details["tenant_id"], alert.details["weeks"]
        accepted = 0
        for sync_type, texts in weeks.items():
            for text in texts:
                last = self._log.get_last(tenant_id, sync_type, parse_period(sync_type, text))
                if last is None or (last.status != SyncStatus.SUCCESS and last.accepted is None):
                    return
                accepted += last.status != SyncStatus.SUCCESS
        week_list = format_weeks(parse_periods(weeks))
        state = "somebody has accepted what does not add up." if accepted else "the figures add up now."
        self._alerter.report_recovery(alert.cause, f"{self._get_name(tenant_id)}, {week_list}: {state}")

    def _get_name(self, tenant_id: str) -> str:
        return self._names.get(tenant_id, tenant_id)


def evaluate_accepted(instance: dg.DagsterInstance, deployment: Deployment, kinds: Iterable[str]) -> None:
    """Evaluate the failing checks of these kinds of figures, of which somebody has accepted differences.

    A check is evaluated with each run. Without this it would fail until the next one.
    """
    for table in (TABLE_OF[SyncType(kind)].name for kind in kinds if kind in TABLE_OF):
        key = dg.AssetCheckKey(dg.AssetKey(table), _CHECK)
        record = instance.get_latest_asset_check_evaluation_record(key)
        if record is None or record.status is not AssetCheckExecutionRecordStatus.FAILED:
            continue
        for group in CHECK_GROUPS:
            rules = [rule for rule in group.rules if (group.asset, rule.name) == (table, _CHECK)]
            for result in (
                evaluate_checks(group, rules, deployment.settings, deployment.warehouse, None) if rules else ()
            ):
                instance.report_runless_asset_event(
                    dg.AssetCheckEvaluation(
                        asset_key=key.asset_key,
                        check_name=key.name,
                        passed=result.passed,
                        metadata=result.metadata,
                        severity=result.severity,
                        description=result.description,
                    )
                )
